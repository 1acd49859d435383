//! The operators of a stream that need no store.

use super::KStream;
use crate::BoxError;
use crate::record::Record;

const FILTER: &str = "KSTREAM-FILTER-";
const KEY_SELECT: &str = "KSTREAM-KEY-SELECT-";
const MAP: &str = "KSTREAM-MAP-";
const MAP_VALUES: &str = "KSTREAM-MAPVALUES-";
const FLAT_MAP: &str = "KSTREAM-FLATMAP-";
const FLAT_MAP_VALUES: &str = "KSTREAM-FLATMAPVALUES-";
const PEEK: &str = "KSTREAM-PEEK-";
const FOR_EACH: &str = "KSTREAM-FOREACH-";

impl<K: Clone + 'static, V: Clone + 'static> KStream<K, V> {
    /// Keeps the records for which `predicate` is true.
    pub fn filter(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.try_filter(move |key, value| Ok(predicate(key, value)))
    }

    /// As [`KStream::filter`], with a closure that can fail.
    pub fn try_filter(
        &self,
        predicate: impl Fn(&K, &V) -> Result<bool, BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.attach(FILTER, self.repartition_required, move |context, record| {
            if predicate(&record.key, &record.value)? { context.forward(record) } else { Ok(()) }
        })
    }

    /// Keeps the records for which `predicate` is false.
    pub fn filter_not(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.try_filter(move |key, value| Ok(!predicate(key, value)))
    }

    /// Turns each record into another one. The key may change.
    pub fn map<K2: Clone + 'static, V2: Clone + 'static>(
        &self,
        mapper: impl Fn(K, V) -> (K2, V2) + Send + Sync + 'static,
    ) -> KStream<K2, V2> {
        self.try_map(move |key, value| Ok(mapper(key, value)))
    }

    /// As [`KStream::map`], with a closure that can fail.
    pub fn try_map<K2: Clone + 'static, V2: Clone + 'static>(
        &self,
        mapper: impl Fn(K, V) -> Result<(K2, V2), BoxError> + Send + Sync + 'static,
    ) -> KStream<K2, V2> {
        self.attach(MAP, true, move |context, record| {
            let Record { key, value, timestamp, headers } = record;
            let (key, value) = mapper(key, value)?;
            context.forward(Record { key, value, timestamp, headers })
        })
        .marked(|traits| traits.changes_key = true)
    }

    /// Turns each value into another one.
    pub fn map_values<V2: Clone + 'static>(
        &self,
        mapper: impl Fn(V) -> V2 + Send + Sync + 'static,
    ) -> KStream<K, V2> {
        self.try_map_values(move |value| Ok(mapper(value)))
    }

    /// As [`KStream::map_values`], with a closure that can fail.
    pub fn try_map_values<V2: Clone + 'static>(
        &self,
        mapper: impl Fn(V) -> Result<V2, BoxError> + Send + Sync + 'static,
    ) -> KStream<K, V2> {
        self.try_map_values_with_key(move |_, value| mapper(value))
    }

    /// As [`KStream::map_values`], with a look at the key.
    pub fn map_values_with_key<V2: Clone + 'static>(
        &self,
        mapper: impl Fn(&K, V) -> V2 + Send + Sync + 'static,
    ) -> KStream<K, V2> {
        self.try_map_values_with_key(move |key, value| Ok(mapper(key, value)))
    }

    /// As [`KStream::map_values_with_key`], with a closure that can fail.
    pub fn try_map_values_with_key<V2: Clone + 'static>(
        &self,
        mapper: impl Fn(&K, V) -> Result<V2, BoxError> + Send + Sync + 'static,
    ) -> KStream<K, V2> {
        self.attach(MAP_VALUES, self.repartition_required, move |context, record| {
            let Record { key, value, timestamp, headers } = record;
            let value = mapper(&key, value)?;
            context.forward(Record { key, value, timestamp, headers })
        })
        .marked(|traits| traits.changes_value = true)
    }

    /// Turns each record into any number of records. The key may change.
    pub fn flat_map<K2: Clone + 'static, V2: Clone + 'static, I>(
        &self,
        mapper: impl Fn(K, V) -> I + Send + Sync + 'static,
    ) -> KStream<K2, V2>
    where
        I: IntoIterator<Item = (K2, V2)>,
    {
        self.try_flat_map(move |key, value| Ok(mapper(key, value)))
    }

    /// As [`KStream::flat_map`], with a closure that can fail.
    pub fn try_flat_map<K2: Clone + 'static, V2: Clone + 'static, I>(
        &self,
        mapper: impl Fn(K, V) -> Result<I, BoxError> + Send + Sync + 'static,
    ) -> KStream<K2, V2>
    where
        I: IntoIterator<Item = (K2, V2)>,
    {
        self.attach(FLAT_MAP, true, move |context, record| {
            let Record { key, value, timestamp, headers } = record;
            for (key, value) in mapper(key, value)? {
                context.forward(Record { key, value, timestamp, headers: headers.clone() })?;
            }
            Ok(())
        })
        .marked(|traits| traits.changes_key = true)
    }

    /// Turns each value into any number of values under the same key.
    pub fn flat_map_values<V2: Clone + 'static, I>(
        &self,
        mapper: impl Fn(V) -> I + Send + Sync + 'static,
    ) -> KStream<K, V2>
    where
        I: IntoIterator<Item = V2>,
    {
        self.try_flat_map_values(move |value| Ok(mapper(value)))
    }

    /// As [`KStream::flat_map_values`], with a closure that can fail.
    pub fn try_flat_map_values<V2: Clone + 'static, I>(
        &self,
        mapper: impl Fn(V) -> Result<I, BoxError> + Send + Sync + 'static,
    ) -> KStream<K, V2>
    where
        I: IntoIterator<Item = V2>,
    {
        self.try_flat_map_values_with_key(move |_, value| mapper(value))
    }

    /// As [`KStream::flat_map_values`], with a look at the key.
    pub fn flat_map_values_with_key<V2: Clone + 'static, I>(
        &self,
        mapper: impl Fn(&K, V) -> I + Send + Sync + 'static,
    ) -> KStream<K, V2>
    where
        I: IntoIterator<Item = V2>,
    {
        self.try_flat_map_values_with_key(move |key, value| Ok(mapper(key, value)))
    }

    /// As [`KStream::flat_map_values_with_key`], with a closure that can fail.
    pub fn try_flat_map_values_with_key<V2: Clone + 'static, I>(
        &self,
        mapper: impl Fn(&K, V) -> Result<I, BoxError> + Send + Sync + 'static,
    ) -> KStream<K, V2>
    where
        I: IntoIterator<Item = V2>,
    {
        self.attach(FLAT_MAP_VALUES, self.repartition_required, move |context, record| {
            let Record { key, value, timestamp, headers } = record;
            for value in mapper(&key, value)? {
                let (key, headers) = (key.clone(), headers.clone());
                context.forward(Record { key, value, timestamp, headers })?;
            }
            Ok(())
        })
        .marked(|traits| traits.changes_value = true)
    }

    /// Gives each record a new key.
    pub fn select_key<K2: Clone + 'static>(
        &self,
        selector: impl Fn(&K, &V) -> K2 + Send + Sync + 'static,
    ) -> KStream<K2, V> {
        self.try_select_key(move |key, value| Ok(selector(key, value)))
    }

    /// As [`KStream::select_key`], with a closure that can fail.
    pub fn try_select_key<K2: Clone + 'static>(
        &self,
        selector: impl Fn(&K, &V) -> Result<K2, BoxError> + Send + Sync + 'static,
    ) -> KStream<K2, V> {
        self.attach(KEY_SELECT, true, move |context, record| {
            let key = selector(&record.key, &record.value)?;
            context.forward(record.with_key(key))
        })
        .marked(|traits| traits.changes_key = true)
    }

    /// Looks at each record and passes it on. After an abort the same record is seen again.
    pub fn peek(&self, action: impl Fn(&K, &V) + Send + Sync + 'static) -> Self {
        self.attach(PEEK, self.repartition_required, move |context, record| {
            action(&record.key, &record.value);
            context.forward(record)
        })
    }

    /// Does something with each record and ends the stream. What is done outside the topology is
    /// not part of the transaction: after an abort it is done again.
    pub fn for_each(&self, action: impl Fn(K, V) + Send + Sync + 'static) {
        self.try_for_each(move |key, value| {
            action(key, value);
            Ok(())
        });
    }

    /// As [`KStream::for_each`], with a closure that can fail.
    pub fn try_for_each(
        &self,
        action: impl Fn(K, V) -> Result<(), BoxError> + Send + Sync + 'static,
    ) {
        let _: KStream<(), ()> =
            self.attach(FOR_EACH, false, move |_, record| action(record.key, record.value));
    }
}
