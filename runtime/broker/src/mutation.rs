//! A guard that can be taken out, to prove that a simulation would notice. With the feature
//! `mutations` only.

use std::cell::Cell;

thread_local! {
    static CHECKED: Cell<bool> = const { Cell::new(true) };
}

/// Sets whether sequence numbers are checked by engines in this thread. Default: true.
pub fn check_sequences(checked: bool) {
    CHECKED.set(checked);
}

/// Whether sequence numbers are checked.
pub(crate) fn sequences_are_checked() -> bool {
    CHECKED.get()
}
