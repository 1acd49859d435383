//! Account balances from transactions, exactly once.
//!
//! ```text
//!   transactions -> map to (account, signed amount) -> [repartition] -> aggregate -> balances
//!                        |                                                |
//!                        +-> transactions-dlq: unreadable records         +-> balances-store
//! ```
//!
//! | topic | key | value |
//! |---|---|---|
//! | input | ignored | `{"id":"t-1","account_id":"a","type":"deposit","amount":"12.34"}` |
//! | changelog of `balances-store` | account | `{"balance":-320,"transactions":17}`, minor units |
//! | output | account | `{"account_id":"a","balance":"-3.20","transactions":17}` |
//!
//! The Kafka Streams program under `benches/java` is the same job, with the same bytes in each.

mod json;
mod money;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use tidemill::dsl::{Grouped, Materialized, StreamsBuilder};
use tidemill::serdes::{i64, json, optional, string, unit};
use tidemill::topology::{Consumed, Produced, Topology, TopologyError};

pub use json::TransactionJson;
pub use money::{Amount, AmountError};

/// The name of the store; its changelog is `<application id>-balances-store-changelog`.
pub const STORE: &str = "balances-store";

/// Whether a transaction adds or takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Adds the amount.
    Deposit,
    /// Takes the amount. A balance may become negative.
    Withdrawal,
}

/// One transaction on one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// Names the transaction. Nothing depends on it.
    pub id: String,
    /// Names the account.
    pub account_id: String,
    /// Whether it adds or takes.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// How much, not negative.
    pub amount: Amount,
}

impl Transaction {
    /// Returns what the transaction adds to the balance, in minor units (cents).
    #[must_use]
    pub fn change(&self) -> i64 {
        match self.kind {
            Kind::Deposit => self.amount.minor_units(),
            Kind::Withdrawal => -self.amount.minor_units(),
        }
    }
}

/// The state of one account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// Minor units (cents).
    pub balance: i64,
    /// How many transactions made it.
    pub transactions: u64,
}

/// A balance does not fit in 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow {
    balance: i64,
    change: i64,
}

impl std::fmt::Display for Overflow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "a balance of {} changed by {} does not fit in 64 bits",
            self.balance, self.change
        )
    }
}

impl std::error::Error for Overflow {}

impl Balance {
    /// Returns the balance after one more transaction.
    ///
    /// # Errors
    /// If it does not fit in 64 bits.
    pub fn apply(self, change: i64) -> Result<Self, Overflow> {
        let balance = self.balance.checked_add(change);
        let balance = balance.ok_or(Overflow { balance: self.balance, change })?;
        Ok(Self { balance, transactions: self.transactions + 1 })
    }
}

/// What is published: a balance together with its account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountBalance {
    /// The account, also the record's key.
    pub account_id: String,
    /// Decimal text with two fraction digits.
    pub balance: String,
    /// How many transactions made it.
    pub transactions: u64,
}

impl AccountBalance {
    fn new(account: &str, Balance { balance, transactions }: Balance) -> Self {
        Self { account_id: account.to_owned(), balance: money::format(balance), transactions }
    }
}

/// Builds the topology.
///
/// The record key is ignored and the stream keyed anew, so a repartition topic stands between two
/// sub-topologies; unless `keyed` says that the input's key is the account already.
///
/// # Errors
/// If a topic name is taken twice.
pub fn topology(input: &str, output: &str, keyed: bool) -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    let changes = if keyed {
        builder
            .stream(input, Consumed::with(string(), TransactionJson))
            .map_values(|transaction| transaction.change())
    } else {
        builder.stream(input, Consumed::with(unit(), TransactionJson)).map(|(), transaction| {
            let change = transaction.change();
            (transaction.account_id, change)
        })
    };
    changes
        .group_by_key(Grouped::with(string(), i64()))
        .try_aggregate(
            Balance::default,
            |_account, change, balance| Ok(balance.apply(change)?),
            Materialized::as_(STORE).with_value_serde(json::<Balance>()),
        )
        .to_stream()
        .map_values_with_key(|account, balance| balance.map(|b| AccountBalance::new(account, b)))
        .to(output, Produced::with(string(), optional(json())));
    builder.build()
}
