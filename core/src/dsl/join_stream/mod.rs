//! `join_stream`, `left_join_stream` and `outer_join_stream`: the records of two streams that are
//! near in time.
//!
//! ```text
//!   this  --> Keep(this)  --> JoinSide(left)  --\
//!               | store         | finds in       +--> merge
//!   other --> Keep(other) --> JoinSide(right) --/
//! ```
//!
//! Each record is kept in its stream's store and looks for its like in the other one's. So a pair
//! is found exactly once, by the record that comes second. In a left or outer join a record that
//! finds nothing waits in a store that both sides share, until it is found or its window is over.

mod joined;
mod keep;
mod progress;
mod side;
mod waiting;
mod windows;
mod wiring;

pub use joined::StreamJoined;
pub use windows::JoinWindows;

use super::KStream;
use crate::BoxError;
use wiring::{Kind, StreamJoin};

impl<K: Clone + 'static, V: Clone + 'static> KStream<K, V> {
    /// Joins each record with those of `other` that have its key and are within `windows`: one
    /// result for each pair. The timestamp is the later one; the headers are those of the record
    /// that came second.
    ///
    /// Records with a null key or value are dropped and counted. The topics of both streams must
    /// have the same number of partitions.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
    /// # use tidemill_core::dsl::{JoinWindows, StreamJoined, StreamsBuilder};
    /// # use tidemill_core::record::Timestamp;
    /// # use tidemill_core::serdes::string;
    /// # use tidemill_core::topology::{Consumed, Produced};
    /// let builder = StreamsBuilder::new();
    /// let stream = |topic| builder.stream(topic, Consumed::with(string(), string()));
    /// let (views, clicks) = (stream("views"), stream("clicks"));
    /// views
    ///     .join_stream(
    ///         &clicks,
    ///         |view, click| format!("{view}, then {click}"),
    ///         JoinWindows::of_time_difference_with_no_grace(Duration::from_secs(10))
    ///             .before(Duration::ZERO),
    ///         StreamJoined::with(string(), string(), string()),
    ///     )
    ///     .to("visits", Produced::with(string(), string()));
    ///
    /// let driver = TopologyTestDriver::new(builder.build()?, DriverConfig::default())?;
    /// let mut views = driver.create_input_topic("views", string(), string())?;
    /// let mut clicks = driver.create_input_topic("clicks", string(), string())?;
    /// let mut visits = driver.create_output_topic("visits", string(), string())?;
    /// let ada = || "ada".to_owned();
    /// views.pipe_input_at(ada(), "tea".to_owned(), Timestamp(1_000))?;
    /// clicks.pipe_input_at(ada(), "buy".to_owned(), Timestamp(9_000))?;
    /// clicks.pipe_input_at(ada(), "too late".to_owned(), Timestamp(11_001))?;
    /// assert_eq!(visits.read_key_values_to_list()?, [(ada(), "tea, then buy".to_owned())]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn join_stream<VO: Clone + 'static, R: Clone + 'static>(
        &self,
        other: &KStream<K, VO>,
        joiner: impl Fn(&V, &VO) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        joined: StreamJoined<K, V, VO>,
    ) -> KStream<K, R> {
        let joiner = move |_: &K, value: &V, other: &VO| Ok(joiner(value, other));
        self.try_join_stream(other, joiner, windows, joined)
    }

    /// As [`KStream::join_stream`], with a look at the key and a closure that can fail.
    pub fn try_join_stream<VO: Clone + 'static, R: Clone + 'static>(
        &self,
        other: &KStream<K, VO>,
        joiner: impl Fn(&K, &V, &VO) -> Result<R, BoxError> + Send + Sync + 'static,
        windows: JoinWindows,
        joined: StreamJoined<K, V, VO>,
    ) -> KStream<K, R> {
        let both = move |key: &K, left: Option<&V>, right: Option<&VO>| match left.zip(right) {
            Some((left, right)) => joiner(key, left, right).map(Some),
            None => Ok(None),
        };
        StreamJoin::new(self, other, Kind::Inner, windows, joined).add(both)
    }

    /// As [`KStream::join_stream`], but a record of this stream that is joined with none is joined
    /// with `None`, when its window and grace are over in stream time. So is one with a null key,
    /// at once (KIP-962).
    ///
    /// A record that comes later than the end of its own window is not held back.
    pub fn left_join_stream<VO: Clone + 'static, R: Clone + 'static>(
        &self,
        other: &KStream<K, VO>,
        joiner: impl Fn(&V, Option<&VO>) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        joined: StreamJoined<K, V, VO>,
    ) -> KStream<K, R> {
        let joiner = move |_: &K, value: &V, other: Option<&VO>| Ok(joiner(value, other));
        self.try_left_join_stream(other, joiner, windows, joined)
    }

    /// As [`KStream::left_join_stream`], with a look at the key and a closure that can fail.
    pub fn try_left_join_stream<VO: Clone + 'static, R: Clone + 'static>(
        &self,
        other: &KStream<K, VO>,
        joiner: impl Fn(&K, &V, Option<&VO>) -> Result<R, BoxError> + Send + Sync + 'static,
        windows: JoinWindows,
        joined: StreamJoined<K, V, VO>,
    ) -> KStream<K, R> {
        let left = move |key: &K, left: Option<&V>, right: Option<&VO>| {
            left.map(|left| joiner(key, left, right)).transpose()
        };
        StreamJoin::new(self, other, Kind::Left, windows, joined).add(left)
    }

    /// As [`KStream::left_join_stream`], for the records of both streams: the joiner gets one of
    /// the values, or both.
    pub fn outer_join_stream<VO: Clone + 'static, R: Clone + 'static>(
        &self,
        other: &KStream<K, VO>,
        joiner: impl Fn(Option<&V>, Option<&VO>) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        joined: StreamJoined<K, V, VO>,
    ) -> KStream<K, R> {
        let joiner = move |_: &K, value: Option<&V>, other: Option<&VO>| Ok(joiner(value, other));
        self.try_outer_join_stream(other, joiner, windows, joined)
    }

    /// As [`KStream::outer_join_stream`], with a look at the key and a closure that can fail.
    pub fn try_outer_join_stream<VO: Clone + 'static, R: Clone + 'static>(
        &self,
        other: &KStream<K, VO>,
        joiner: impl Fn(&K, Option<&V>, Option<&VO>) -> Result<R, BoxError> + Send + Sync + 'static,
        windows: JoinWindows,
        joined: StreamJoined<K, V, VO>,
    ) -> KStream<K, R> {
        let any =
            move |key: &K, left: Option<&V>, right: Option<&VO>| joiner(key, left, right).map(Some);
        StreamJoin::new(self, other, Kind::Outer, windows, joined).add(any)
    }
}
