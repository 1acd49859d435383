//! A node of the graph, before it is instantiated.

use std::any::TypeId;

use super::{AutoOffsetReset, Factory};

/// The name of a topic as the topology knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicName {
    /// A topic of the user, under its own name.
    User(String),
    /// A topic that Tidemill creates and owns: `<application.id>-<name>`.
    Internal(String),
}

impl TopicName {
    /// Returns the name on the broker.
    #[must_use]
    pub fn resolve(&self, application_id: &str) -> String {
        match self {
            Self::User(name) => name.clone(),
            Self::Internal(name) => format!("{application_id}-{name}"),
        }
    }

    /// Returns the name without the application's id: what `describe()` prints.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::User(name) | Self::Internal(name) => name,
        }
    }
}

/// A repartition topic that the topology needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepartitionSpec {
    /// Name without the application's id.
    pub name: String,
    /// `None`: as many as the sources upstream have.
    pub partitions: Option<u32>,
}

/// The types of a record, for checks and messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TypeInfo {
    pub(crate) id: TypeId,
    pub(crate) name: &'static str,
}

impl TypeInfo {
    pub(crate) fn of<K: 'static, V: 'static>() -> Self {
        Self { id: TypeId::of::<(K, V)>(), name: std::any::type_name::<(K, V)>() }
    }
}

#[derive(Debug)]
pub(crate) enum NodeKind {
    Source { topics: Vec<TopicName>, auto_offset_reset: Option<AutoOffsetReset> },
    Processor,
    Sink { target: SinkTarget },
}

/// Where a sink writes.
#[derive(Debug)]
pub(crate) enum SinkTarget {
    Topic(TopicName),
    /// Chosen for each record; what the extractor is called.
    Extracted(String),
}

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) kind: NodeKind,
    pub(crate) parents: Vec<usize>,
    pub(crate) children: Vec<usize>,
    /// Indices into the topology's stores.
    pub(crate) stores: Vec<usize>,
    pub(crate) input: Option<TypeInfo>,
    pub(crate) output: Option<TypeInfo>,
    pub(crate) factory: Factory,
}
