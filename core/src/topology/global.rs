//! Global stores: each process fills them from all partitions of a topic, and all its tasks read
//! them.

use std::convert::Infallible;

use super::sub_topology::{SubTopology, of_nodes};
use super::{AutoOffsetReset, Consumed, StoreBuilder, Topology, TopologyError, check_name};
use crate::processor::Processor;

/// A global store of the topology, by indices.
#[derive(Debug, Clone)]
pub(crate) struct GlobalDef {
    pub(crate) source: usize,
    pub(crate) processor: usize,
    pub(crate) store: usize,
}

impl Topology {
    /// Adds a store that every process fills from **all** partitions of `topic`, and every
    /// processor of the topology can read (`Topology.addGlobalStore`). The names are those of the
    /// source and of the processor behind it.
    ///
    /// The processor writes the store; nothing can be forwarded from it. It is called for each
    /// record of the topic from the beginning on, and before any task runs for all that were there
    /// when the process started; after a restart it goes on where it was. The topic stands in for
    /// the changelog, so settings of logging have no effect.
    ///
    /// Tasks read what is stored ([`ProcessorContext::global_key_value_store`]) with no regard to
    /// their stream time.
    ///
    /// [`ProcessorContext::global_key_value_store`]:
    ///     crate::processor::ProcessorContext::global_key_value_store
    ///
    /// # Errors
    /// If a name is taken or illegal, another source reads the topic, or `consumed` asks for the
    /// latest offset: the topic is always read from the beginning. If the store is one whose
    /// entries expire.
    pub fn add_global_store<SK, SV, K, V, P>(
        &mut self,
        store: StoreBuilder<SK, SV>,
        topic: &str,
        consumed: Consumed<K, V>,
        (source, processor): (&str, &str),
        supplier: impl Fn() -> P + Send + Sync + 'static,
    ) -> Result<&mut Self, TopologyError>
    where
        SK: 'static,
        SV: Clone + 'static,
        K: Clone + 'static,
        V: Clone + 'static,
        P: Processor<K, V, Infallible, Infallible> + 'static,
    {
        if consumed.auto_offset_reset == Some(AutoOffsetReset::Latest) {
            return Err(TopologyError::GlobalFromLatest(source.to_owned()));
        }
        if store.expires() {
            return Err(TopologyError::GlobalExpires(store.name().to_owned()));
        }
        // all of it or nothing
        for name in [source, processor] {
            check_name(name)?;
            if source == processor || self.nodes().iter().any(|node| node.name == name) {
                return Err(TopologyError::DuplicateName(name.to_owned()));
            }
        }
        self.check_new_store(store.name())?;
        self.add_source(source, consumed, &[topic])?;
        self.add_processor(processor, supplier, &[source])?;
        let def = GlobalDef {
            source: self.nodes().len() - 2,
            processor: self.nodes().len() - 1,
            store: self.stores().len(),
        };
        self.add_state_store(store.filled_by(topic), &[processor])?;
        self.note_global(def);
        Ok(self)
    }

    /// Returns the nodes that fill the global stores, as one sub-topology with the stores and their
    /// topics in the same order; `None` if there are none. It has no number of its own.
    #[must_use]
    pub fn global_topology(&self) -> Option<SubTopology> {
        let globals = self.globals();
        if globals.is_empty() {
            return None;
        }
        let nodes = globals.iter().flat_map(|global| [global.source, global.processor]).collect();
        Some(of_nodes(crate::record::TaskId::GLOBAL.sub_topology, nodes, self))
    }

    /// Returns whether the node fills a global store.
    pub(super) fn is_global_node(&self, node: usize) -> bool {
        self.globals().iter().any(|global| global.source == node || global.processor == node)
    }

    pub(super) fn is_global_store(&self, store: usize) -> bool {
        self.globals().iter().any(|global| global.store == store)
    }
}
