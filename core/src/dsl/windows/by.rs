//! Which streams come of which windows.

use super::aggregate_aligned::Aligned;
use super::time_windowed::OfTime;
use super::{
    SessionWindowedCogroupedKStream, SessionWindowedKStream, SessionWindows, SlidingWindows,
    TimeWindowedCogroupedKStream, TimeWindowedKStream, TimeWindows, UnlimitedWindows,
};
use crate::dsl::{CogroupedKStream, KGroupedStream};

mod sealed {
    pub trait Sealed {}
}

/// A definition of windows: what [`KGroupedStream::windowed_by`] takes.
pub trait WindowDefinition: sealed::Sealed {
    /// What can be aggregated then.
    type Stream<K, V>;

    /// What can be aggregated then of a cogroup.
    type Cogrouped<K, A>;

    #[doc(hidden)]
    fn over<K, V>(self, grouped: KGroupedStream<K, V>) -> Self::Stream<K, V>;

    #[doc(hidden)]
    fn over_cogrouped<K, A>(self, cogrouped: CogroupedKStream<K, A>) -> Self::Cogrouped<K, A>;
}

macro_rules! of_time {
    ($windows:ty, $wrap:expr) => {
        impl sealed::Sealed for $windows {}

        impl WindowDefinition for $windows {
            type Stream<K, V> = TimeWindowedKStream<K, V>;
            type Cogrouped<K, A> = TimeWindowedCogroupedKStream<K, A>;

            fn over<K, V>(self, grouped: KGroupedStream<K, V>) -> Self::Stream<K, V> {
                TimeWindowedKStream::new(grouped, $wrap(self))
            }

            fn over_cogrouped<K, A>(
                self,
                cogrouped: CogroupedKStream<K, A>,
            ) -> Self::Cogrouped<K, A> {
                TimeWindowedCogroupedKStream::new(cogrouped, $wrap(self))
            }
        }
    };
}

of_time!(TimeWindows, |windows| OfTime::Aligned(Aligned::Time(windows)));
of_time!(UnlimitedWindows, |windows| OfTime::Aligned(Aligned::Unlimited(windows)));
of_time!(SlidingWindows, OfTime::Sliding);

impl sealed::Sealed for SessionWindows {}

impl WindowDefinition for SessionWindows {
    type Stream<K, V> = SessionWindowedKStream<K, V>;
    type Cogrouped<K, A> = SessionWindowedCogroupedKStream<K, A>;

    fn over<K, V>(self, grouped: KGroupedStream<K, V>) -> Self::Stream<K, V> {
        SessionWindowedKStream::new(grouped, self)
    }

    fn over_cogrouped<K, A>(self, cogrouped: CogroupedKStream<K, A>) -> Self::Cogrouped<K, A> {
        SessionWindowedCogroupedKStream::new(cogrouped, self)
    }
}
