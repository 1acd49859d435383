//! What the programs say to the person at the terminal: the only place that prints.

use std::fmt::Display;

/// Prints a line to standard output.
#[expect(clippy::print_stdout, reason = "the program's result")]
pub fn line(text: impl Display) {
    println!("{text}");
}

/// Prints an error to standard error, with its causes.
#[expect(clippy::print_stderr, reason = "the program's error message")]
pub fn error(program: &str, error: &(dyn std::error::Error + 'static)) {
    eprintln!("{program}: {error}");
    let (mut said, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        let text = cause.to_string();
        // many messages repeat their cause
        if !said.contains(&text) {
            eprintln!("  caused by: {text}");
        }
        said = text;
        next = cause.source();
    }
}

/// Prints a table of names and values under a title.
pub fn table(title: &str, rows: &[(&str, String)]) {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    line(format_args!("\n{title}"));
    for (name, value) in rows {
        line(format_args!("  {name:width$}  {value}"));
    }
}

/// Prints problems, the first ten of them.
pub fn problems(problems: &[String]) {
    const SHOWN: usize = 10;
    for problem in problems.iter().take(SHOWN) {
        line(format_args!("  VIOLATION: {problem}"));
    }
    if problems.len() > SHOWN {
        line(format_args!("  .. and {} more", problems.len() - SHOWN));
    }
}

/// Returns a number with its thousands set apart.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
