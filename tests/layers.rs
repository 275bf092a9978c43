//! Who may know whom. Dependencies point down only: what decides cannot reach what acts, what serves cannot see
//! Kubernetes, and a file that grew too long to be read at once does not stay unnoticed.
#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

use support::sources::{self, rust_files};

/// Words of a layer that no `use` of this crate shows: who must not use them, and why.
struct Forbidden {
    layer: &'static str,
    words: &'static [&'static str],
    because: &'static str,
}

const FORBIDDEN: &[Forbidden] = &[
    Forbidden {
        layer: "api",
        words: &["axum", "kube::Api", "kube::Client", "kube::runtime", "tokio", "tracing"],
        because: "the vocabulary neither decides nor does anything",
    },
    Forbidden {
        layer: "domain",
        words: &[
            "async fn",
            "async move",
            ".await",
            "axum",
            "kube::",
            "rand::",
            "std::env",
            "std::fs",
            "std::net",
            "std::process",
            "std::sync",
            "std::thread",
            "Instant",
            "SystemTime",
            "Timestamp::now",
            "tokio",
            "tracing",
        ],
        because: "decisions are pure: the model and the simulation run these very functions",
    },
    Forbidden {
        layer: "environment",
        words: &["axum", "kube::"],
        because: "the doors to time and randomness lead nowhere else",
    },
    Forbidden {
        layer: "heartbeat",
        words: &["axum", "kube::"],
        because: "any part of the process can have one",
    },
    Forbidden {
        layer: "controller",
        words: &[
            "axum",
            "rand::",
            "std::env",
            "Client::try_default",
            "SystemTime",
            "Timestamp::now",
        ],
        because: "time, randomness and the client are given to it, so that a test can give others",
    },
    Forbidden {
        layer: "server",
        words: &["k8s_openapi", "kube::"],
        because: "what is served comes as values: it never sees Kubernetes",
    },
    Forbidden {
        layer: "kubernetes",
        words: &["axum", "SystemTime", "Timestamp::now"],
        because: "the client is used by controllers and by the directory, and serves nothing",
    },
    Forbidden {
        layer: "kubernetes::codec",
        words: &["kube::", "tokio"],
        because: "what is stored is read alike by all, without a request",
    },
    Forbidden {
        layer: "directory",
        words: &["axum", "Timestamp::now"],
        because: "what servers know comes from watches, and serves no request by itself",
    },
    Forbidden {
        layer: "process::telemetry",
        words: &["kube::"],
        because: "logs know nothing of what is logged",
    },
];

/// A row of the table in `ARCHITECTURE.md`: a module, and the modules that it may use.
#[derive(Debug)]
struct Layer {
    module: String,
    may_use: Vec<String>,
}

fn layers() -> Vec<Layer> {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, rest) = page.split_once("\n## Layers\n").unwrap();
    let (section, _) = rest.split_once("\n## ").unwrap();
    let words =
        |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let read = |row: &str| {
        let cells: Vec<_> = row.split('|').collect();
        let modules = words(cells.get(1).unwrap());
        let may_use = words(cells.get(3).unwrap());
        modules.into_iter().map(move |module| Layer { module, may_use: may_use.clone() })
    };
    rows.flat_map(|row| read(row).collect::<Vec<_>>()).collect()
}

fn is_within(module: &str, layer: &str) -> bool {
    module.strip_prefix(layer).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The row of a module: the one with the longest name that it is within.
fn layer_of<'a>(module: &str, layers: &'a [Layer]) -> Option<&'a Layer> {
    let rows = layers.iter().filter(|layer| is_within(module, &layer.module));
    rows.max_by_key(|layer| layer.module.len())
}

/// The module of a file below `src`.
fn module_of(path: &Path) -> String {
    let path = path.strip_prefix(root().join("src")).unwrap().with_extension("");
    path.display().to_string().replace('/', "::")
}

/// The modules of this crate that a line of `module` names, as paths below `crate`.
fn uses(line: &str, module: &str) -> Vec<String> {
    let mut absolute = line.replace("self::", &format!("crate::{module}::"));
    let depth = module.split("::").count();
    // The longest chain first: `super::super::` is no `super::` of `super::`.
    for up in (1..=depth).rev() {
        let ancestor: String =
            module.split("::").take(depth - up).flat_map(|it| [it, "::"]).collect();
        absolute = absolute.replace(&"super::".repeat(up), &format!("crate::{ancestor}"));
    }
    let line = absolute.as_str();
    let is_path = |c: char| c.is_ascii_lowercase() || c == '_' || c == ':' || c.is_ascii_digit();
    let starts = line.match_indices("crate::").map(|(at, found)| &line[at + found.len()..]);
    let path = |rest: &str| rest.chars().take_while(|c| is_path(*c)).collect::<String>();
    starts.map(|rest| path(rest).trim_end_matches(':').to_owned()).collect()
}

#[test]
fn every_module_has_a_place_and_every_arrow_is_in_the_table() {
    let layers = layers();
    let mut faults = Vec::new();
    for path in rust_files(&root().join("src")) {
        let (at, module) = (shown(&path), module_of(&path));
        if module == "main" || module == "lib" {
            continue;
        }
        let Some(layer) = layer_of(&module, &layers) else {
            faults.push(format!("{at}: no row in the table of ARCHITECTURE.md"));
            continue;
        };
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in code(&text) {
            for used in uses(line, &module).into_iter().filter(|used| !used.is_empty()) {
                let is_own = is_within(&used, &layer.module);
                let is_allowed = layer.may_use.iter().any(|it| is_within(&used, it));
                if !is_own && !is_allowed {
                    let from = &layer.module;
                    faults.push(format!("{at}:{number}: `{from}` may not use `{used}`"));
                }
            }
        }
    }

    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// An arrow of the table that leads to a row above is a circle.
#[test]
fn the_arrows_of_the_table_point_down() {
    let layers = layers();
    let place = |module: &str| {
        let mut rows = layers.iter().enumerate();
        rows.find(|(_, layer)| layer.module == module).map(|(place, _)| place)
    };
    for (at, layer) in layers.iter().enumerate() {
        for used in &layer.may_use {
            let below = place(used).unwrap_or_else(|| panic!("`{used}` has no row"));
            assert!(below > at, "`{}` uses `{used}`, which stands above it", layer.module);
        }
    }
}

#[test]
fn no_layer_uses_what_it_must_not() {
    let mut faults = Vec::new();
    for forbidden in FORBIDDEN {
        let files = rust_files(&root().join("src"));
        let files: Vec<_> =
            files.into_iter().filter(|path| is_within(&module_of(path), forbidden.layer)).collect();
        assert!(!files.is_empty(), "no module {}", forbidden.layer);
        for path in files {
            let text = fs::read_to_string(&path).unwrap();
            for (number, line) in code(&text) {
                let found = forbidden.words.iter().filter(|word| mentions(line, word));
                for word in found {
                    let (at, because) = (shown(&path), forbidden.because);
                    faults.push(format!("{at}:{number}: `{word}`: {because}"));
                }
            }
        }
    }

    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn only_one_module_reads_the_environment_and_only_main_says_anyhow() {
    for path in rust_files(&root().join("src")) {
        let text = fs::read_to_string(&path).unwrap();
        let at = shown(&path);
        for (number, line) in code(&text) {
            let may_read = at.starts_with("src/cli");
            assert!(may_read || !line.contains("env::var"), "{at}:{number}");
            let may_give_up = at == "src/main.rs";
            assert!(may_give_up || !mentions(line, "anyhow"), "{at}:{number}");
        }
    }
}

#[test]
fn every_file_can_be_read_at_once() {
    let mut faults = Vec::new();
    for path in rust_files(&root().join("src")) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        if lines > MAX_LINES {
            let at = shown(&path);
            faults.push(format!("{at}: {lines} lines, more than {MAX_LINES}"));
        }
    }

    assert!(faults.is_empty(), "split them:\n{}", faults.join("\n"));
}

#[test]
fn files_are_named_after_what_they_hold() {
    let folders = [root().join("src"), root().join("tests")];
    for path in folders.iter().flat_map(|folder| rust_files(folder)) {
        let name = path.file_stem().unwrap().to_string_lossy();
        let is_vague = VAGUE.iter().any(|word| name.split('_').any(|it| it == *word));

        assert!(!is_vague, "{}: name it after what it holds", shown(&path));
    }
}

// === how sources are read ===

/// The lines of code, without a comment at their end.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    sources::code(text).map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
}

/// Whether the line has that word, not merely as the end or the beginning of a longer one.
fn mentions(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        let is_whole_at =
            |end: Option<char>| end.is_none_or(|it| !(it.is_alphanumeric() || it == '_'));
        is_whole_at(before) && (word.ends_with([':', '(']) || is_whole_at(after))
    })
}

#[test]
fn one_module_opens_watches_and_says_how_large_their_pages_are() {
    let watches = root().join("src/kubernetes/watches.rs");
    for path in rust_files(&root().join("src")).into_iter().filter(|path| *path != watches) {
        let text = fs::read_to_string(&path).unwrap();
        let opens = |line: &str| mentions(line, "watcher::Config") || mentions(line, "watcher(");
        let own = code(&text).find(|(_, line)| opens(line));
        assert!(
            own.is_none(),
            "{}: open the watch in src/kubernetes/watches.rs. A page of 500 objects that tenants write can have \
             700 MB: {own:?}",
            shown(&path)
        );
    }
}

#[test]
fn no_error_holds_one_whose_text_quotes_values() {
    for path in rust_files(&root().join("src")) {
        let text = fs::read_to_string(&path).unwrap();
        let held = |line: &str| line.contains("#[source]") || line.contains("#[from]");
        let quotes =
            |line: &str| ["kube", "serde", "hyper", "Status"].iter().any(|it| line.contains(it));
        let found = code(&text).find(|(_, line)| held(line) && quotes(line));
        assert!(found.is_none(), "{}: keep the kind of that error alone: {found:?}", shown(&path));
    }
}

#[test]
fn an_error_that_is_dropped_has_a_reason_beside_it() {
    let mut bare = Vec::new();
    for path in rust_files(&root().join("src")) {
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (number, _) in code(&text).filter(|(_, line)| line.contains("map_err(|_|")) {
            let near = &lines[number.saturating_sub(4)..number];
            if !near.iter().any(|line| line.trim_start().starts_with("// ")) {
                bare.push(format!("{}:{number}", shown(&path)));
            }
        }
    }
    assert!(bare.is_empty(), "keep the kind of the cause, or say why there is none: {bare:?}");
}

fn shown(path: &Path) -> String {
    let path = path.strip_prefix(root()).unwrap();
    path.display().to_string()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// What fits in a head, and in a review.
const MAX_LINES: usize = 400;

const VAGUE: &[&str] =
    &["utils", "util", "common", "helpers", "helper", "misc", "types", "manager"];

mod itself {
    use super::*;

    #[test]
    fn words_are_found_whole() {
        assert!(mentions("use tokio::time;", "tokio"));
        assert!(mentions("use kube::Client;", "kube::"));
        assert!(!mentions("let tokios = 1;", "tokio"));
        assert!(!mentions("KubeSchema", "kube::"));
    }

    #[test]
    fn comments_and_tests_are_not_code() {
        let text = "use a; // tokio\n/// tokio\n#[cfg(test)]\nuse tokio;";
        let seen: Vec<_> = code(text).map(|(_, line)| line).collect();

        assert_eq!(seen, ["use a; ", ""]);
    }
}
