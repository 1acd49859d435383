//! Sagas under every fault of the table SG.

#![cfg(all(
    feature = "failpoints",
    feature = "postgres",
    feature = "simulation",
    feature = "testing"
))]
#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

mod accounts;
mod chaos;
mod checkout;
mod hand;
mod killed;
mod mutants;
mod order;
mod processes;
mod simulated;
mod turns;
