//! `price_alerts`: customers get an e-mail when a price drops below what they asked for: none twice
//! for a price that is sent again or late, none missing, whatever is killed on the way.
//!
//! ```text
//!   price service --prices--> alerts (topology) --price-alerts--> mailer --SMTP--> mail server
//!    PostgreSQL                   ^                              PostgreSQL: what was sent
//!                    watches -----+
//! ```

mod alerts;
mod mailer;
mod model;
mod prices;
mod run;
mod smtp;
#[cfg(test)]
mod tests;
mod verdict;

use std::process::ExitCode;

use clap::Parser;
use tidemill_examples::stage;

/// Runs a price service, the topology that finds the alerts and the sender of the mails as
/// processes of their own, kills each of them again and again, sets the clock of the price service
/// back by an hour, and compares the mails that arrived with what the database says.
#[derive(Debug, Parser)]
#[command(name = "price_alerts")]
struct Arguments {
    /// Changes of prices.
    #[arg(long, default_value_t = 600)]
    changes: u32,
    /// Things that have a price.
    #[arg(long, default_value_t = 20)]
    things: u32,
    /// Customers, each of which watches three things.
    #[arg(long, default_value_t = 30)]
    customers: u32,
    /// How often one of the three services is killed by SIGKILL.
    #[arg(long, default_value_t = 12)]
    kills: u32,
    /// Same seed, same prices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let parts: &[(&str, stage::Body)] =
        &[("prices", prices::run), ("alerts", alerts::run), ("mailer", mailer::run)];
    stage::main("price_alerts", parts, || run::run(&Arguments::parse()))
}
