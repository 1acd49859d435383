//! Names: what is refused, and that quoting can't be escaped from.

use proptest::prelude::*;

use super::{TableName, quoted};

#[test]
fn a_name_is_quoted_part_by_part() {
    let name = |text| TableName::new(text).map(|name| name.to_string());
    assert_eq!(name("outbox").as_deref(), Ok("\"outbox\""));
    assert_eq!(name("Shop.outbox").as_deref(), Ok("\"Shop\".\"outbox\""));
    assert_eq!(name("a\"; DROP TABLE x--").as_deref(), Ok("\"a\"\"; DROP TABLE x--\""));
}

#[test]
fn what_is_no_name_is_refused_with_the_reason() {
    let why = |text: &str| TableName::new(text).map_err(|error| error.why);
    assert_eq!(why(""), Err("it is empty"));
    assert_eq!(why("a."), Err("it is empty"));
    assert_eq!(why("a.b.c"), Err("it has more than one dot"));
    assert_eq!(why("a\0b"), Err("it has a NUL"));
    assert_eq!(why(&"x".repeat(64)), Err("it is longer than 63 bytes"));
}

proptest! {
    #[test]
    fn quoting_leaves_no_quote_that_ends_the_identifier(text in "\\PC{0,40}") {
        let quoted = quoted(&text);
        let inner = &quoted[1..quoted.len() - 1];
        prop_assert_eq!(inner.replace("\"\"", "").matches('"').count(), 0);
        prop_assert_eq!(inner.replace("\"\"", "\""), text);
    }
}
