//! The rewards service: a topology that gives points for each order placed.

use tidemill::BoxError;
use tidemill::dsl::StreamsBuilder;
use tidemill::serdes::{json, string};
use tidemill::topology::{Consumed, Topology, TopologyError};
use tidemill_examples::rewards::{Rewards, add_up};
use tidemill_examples::service::run_topology;
use tidemill_examples::stage::Setting;

use crate::shop::OrderPlaced;

/// The topic of the customers' points.
pub(crate) const REWARDS: &str = "rewards";

/// Orders come keyed by their id, and points belong to customers: there is a repartition topic in
/// between.
fn topology() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    let changes = builder
        .stream("shop.order", Consumed::with(string(), json::<OrderPlaced>()))
        .map(|_order, placed| (placed.customer, Rewards::of_order(placed.cents)));
    add_up(&changes, REWARDS);
    builder.build()
}

/// The service, until it is killed.
pub(crate) fn service(setting: &Setting) -> Result<(), BoxError> {
    run_topology(setting, "rewards-service", topology()?)
}
