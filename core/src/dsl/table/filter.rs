//! `filter` of a table: a value that does not pass is no value, so it is forwarded as a deletion.

use std::sync::Arc;

use super::KTable;
use super::derived::{Computed, Derivation};
use crate::BoxError;
use crate::dsl::Materialized;

const FILTER: &str = "KTABLE-FILTER-";

impl<K: Clone + 'static, V: Clone + 'static> KTable<K, V> {
    /// Keeps the keys whose value makes `predicate` true; for the others the table has no value.
    ///
    /// ```
    /// # use tidemill_core::dsl::{Materialized, StreamsBuilder};
    /// # use tidemill_core::serdes::{i64, string};
    /// # use tidemill_core::topology::Consumed;
    /// # let builder = StreamsBuilder::new();
    /// # let balances =
    /// #     builder.table("balances", Consumed::with(string(), i64()), Materialized::default());
    /// let overdrawn = balances.filter(|_account, cents| *cents < 0, Materialized::default());
    /// ```
    pub fn filter(
        &self,
        predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static,
        materialized: Materialized<K, V>,
    ) -> Self {
        self.try_filter(move |key, value| Ok(predicate(key, value)), materialized)
    }

    /// Keeps the keys whose value makes `predicate` false.
    pub fn filter_not(
        &self,
        predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static,
        materialized: Materialized<K, V>,
    ) -> Self {
        self.try_filter(move |key, value| Ok(!predicate(key, value)), materialized)
    }

    /// As [`KTable::filter`], with a closure that can fail.
    pub fn try_filter(
        &self,
        predicate: impl Fn(&K, &V) -> Result<bool, BoxError> + Send + Sync + 'static,
        mut materialized: Materialized<K, V>,
    ) -> Self {
        materialized.value_serde = materialized.value_serde.or_else(|| self.value_serde.clone());
        let predicate = Arc::new(predicate);
        let view = Arc::clone(&predicate);
        self.derive(
            Derivation { prefix: FILTER, drops_absent: true },
            materialized,
            Computed {
                owned: move |key: &K, value: V| Ok(predicate(key, &value)?.then_some(value)),
                borrowed: move |key: &K, value: &V| Ok(view(key, value)?.then(|| value.clone())),
            },
        )
    }
}
