//! `order_rewards_self_read`: orders and reward points that agree by listening to oneself, although
//! the client and both services are killed again and again.

mod run;
mod services;

use std::process::ExitCode;

use clap::Parser;
use tidemill_examples::stage;

/// Emits orders, which the order service applies to its own table and the rewards service to its
/// points, each in a database of its own. The client, the order service and the rewards service are
/// killed by SIGKILL on the way; clients ask again with the same event id. Then every order and
/// every point is verified.
#[derive(Debug, Parser)]
struct Arguments {
    /// Orders to place.
    #[arg(long, default_value_t = 2000)]
    orders: u64,
    /// How often a part is killed by SIGKILL.
    #[arg(long, default_value_t = 12)]
    kills: u32,
}

fn main() -> ExitCode {
    let parts: [(&str, stage::Body); 3] = [
        (services::CLIENT, services::client),
        (services::ORDERS, services::orders),
        (services::REWARDS, services::rewards),
    ];
    stage::main("order_rewards_self_read", &parts, || run::run(&Arguments::parse()))
}
