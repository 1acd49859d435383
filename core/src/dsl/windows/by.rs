//! Which streams come of which windows.

use super::aggregate_aligned::Aligned;
use super::time_windowed::OfTime;
use super::{
    SessionWindowedKStream, SessionWindows, SlidingWindows, TimeWindowedKStream, TimeWindows,
    UnlimitedWindows,
};
use crate::dsl::KGroupedStream;

mod sealed {
    pub trait Sealed {}
}

/// A definition of windows: what [`KGroupedStream::windowed_by`] takes.
pub trait WindowDefinition: sealed::Sealed {
    /// What can be aggregated then.
    type Stream<K, V>;

    #[doc(hidden)]
    fn over<K, V>(self, grouped: KGroupedStream<K, V>) -> Self::Stream<K, V>;
}

macro_rules! of_time {
    ($windows:ty, $wrap:expr) => {
        impl sealed::Sealed for $windows {}

        impl WindowDefinition for $windows {
            type Stream<K, V> = TimeWindowedKStream<K, V>;

            fn over<K, V>(self, grouped: KGroupedStream<K, V>) -> Self::Stream<K, V> {
                TimeWindowedKStream::new(grouped, $wrap(self))
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

    fn over<K, V>(self, grouped: KGroupedStream<K, V>) -> Self::Stream<K, V> {
        SessionWindowedKStream::new(grouped, self)
    }
}
