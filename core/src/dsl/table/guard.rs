//! The guard of a table by revisions: a deduplication between the source and the table.

use std::sync::Arc;

use crate::dsl::graph::GraphId;
use crate::dsl::{Deduplicated, KStream, Materialized};
use crate::record::Record;
use crate::serdes::SharedSerde;

type RevisionOf<T> = Arc<dyn Fn(&T) -> Option<i64> + Send + Sync>;

/// What a guard is made of: keys and values as they come from the source.
pub(super) struct Guard<K, V, T> {
    store: String,
    keys: SharedSerde<K>,
    values: SharedSerde<V>,
    revision: RevisionOf<T>,
}

impl<K: Clone + 'static, V: Clone + 'static, T: 'static> Guard<K, V, T> {
    /// Takes the guard out of a table's options, if one was asked for.
    pub(super) fn of<KT>(
        materialized: &mut Materialized<KT, T>,
        store: &str,
        (keys, values): (&SharedSerde<K>, &SharedSerde<V>),
    ) -> Option<Self> {
        let revision = materialized.revision.take()?;
        let store = format!("{store}-revisions");
        Some(Self { store, keys: Arc::clone(keys), values: Arc::clone(values), revision })
    }

    /// Adds the deduplication, named after the table.
    pub(super) fn attach(
        self,
        stream: &KStream<K, V>,
        table: &str,
        value: impl Fn(&V) -> Option<&T> + Send + Sync + 'static,
    ) -> GraphId {
        let Self { store, keys, values, revision } = self;
        stream
            .named(format!("{table}-guard"))
            .try_deduplicate_by_revision(
                move |record: &Record<K, V>| Ok(value(&record.value).and_then(|v| revision(v))),
                Deduplicated::with(keys, values),
                Materialized::as_(store),
            )
            .id
    }
}
