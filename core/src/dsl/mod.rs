//! The DSL: a topology as a chain of operators on streams and tables.
//!
//! ```text
//!  StreamsBuilder --stream()--> KStream --group_by_key()--> KGroupedStream --aggregate()--> KTable
//!                                |  ^                                                         |
//!                                |  +----------------------- to_stream() --------------------+
//!                                +--to()--> topic
//! ```
//!
//! Names, numbers and internal topics are those of Kafka Streams, so that the same program gives
//! the same `describe()` text, changelogs and repartition topics in both. Each operator consumes
//! one number of the builder, named or not; a name is given to the next operator by `named("x")`
//! (Kafka Streams' `Named.as("x")`), or by the options that take one.
//!
//! Closures get keys and values by value where they may consume them: nothing is cloned on the way.
//! The `try_` variants take closures that can fail; their errors go to the
//! [`ProcessingExceptionHandler`](crate::errors::ProcessingExceptionHandler).
//!
//! Mistakes (names taken twice, a store that is missing, ..) do not interrupt the chain: they are
//! collected and returned by [`StreamsBuilder::build`].

mod aggregate;
mod branch;
mod builder;
mod cogroup;
mod config;
mod deduplicate;
mod global;
mod graph;
mod grouped;
mod join_stream;
mod materialized;
mod named;
mod operators;
mod optimize;
mod process;
mod repartition;
mod stateless;
mod stream;
mod table;
mod windows;

pub use crate::window::{Window, Windowed};
pub use branch::{Branched, BranchedKStream};
pub use builder::StreamsBuilder;
pub use cogroup::CogroupedKStream;
pub use config::{TopologyConfig, TopologyOptimization, UnknownOptimization};
pub use deduplicate::{Deduplicated, DeduplicationWindow, LateRecords, ParkingFull, RevisionOrder};
pub use global::{GlobalKTable, MaybeKey};
pub use grouped::{Grouped, KGroupedStream};
pub use join_stream::{JoinWindows, StreamJoined};
pub use materialized::Materialized;
pub use named::Named;
pub use repartition::Repartitioned;
pub use stream::KStream;
pub use table::{
    BufferBounds, BufferConfig, Change, Eager, EagerBufferConfig, Joined, KGroupedTable, KTable,
    Strict, StrictBufferConfig, Suppressed, TableJoined, TableValue,
};
pub use windows::{
    EmitStrategy, SessionWindowedCogroupedKStream, SessionWindowedKStream, SessionWindows,
    SlidingWindows, TimeWindowedCogroupedKStream, TimeWindowedKStream, TimeWindows,
    UnlimitedWindows, WindowDefinition,
};
