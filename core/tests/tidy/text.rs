//! Rules on the text of single files.

use crate::files::{SourceFile, rust_files};
use crate::report;

const LINES_MAX: usize = 500;
const WIDTH_MAX: usize = 100;

/// Checks every file and every line of code (or every line, comments included).
fn check(rule: &str, of: impl Fn(&SourceFile) -> Vec<(usize, String)>) {
    let mut violations = Vec::new();
    for file in rust_files() {
        violations.extend(of(&file).into_iter().map(|(line, what)| file.at(line, &what)));
    }
    report(rule, &violations);
}

#[test]
fn no_file_has_more_than_500_lines() {
    check("a file fits in a head", |file| {
        let lines = file.text.lines().count();
        let too_long = (lines > LINES_MAX).then(|| (lines, format!("{lines} lines")));
        too_long.into_iter().collect()
    });
}

#[test]
fn no_line_is_wider_than_100_characters() {
    check("a line fits a screen", |file| {
        let wide = file.lines().filter(|(_, line)| line.chars().count() > WIDTH_MAX);
        wide.map(|(number, line)| (number, format!("{} wide", line.chars().count()))).collect()
    });
}

#[test]
fn every_file_opens_by_saying_what_it_is_for() {
    check("the first line is //!", |file| {
        let shebang = file.text.starts_with("#!/");
        let first = file.text.lines().nth(usize::from(shebang)).unwrap_or_default();
        let ok = first.strip_prefix("//! ").is_some_and(|doc| !doc.trim().is_empty());
        if ok { Vec::new() } else { vec![(1, "does not start with //!".to_owned())] }
    });
}

#[test]
fn source_text_is_ascii() {
    check("ASCII only", |file| {
        let bad = file.lines().filter(|(_, line)| !line.is_ascii());
        bad.map(|(number, line)| (number, line.trim().to_owned())).collect()
    });
}

#[test]
fn nothing_unfinished_is_left_behind() {
    // in two parts, or this file would be a violation
    let words = [["to", "do!("], ["unimple", "mented!("], ["db", "g!("], ["FIX", "ME"]];
    check("no unfinished code", |file| {
        let mut found = Vec::new();
        for (number, line) in file.lines() {
            let word = words.iter().map(|parts| parts.concat()).find(|word| line.contains(word));
            found.extend(word.map(|word| (number, format!("{word} is unfinished"))));
            let todo = ["TO", "DO"].concat();
            let with_issue = format!("{todo}(#");
            if line.contains(&todo) && !line.contains(&with_issue) {
                found.push((number, format!("{todo} without an issue's number")));
            }
        }
        found
    });
}

#[test]
fn only_programs_and_tests_print() {
    let words = [["print", "ln!("], ["eprint", "ln!("], ["pri", "nt!("]];
    check("the library never prints", |file| {
        if file.may_print() {
            return Vec::new();
        }
        let mut found = Vec::new();
        for (number, line) in file.code() {
            let word = words.iter().map(|parts| parts.concat()).find(|word| line.contains(word));
            found.extend(word.map(|word| (number, format!("{word} in library code"))));
        }
        found
    });
}

#[test]
fn unsafe_code_stays_beside_librdkafka_and_the_switch_of_stacks() {
    let keyword = ["un", "safe"].concat();
    let forms = [" {", " fn", " impl", " extern", " trait", "("].map(|f| format!("{keyword}{f}"));
    check("the keyword is for FFI only", |file| {
        let switch = "runtime/src/simulation/fiber/coroutine.rs";
        let allowed = ["runtime/src/client/kafka/", "benches/", switch];
        if allowed.iter().any(|folder| file.path.starts_with(folder)) {
            return Vec::new();
        }
        let bad = file.code().filter(|(_, line)| forms.iter().any(|form| line.contains(form)));
        bad.map(|(number, line)| (number, line.trim().to_owned())).collect()
    });
}
