//! What a join of two streams does at its edges.

use tidemill_core::BoxError;
use tidemill_core::dsl::StreamsBuilder;
use tidemill_core::serdes::{optional, string};
use tidemill_core::topology::{Produced, TopologyError};

use crate::support::{Kind, Run, join, stream, texts, within};

#[test]
fn both_ends_of_a_window_belong_to_it() {
    let windows = within(0, 100).before_ms(10).after_ms(20);
    let run = Run::of(Kind::Inner, windows);
    run.check("l", "l", 50, &[]);
    run.check("o", "1", 39, &[]);
    run.check("o", "2", 40, &[("l+2", 50)]);
    run.check("o", "3", 70, &[("l+3", 70)]);
    run.check("o", "4", 71, &[]);
}

#[test]
fn the_other_record_may_have_to_be_later() {
    let run = Run::of(Kind::Inner, within(0, 0).before_ms(-5).after_ms(10));
    run.check("l", "l", 50, &[]);
    run.check("o", "1", 54, &[]);
    run.check("o", "2", 55, &[("l+2", 55)]);
    run.check("o", "3", 61, &[]);
}

#[test]
fn windows_that_nothing_lies_in_are_refused() {
    let builder = StreamsBuilder::new();
    let sides = (&stream(&builder, "l"), &stream(&builder, "o"));
    join(Kind::Inner, sides, within(0, 0).before_ms(-5).after_ms(4));
    let text = builder.build().unwrap_err().to_string();
    let expected = "KSTREAM-MERGE-0000000006: the windows of the join reach -5 ms back and 4 ms";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn streams_of_two_builders_are_refused() {
    let (one, other) = (StreamsBuilder::new(), StreamsBuilder::new());
    join(Kind::Outer, (&stream(&one, "l"), &stream(&other, "o")), within(1, 0));
    let error = one.build().unwrap_err();
    assert!(matches!(error, TopologyError::ForeignStream { node } if node.contains("MERGE")));
}

#[test]
fn a_match_out_of_order_is_found_during_the_grace() {
    let run = Run::of(Kind::Left, within(10, 20));
    run.check("l", "l1", 50, &[]);
    run.pipe("l", "other", "l2", 79);
    run.check("o", "o1", 60, &[("l1+o1", 60)]);
    run.pipe("l", "third", "l3", 200);
    assert_eq!(run.out(), [("l2+_".to_owned(), 79)]);
}

#[test]
fn without_grace_a_record_is_released_as_soon_as_its_window_is_over() {
    let run = Run::of(Kind::Left, within(10, 0));
    run.check("l", "l1", 50, &[]);
    run.pipe("l", "other", "l2", 60);
    assert_eq!(run.out(), []);
    run.pipe("o", "other", "o1", 61);
    assert_eq!(run.out(), [("l1+_".to_owned(), 50), ("l2+o1".to_owned(), 61)]);
}

#[test]
fn a_record_that_is_late_itself_does_not_wait() {
    let run = Run::of(Kind::Outer, within(10, 100));
    run.pipe("l", "other", "l1", 200);
    run.check("o", "o1", 189, &[("_+o1", 189)]);
    run.check("o", "o2", 190, &[]);
}

#[test]
fn nulls_are_dropped_and_counted_but_a_null_key_has_a_result_of_its_own() {
    let run = Run::of(Kind::Left, within(10, 0));
    run.pipe("l", "-", "l1", 1);
    assert_eq!(run.out(), [("l1+_".to_owned(), 1)]);
    run.pipe("o", "-", "o1", 2);
    run.pipe("l", "k", "-", 3);
    run.pipe("l", "-", "-", 4);
    assert_eq!(run.out(), []);
    assert_eq!(run.driver.counts().unwrap().1, 3);
}

#[test]
fn a_stream_is_joined_with_itself() {
    let run = Run::new(|builder| {
        let l = stream(builder, "l");
        join(Kind::Inner, (&l, &l), within(10, 0))
            .to("out", Produced::with(optional(string()), optional(string())));
    });
    run.check("l", "a", 1, &[("a+a", 1)]);
    run.check("l", "b", 5, &[("b+a", 5), ("a+b", 5), ("b+b", 5)]);
}

#[test]
fn a_failing_joiner_costs_one_result_and_not_those_behind_it() {
    let run = Run::new(|builder| {
        let (l, o) = (stream(builder, "l"), stream(builder, "o"));
        let joiner = |_: &Option<String>, l: &Option<String>, o: Option<&Option<String>>| {
            let l = l.clone().unwrap_or_default();
            if l == "bad" {
                return Err(BoxError::from("not that one"));
            }
            Ok(Some(format!("{l}+{}", o.is_some())))
        };
        l.try_left_join_stream(&o, joiner, within(10, 0), texts())
            .to("out", Produced::with(optional(string()), optional(string())));
    });
    run.check("l", "good", 1, &[]);
    run.check("l", "bad", 2, &[]);
    run.check("l", "fine", 2, &[]);
    // the one that fails is skipped together with the record that released it
    run.check("l", "x", 50, &[("good+false", 1)]);
    run.check("l", "y", 51, &[("fine+false", 2)]);
    run.check("l", "z", 200, &[("y+false", 51)]);
}
