//! Options of a foreign-key join.

use std::fmt;
use std::sync::Arc;

use crate::topology::StreamPartitioner;

/// How two tables are joined by a foreign key: a name, and where the rows live (KIP-775).
///
/// `K` is the key of the table that has the foreign keys, `KO` that of the other one.
pub struct TableJoined<K, KO> {
    pub(super) name: Option<String>,
    pub(super) partitioner: Option<Arc<dyn StreamPartitioner<K, ()>>>,
    pub(super) other_partitioner: Option<Arc<dyn StreamPartitioner<KO, ()>>>,
}

impl<K, KO> Default for TableJoined<K, KO> {
    /// Generated names, and rows that live where the bytes of their keys say.
    fn default() -> Self {
        Self { name: None, partitioner: None, other_partitioner: None }
    }
}

impl<K, KO> TableJoined<K, KO> {
    /// Names the nodes, the store of subscriptions and both internal topics:
    /// `<application.id>-<name>-subscription-registration-topic` and
    /// `<application.id>-<name>-subscription-response-topic`.
    pub fn as_(name: impl Into<String>) -> Self {
        Self::default().with_name(name)
    }

    /// Names the join, as [`TableJoined::as_`].
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Says in which partition a row of this table lives, if its topic was not written by key.
    /// Default: the partition that the row's change came from.
    ///
    /// The partitioner gets the name of the response topic, the row's key and that topic's number
    /// of partitions; `None` means the default one, by the key's bytes. More or less than one
    /// partition is refused when it is chosen.
    #[must_use]
    pub fn with_partitioner(
        mut self,
        partitioner: impl StreamPartitioner<K, ()> + 'static,
    ) -> Self {
        self.partitioner = Some(Arc::new(partitioner));
        self
    }

    /// Says in which partition a row of the other table lives, if its topic was not written by key.
    /// Default: by the key's bytes.
    ///
    /// The partitioner gets the name of the registration topic, the foreign key and that topic's
    /// number of partitions. Rows without a foreign key are no matter of it. More or less than one
    /// partition is refused when it is chosen.
    #[must_use]
    pub fn with_other_partitioner(
        mut self,
        partitioner: impl StreamPartitioner<KO, ()> + 'static,
    ) -> Self {
        self.other_partitioner = Some(Arc::new(partitioner));
        self
    }
}

impl<K, KO> fmt::Debug for TableJoined<K, KO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableJoined")
            .field("name", &self.name)
            .field("partitioner", &self.partitioner.is_some())
            .field("other_partitioner", &self.other_partitioner.is_some())
            .finish()
    }
}
