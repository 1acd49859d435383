//! `order_rewards_outbox`: orders are placed, a transactional outbox tells of them, and a topology
//! gives reward points, while all three services are killed again and again.
//!
//! ```text
//!   2 x shop: [ order, outbox row ] -> relay -> topic shop.order -> rewards topology -> rewards
//! ```
//!
//! The relay polls the outbox's table, or with `--mode wal` reads it from the write-ahead log.

mod rewards;
mod run;
mod shop;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use tidemill_examples::stage;

/// Places orders in a database, publishes them through an outbox, gives each customer reward points
/// exactly once, kills all services meanwhile, and compares the points with the orders.
#[derive(Debug, Parser)]
#[command(name = "order_rewards_outbox")]
struct Arguments {
    /// Orders that are tried; every tenth is refused, and its transaction rolled back.
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(20..))]
    orders: u32,
    /// Customers who place them.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    customers: u32,
    /// How often a service is killed by SIGKILL.
    #[arg(long, default_value_t = 20)]
    kills: u32,
    /// Same seed, same choice of whom to kill.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How the relay reads the outbox.
    #[arg(long, value_enum, default_value_t = Mode::Polling)]
    mode: Mode,
}

/// How the relay reads the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// By queries: what is visible now and was not before. Needs no privilege.
    Polling,
    /// From PostgreSQL's log, through a replication slot: `wal_level=logical`.
    Wal,
}

fn main() -> ExitCode {
    let parts: &[(&str, stage::Body)] =
        &[("shop", shop::service), ("relay", run::relay), ("rewards", rewards::service)];
    stage::main("order_rewards_outbox", parts, || run::run(&Arguments::parse()))
}
