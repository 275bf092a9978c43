//! Names that users write into manifests, alerts and scripts: flags and their environment variables, metrics,
//! conditions, reasons, Events, labels and annotations. Later versions add lines to `public_names.txt` and
//! change none.
#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use support::sources::{self, rust_files};
use technical_user_operator::cli::Arguments;

#[test]
fn no_public_name_changes() {
    let file = root().join("tests/public_names.txt");
    let present = names();
    if std::env::var_os("UPDATE_PUBLIC_NAMES").is_some() {
        fs::write(&file, &present).unwrap();
    }

    let pinned = fs::read_to_string(&file).unwrap();

    assert!(
        present == pinned,
        "public names differ from tests/public_names.txt. A new name is added with UPDATE_PUBLIC_NAMES=1; \
         a name that is gone breaks users.\nGone: {:?}\nNew: {:?}",
        difference(&pinned, &present),
        difference(&present, &pinned),
    );
}

fn difference<'a>(left: &'a str, right: &str) -> Vec<&'a str> {
    let right: BTreeSet<_> = right.lines().collect();
    left.lines().filter(|line| !right.contains(line)).collect()
}

fn names() -> String {
    let sections = [
        ("Subcommands, flags and environment variables", flags()),
        ("Metrics and their labels", metrics()),
        ("Labels, annotations and types of Secrets", constants()),
        ("Condition types", documented("\n## Conditions\n")),
        ("Reasons of the other conditions", reasons_in_words()),
        ("Reasons of Ready, TechnicalUser", documented("\n### TechnicalUser\n")),
        ("Reasons of Ready, SigningKey", documented("\n### SigningKey\n")),
        ("Reasons of Ready, both", documented("\n### Both: ")),
        ("Reasons of Events", documented("\n## Events\n")),
    ];
    let texts = sections.map(|(title, lines)| {
        assert!(lines.len() > 4, "{title}: {lines:?}");
        format!("# {title}\n{}\n", lines.into_iter().collect::<Vec<_>>().join("\n"))
    });
    texts.join("\n")
}

/// `command --flag VARIABLE` for every flag.
fn flags() -> BTreeSet<String> {
    let commands: Vec<_> = Arguments::command().get_subcommands().cloned().collect();
    let of = |command: &clap::Command| {
        let name = command.get_name().to_owned();
        let flags: Vec<String> = command
            .get_arguments()
            .filter_map(|flag| {
                let variable = flag.get_env().map(|it| it.to_string_lossy().into_owned());
                Some(format!("{name} --{} {}", flag.get_long()?, variable.unwrap_or_default()))
            })
            .map(|line| line.trim_end().to_owned())
            .collect();
        if flags.is_empty() { vec![name] } else { flags }
    };
    commands.iter().flat_map(of).collect()
}

/// `name{label,label}` of every metric, from the code that registers it.
fn metrics() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in rust_files(&root().join("src")) {
        let code = code(&file);
        let sets = label_sets(&code);
        for (at, name) in metric_names(&code) {
            let labels = labels(&code, at, &sets);
            found.insert(format!("{name}{{{}}}", labels.join(",")));
        }
    }
    found
}

fn metric_names(code: &str) -> Vec<(usize, String)> {
    let prefixes = ["technical_user_", "controller_runtime_", "workqueue_", "leader_election_"];
    let mut names = Vec::new();
    for prefix in prefixes {
        for (at, _) in code.match_indices(&format!("\"{prefix}")) {
            let name = code[at + 1..].split('"').next().unwrap_or_default();
            if name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                && !NO_METRICS.contains(&name)
            {
                names.push((at, name.to_owned()));
            }
        }
    }
    names
}

/// The labels of the metric whose name stands at that place: of its `Family`, or of a collector.
fn labels(code: &str, at: usize, sets: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let registration = code[at..].split(".clone()").next().unwrap_or_default();
    if registration.len() < 600
        && let Some(field) = registration.rsplit('.').next().filter(|it| is_word(it))
        && let Some((_, declared)) = code.split_once(&format!("    {field}: "))
    {
        let type_ = declared.split([',', '\n']).next().unwrap_or_default();
        return type_.strip_prefix("Family<").map_or_else(Vec::new, |set| sets[set].clone());
    }
    let rest = code[at..].chars().take(400).collect::<String>();
    let rest = rest.split("Figure").next().unwrap_or_default();
    let label = ["Each(", "Counted("].iter().find_map(|it| rest.split_once(it));
    let text = label.map(|(_, rest)| rest.split('"').nth(1).unwrap_or_default().to_owned());
    text.into_iter().collect()
}

/// The fields of every struct that is a set of labels.
fn label_sets(code: &str) -> BTreeMap<String, Vec<String>> {
    let structs = code.split("EncodeLabelSet)]\nstruct ").skip(1);
    structs
        .map(|text| {
            let (name, rest) = text.split_once(" {\n").unwrap();
            let (fields, _) = rest.split_once("\n}").unwrap();
            let fields = fields.lines().filter_map(|line| line.trim().split_once(": "));
            (name.to_owned(), fields.map(|(field, _)| field.to_owned()).collect())
        })
        .collect()
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// The constants of the API with a domain in front.
fn constants() -> BTreeSet<String> {
    let code = code(&root().join("src/api.rs"));
    let texts = code.split('"').skip(1).step_by(2);
    texts.filter(|text| text.contains('/')).map(str::to_owned).collect()
}

/// The first column of the table below that heading of `docs/troubleshooting.md`, whose completeness is held
/// by `tests/troubleshooting.rs`.
fn documented(heading: &str) -> BTreeSet<String> {
    let rows = table_below(heading).into_iter();
    let cells = rows.filter_map(|row| row.split('|').nth(1).map(str::to_owned));
    let cells = cells.filter(|cell| !cell.contains("a reason of"));
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// The words in parentheses of the table of conditions.
fn reasons_in_words() -> BTreeSet<String> {
    let table = table_below("\n## Conditions\n").join("\n");
    let after = ["(reason `", "(`"].iter().flat_map(|it| table.split(it).skip(1));
    after.filter_map(|text| text.split('`').next()).map(str::to_owned).collect()
}

fn table_below(heading: &str) -> Vec<String> {
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let (_, rest) = page.split_once(heading).unwrap();
    let table = rest.lines().skip_while(|line| !line.starts_with('|'));
    table.take_while(|line| line.starts_with('|')).map(str::to_owned).collect()
}

/// The code of a file as one text.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    sources::code(&text).map(|(_, line)| line).collect::<Vec<_>>().join("\n")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Literals with the prefix of a metric.
const NO_METRICS: [&str; 2] = ["technical_user_", "technical_user_operator"];
