//! What a processor reads beside its own stores: those that every process has all of.

use std::cell::RefCell;
use std::rc::Rc;

use super::ProcessorContext;
use super::stores::list;
use crate::store::{GlobalCore, ReadOnlyKeyValueStore, StoreError};

impl<K, V> ProcessorContext<'_, '_, K, V> {
    /// Returns the handle of a global store, which every processor can read.
    ///
    /// # Errors
    /// If there is no global store of that name, or it has other types.
    pub fn global_key_value_store<SK: 'static, SV: 'static>(
        &self,
        name: &str,
    ) -> Result<ReadOnlyKeyValueStore<SK, SV>, StoreError> {
        self.global_core(name).map(ReadOnlyKeyValueStore::new)
    }

    pub(crate) fn global_core<SK: 'static, SV: 'static>(
        &self,
        name: &str,
    ) -> Result<Rc<RefCell<GlobalCore<SK, SV>>>, StoreError> {
        let globals = &self.task.shared.globals;
        let found = globals.iter().find(|store| store.name() == name);
        let found = found.ok_or_else(|| StoreError::NoSuchStore {
            processor: self.name.to_owned(),
            store: name.to_owned(),
            wanted: "global store",
            known: list(globals.iter().map(|store| store.name())),
        })?;
        found.handle().downcast().map_err(|_| StoreError::WrongType {
            store: name.to_owned(),
            actual: found.type_name(),
            expected: std::any::type_name::<(SK, SV)>(),
        })
    }
}
