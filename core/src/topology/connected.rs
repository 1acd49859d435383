//! Stores that a processor brings with it (Kafka Streams' `ConnectedStoreProvider`, KIP-401).

use std::fmt;

use super::{StoreBuilder, StoreDef, Topology, TopologyError};

/// Stores that come with a processor: they are added with it and connected to it.
///
/// Several processors may bring the same store. It is added once, and they share it; stores of one
/// name that differ are refused when the topology is built.
#[derive(Default)]
pub struct ConnectedStores {
    stores: Vec<Result<StoreDef, TopologyError>>,
}

impl fmt::Debug for ConnectedStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.stores.iter().flatten().map(|store| &store.spec.name);
        f.debug_list().entries(names).finish()
    }
}

impl ConnectedStores {
    /// Makes an empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a store.
    #[must_use]
    pub fn with_store<K: 'static, V: Clone + 'static>(mut self, store: StoreBuilder<K, V>) -> Self {
        self.stores.push(store.check().map(|()| store.build()));
        self
    }
}

impl Topology {
    /// Connects a processor to the stores that it brings, and adds those that are not there yet.
    ///
    /// # Errors
    /// If the processor is unknown, a name is illegal or belongs to a node or to a store that is
    /// kept otherwise, or the retention of a store of windows is shorter than a window.
    pub fn connect_processor_and_its_stores(
        &mut self,
        processor: &str,
        stores: ConnectedStores,
    ) -> Result<&mut Self, TopologyError> {
        for store in stores.stores {
            let store = store?;
            match self.stores().iter().find(|known| known.spec.name == store.spec.name) {
                None => self.add_store(store, &[processor])?,
                Some(known) if known.spec == store.spec => {
                    self.connect_processor_and_state_stores(processor, &[&store.spec.name])?
                }
                Some(_) => return Err(TopologyError::DuplicateName(store.spec.name)),
            };
        }
        Ok(self)
    }
}
