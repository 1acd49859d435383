//! Windows of several streams that are aggregated together.

use std::fmt;
use std::sync::Arc;

use super::aggregate_aligned::AlignedAggregate;
use super::aggregate_session::{SessionAggregate, SessionApply};
use super::aggregate_sliding::SlidingAggregate;
use super::running::Rules;
use super::shape::Shape;
use super::time_windowed::OfTime;
use super::{EmitStrategy, SessionWindows};
use crate::BoxError;
use crate::dsl::cogroup::{How, Member, Place};
use crate::dsl::{CogroupedKStream, KTable, Materialized, Named};
use crate::serdes::SharedSerde;
use crate::store::StoreSpec;
use crate::topology::{StoreBuilder, Topology, TopologyError};
use crate::window::Windowed;

type Merge<K, A> = Arc<dyn Fn(&K, Option<A>, A) -> Result<Option<A>, BoxError> + Send + Sync>;

/// The windows of a cogroup. Results are forwarded with each update.
pub(in crate::dsl) enum CogroupedWindows<K, A> {
    Time(OfTime),
    Sessions(SessionWindows, Merge<K, A>),
}

impl<K, A> Clone for CogroupedWindows<K, A> {
    fn clone(&self) -> Self {
        match self {
            Self::Time(windows) => Self::Time(*windows),
            Self::Sessions(windows, merge) => Self::Sessions(*windows, Arc::clone(merge)),
        }
    }
}

/// One of the streams, and how its records are added.
pub(in crate::dsl) struct WindowedMember<K, V, F> {
    pub(in crate::dsl) key_serde: SharedSerde<K>,
    pub(in crate::dsl) value_serde: SharedSerde<V>,
    pub(in crate::dsl) fallible: bool,
    pub(in crate::dsl) send_old_values: bool,
    pub(in crate::dsl) apply: F,
}

impl<K: Clone + 'static, A: Clone + 'static> CogroupedWindows<K, A> {
    fn shape(&self) -> Shape {
        match self {
            Self::Time(OfTime::Aligned(windows)) => {
                Shape::of_aligned(windows, EmitStrategy::OnWindowUpdate)
            }
            Self::Time(OfTime::Sliding(windows)) => Shape::of_sliding(windows),
            Self::Sessions(windows, _) => Shape::of_sessions(windows),
        }
    }

    /// Adds the aggregation of one of the streams under these names, of node and store.
    pub(in crate::dsl) fn add_processor<V, F>(
        self,
        topology: &mut Topology,
        parents: &[&str],
        (node, store): (&str, String),
        member: WindowedMember<K, V, F>,
    ) -> Result<(), TopologyError>
    where
        V: Clone + 'static,
        F: Fn(&K, V, Option<A>) -> Result<Option<A>, BoxError> + Send + Sync + 'static,
    {
        let segments = self.shape().segments(None, EmitStrategy::OnWindowUpdate);
        let WindowedMember { key_serde, value_serde, fallible, send_old_values, apply } = member;
        let rules = Rules {
            node: node.to_owned(),
            store,
            segments,
            sorted: false,
            key_serde,
            value_serde,
            windows: (),
            emit: EmitStrategy::OnWindowUpdate,
            send_old_values,
            fallible,
            apply: (),
        };
        match self {
            Self::Time(OfTime::Aligned(windows)) => {
                let rules = Arc::new(rules.of(windows, apply));
                let supplier = move || AlignedAggregate::<K, V, A, F>::new(Arc::clone(&rules));
                topology.add_processor(node, supplier, parents)
            }
            Self::Time(OfTime::Sliding(windows)) => {
                let rules = Arc::new(rules.of(windows, apply));
                let supplier = move || SlidingAggregate::<K, V, A, F>::new(Arc::clone(&rules));
                topology.add_processor(node, supplier, parents)
            }
            Self::Sessions(windows, merge) => {
                let merge = move |key: &K, before, next| merge(key, before, next);
                let rules = Arc::new(rules.of(windows, SessionApply { add: apply, merge }));
                let supplier = move || SessionAggregate::<K, V, A, _, _>::new(Arc::clone(&rules));
                topology.add_processor(node, supplier, parents)
            }
        }
        .map(|_| ())
    }

    fn aggregate(
        self,
        cogrouped: &CogroupedKStream<K, A>,
        initializer: Arc<dyn Fn() -> A + Send + Sync>,
        materialized: Materialized<K, A>,
    ) -> KTable<Windowed<K>, A> {
        let retention = materialized.retention;
        let (keys, stored) = (self.shape(), self.shape());
        let store = move |node: &str, spec: StoreSpec, keys, values| {
            if let Some(why) = stored.mistake(retention) {
                return Err(TopologyError::Windows { node: node.to_owned(), why });
            }
            let segments = stored.segments(retention, EmitStrategy::OnWindowUpdate);
            let spec = StoreSpec { kind: stored.store_kind(segments), ..spec };
            Ok(StoreBuilder::windowed(spec, keys, values))
        };
        let how = How {
            key_serde: Box::new(move |inner| keys.key_serde(inner)),
            store: Box::new(store),
            add: Box::new(move |member: &dyn Member<K, A>, place: Place<A>| {
                member.aggregate_windowed(place, self.clone())
            }),
        };
        cogrouped.aggregate_how(initializer, materialized, how)
    }
}

macro_rules! windowed_cogroup {
    ($(#[$doc:meta])* $name:ident, $windows:ty) => {
        $(#[$doc])*
        pub struct $name<K, A> {
            cogrouped: CogroupedKStream<K, A>,
            windows: $windows,
        }

        impl<K, A> Clone for $name<K, A> {
            fn clone(&self) -> Self {
                Self { cogrouped: self.cogrouped.clone(), windows: self.windows }
            }
        }

        impl<K, A> fmt::Debug for $name<K, A> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("windows", &self.windows)
                    .finish_non_exhaustive()
            }
        }

        impl<K, A> $name<K, A> {
            pub(super) fn new(cogrouped: CogroupedKStream<K, A>, windows: $windows) -> Self {
                Self { cogrouped, windows }
            }
        }

        impl<K: Clone + 'static, A: Clone + 'static> $name<K, A> {
            /// Names the next operator. See [`CogroupedKStream::named`].
            #[must_use]
            pub fn named(&self, name: impl Into<Named>) -> Self {
                Self { cogrouped: self.cogrouped.named(name), ..self.clone() }
            }
        }
    };
}

windowed_cogroup!(
    /// Several grouped streams and their windows: what can be aggregated. A cheap handle. What is
    /// late, and what is dropped, is said of [`TimeWindowedKStream`](super::TimeWindowedKStream);
    /// each stream has a stream time of its own. Results are forwarded with each update.
    TimeWindowedCogroupedKStream,
    OfTime
);
windowed_cogroup!(
    /// Several grouped streams and their sessions: what can be aggregated. A cheap handle. What is
    /// late, and what is dropped, is said of
    /// [`SessionWindowedKStream`](super::SessionWindowedKStream); each stream has a stream time of
    /// its own. Results are forwarded with each update.
    SessionWindowedCogroupedKStream,
    SessionWindows
);

impl<K: Clone + 'static, A: Clone + 'static> TimeWindowedCogroupedKStream<K, A> {
    /// Aggregates the records of all streams by key and window, beginning with `initializer()`.
    ///
    /// `materialized` must have a value serde.
    pub fn aggregate(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        materialized: Materialized<K, A>,
    ) -> KTable<Windowed<K>, A> {
        let windows = CogroupedWindows::Time(self.windows);
        windows.aggregate(&self.cogrouped, Arc::new(initializer), materialized)
    }
}

impl<K: Clone + 'static, A: Clone + 'static> SessionWindowedCogroupedKStream<K, A> {
    /// Aggregates the records of all streams by session, beginning with `initializer()`. Sessions
    /// that become one are merged: `merger(key, so far, next)`.
    ///
    /// `materialized` must have a value serde.
    pub fn aggregate<M: Into<Option<A>>>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        merger: impl Fn(&K, A, A) -> M + Send + Sync + 'static,
        materialized: Materialized<K, A>,
    ) -> KTable<Windowed<K>, A> {
        let initializer: Arc<dyn Fn() -> A + Send + Sync> = Arc::new(initializer);
        let first = Arc::clone(&initializer);
        let merge: Merge<K, A> = Arc::new(move |key, before, next| {
            Ok(merger(key, before.unwrap_or_else(|| first()), next).into())
        });
        let windows = CogroupedWindows::Sessions(self.windows, merge);
        windows.aggregate(&self.cogrouped, initializer, materialized)
    }
}
