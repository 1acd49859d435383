//! What a `StreamsBuilder` can be told about the whole topology.

use std::str::FromStr;

/// Rewritings of the topology that save topics and stores (`topology.optimization`).
///
/// They change the names and numbers of internal topics: an application that ran without them has
/// to be reset before it runs with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TopologyOptimization {
    reuse_ktable_source_topics: bool,
    merge_repartition_topics: bool,
    single_store_self_join: bool,
}

impl TopologyOptimization {
    /// No rewriting: the default.
    pub const NONE: Self = Self {
        reuse_ktable_source_topics: false,
        merge_repartition_topics: false,
        single_store_self_join: false,
    };
    /// Every rewriting there is.
    pub const ALL: Self = Self {
        reuse_ktable_source_topics: true,
        merge_repartition_topics: true,
        single_store_self_join: true,
    };

    /// Takes the topic of a table for its changelog (`reuse.ktable.source.topics`). The topic has
    /// to keep the last record of each key, and keys and values are stored as they are in it. The
    /// test driver runs such a topology; an application refuses it when it is made.
    #[must_use]
    pub const fn with_reuse_ktable_source_topics(mut self) -> Self {
        self.reuse_ktable_source_topics = true;
        self
    }

    /// Puts one repartition topic behind an operator that changes keys, in place of one before each
    /// aggregation and join below it (`merge.repartition.topics`).
    #[must_use]
    pub const fn with_merge_repartition_topics(mut self) -> Self {
        self.merge_repartition_topics = true;
        self
    }

    /// Asks for one store for a stream that is joined with itself (`single.store.self.join`). As
    /// yet it has no effect: such a join keeps two stores.
    #[must_use]
    pub const fn with_single_store_self_join(mut self) -> Self {
        self.single_store_self_join = true;
        self
    }

    /// Returns whether the topic of a table is its changelog.
    #[must_use]
    pub const fn reuses_source_topics(self) -> bool {
        self.reuse_ktable_source_topics
    }

    /// Returns whether repartition topics are merged.
    #[must_use]
    pub const fn merges_repartition_topics(self) -> bool {
        self.merge_repartition_topics
    }

    /// Returns whether a stream that is joined with itself has one store.
    #[must_use]
    pub const fn joins_with_itself_in_one_store(self) -> bool {
        self.single_store_self_join
    }
}

/// A text that is no optimisation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "topology.optimization must be none, all, or a list of reuse.ktable.source.topics, \
     merge.repartition.topics and single.store.self.join with commas between them, not '{0}'"
)]
pub struct UnknownOptimization(String);

impl FromStr for TopologyOptimization {
    type Err = UnknownOptimization;

    /// Reads the value of `topology.optimization`.
    fn from_str(text: &str) -> Result<Self, UnknownOptimization> {
        let unknown = || UnknownOptimization(text.to_owned());
        match text.trim() {
            "none" => return Ok(Self::NONE),
            "all" => return Ok(Self::ALL),
            _ => {}
        }
        text.split(',').try_fold(Self::NONE, |so_far, word| match word.trim() {
            "reuse.ktable.source.topics" => Ok(so_far.with_reuse_ktable_source_topics()),
            "merge.repartition.topics" => Ok(so_far.with_merge_repartition_topics()),
            "single.store.self.join" => Ok(so_far.with_single_store_self_join()),
            _ => Err(unknown()),
        })
    }
}

/// What a [`StreamsBuilder`](super::StreamsBuilder) is told about the whole topology
/// (`TopologyConfig` of Kafka Streams).
#[derive(Debug, Clone, Default)]
pub struct TopologyConfig {
    pub(super) optimization: TopologyOptimization,
    pub(super) ensure_explicit_internal_resource_naming: bool,
}

impl TopologyConfig {
    /// The defaults: no optimisation, and names may be generated.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses rewritings of the topology.
    #[must_use]
    pub fn with_optimization(mut self, optimization: TopologyOptimization) -> Self {
        self.optimization = optimization;
        self
    }

    /// Refuses a topology with a store or an internal topic whose name is generated
    /// (`ensure.explicit.internal.resource.naming`, KIP-1111): such names change when an operator
    /// is added before them, and what they hold is lost then.
    #[must_use]
    pub fn with_ensure_explicit_internal_resource_naming(mut self) -> Self {
        self.ensure_explicit_internal_resource_naming = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optimisations_are_read_as_kafka_streams_reads_them() {
        let one = TopologyOptimization::NONE;
        for (text, expected) in [
            ("none", Some(one)),
            ("all", Some(TopologyOptimization::ALL)),
            ("merge.repartition.topics", Some(one.with_merge_repartition_topics())),
            (
                "reuse.ktable.source.topics, single.store.self.join",
                Some(one.with_reuse_ktable_source_topics().with_single_store_self_join()),
            ),
            ("", None),
            ("none,merge.repartition.topics", None),
            ("all,none", None),
            ("merge", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }
}
