//! The test helper itself: what it accepts, and what it finds (ES9).

use std::sync::atomic::{AtomicI64, Ordering};

use serde::{Deserialize, Serialize};
use tidemill_connect::event_sourcing::{Decider, EventType, Given};

use crate::stock::{Happened, Item, No, Stock, Want, received, reserve, reserved, ship, shipped};

#[test]
fn a_decider_is_told_in_events_and_commands() {
    Given::<Item>::nothing()
        .when(&Want::Receive(5))
        .then([received(5)])
        .and()
        .when(&reserve("a", 5))
        .then([reserved("a", 5), Happened::SoldOut])
        .and()
        .when(&reserve("b", 1))
        .then_rejected(&No::NotEnough { free: 0 })
        .and()
        .when(&ship("a"))
        .then([shipped("a")])
        .then_state(&Stock { shipped: 5, ..Stock::default() });
    assert_eq!(Given::<Item>::events([received(5), reserved("a", 2)]).state().free, 3);
}

/// What a decision gave is not what the test says: it has to fail.
#[test]
#[should_panic(expected = "left")]
fn a_wrong_expectation_fails() {
    let _ = Given::<Item>::nothing().when(&Want::Receive(5)).then([received(6)]);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Ticked;

impl EventType for Ticked {
    fn event_type(&self) -> &'static str {
        "Ticked"
    }
}

/// A decider whose fold is what the test says.
macro_rules! folding {
    ($name:ident, $state:ty, $initial:expr, |$before:ident| $evolve:expr) => {
        struct $name;
        impl Decider for $name {
            type Command = ();
            type Event = Ticked;
            type State = $state;
            type Rejection = ();
            fn initial() -> $state {
                $initial
            }
            fn decide(_: &(), _: &$state) -> Result<Vec<Ticked>, ()> {
                Ok(vec![Ticked])
            }
            fn evolve($before: $state, _: &Ticked) -> $state {
                $evolve
            }
        }
    };
}

folding!(ByTheClock, u128, 0, |_before| {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
});

static TICKS: AtomicI64 = AtomicI64::new(0);
folding!(ByAStatic, i64, 0, |before| before + TICKS.fetch_add(1, Ordering::Relaxed));

/// What serde skips is gone after a restart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Forgetful {
    #[serde(skip)]
    count: i64,
}
folding!(InMemory, Forgetful, Forgetful::default(), |before| Forgetful { count: before.count + 1 });

#[test]
#[should_panic(expected = "evolve is not deterministic")]
fn es9_a_fold_that_reads_the_clock_is_found() {
    let _ = Given::<ByTheClock>::events([Ticked]);
}

#[test]
#[should_panic(expected = "evolve is not deterministic")]
fn es9_a_fold_that_remembers_outside_of_the_state_is_found() {
    let _ = Given::<ByAStatic>::nothing().when(&());
}

#[test]
#[should_panic(expected = "the JSON of the state does not hold all of it")]
fn es9_a_state_that_a_restart_would_change_is_found() {
    let _ = Given::<InMemory>::events([Ticked, Ticked]);
}
