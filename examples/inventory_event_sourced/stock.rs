//! The rules of an item's stock, and the service that applies them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidemill::dsl::StreamsBuilder;
use tidemill::serdes::{json, string};
use tidemill::topology::{Produced, Topology, TopologyError};
use tidemill::{BoxError, Config, Tidemill};
use tidemill_connect::event_sourcing::{Decider, EventSourced, EventSourcing, EventType, Reply};
use tidemill_examples::stage::Setting;

/// Where commands come from, keyed by the item.
pub(crate) const COMMANDS: &str = "stock-commands";
/// What happened.
pub(crate) const EVENTS: &str = "stock-events";
/// What became of each command.
pub(crate) const REPLIES: &str = "stock-replies";
const APPLICATION: &str = "inventory";
const STORE: &str = "stock";

/// What somebody wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum StockCommand {
    /// Pieces came in.
    Receive { pieces: i64 },
    /// An order wants pieces.
    Reserve { order: String, pieces: i64 },
    /// An order leaves the house.
    Ship { order: String },
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum StockEvent {
    /// Pieces came in.
    Received { pieces: i64 },
    /// They are an order's now.
    Reserved { order: String, pieces: i64 },
    /// They left the house.
    Shipped { order: String, pieces: i64 },
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Refused {
    /// There are only so many.
    NotEnough { free: i64 },
    /// The order has its pieces already.
    ReservedAlready,
    /// The order has none.
    NotReserved,
}

/// What a decision depends on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stock {
    /// Pieces for whoever comes next.
    pub(crate) free: i64,
    /// Pieces of orders in the house.
    pub(crate) reserved: BTreeMap<String, i64>,
    /// Pieces that left.
    pub(crate) shipped: i64,
}

/// An answer to a command.
pub(crate) type Answer = Reply<StockEvent, Refused>;

impl EventType for StockEvent {
    fn event_type(&self) -> &'static str {
        match self {
            Self::Received { .. } => "StockReceived",
            Self::Reserved { .. } => "StockReserved",
            Self::Shipped { .. } => "StockShipped",
        }
    }
}

/// The stock of one item.
#[derive(Debug)]
pub(crate) struct Item;

impl Decider for Item {
    type Command = StockCommand;
    type Event = StockEvent;
    type State = Stock;
    type Rejection = Refused;

    fn initial() -> Stock {
        Stock::default()
    }

    fn decide(command: &StockCommand, stock: &Stock) -> Result<Vec<StockEvent>, Refused> {
        match command {
            StockCommand::Receive { pieces } => Ok(vec![StockEvent::Received { pieces: *pieces }]),
            StockCommand::Reserve { order, pieces } => {
                if stock.reserved.contains_key(order) {
                    return Err(Refused::ReservedAlready);
                }
                if *pieces > stock.free {
                    return Err(Refused::NotEnough { free: stock.free });
                }
                Ok(vec![StockEvent::Reserved { order: order.clone(), pieces: *pieces }])
            }
            StockCommand::Ship { order } => {
                let pieces = *stock.reserved.get(order).ok_or(Refused::NotReserved)?;
                Ok(vec![StockEvent::Shipped { order: order.clone(), pieces }])
            }
        }
    }

    fn evolve(mut stock: Stock, event: &StockEvent) -> Stock {
        match event {
            StockEvent::Received { pieces } => stock.free += pieces,
            StockEvent::Reserved { order, pieces } => {
                stock.free -= pieces;
                stock.reserved.insert(order.clone(), *pieces);
            }
            StockEvent::Shipped { order, pieces } => {
                stock.reserved.remove(order);
                stock.shipped += pieces;
            }
        }
        stock
    }
}

fn topology() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    builder
        .event_sourced::<Item>(COMMANDS, EVENTS, EventSourced::as_(STORE))
        .to(REPLIES, Produced::with(string(), json::<Answer>()));
    builder.build()
}

/// Where the states are that the service decides on.
pub(crate) fn changelog() -> String {
    format!("{APPLICATION}-{STORE}-changelog")
}

/// The service, until it is killed.
pub(crate) fn service(setting: &Setting) -> Result<(), BoxError> {
    let config = Config::new(APPLICATION, &*setting.kafka)
        .with_state_dir(setting.folder.join(APPLICATION))
        .with_commit_interval(Duration::from_millis(50));
    let mut app = Tidemill::new(topology()?, config)?;
    app.start()?;
    loop {
        if let Some(error) = app.take_error() {
            return Err(error.into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use tidemill_connect::event_sourcing::Given;

    use super::*;

    fn reserve(order: &str, pieces: i64) -> StockCommand {
        StockCommand::Reserve { order: order.to_owned(), pieces }
    }

    #[test]
    fn what_is_reserved_is_not_sold_again() {
        Given::<Item>::events([StockEvent::Received { pieces: 3 }])
            .when(&reserve("a", 2))
            .then([StockEvent::Reserved { order: "a".to_owned(), pieces: 2 }])
            .and()
            .when(&reserve("b", 2))
            .then_rejected(&Refused::NotEnough { free: 1 })
            .and()
            .when(&StockCommand::Ship { order: "a".to_owned() })
            .then([StockEvent::Shipped { order: "a".to_owned(), pieces: 2 }])
            .then_state(&Stock { free: 1, shipped: 2, ..Stock::default() });
    }
}
