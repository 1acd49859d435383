//! `map_values` of a table: each value computed from the one above.

use std::sync::Arc;

use super::KTable;
use super::derived::{Computed, Derivation};
use crate::BoxError;
use crate::dsl::Materialized;

const MAP_VALUES: &str = "KTABLE-MAPVALUES-";

impl<K: Clone + 'static, V: Clone + 'static> KTable<K, V> {
    /// Turns each value into another one. A deletion stays one, without a call of `mapper`.
    ///
    /// `mapper` may be called again for the same value, so it must be a function of its arguments.
    pub fn map_values<V2: Clone + 'static>(
        &self,
        mapper: impl Fn(V) -> V2 + Send + Sync + 'static,
        materialized: Materialized<K, V2>,
    ) -> KTable<K, V2> {
        self.try_map_values_with_key(move |_, value| Ok(mapper(value)), materialized)
    }

    /// As [`KTable::map_values`], with a closure that can fail.
    pub fn try_map_values<V2: Clone + 'static>(
        &self,
        mapper: impl Fn(V) -> Result<V2, BoxError> + Send + Sync + 'static,
        materialized: Materialized<K, V2>,
    ) -> KTable<K, V2> {
        self.try_map_values_with_key(move |_, value| mapper(value), materialized)
    }

    /// As [`KTable::map_values`], with a look at the key.
    pub fn map_values_with_key<V2: Clone + 'static>(
        &self,
        mapper: impl Fn(&K, V) -> V2 + Send + Sync + 'static,
        materialized: Materialized<K, V2>,
    ) -> KTable<K, V2> {
        self.try_map_values_with_key(move |key, value| Ok(mapper(key, value)), materialized)
    }

    /// As [`KTable::map_values_with_key`], with a closure that can fail.
    pub fn try_map_values_with_key<V2: Clone + 'static>(
        &self,
        mapper: impl Fn(&K, V) -> Result<V2, BoxError> + Send + Sync + 'static,
        materialized: Materialized<K, V2>,
    ) -> KTable<K, V2> {
        let mapper = Arc::new(mapper);
        let view = Arc::clone(&mapper);
        self.derive(
            Derivation { prefix: MAP_VALUES, drops_absent: false },
            materialized,
            Computed {
                owned: move |key: &K, value: V| mapper(key, value).map(Some),
                borrowed: move |key: &K, value: &V| view(key, value.clone()).map(Some),
            },
        )
    }
}
