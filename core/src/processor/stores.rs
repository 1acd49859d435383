//! How a processor gets at its stores.

use std::cell::RefCell;
use std::rc::Rc;

use super::ProcessorContext;
use crate::store::{
    ErasedStore, KeyValueStore, SessionStore, StoreCore, StoreError, StoreKind,
    TimestampedKeyValueStore, TimestampedWindowStore, VersionedCore, VersionedKeyValueStore,
    WindowStore, WindowedCore,
};

impl<K, V> ProcessorContext<'_, '_, K, V> {
    /// Returns the handle of a plain store that this processor is connected to.
    ///
    /// # Errors
    /// If it is not connected to a store of that name, or the store has other types.
    pub fn key_value_store<SK: 'static, SV: 'static>(
        &self,
        name: &str,
    ) -> Result<KeyValueStore<SK, SV>, StoreError> {
        self.core(name).map(KeyValueStore::new)
    }

    /// Returns the handle of a timestamped store, for example of a table of the DSL.
    ///
    /// # Errors
    /// As [`ProcessorContext::key_value_store`].
    pub fn timestamped_key_value_store<SK: 'static, SV: 'static>(
        &self,
        name: &str,
    ) -> Result<TimestampedKeyValueStore<SK, SV>, StoreError> {
        self.core(name).map(TimestampedKeyValueStore::new)
    }

    /// Returns the handle of a store of windows.
    ///
    /// # Errors
    /// As [`ProcessorContext::key_value_store`].
    pub fn window_store<SK: 'static, SV: 'static>(
        &self,
        name: &str,
    ) -> Result<WindowStore<SK, SV>, StoreError> {
        let fits = |kind| matches!(kind, StoreKind::Window(_));
        self.windowed_core(name, "window store", fits).map(WindowStore::new)
    }

    /// Returns the handle of a timestamped store of windows, for example of a windowed table of
    /// the DSL.
    ///
    /// # Errors
    /// As [`ProcessorContext::key_value_store`].
    pub fn timestamped_window_store<SK: 'static, SV: 'static>(
        &self,
        name: &str,
    ) -> Result<TimestampedWindowStore<SK, SV>, StoreError> {
        let fits = |kind| matches!(kind, StoreKind::TimestampedWindow(_));
        let expected = "timestamped window store";
        self.windowed_core(name, expected, fits).map(TimestampedWindowStore::new)
    }

    /// Returns the handle of a store of sessions.
    ///
    /// # Errors
    /// As [`ProcessorContext::key_value_store`].
    pub fn session_store<SK: 'static, SV: 'static>(
        &self,
        name: &str,
    ) -> Result<SessionStore<SK, SV>, StoreError> {
        let fits = |kind| matches!(kind, StoreKind::Session(_));
        self.windowed_core(name, "session store", fits).map(SessionStore::new)
    }

    /// Returns the handle of a versioned store.
    ///
    /// # Errors
    /// As [`ProcessorContext::key_value_store`].
    pub fn versioned_key_value_store<SK: 'static, SV: 'static>(
        &self,
        name: &str,
    ) -> Result<VersionedKeyValueStore<SK, SV>, StoreError> {
        open_handle::<RefCell<VersionedCore<SK, SV>>>(self, name).map(VersionedKeyValueStore::new)
    }

    /// Stores of windows and of sessions have the same types: their kind tells them apart.
    fn windowed_core<SK: 'static, SV: 'static>(
        &self,
        name: &str,
        expected: &'static str,
        fits: fn(StoreKind) -> bool,
    ) -> Result<WindowedCore<SK, SV>, StoreError> {
        let kind = self.store(name)?.spec().kind;
        if fits(kind) {
            return self.core(name);
        }
        Err(StoreError::WrongType { store: name.to_owned(), actual: kind.name(), expected })
    }

    pub(crate) fn core<SK: 'static, SV: 'static>(
        &self,
        name: &str,
    ) -> Result<Rc<RefCell<StoreCore<SK, SV>>>, StoreError> {
        open_store(self, name)
    }
}

/// Finds the stores that a processor is connected to, whatever it forwards.
pub(crate) trait StoreAccess {
    fn store(&self, name: &str) -> Result<&dyn ErasedStore, StoreError>;
}

impl<K, V> StoreAccess for ProcessorContext<'_, '_, K, V> {
    fn store(&self, name: &str) -> Result<&dyn ErasedStore, StoreError> {
        let connected = &self.task.shared.connected[self.node];
        let found = connected.iter().find(|store| store.spec().name == name).ok_or_else(|| {
            let (processor, store) = (self.name.to_owned(), name.to_owned());
            let connected = list(connected.iter().map(|s| &*s.spec().name));
            if self.task.shared.globals.iter().any(|global| global.name() == name) {
                let wanted = "store of its own, but a global one (global_key_value_store)";
                return StoreError::NoSuchStore { processor, store, wanted, known: connected };
            }
            StoreError::NotConnected { processor, store, connected }
        })?;
        Ok(&**found)
    }
}

/// Lists names for a message.
pub(super) fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Takes the typed handle of a store.
pub(crate) fn open_store<SK: 'static, SV: 'static>(
    access: &dyn StoreAccess,
    name: &str,
) -> Result<Rc<RefCell<StoreCore<SK, SV>>>, StoreError> {
    let found = access.store(name)?;
    found.handle().downcast().map_err(|_| StoreError::WrongType {
        store: name.to_owned(),
        actual: found.type_name(),
        expected: std::any::type_name::<(SK, SV)>(),
    })
}

/// Takes a store whatever it is: one that no user can name.
pub(crate) fn open_handle<T: 'static>(
    access: &dyn StoreAccess,
    name: &str,
) -> Result<Rc<T>, StoreError> {
    let found = access.store(name)?;
    found.handle().downcast().map_err(|_| StoreError::WrongType {
        store: name.to_owned(),
        actual: found.type_name(),
        expected: std::any::type_name::<T>(),
    })
}
