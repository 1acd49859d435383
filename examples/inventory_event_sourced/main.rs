//! `inventory_event_sourced`: how much of each item there is, as events; nothing is sold twice.
//!
//! ```text
//!  clerk --> stock-commands --> inventory (topology: decides) --> stock-events
//!    ^                              |                                  |
//!    +------- stock-replies <-------+        table stock_level <-- view (sink)
//! ```
//!
//! `inventory` and `view` are killed again and again. Afterwards every command must have one
//! answer, every state must be the fold of its events, and the table must say the same.

mod clerk;
mod run;
mod stock;
mod view;

use std::process::ExitCode;

use clap::Parser;
use tidemill_examples::stage;

/// Sends commands of more customers than there are pieces, some of them twice, kills the services
/// that decide and that keep the table, and compares answers, events, states and table.
#[derive(Debug, Parser)]
#[command(name = "inventory_event_sourced")]
struct Arguments {
    /// Commands that are sent.
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(100..))]
    commands: u32,
    /// Items that they are about.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    items: u32,
    /// How often a service is killed by SIGKILL.
    #[arg(long, default_value_t = 12)]
    kills: u32,
    /// Same seed, same commands.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let parts: &[(&str, stage::Body)] = &[("inventory", stock::service), ("view", view::service)];
    stage::main("inventory_event_sourced", parts, || run::run(&Arguments::parse()))
}
