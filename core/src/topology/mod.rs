//! How processors are connected: the immutable, validated graph of an application.
//!
//! ```text
//!   source --> processor --> processor --> sink
//!                  |  \__ store
//!                  +----> sink
//! ```
//!
//! Nodes are added parents first, so the order of addition is a topological order. Nodes that are
//! connected by edges or by a shared store form a *sub-topology*; the worker runs one task for each
//! sub-topology and partition. Types are checked when a node is added and erased until a task is
//! instantiated ([`Task::new`](crate::task::Task::new)), once per task and never per record.

mod assembly;
mod builder;
mod connected;
mod consumed;
mod describe;
mod error;
mod global;
mod node;
mod partitioner;
mod sink;
mod source;
mod store_builder;
mod sub_topology;
#[cfg(test)]
mod tests;
mod timestamps;
mod topic_name;

pub(crate) use assembly::{Assembly, Factory, SourcePartitions};
pub use builder::Topology;
pub(crate) use builder::check_name;
pub use connected::ConnectedStores;
pub use consumed::{AutoOffsetReset, Consumed, Produced};
pub use describe::TopologyDescription;
pub use error::TopologyError;
pub(crate) use global::GlobalDef;
pub(crate) use node::SinkTarget;
pub(crate) use node::{Node, NodeKind, TypeInfo};
pub use node::{RepartitionSpec, TopicName};
pub use partitioner::{Partitions, StreamPartitioner, murmur2, partition_for_key};
pub(crate) use source::SourcePort;
pub use store_builder::{
    StoreBuilder, key_value_store, session_store, timestamped_key_value_store,
    timestamped_window_store, versioned_key_value_store, window_store,
};
pub(crate) use store_builder::{StoreDef, StoreEnv};
pub use sub_topology::SubTopology;
pub use timestamps::{
    FailOnInvalidTimestamp, LogAndSkipOnInvalidTimestamp, RecordTimes, TimestampExtractor,
    UsePartitionTimeOnInvalidTimestamp, WallclockTimestampExtractor,
};
pub use topic_name::{RecordContext, TopicNameExtractor};
