//! Whole clusters in one thread, with faults, from a seed.

#[cfg_attr(
    not(test),
    expect(dead_code, unused_imports, reason = "the harness is built on it next")
)]
pub(crate) mod fiber;
