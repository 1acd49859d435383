//! `order_rewards_cdc`: reward points from the order table itself, by change data capture
//! ("original event handling"), while all services are killed again and again. The order service
//! knows nothing of it: it inserts, changes and deletes its orders.
//!
//! ```text
//!   shop: orders (some there before) -> PostgreSQL's log -> cdc -> topic shop.public.orders
//!         -> rewards topology -> rewards
//! ```

mod capture;
mod rewards;
mod run;
mod shop;

use std::process::ExitCode;

use clap::Parser;
use tidemill_examples::stage;

/// Changes orders in a database, captures the changes, keeps each customer's reward points right,
/// kills all services meanwhile, and compares the points with the orders.
#[derive(Debug, Parser)]
#[command(name = "order_rewards_cdc")]
struct Arguments {
    /// Orders that are there before anybody captures changes.
    #[arg(long, default_value_t = 5_000)]
    before: u32,
    /// Changes after that: new orders, other amounts, other customers, deletions.
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(20..))]
    changes: u32,
    /// Customers.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    customers: u32,
    /// How often a service is killed by SIGKILL.
    #[arg(long, default_value_t = 20)]
    kills: u32,
    /// Same seed, same choice of whom to kill.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let parts: &[(&str, stage::Body)] =
        &[("shop", shop::service), ("capture", capture::service), ("rewards", rewards::service)];
    stage::main("order_rewards_cdc", parts, || run::run(&Arguments::parse()))
}
