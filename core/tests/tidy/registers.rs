//! The registers are complete: each invariant is asserted twice and named in a test, each fault has
//! its tests.

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

/// The names of functions without visibility, among them those of all tests.
fn functions(files: &[SourceFile]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in files {
        for (_, line) in file.code() {
            let Some((before, name)) = line.split_once("fn ") else { continue };
            if before.trim().trim_start_matches("async").is_empty() {
                let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                found.insert(name[..end.unwrap_or(name.len())].to_owned());
            }
        }
    }
    found
}

/// For each invariant: the tests whose names have it, `inv_7_..` or `.._inv_7_..`.
fn tests(files: &[SourceFile]) -> BTreeMap<u32, BTreeSet<String>> {
    let mut found: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for name in functions(files) {
        for number in numbers(&name, "inv_") {
            found.entry(number).or_default().insert(name.clone());
        }
    }
    found
}

/// The letters of the faults of `docs/FAULTS.md`.
const FAULTS: &[&str] = &["OB", "CD", "LY", "ES", "RV", "SG", "SK"];

/// The fault that a test's name begins with: `ob3_killed_..` is OB3.
fn fault_of(name: &str) -> Option<String> {
    let (id, _) = name.split_once('_')?;
    let id = id.to_ascii_uppercase();
    let number = FAULTS.iter().find_map(|letters| id.strip_prefix(letters))?;
    let is_number = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
    is_number.then_some(id)
}

#[test]
fn every_fault_has_its_tests_and_every_such_test_is_in_its_line() {
    let text = fs::read_to_string(root().join("docs/FAULTS.md")).expect("docs/FAULTS.md is there");
    let mut listed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", id, _fault, _expected, tests, ..] = cells[..] else { continue };
        // behind the anchor that other pages link to
        let id = id.rsplit('>').next().unwrap_or(id);
        if fault_of(&format!("{id}_")).is_some() {
            listed.insert(id.to_owned(), quoted(tests).into_iter().collect());
        }
    }
    assert!(listed.len() > 70, "only {} faults were found", listed.len());
    let mut written: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in functions(&rust_files()) {
        if let Some(fault) = fault_of(&name) {
            written.entry(fault).or_default().insert(name);
        }
    }
    let none = BTreeSet::new();
    let mut violations = Vec::new();
    for id in listed.keys().chain(written.keys()).collect::<BTreeSet<_>>() {
        let (said, there) = (listed.get(id).unwrap_or(&none), written.get(id).unwrap_or(&none));
        if said.is_empty() {
            violations.push(format!("{id} has no test"));
        }
        let missing = said.difference(there).map(|name| format!("{id}: there is no test {name}"));
        violations.extend(missing);
        let unlisted = there.difference(said).map(|name| format!("{id}: add {name} to its line"));
        violations.extend(unlisted);
    }
    report("the register of faults is complete", &violations);
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
