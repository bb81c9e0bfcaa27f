//! docs/smtp.md and the tests: every section of the page is named by a test, and every dialogue names its
//! sections.

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
