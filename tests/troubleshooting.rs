//! Every reason, condition, Event and metric of the code stands in `docs/troubleshooting.md`.
#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use support::sources::{self, rust_files};

#[test]
fn every_reason_condition_and_event_is_explained() {
    let page = page();
    let files = REASONS.iter().flat_map(|place| sources(&root().join("src").join(place)));
    let words: BTreeSet<String> = files.flat_map(|file| literals(&file)).collect();
    let is_word = |text: &&String| {
        text.len() > 4
            && text.starts_with(|c: char| c.is_ascii_uppercase())
            && text.chars().all(|c| c.is_ascii_alphanumeric())
            && !NO_REASONS.contains(&text.as_str())
    };
    let missing: Vec<_> = words.iter().filter(is_word).filter(|it| !names(&page, it)).collect();

    assert!(missing.is_empty(), "not in docs/troubleshooting.md: {missing:?}");
}

#[test]
fn every_metric_is_explained() {
    let page = page();
    let words: BTreeSet<String> =
        sources(&root().join("src")).iter().flat_map(|file| literals(file)).collect();
    let prefixes = ["technical_user_", "controller_runtime_", "workqueue_", "leader_election_"];
    let is_metric = |text: &&String| {
        prefixes.iter().any(|prefix| text.starts_with(prefix))
            && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            && text.as_str() != "technical_user_operator"
    };
    let missing: Vec<_> = words.iter().filter(is_metric).filter(|it| !names(&page, it)).collect();

    assert!(missing.is_empty(), "not in docs/troubleshooting.md: {missing:?}");
}

/// The field doc is what `kubectl explain` shows.
#[test]
fn the_field_doc_of_a_condition_lists_every_type() {
    let page = page();
    let (_, rest) = page.split_once("\n## Conditions\n").unwrap();
    let (table, _) = rest.split_once("\n## ").unwrap();
    let types: Vec<_> =
        table.lines().filter_map(|it| it.strip_prefix("| `")?.split('`').next()).collect();
    let doc = fs::read_to_string(root().join("src/api/condition.rs")).unwrap();
    let missing: Vec<_> = types.iter().filter(|it| !names(&doc, it)).collect();

    assert!(types.contains(&"RequestPending"), "{types:?}");
    assert!(missing.is_empty(), "not in src/api/condition.rs: {missing:?}");
}

fn page() -> String {
    fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap()
}

fn names(page: &str, word: &str) -> bool {
    page.contains(&format!("`{word}`"))
}

/// The texts between quotes of the part of a file that is no test.
fn literals(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let code = sources::code(&text).map(|(_, line)| line);
    code.flat_map(|line| line.split('"').skip(1).step_by(2).map(str::to_owned)).collect()
}

/// The Rust files of that place that are no tests.
fn sources(place: &Path) -> Vec<PathBuf> {
    let is_test = |path: &PathBuf| path.iter().any(|it| it == "tests" || it == "tests.rs");
    let below = |path: &PathBuf| path.strip_prefix(root().join("src")).unwrap().to_owned();
    rust_files(place).into_iter().filter(|path| !is_test(&below(path))).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Where conditions and Events are worded.
const REASONS: [&str; 8] = [
    "domain/conditions",
    "domain/request.rs",
    "domain/technical_user/status.rs",
    "domain/technical_user/status",
    "domain/signing_key/status.rs",
    "domain/signing_key/status",
    "controller/technical_user",
    "controller/signing_key",
];

/// Words in quotes that are no reason.
const NO_REASONS: [&str; 8] =
    ["Apply", "Invalid", "Reason", "SigningKey", "Stored", "TechnicalUser", "Update", "Unknown"];
