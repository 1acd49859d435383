//! The scenarios of `runtime/tests/client`, and what only a simulation can do: faults at will.

mod admin;
mod conformance;
mod faults;
mod groups;
mod records;
mod support;
mod transactions;
