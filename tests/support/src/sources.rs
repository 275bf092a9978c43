//! The sources of the project, for tests that hold their words and their structure.

use std::fs;
use std::path::{Path, PathBuf};

/// The Rust files below that folder, or the file itself.
///
/// # Panics
///
/// The place does not exist.
pub fn rust_files(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return if place.extension().is_some_and(|it| it == "rs") {
            vec![place.to_owned()]
        } else {
            Vec::new()
        };
    }
    let entries =
        fs::read_dir(place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
    let paths = entries.map(|entry| entry.expect("an entry of a folder").path());
    paths.flat_map(|path| rust_files(&path)).collect()
}

/// The lines of a file, numbered, up to the tests at its end. A line of comment is empty.
pub fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_comment = |line: &str| line.trim_start().starts_with("//");
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]");
    lines
        .enumerate()
        .map(move |(index, line)| (index + 1, if is_comment(line) { "" } else { line }))
}
