//! Aggregations of time windows and sliding windows.

use std::fmt;
use std::sync::Arc;

use super::aggregate_aligned::{Aligned, AlignedAggregate};
use super::aggregate_sliding::SlidingAggregate;
use super::shape::Shape;
use super::table::{Aggregator, Windowing};
use super::{EmitStrategy, SlidingWindows};
use crate::BoxError;
use crate::dsl::grouped::{AGGREGATE, REDUCE};
use crate::dsl::{KGroupedStream, KTable, Materialized, Named};
use crate::serdes;
use crate::window::Windowed;

/// What windows there are.
#[derive(Debug, Clone, Copy)]
pub(in crate::dsl) enum OfTime {
    Aligned(Aligned),
    Sliding(SlidingWindows),
}

/// Records grouped by key and window: what can be aggregated. As
/// [`KStream`](crate::dsl::KStream), a cheap handle.
///
/// Records whose key is null are dropped and counted; with sliding windows those whose value is
/// null, too. So is a record for each window that has closed for it: until then, stream time may be
/// beyond the window's end by the grace period.
///
/// The timestamp of a result is the largest of those of the records in the window.
pub struct TimeWindowedKStream<K, V> {
    grouped: KGroupedStream<K, V>,
    windows: OfTime,
    emit: EmitStrategy,
}

impl<K, V> Clone for TimeWindowedKStream<K, V> {
    fn clone(&self) -> Self {
        Self { grouped: self.grouped.clone(), windows: self.windows, emit: self.emit }
    }
}

impl<K, V> fmt::Debug for TimeWindowedKStream<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeWindowedKStream")
            .field("windows", &self.windows)
            .field("emit", &self.emit)
            .finish_non_exhaustive()
    }
}

impl<K, V> TimeWindowedKStream<K, V> {
    pub(super) fn new(grouped: KGroupedStream<K, V>, windows: OfTime) -> Self {
        Self { grouped, windows, emit: EmitStrategy::default() }
    }

    /// Says when results are forwarded. Default: after each update.
    ///
    /// Unlimited windows never close: to ask for their final results is a mistake that building the
    /// topology reports.
    #[must_use]
    pub fn emit_strategy(&self, emit: EmitStrategy) -> Self {
        Self { emit, ..self.clone() }
    }
}

impl<K: Clone + 'static, V: Clone + 'static> TimeWindowedKStream<K, V> {
    /// Names the next operator. See [`KStream::named`](crate::dsl::KStream::named).
    #[must_use]
    pub fn named(&self, name: impl Into<Named>) -> Self {
        Self { grouped: self.grouped.named(name), ..self.clone() }
    }

    /// Counts the records of each key and window.
    pub fn count(&self, mut materialized: Materialized<K, i64>) -> KTable<Windowed<K>, i64> {
        if matches!(self.windows, OfTime::Aligned(_)) {
            self.grouped.burn_number_of_count(&materialized);
        }
        materialized.value_serde.get_or_insert_with(|| Arc::new(serdes::i64()));
        self.add(AGGREGATE, materialized, false, |_, _, before| Ok(Some(before.unwrap_or(0) + 1)))
    }

    /// Reduces the values of each key and window to one of the same type: `reducer(so far, next)`.
    /// The first value is taken as it is. `None` deletes the window.
    pub fn reduce<R: Into<Option<V>>>(
        &self,
        reducer: impl Fn(V, V) -> R + Send + Sync + 'static,
        materialized: Materialized<K, V>,
    ) -> KTable<Windowed<K>, V> {
        self.reduce_by(false, move |before, value| Ok(reducer(before, value)), materialized)
    }

    /// As [`TimeWindowedKStream::reduce`], with a closure that can fail; the value so far is cloned
    /// for each call.
    pub fn try_reduce<R: Into<Option<V>>>(
        &self,
        reducer: impl Fn(V, V) -> Result<R, BoxError> + Send + Sync + 'static,
        materialized: Materialized<K, V>,
    ) -> KTable<Windowed<K>, V> {
        self.reduce_by(true, reducer, materialized)
    }

    fn reduce_by<R: Into<Option<V>>>(
        &self,
        fallible: bool,
        reducer: impl Fn(V, V) -> Result<R, BoxError> + Send + Sync + 'static,
        mut materialized: Materialized<K, V>,
    ) -> KTable<Windowed<K>, V> {
        let values = &self.grouped.grouped.value_serde;
        materialized.value_serde.get_or_insert_with(|| Arc::clone(values));
        self.add(REDUCE, materialized, fallible, move |_, value, before| match before {
            Some(before) => Ok(reducer(before, value)?.into()),
            None => Ok(Some(value)),
        })
    }

    /// Aggregates the values of each key and window: `aggregator(key, value, so far)`, beginning
    /// with `initializer()`. `None` deletes the window: the next record begins anew.
    ///
    /// `materialized` must have a value serde.
    pub fn aggregate<A: Clone + 'static, R: Into<Option<A>>>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        aggregator: impl Fn(&K, V, A) -> R + Send + Sync + 'static,
        materialized: Materialized<K, A>,
    ) -> KTable<Windowed<K>, A> {
        self.add(AGGREGATE, materialized, false, move |key, value, before| {
            Ok(aggregator(key, value, before.unwrap_or_else(&initializer)).into())
        })
    }

    /// As [`TimeWindowedKStream::aggregate`], with a closure that can fail; the value so far is
    /// cloned for each call.
    pub fn try_aggregate<A: Clone + 'static, R: Into<Option<A>>>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        aggregator: impl Fn(&K, V, A) -> Result<R, BoxError> + Send + Sync + 'static,
        materialized: Materialized<K, A>,
    ) -> KTable<Windowed<K>, A> {
        self.add(AGGREGATE, materialized, true, move |key, value, before| {
            Ok(aggregator(key, value, before.unwrap_or_else(&initializer))?.into())
        })
    }

    fn add<A, F>(
        &self,
        prefix: &str,
        mut materialized: Materialized<K, A>,
        fallible: bool,
        apply: F,
    ) -> KTable<Windowed<K>, A>
    where
        A: Clone + 'static,
        F: Fn(&K, V, Option<A>) -> Result<Option<A>, BoxError> + Send + Sync + 'static,
    {
        let place = self.grouped.place(prefix, &mut materialized);
        let (emit, aggregator) = (self.emit, Aggregator { fallible, apply });
        match self.windows {
            OfTime::Aligned(windows) => {
                let shape = Shape::of_aligned(&windows, emit);
                let windowing = Windowing { windows, shape, emit };
                let make = AlignedAggregate::<K, V, A, F>::new;
                self.grouped.add_windowed(place, materialized, windowing, aggregator, make)
            }
            OfTime::Sliding(windows) => {
                let windowing = Windowing { windows, shape: Shape::of_sliding(&windows), emit };
                let make = SlidingAggregate::<K, V, A, F>::new;
                self.grouped.add_windowed(place, materialized, windowing, aggregator, make)
            }
        }
    }
}
