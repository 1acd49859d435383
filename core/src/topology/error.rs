//! What can be wrong with a topology. Every message names the nodes involved.

/// A topology that can't be built or instantiated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TopologyError {
    /// Two nodes or two stores have the same name.
    #[error("the name {0} is already taken by another node or store")]
    DuplicateName(String),
    /// A name that Kafka would not take as (part of) a topic name.
    #[error(
        "'{0}' is no legal name: use 1 to 249 of the characters a-z, A-Z, 0-9, '.', '_' and '-', \
         but not '.' or '..'"
    )]
    IllegalName(String),
    /// A parent that was not added before.
    #[error("node {node} names a parent {parent} that was not added before it")]
    UnknownParent {
        /// The node being added.
        node: String,
        /// The name that is unknown.
        parent: String,
    },
    /// A sink as a parent.
    #[error("node {node} names the sink {parent} as parent, but sinks have no children")]
    SinkAsParent {
        /// The node being added.
        node: String,
        /// The sink.
        parent: String,
    },
    /// A node without parents that is not a source, or a source without topics.
    #[error("node {0} has nothing to read from")]
    NoInput(String),
    /// A store that was not added.
    #[error("node {node} names a store {store} that was not added")]
    UnknownStore {
        /// The node.
        node: String,
        /// The store.
        store: String,
    },
    /// A child for a node that fills a global store.
    #[error("node {node} names {parent} as parent, which fills a global store and nothing else")]
    GlobalParent {
        /// The node being added.
        node: String,
        /// The source or processor of the global store.
        parent: String,
    },
    /// A processor that is connected to a global store, or one that fills a global store to another
    /// one.
    #[error(
        "node {node} can't be connected to store {store}: a global store is read without being \
         connected, and the processor that fills one has no other store"
    )]
    GlobalConnected {
        /// The processor.
        node: String,
        /// The store.
        store: String,
    },
    /// A global store that is not read from the beginning.
    #[error(
        "source {0} fills a global store: its topic is always read from the beginning, leave out \
         the offset reset policy"
    )]
    GlobalFromLatest(String),
    /// A topic that two sources read.
    #[error("topic {topic} is already read by source {source_node}")]
    TopicTwice {
        /// The topic.
        topic: String,
        /// The source that has it.
        source_node: String,
    },
    /// Two streams of a `StreamsBuilder` read overlapping but different sets of topics.
    #[error(
        "sources {first} and {second} both read topic {topic}, but not the same set of topics: \
         read them in one stream, or each topic in one of its own"
    )]
    OverlappingTopics {
        /// The topic that both read.
        topic: String,
        /// The source that was declared first.
        first: String,
        /// The other source.
        second: String,
    },
    /// Two streams read the same topics with different types or offset resets.
    #[error("sources {first} and {second} read topic {topic} with different {what}")]
    DifferentSources {
        /// The topic that both read.
        topic: String,
        /// What differs.
        what: &'static str,
        /// The source that was declared first.
        first: String,
        /// The other source.
        second: String,
    },
    /// A serde that is neither given nor known from upstream.
    #[error("{node}: no {what} serde is given (Materialized::with or with_{what}_serde)")]
    MissingSerde {
        /// The operator.
        node: String,
        /// `key` or `value`.
        what: &'static str,
    },
    /// Streams of two `StreamsBuilder`s can't meet.
    #[error("{node}: both streams must come from the same StreamsBuilder")]
    ForeignStream {
        /// The operator.
        node: String,
    },
    /// More than one mistake.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<TopologyError>),
    /// A suppression until windows close of a table that no window operator made.
    #[error(
        "{node}: when a window closes is known of windowed aggregations only; above it are {above}"
    )]
    NoWindow {
        /// The suppressing operator.
        node: String,
        /// The operators above it, from the source down.
        above: String,
    },
    /// A guard by revision for an operator that has none.
    #[error(
        "{node}: Materialized::with_revision guards tables of a topic or a stream: here it would \
         have no effect"
    )]
    UnusedRevision {
        /// The operator.
        node: String,
    },
    /// A versioned store for an operator that has none.
    #[error(
        "{node}: Materialized::as_versioned is for tables of a topic or a stream: here it would \
         have no effect"
    )]
    UnusedVersions {
        /// The operator.
        node: String,
    },
    /// An operator that can't be put on a versioned table.
    #[error("{node}: a versioned table can't be suppressed, give it a store without versions")]
    SuppressedVersions {
        /// The operator.
        node: String,
    },
    /// A global store of windows, sessions or versions.
    #[error("store {0} can't be a global one: its entries expire with the time of a task")]
    GlobalExpires(String),
    /// A store that would lose windows before they are over.
    #[error(
        "store {store} keeps windows for {retention_ms} ms, but a window has {size_ms} ms: the \
         retention must not be shorter"
    )]
    Retention {
        /// The store.
        store: String,
        /// How long it keeps windows, in milliseconds.
        retention_ms: i64,
        /// The size of a window, in milliseconds.
        size_ms: i64,
    },
    /// Windows that can't be, or a store that does not keep them long enough.
    #[error("{node}: {why}")]
    Windows {
        /// The aggregation.
        node: String,
        /// What is wrong.
        why: String,
    },
    /// Generated names where they are not allowed.
    #[error(
        "these have no explicit name: stores [{}], changelog topics of the stores [{}], \
         repartition topics [{}]; name them with Materialized::as_, Grouped::with_name, \
         Joined::with_name, .. or allow generated names (TopologyConfig)",
        .stores.join(", "), .changelogs.join(", "), .repartition_topics.join(", ")
    )]
    UnnamedResources {
        /// Stores.
        stores: Vec<String>,
        /// Those of them that have a changelog.
        changelogs: Vec<String>,
        /// Repartition topics.
        repartition_topics: Vec<String>,
    },
    /// The types of an edge do not fit.
    #[error("{child} takes {takes}, but its parent {parent} forwards {forwards}")]
    TypeMismatch {
        /// The parent.
        parent: String,
        /// What it forwards.
        forwards: &'static str,
        /// The child.
        child: String,
        /// What it takes.
        takes: &'static str,
    },
    /// Windows of a join that nothing lies in.
    #[error(
        "{node}: the windows of the join reach {before_ms} ms back and {after_ms} ms forward: \
         together that must not be below 0"
    )]
    JoinWindows {
        /// The operator.
        node: String,
        /// How much earlier the other record may be.
        before_ms: i64,
        /// How much later it may be.
        after_ms: i64,
    },
    /// Nothing to run.
    #[error("the topology has no source (topics of global stores alone give nothing to process)")]
    Empty,
    /// A sink's topic could not be resolved while a task was built.
    #[error("node {node}: {cause}")]
    Topic {
        /// The sink.
        node: String,
        /// What the collector says.
        #[source]
        cause: crate::BoxError,
    },
    /// A processor's `init` failed.
    #[error("{0}")]
    Init(#[source] Box<crate::errors::TaskError>),
    /// A sub-topology number that the topology does not have.
    #[error("the topology has no sub-topology {0}")]
    UnknownSubTopology(crate::record::SubTopologyId),
}
