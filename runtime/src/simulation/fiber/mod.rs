//! Fibers: the threads of simulated processes, all on one real thread, in an order that a seed
//! decides.
//!
//! A fiber runs until it waits; then the scheduler picks one of those that can run, at random.
//! Where none can, the clock jumps to the next deadline. So blocking code runs as it is, and a day
//! passes as fast as its events can be computed.
//!
//! Death is final: a killed process' fibers are unwound (destructors run, `catch_unwind` only
//! delays the end), and whatever they do on the way waits for nothing.

mod coroutine;
mod scheduler;
mod signal;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use scheduler::{Killed, ProcessId, Scheduler};
pub(crate) use signal::Signal;
