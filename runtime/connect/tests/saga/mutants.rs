//! Does a test notice if a guard is missing? Each is taken out in turn, and its tests have to fail.

use std::panic::catch_unwind;

use tidemill_connect::saga::mutation::{Guard, remove};

use crate::{killed, simulated, turns};

/// A guard, and a test that fails without it.
pub(crate) type Missed = (Guard, &'static str, fn());

#[test]
fn every_guard_of_a_saga_is_missed() {
    let missed = || [turns::MISSED, killed::MISSED, simulated::MISSED].into_iter().flatten();
    for guard in Guard::ALL {
        assert!(missed().any(|(missed, ..)| *missed == guard), "nobody looks for {guard:?}");
    }
    for (guard, name, test) in missed() {
        remove(Some(*guard));
        let outcome = catch_unwind(test);
        remove(None);
        assert!(outcome.is_err(), "{name} does not miss {guard:?}");
    }
}
