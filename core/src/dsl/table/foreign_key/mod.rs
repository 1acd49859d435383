//! `join_on_foreign_key`: the rows of a table with those of another that they refer to (KIP-213).
//!
//! ```text
//!   this table --> Subscribe ==registration topic==> Receive --> Answer --\
//!                                                  |store             ==response topic==> Resolve
//!   other table -------------------------------> Announce -----------/
//! ```
//!
//! A row subscribes to its foreign key at the task that has the other table's row, which answers at
//! once and whenever that row changes. The answer carries the hash of the value that the row had
//! when it asked; if the row has another one by now, it is thrown away: another answer is on its
//! way. So what comes out last for a row is the join of what both tables have.

mod foreign;
mod hash;
mod joined;
mod resolve;
mod subscribe;
mod wire;
mod wiring;

pub use joined::TableJoined;

use super::KTable;
use crate::BoxError;
use crate::dsl::Materialized;
use wiring::JoinOnForeignKey;

impl<K: Clone + 'static, V: Clone + 'static> KTable<K, V> {
    /// Joins each row with the row of `other` that it refers to: `extractor` finds that one's key
    /// (KIP-1104: it also gets the row's own key), `None` if there is none. Several rows may refer
    /// to the same one. A row has a result as long as the other table has what it refers to; when
    /// either row is deleted, so is the result.
    ///
    /// Both tables must have their serdes: the row's value is serialised for a hash that tells late
    /// answers from current ones. A row of `other` whose value has no bytes counts as deleted, as
    /// in Kafka Streams.
    ///
    /// The topics of the tables may have different numbers of partitions.
    ///
    /// As in Kafka Streams, a result can outlive its row's reference: if the row comes to refer to
    /// something that is not there, or is deleted, and is written again before the answer to that
    /// is back. A left join answers every change.
    ///
    /// ```
    /// # use tidemill_core::dsl::{Materialized, StreamsBuilder, TableJoined};
    /// # use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
    /// # use tidemill_core::serdes::{optional, string};
    /// # use tidemill_core::topology::{Consumed, Produced};
    /// let builder = StreamsBuilder::new();
    /// let table = |topic| {
    ///     builder.table(topic, Consumed::with(string(), string()), Materialized::default())
    /// };
    /// // an order is the customer's id and what was ordered
    /// let (orders, customers) = (table("orders"), table("customers"));
    /// orders
    ///     .join_on_foreign_key(
    ///         &customers,
    ///         |_, order| order.split(':').next().map(str::to_owned),
    ///         |order, name| format!("{order} for {name}"),
    ///         TableJoined::as_("customer-of-order"),
    ///         Materialized::default(),
    ///     )
    ///     .to_stream()
    ///     .to("labels", Produced::with(string(), optional(string())));
    ///
    /// let driver = TopologyTestDriver::new(builder.build()?, DriverConfig::default())?;
    /// let mut orders = driver.create_input_topic("orders", string(), string())?;
    /// let mut customers = driver.create_input_topic("customers", string(), string())?;
    /// let mut labels = driver.create_output_topic("labels", string(), optional(string()))?;
    /// orders.pipe_input("o1".to_owned(), "c7:tea".to_owned())?;
    /// customers.pipe_input("c7".to_owned(), "Ada".to_owned())?;
    /// assert_eq!(labels.read_value()?.as_deref(), Some("c7:tea for Ada"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn join_on_foreign_key<KO, VO, R>(
        &self,
        other: &KTable<KO, VO>,
        extractor: impl Fn(&K, &V) -> Option<KO> + Send + Sync + 'static,
        joiner: impl Fn(&V, &VO) -> R + Send + Sync + 'static,
        joined: TableJoined<K, KO>,
        materialized: Materialized<K, R>,
    ) -> KTable<K, R>
    where
        KO: Clone + 'static,
        VO: Clone + 'static,
        R: Clone + 'static,
    {
        let extractor = move |key: &K, value: &V| Ok(extractor(key, value));
        let joiner = move |_: &K, value: &V, found: &VO| Ok(joiner(value, found));
        self.try_join_on_foreign_key(other, extractor, joiner, joined, materialized)
    }

    /// As [`KTable::join_on_foreign_key`], with closures that can fail, the joiner also with a look
    /// at the row's key.
    pub fn try_join_on_foreign_key<KO, VO, R>(
        &self,
        other: &KTable<KO, VO>,
        extractor: impl Fn(&K, &V) -> Result<Option<KO>, BoxError> + Send + Sync + 'static,
        joiner: impl Fn(&K, &V, &VO) -> Result<R, BoxError> + Send + Sync + 'static,
        joined: TableJoined<K, KO>,
        materialized: Materialized<K, R>,
    ) -> KTable<K, R>
    where
        KO: Clone + 'static,
        VO: Clone + 'static,
        R: Clone + 'static,
    {
        let joiner = move |key: &K, value: &V, found: Option<&VO>| {
            found.map(|found| joiner(key, value, found)).transpose()
        };
        let join = JoinOnForeignKey::new(self, other, false, joined);
        join.add(Box::new(extractor), joiner, materialized)
    }

    /// As [`KTable::join_on_foreign_key`], but each row has a result: it is joined with `None` if
    /// it refers to nothing, or to what the other table does not have.
    pub fn left_join_on_foreign_key<KO, VO, R>(
        &self,
        other: &KTable<KO, VO>,
        extractor: impl Fn(&K, &V) -> Option<KO> + Send + Sync + 'static,
        joiner: impl Fn(&V, Option<&VO>) -> R + Send + Sync + 'static,
        joined: TableJoined<K, KO>,
        materialized: Materialized<K, R>,
    ) -> KTable<K, R>
    where
        KO: Clone + 'static,
        VO: Clone + 'static,
        R: Clone + 'static,
    {
        let extractor = move |key: &K, value: &V| Ok(extractor(key, value));
        let joiner = move |_: &K, value: &V, found: Option<&VO>| Ok(joiner(value, found));
        self.try_left_join_on_foreign_key(other, extractor, joiner, joined, materialized)
    }

    /// As [`KTable::left_join_on_foreign_key`], with closures that can fail, the joiner also with a
    /// look at the row's key.
    pub fn try_left_join_on_foreign_key<KO, VO, R>(
        &self,
        other: &KTable<KO, VO>,
        extractor: impl Fn(&K, &V) -> Result<Option<KO>, BoxError> + Send + Sync + 'static,
        joiner: impl Fn(&K, &V, Option<&VO>) -> Result<R, BoxError> + Send + Sync + 'static,
        joined: TableJoined<K, KO>,
        materialized: Materialized<K, R>,
    ) -> KTable<K, R>
    where
        KO: Clone + 'static,
        VO: Clone + 'static,
        R: Clone + 'static,
    {
        let joiner =
            move |key: &K, value: &V, found: Option<&VO>| joiner(key, value, found).map(Some);
        let join = JoinOnForeignKey::new(self, other, true, joined);
        join.add(Box::new(extractor), joiner, materialized)
    }
}
