//! The rewards service: a topology that takes back what an order was worth and gives what it is
//! worth now.

use tidemill::BoxError;
use tidemill::dsl::StreamsBuilder;
use tidemill::serdes::{json, string};
use tidemill::topology::{Consumed, Topology, TopologyError};
use tidemill_connect::cdc::Change;
use tidemill_examples::rewards::{Rewards, add_up};
use tidemill_examples::service::run_topology;
use tidemill_examples::stage::Setting;

use crate::capture::CHANGES;
use crate::shop::Order;

/// The topic of the customers' points.
pub(crate) const REWARDS: &str = "rewards";

/// The table has `REPLICA IDENTITY FULL`, so a change tells the row before it, and the topology
/// needs no memory of orders. Adding up is right because each change is processed exactly once.
fn topology() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    let changes = builder
        .stream(CHANGES, Consumed::with(string(), json::<Change<Order>>()))
        .flat_map(|_key, change| {
            let worth = |order: Order| (order.customer, Rewards::of_order(order.cents));
            let before = change.before.map(worth).map(|(who, what)| (who, what.taken_back()));
            before.into_iter().chain(change.after.map(worth))
        });
    add_up(&changes, REWARDS);
    builder.build()
}

/// The service, until it is killed.
pub(crate) fn service(setting: &Setting) -> Result<(), BoxError> {
    run_topology(setting, "rewards-service", topology()?)
}
