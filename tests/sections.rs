//! docs/smtp.md and the tests name each other: every section of the page is named by a test, every
//! dialogue names its sections, and every test in the page's table exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = include_str!("../docs/smtp.md");

/// Numbers of the sections of the page: `## 5 Line discipline`.
fn sections() -> BTreeSet<u32> {
    let numbers = PAGE.lines().filter_map(|line| line.strip_prefix("## ")?.split(' ').next()?.parse().ok());
    numbers.collect()
}

/// The sections that `text` names: `docs/smtp.md §5 §10`.
fn named(text: &str) -> BTreeSet<u32> {
    let mut named = BTreeSet::new();
    for behind in text.split("docs/smtp.md ").skip(1) {
        let words = behind.split_whitespace().map_while(|word| word.strip_prefix('§'));
        named.extend(words.filter_map(|word| word.trim_end_matches([':', ',', '.']).parse::<u32>().ok()));
    }
    named
}

/// Files below `directory` that end in `.extension`, with their texts.
fn files(directory: &str, extension: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut left = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).expect("a directory can be listed") {
            let path = entry.expect("a directory can be listed").path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let text = fs::read_to_string(&path).expect("a file can be read");
                found.push((path, text));
            }
        }
    }
    found
}

/// All Rust files with tests in them, but this one.
fn programs() -> Vec<(PathBuf, String)> {
    let mut programs = [files("tests", "rs"), files("src", "rs")].concat();
    programs.retain(|(path, _)| !path.ends_with(file!()));
    programs
}

#[test]
fn every_dialogue_names_its_sections() {
    for (path, text) in files("tests/dialogues", "txt") {
        let first = text.lines().next().unwrap_or_default();
        let named = named(first);
        let path = path.display();
        assert!(!named.is_empty(), "{path} does not begin with `# docs/smtp.md §N`");
        assert!(named.is_subset(&sections()), "{path} names a section that is none: {named:?}");
    }
}

#[test]
fn every_section_is_named_by_a_test() {
    assert_eq!(sections(), (1..=11).collect());
    let texts = [programs(), files("tests/dialogues", "txt")].concat();
    let named: BTreeSet<u32> = texts.iter().flat_map(|(_, text)| named(text)).collect();
    assert_eq!(named, sections());
}

#[test]
fn every_test_of_the_table_exists() {
    let dialogues: BTreeSet<_> = files("tests/dialogues", "txt")
        .iter()
        .filter_map(|(path, _)| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    let programs = programs();
    let (_, table) = PAGE.split_once("\n## Tests\n").expect("the page ends with its tests");
    let tests = table.lines().filter(|line| line.starts_with("| §")).flat_map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        let tests: Vec<_> = cells[cells.len() - 1].split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "a row without a test: {row}");
        tests
    });
    let tests: BTreeSet<_> = tests.collect();
    for test in &tests {
        let is_function = || programs.iter().any(|(_, text)| text.contains(&format!("fn {test}(")));
        assert!(dialogues.contains(*test) || is_function(), "there is no test {test}");
    }
    let missing: Vec<_> = dialogues.iter().filter(|dialogue| !tests.contains(dialogue.as_str())).collect();
    assert!(missing.is_empty(), "dialogues that the table lacks: {missing:#?}");
}
