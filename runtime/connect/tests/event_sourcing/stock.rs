//! The stream of the tests: how much of an item there is, and who may have it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidemill_connect::event_sourcing::{Decider, EventType};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Want {
    Receive(i64),
    Reserve { order: String, pieces: i64 },
    Ship { order: String },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Happened {
    Received {
        pieces: i64,
    },
    Reserved {
        order: String,
        pieces: i64,
    },
    Shipped {
        order: String,
    },
    /// Beside the reservation that took the last piece.
    SoldOut,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum No {
    NotEnough { free: i64 },
    NotReserved,
    ReservedAlready,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stock {
    pub(crate) free: i64,
    pub(crate) reserved: BTreeMap<String, i64>,
    pub(crate) shipped: i64,
}

impl EventType for Happened {
    fn event_type(&self) -> &'static str {
        match self {
            Self::Received { .. } => "Received",
            Self::Reserved { .. } => "Reserved",
            Self::Shipped { .. } => "Shipped",
            Self::SoldOut => "SoldOut",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Item;

impl Decider for Item {
    type Command = Want;
    type Event = Happened;
    type State = Stock;
    type Rejection = No;

    fn initial() -> Stock {
        Stock::default()
    }

    fn decide(want: &Want, stock: &Stock) -> Result<Vec<Happened>, No> {
        match want {
            Want::Receive(pieces) => Ok(vec![Happened::Received { pieces: *pieces }]),
            Want::Reserve { order, .. } if stock.reserved.contains_key(order) => {
                Err(No::ReservedAlready)
            }
            Want::Reserve { pieces, .. } if *pieces > stock.free => {
                Err(No::NotEnough { free: stock.free })
            }
            Want::Reserve { order, pieces } => {
                let reserved = Happened::Reserved { order: order.clone(), pieces: *pieces };
                let mut happened = vec![reserved];
                if *pieces == stock.free {
                    happened.push(Happened::SoldOut);
                }
                Ok(happened)
            }
            Want::Ship { order } if stock.reserved.contains_key(order) => {
                Ok(vec![Happened::Shipped { order: order.clone() }])
            }
            Want::Ship { .. } => Err(No::NotReserved),
        }
    }

    fn evolve(mut stock: Stock, event: &Happened) -> Stock {
        match event {
            Happened::Received { pieces } => stock.free += pieces,
            Happened::Reserved { order, pieces } => {
                stock.free -= pieces;
                stock.reserved.insert(order.clone(), *pieces);
            }
            Happened::Shipped { order } => {
                stock.shipped += stock.reserved.remove(order).unwrap_or(0);
            }
            Happened::SoldOut => {}
        }
        stock
    }
}

pub(crate) fn received(pieces: i64) -> Happened {
    Happened::Received { pieces }
}

pub(crate) fn reserved(order: &str, pieces: i64) -> Happened {
    Happened::Reserved { order: order.to_owned(), pieces }
}

pub(crate) fn shipped(order: &str) -> Happened {
    Happened::Shipped { order: order.to_owned() }
}

pub(crate) fn reserve(order: &str, pieces: i64) -> Want {
    Want::Reserve { order: order.to_owned(), pieces }
}

pub(crate) fn ship(order: &str) -> Want {
    Want::Ship { order: order.to_owned() }
}
