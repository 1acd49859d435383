//! One program, several processes: a program that needs a broker or workers runs itself again for
//! them, so that `cargo run` builds all that it takes.

use std::process::ExitCode;

use crate::{embedded, worker};

/// First argument of a process that is the broker.
pub(crate) const BROKER: &str = "run-as-broker";
/// First argument of a process that is a worker; the others are those of `balances`.
pub(crate) const WORKER: &str = "run-as-worker";

/// Runs the process as what its first argument says, to its end. `None`: it says nothing of that
/// kind, and the program is itself.
#[must_use]
pub fn play() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    let program = arguments.next()?;
    let role = arguments.next()?;
    if role == BROKER {
        Some(embedded::serve(arguments))
    } else if role == WORKER {
        Some(worker::main(std::iter::once(program).chain(arguments)))
    } else {
        None
    }
}
