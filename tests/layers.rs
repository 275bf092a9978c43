//! Who may know whom. Dependencies point down only: what decides cannot reach what acts, what serves cannot see
//! Kubernetes, and a file that grew too long to be read at once does not stay unnoticed.
#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

/// A layer, and the words that its code must not contain.
struct Layer {
    module: &'static str,
    forbidden: &'static [&'static str],
    because: &'static str,
}

const LAYERS: &[Layer] = &[
    Layer {
        module: "api",
        forbidden: &[
            "crate::args",
            "crate::controller",
            "crate::domain",
            "crate::environment",
            "crate::operator",
            "crate::server",
            "crate::telemetry",
            "axum",
            "kube::Api",
            "kube::Client",
            "kube::runtime",
            "tokio",
            "tracing",
        ],
        because: "the vocabulary neither decides nor does anything",
    },
    Layer {
        module: "domain",
        forbidden: &[
            "crate::args",
            "crate::controller",
            "crate::environment",
            "crate::operator",
            "crate::server",
            "crate::telemetry",
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
    Layer {
        module: "environment",
        forbidden: &[
            "crate::api",
            "crate::args",
            "crate::controller",
            "crate::operator",
            "crate::server",
            "axum",
            "kube::",
        ],
        because: "the doors to time and randomness lead nowhere else",
    },
    Layer {
        module: "heartbeat",
        forbidden: &["crate::", "axum", "kube::"],
        because: "whoever works leaves one, and nobody is known by it",
    },
    Layer {
        module: "controller",
        forbidden: &[
            "crate::args",
            "crate::operator",
            "crate::server",
            "crate::telemetry",
            "axum",
            "rand::",
            "std::env",
            "Client::try_default",
            "SystemTime",
            "Timestamp::now",
        ],
        because: "time, randomness and the client are given to it, so that a test can give others",
    },
    Layer {
        module: "server",
        forbidden: &[
            "crate::api",
            "crate::args",
            "crate::controller",
            "crate::operator",
            "k8s_openapi",
            "kube::",
        ],
        because: "what is served comes as values: it never sees Kubernetes",
    },
    Layer {
        module: "watch",
        forbidden: &[
            "crate::api",
            "crate::args",
            "crate::controller",
            "crate::directory",
            "crate::domain",
            "crate::operator",
            "crate::server",
        ],
        because: "a watch knows nothing of what it watches",
    },
    Layer {
        module: "stored",
        forbidden: &[
            "crate::args",
            "crate::controller",
            "crate::directory",
            "crate::operator",
            "crate::server",
            "kube::",
            "tokio",
        ],
        because: "what is stored is read alike by all, and asks nobody",
    },
    Layer {
        module: "directory",
        forbidden: &[
            "crate::args",
            "crate::controller",
            "crate::operator",
            "crate::server",
            "axum",
            "Timestamp::now",
        ],
        because: "what servers know comes from watches, and serves no request by itself",
    },
    Layer {
        module: "telemetry",
        forbidden: &[
            "crate::api",
            "crate::controller",
            "crate::domain",
            "crate::operator",
            "crate::server",
            "kube::",
        ],
        because: "logs know nothing of what is logged",
    },
];

#[test]
fn no_layer_knows_what_is_above_it() {
    let mut faults = Vec::new();
    for layer in LAYERS {
        let files = files_of(layer.module);
        assert!(!files.is_empty(), "no module {}", layer.module);
        for path in files {
            let text = fs::read_to_string(&path).unwrap();
            for (number, line) in code(&text) {
                let found = layer.forbidden.iter().filter(|word| mentions(line, word));
                for word in found {
                    let (at, because) = (shown(&path), layer.because);
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
            let may_read = at == "src/args.rs";
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
        if lines > MOST_LINES {
            let at = shown(&path);
            faults.push(format!("{at}: {lines} lines, more than {MOST_LINES}"));
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

/// The lines that the compiler sees, numbered, up to the tests at the end of the file.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| *line != "#[cfg(test)]")
        .map(|(index, line)| (index + 1, line))
        .map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
}

/// Whether the line has that word, not merely as the end or the beginning of a longer one.
fn mentions(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        let is_whole_at =
            |end: Option<char>| end.is_none_or(|it| !(it.is_alphanumeric() || it == '_'));
        is_whole_at(before) && (word.ends_with(':') || is_whole_at(after))
    })
}

#[test]
fn every_watch_says_how_large_its_pages_are() {
    let watch = root().join("src/watch.rs");
    for path in rust_files(&root().join("src")).into_iter().filter(|path| *path != watch) {
        let text = fs::read_to_string(&path).unwrap();
        let own = code(&text).find(|(_, line)| mentions(line, "watcher::Config"));
        assert!(
            own.is_none(),
            "{}: use small_pages() or large_pages() of src/watch.rs: a page of 500 objects that tenants \
             write can have 700 MB: {own:?}",
            shown(&path)
        );
    }
}

/// The file of a module and those of the modules in it.
fn files_of(module: &str) -> Vec<PathBuf> {
    let src = root().join("src");
    let mut files = rust_files(&src.join(module));
    files.extend(Some(src.join(format!("{module}.rs"))).filter(|path| path.exists()));
    files
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| match path.extension() {
            None => rust_files(&path),
            Some(extension) if extension == "rs" => vec![path],
            Some(_) => Vec::new(),
        })
        .collect()
}

fn shown(path: &Path) -> String {
    let path = path.strip_prefix(root()).unwrap();
    path.display().to_string()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// What fits in a head, and in a review.
const MOST_LINES: usize = 400;

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
