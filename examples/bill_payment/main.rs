//! `bill_payment`: a bank takes money from an account and has the payment service pay the bill.
//! First with two writes, in both orders, under SIGKILL: money is lost, or invented, and counted.
//! Then with a transactional outbox, under more of it: every bill is paid once.
//!
//! ```text
//!   bank: [ account -= cents, bill withdrawn, outbox row ]  one transaction
//!            outbox -> relay -> topic bank.bill -> payment service: [ payment, offset ]
//! ```

mod bank;
mod cured;
mod naive;
mod payments;

use std::process::ExitCode;

use clap::Parser;
use tidemill::BoxError;
use tidemill_examples::report;
use tidemill_examples::stage::{self, Stage};

/// Pays bills from accounts in one database through Kafka into another, while the services that do
/// it are killed, and verifies that no cent is lost and every bill paid once.
#[derive(Debug, Parser)]
#[command(name = "bill_payment")]
struct Arguments {
    /// Bills to pay.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(10..))]
    bills: u32,
    /// Accounts that pay them.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    accounts: u32,
    /// How often a service of the outbox is killed by SIGKILL.
    #[arg(long, default_value_t = 24)]
    kills: u32,
    /// How often the service with two writes is killed, in each order of the two.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    naive_kills: u32,
    /// Same seed, same choice of whom to kill.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let parts: &[(&str, stage::Body)] = &[
        ("naive-bank", naive::bank),
        ("bank", bank::service),
        ("relay", cured::relay),
        ("payments", payments::service),
    ];
    stage::main("bill_payment", parts, run)
}

fn run() -> Result<bool, BoxError> {
    let arguments = Arguments::parse();
    let mut stage = Stage::set()?;
    report::line("Two writes, no common transaction:");
    let mut shown = true;
    for order in naive::Order::BOTH {
        shown &= naive::show(&mut stage, &arguments, order)?;
    }
    report::line("\nThe same with a transactional outbox:");
    Ok(cured::show(&mut stage, &arguments)? && shown)
}
