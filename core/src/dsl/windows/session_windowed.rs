//! Aggregations of sessions.

use std::fmt;
use std::sync::Arc;

use super::aggregate_session::{SessionAggregate, SessionApply};
use super::shape::Shape;
use super::table::{Aggregator, Windowing};
use super::{EmitStrategy, SessionWindows};
use crate::BoxError;
use crate::dsl::grouped::{AGGREGATE, REDUCE};
use crate::dsl::{KGroupedStream, KTable, Materialized, Named};
use crate::serdes;
use crate::window::Windowed;

/// Records grouped by key and session: what can be aggregated. As
/// [`KStream`](crate::dsl::KStream), a cheap handle.
///
/// A record begins a session, or makes one longer, or makes one of several. Sessions that a longer
/// one replaces are deleted: a tombstone for each comes before the new result.
///
/// Records whose key is null are dropped and counted. So are those whose session, with what they
/// would join, has closed: until then, stream time may be beyond its end by the inactivity gap and
/// the grace period. The timestamp of a result is the end of its session.
pub struct SessionWindowedKStream<K, V> {
    grouped: KGroupedStream<K, V>,
    windows: SessionWindows,
    emit: EmitStrategy,
}

impl<K, V> Clone for SessionWindowedKStream<K, V> {
    fn clone(&self) -> Self {
        Self { grouped: self.grouped.clone(), windows: self.windows, emit: self.emit }
    }
}

impl<K, V> fmt::Debug for SessionWindowedKStream<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionWindowedKStream")
            .field("windows", &self.windows)
            .field("emit", &self.emit)
            .finish_non_exhaustive()
    }
}

impl<K, V> SessionWindowedKStream<K, V> {
    pub(super) fn new(grouped: KGroupedStream<K, V>, windows: SessionWindows) -> Self {
        Self { grouped, windows, emit: EmitStrategy::default() }
    }

    /// Says when results are forwarded. Default: after each update.
    #[must_use]
    pub fn emit_strategy(&self, emit: EmitStrategy) -> Self {
        Self { emit, ..self.clone() }
    }
}

impl<K: Clone + 'static, V: Clone + 'static> SessionWindowedKStream<K, V> {
    /// Names the next operator. See [`KStream::named`](crate::dsl::KStream::named).
    #[must_use]
    pub fn named(&self, name: impl Into<Named>) -> Self {
        Self { grouped: self.grouped.named(name), ..self.clone() }
    }

    /// Counts the records of each session.
    pub fn count(&self, mut materialized: Materialized<K, i64>) -> KTable<Windowed<K>, i64> {
        self.grouped.burn_number_of_count(&materialized);
        materialized.value_serde.get_or_insert_with(|| Arc::new(serdes::i64()));
        let apply = SessionApply {
            add: |_: &K, _, before: Option<i64>| Ok(Some(before.unwrap_or(0) + 1)),
            merge: |_: &K, before: Option<i64>, next| Ok(Some(before.unwrap_or(0) + next)),
        };
        self.add(AGGREGATE, materialized, apply)
    }

    /// Reduces the values of each session to one of the same type: `reducer(so far, next)`. The
    /// first value is taken as it is; the results of sessions that become one are reduced, too.
    /// `None` deletes the session.
    pub fn reduce<R: Into<Option<V>>>(
        &self,
        reducer: impl Fn(V, V) -> R + Send + Sync + 'static,
        materialized: Materialized<K, V>,
    ) -> KTable<Windowed<K>, V> {
        self.try_reduce(move |before, value| Ok(reducer(before, value)), materialized)
    }

    /// As [`SessionWindowedKStream::reduce`], with a closure that can fail.
    pub fn try_reduce<R: Into<Option<V>>>(
        &self,
        reducer: impl Fn(V, V) -> Result<R, BoxError> + Send + Sync + 'static,
        mut materialized: Materialized<K, V>,
    ) -> KTable<Windowed<K>, V> {
        let values = &self.grouped.grouped.value_serde;
        materialized.value_serde.get_or_insert_with(|| Arc::clone(values));
        let reduce = Arc::new(move |before: Option<V>, value| match before {
            Some(before) => reducer(before, value).map(Into::into),
            None => Ok(Some(value)),
        });
        let merge = Arc::clone(&reduce);
        let apply = SessionApply {
            add: move |_: &K, value, before| reduce(before, value),
            merge: move |_: &K, before, next| merge(before, next),
        };
        self.add(REDUCE, materialized, apply)
    }

    /// Aggregates the values of each session: `aggregator(key, value, so far)`, beginning with
    /// `initializer()`. `None` deletes the session: the next record begins anew.
    ///
    /// Sessions that become one are merged before: `merger(key, so far, next)`, the earliest first,
    /// beginning with `initializer()` as well.
    ///
    /// `materialized` must have a value serde.
    pub fn aggregate<A, R, M>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        aggregator: impl Fn(&K, V, A) -> R + Send + Sync + 'static,
        merger: impl Fn(&K, A, A) -> M + Send + Sync + 'static,
        materialized: Materialized<K, A>,
    ) -> KTable<Windowed<K>, A>
    where
        A: Clone + 'static,
        R: Into<Option<A>>,
        M: Into<Option<A>>,
    {
        self.try_aggregate(
            initializer,
            move |key, value, before| Ok(aggregator(key, value, before)),
            move |key, before, next| Ok(merger(key, before, next)),
            materialized,
        )
    }

    /// As [`SessionWindowedKStream::aggregate`], with closures that can fail.
    pub fn try_aggregate<A, R, M>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        aggregator: impl Fn(&K, V, A) -> Result<R, BoxError> + Send + Sync + 'static,
        merger: impl Fn(&K, A, A) -> Result<M, BoxError> + Send + Sync + 'static,
        materialized: Materialized<K, A>,
    ) -> KTable<Windowed<K>, A>
    where
        A: Clone + 'static,
        R: Into<Option<A>>,
        M: Into<Option<A>>,
    {
        let initializer = Arc::new(initializer);
        let merged_from = Arc::clone(&initializer);
        let apply = SessionApply {
            add: move |key: &K, value, before: Option<A>| {
                let before = before.unwrap_or_else(|| initializer());
                aggregator(key, value, before).map(Into::into)
            },
            merge: move |key: &K, before: Option<A>, next| {
                let before = before.unwrap_or_else(|| merged_from());
                merger(key, before, next).map(Into::into)
            },
        };
        self.add(AGGREGATE, materialized, apply)
    }

    fn add<A, F, M>(
        &self,
        prefix: &str,
        mut materialized: Materialized<K, A>,
        apply: SessionApply<F, M>,
    ) -> KTable<Windowed<K>, A>
    where
        A: Clone + 'static,
        F: Fn(&K, V, Option<A>) -> Result<Option<A>, BoxError> + Send + Sync + 'static,
        M: Fn(&K, Option<A>, A) -> Result<Option<A>, BoxError> + Send + Sync + 'static,
    {
        let place = self.grouped.place(prefix, &mut materialized);
        let (windows, emit) = (self.windows, self.emit);
        let windowing = Windowing { windows, shape: Shape::of_sessions(&windows), emit };
        // a session's value is never taken out of the store
        let aggregator = Aggregator { fallible: false, apply };
        let make = SessionAggregate::<K, V, A, F, M>::new;
        self.grouped.add_windowed(place, materialized, windowing, aggregator, make)
    }
}
