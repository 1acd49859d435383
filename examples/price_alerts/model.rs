//! What the services say to each other.

use serde::{Deserialize, Serialize};
use tidemill::revision::{Revisioned, text};

/// Topic of [`PriceUpdated`], by thing. Events come twice and late in it.
pub(crate) const PRICES: &str = "prices";
/// Topic of [`Watch`], by thing.
pub(crate) const WATCHES: &str = "watches";
/// Topic of [`Alert`], by customer: each once.
pub(crate) const ALERTS: &str = "price-alerts";
/// Names the topology, its group and its stores.
pub(crate) const APPLICATION: &str = "price-alerts";

const WATCHED_THINGS: u64 = 3;

/// A thing has a new price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PriceUpdated {
    pub(crate) cents: i64,
    #[serde(with = "text")]
    pub(crate) revision: i64,
}

impl Revisioned for PriceUpdated {
    fn revision(&self) -> Option<i64> {
        Some(self.revision)
    }
}

/// A customer wants to be told when the price drops below this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Watch {
    pub(crate) customer: String,
    pub(crate) below_cents: i64,
}

impl Watch {
    /// Returns true if this price is the one to be told of.
    pub(crate) fn drops_below(&self, before: Option<i64>, cents: i64) -> bool {
        cents < self.below_cents && before.is_none_or(|before| before >= self.below_cents)
    }
}

/// A mail is to be sent. Its key makes it one mail, whoever sends it and how often.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Alert {
    pub(crate) customer: String,
    pub(crate) thing: String,
    pub(crate) cents: i64,
    #[serde(with = "text")]
    pub(crate) revision: i64,
}

impl Alert {
    /// Customer, thing and revision: the same each time this alert is made.
    pub(crate) fn idempotency_key(&self) -> String {
        format!("{}.{}.{}", self.customer, self.thing, self.revision)
    }

    /// Where the mail goes.
    pub(crate) fn address(&self) -> String {
        format!("{}@mail.example", self.customer)
    }

    /// What mail programs and servers know the mail by.
    pub(crate) fn message_id(&self) -> String {
        format!("<{}@shop.example>", self.idempotency_key())
    }
}

pub(crate) fn thing(number: u64) -> String {
    format!("thing-{number}")
}

/// Numbers that look like chance, from a seed.
pub(crate) fn mixed(seed: u64, number: u64) -> u64 {
    fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number).u64(..)
}

/// The price that a thing gets by a change.
pub(crate) fn price(seed: u64, change: u64) -> i64 {
    50 + i64::from((mixed(seed, change) % 100) as u8)
}

/// Who watches what.
pub(crate) fn watches(seed: u64, customers: u32, things: u32) -> Vec<(String, Watch)> {
    let mut all = Vec::new();
    for customer in 0..u64::from(customers) {
        for watched in 0..WATCHED_THINGS.min(u64::from(things)) {
            let chance = mixed(!seed, customer * WATCHED_THINGS);
            let thing_number = (chance.wrapping_add(watched)) % u64::from(things);
            let below_cents = 60 + i64::from((mixed(seed, chance ^ watched) % 60) as u8);
            let watch = Watch { customer: format!("customer-{customer}"), below_cents };
            all.push((thing(thing_number), watch));
        }
    }
    all
}
