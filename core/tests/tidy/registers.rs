//! The register of invariants is complete: each is asserted twice and named in a test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::files::{SourceFile, root, rust_files};
use crate::report;

/// The lines of the register's table: id, where it is asserted, and by which tests.
struct Entry {
    number: u32,
    asserted_in: Vec<String>,
    tested_by: Vec<String>,
}

/// Reads `| INV-n ... | statement | asserted in | tested by |`. Names are in backquotes.
fn register() -> Vec<Entry> {
    let path = root().join("docs/INVARIANTS.md");
    let text = fs::read_to_string(path).expect("docs/INVARIANTS.md is there");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| INV-"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        let [id, _statement, asserted, tested, ..] = cells[..] else {
            panic!("a line of the register has four columns: {row}");
        };
        let digits: String = id.chars().take_while(char::is_ascii_digit).collect();
        let number = digits.parse().expect("an id has a number");
        Entry { number, asserted_in: quoted(asserted), tested_by: quoted(tested) }
    })
    .collect()
}

fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Numbers behind each `marker` in a text.
fn numbers(text: &str, marker: &str) -> BTreeSet<u32> {
    let digits = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>();
    text.split(marker).skip(1).filter_map(|rest| digits(rest).parse().ok()).collect()
}

/// For each invariant: the files with an assertion whose message names it.
fn assertions(files: &[SourceFile]) -> BTreeMap<u32, BTreeSet<String>> {
    let mut found: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.path.contains("/src/") && !file.is_test()) {
        for (_, line) in file.code() {
            for number in numbers(line, "\"INV-") {
                found.entry(number).or_default().insert(file.path.clone());
            }
        }
    }
    found
}

/// For each invariant: the tests whose names have it, `inv_7_..` or `.._inv_7_..`.
fn tests(files: &[SourceFile]) -> BTreeMap<u32, BTreeSet<String>> {
    let mut found: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        for (_, line) in file.code() {
            let Some((before, name)) = line.split_once("fn ") else { continue };
            if !before.trim().trim_start_matches("async").is_empty() {
                continue;
            }
            let name = name.split('(').next().unwrap_or_default();
            for number in numbers(name, "inv_") {
                found.entry(number).or_default().insert(name.to_owned());
            }
        }
    }
    found
}

#[test]
fn every_invariant_is_asserted_in_two_files_and_named_in_a_test() {
    let files = rust_files();
    let (asserted, tested) = (assertions(&files), tests(&files));
    let none = BTreeSet::new();
    let mut violations = Vec::new();
    let entries = register();
    assert!(!entries.is_empty(), "the register has no invariant");
    for (Entry { number, asserted_in, tested_by }, expected) in entries.iter().zip(1..) {
        assert_eq!(*number, expected, "the register is numbered without gaps");
        let places = asserted.get(number).unwrap_or(&none);
        if places.len() < 2 {
            violations.push(format!("INV-{number} is asserted in {places:?}, not in two files"));
        }
        let wrong = asserted_in.iter().filter(|path| !places.contains(*path));
        violations.extend(wrong.map(|path| format!("INV-{number} is not asserted in {path}")));
        let missing = places.iter().filter(|path| !asserted_in.contains(path));
        violations.extend(missing.map(|path| format!("INV-{number}: add {path} to the register")));
        let names = tested.get(number).unwrap_or(&none);
        if names.is_empty() {
            violations.push(format!("INV-{number} is named in no test"));
        }
        let wrong = tested_by.iter().filter(|name| !names.contains(*name));
        violations.extend(wrong.map(|name| format!("INV-{number}: there is no test {name}")));
        if tested_by.is_empty() {
            violations.push(format!("INV-{number}: the register names no test"));
        }
    }
    let known: BTreeSet<u32> = entries.iter().map(|entry| entry.number).collect();
    let unknown = asserted.keys().chain(tested.keys()).filter(|number| !known.contains(number));
    violations.extend(unknown.map(|number| format!("INV-{number} is not in the register")));
    report("the register of invariants is complete", &violations);
}
