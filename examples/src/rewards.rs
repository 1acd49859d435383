//! Reward points for orders: the part of the topology that all programs with orders share, and the
//! comparison of what it published with what the orders say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidemill::BoxError;
use tidemill::client::Isolation;
use tidemill::dsl::{Grouped, KStream, Materialized};
use tidemill::record::RawRecord;
use tidemill::serdes::{json, optional, string};
use tidemill::topology::Produced;

use crate::cluster::Cluster;

/// What a customer has, or what a change adds to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewards {
    /// A point for each whole unit of money.
    pub points: i64,
    /// The orders that they are for.
    pub orders: i64,
}

impl Rewards {
    /// Returns what an order of so many cents is worth.
    #[must_use]
    pub fn of_order(cents: i64) -> Self {
        Self { points: cents / 100, orders: 1 }
    }

    /// Returns what takes it back.
    #[must_use]
    pub fn taken_back(self) -> Self {
        Self { points: -self.points, orders: -self.orders }
    }

    fn plus(self, other: Self) -> Self {
        Self { points: self.points + other.points, orders: self.orders + other.orders }
    }
}

/// Adds up changes by customer and publishes where each customer stands.
pub fn add_up(changes: &KStream<String, Rewards>, topic: &str) {
    changes
        .group_by_key(Grouped::with(string(), json()))
        .aggregate(
            Rewards::default,
            |_customer, change, rewards| rewards.plus(change),
            Materialized::as_("rewards").with_value_serde(json::<Rewards>()),
        )
        .to_stream()
        .to(topic, Produced::with(string(), optional(json())));
}

/// Where each customer stands, by name; customers without orders are left out.
pub type Standings = BTreeMap<String, Rewards>;

/// Reads what was published last of each customer.
///
/// # Errors
/// If the topic can't be read.
pub fn published(cluster: &Cluster, topic: &str) -> Result<Standings, BoxError> {
    let mut standings = Standings::new();
    cluster.read_all(topic, Isolation::ReadCommitted, |_, record| {
        let customer = String::from_utf8(record.key().unwrap_or_default().to_vec())?;
        let rewards: Rewards = serde_json::from_slice(record.value().unwrap_or_default())?;
        standings.insert(customer, rewards);
        Ok(())
    })?;
    standings.retain(|_, rewards| *rewards != Rewards::default());
    Ok(standings)
}

/// How published standings differ from the right ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Difference {
    /// Orders without points.
    pub lost: u64,
    /// Orders whose points were given more often than once, or for nothing.
    pub duplicated: u64,
    /// Points that customers have too many or too few.
    pub points: u64,
}

impl Difference {
    /// Compares.
    #[must_use]
    pub fn between(right: &Standings, published: &Standings) -> Self {
        let mut difference = Self::default();
        let customers =
            right.keys().chain(published.keys().filter(|one| !right.contains_key(*one)));
        for customer in customers {
            let of = |standings: &Standings| standings.get(customer).copied().unwrap_or_default();
            let (right, published) = (of(right), of(published));
            let orders = published.orders - right.orders;
            let side = if orders < 0 { &mut difference.lost } else { &mut difference.duplicated };
            *side += orders.unsigned_abs();
            difference.points += published.points.abs_diff(right.points);
        }
        difference
    }

    /// Returns true if there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lost, duplicated, points } = self;
        write!(f, "lost={lost} duplicated={duplicated} points_wrong={points}")
    }
}
