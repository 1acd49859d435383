//! `balances`: keeps account balances of a topic of transactions, exactly once, until SIGTERM.

use std::process::ExitCode;

use tidemill_examples::{role, worker};

fn main() -> ExitCode {
    role::play().unwrap_or_else(|| worker::main(std::env::args_os()))
}
