//! The house rules that a machine can keep, over the whole repository. Std only.
//!
//! Each test collects every violation and names file and line; there is no list of exceptions.

mod files;
mod layers;
mod links;
mod registers;
mod text;

/// Fails with every violation, one a line.
fn report(rule: &str, violations: &[String]) {
    let list = violations.join("\n  ");
    assert!(violations.is_empty(), "{rule}: {} violations\n  {list}", violations.len());
}
