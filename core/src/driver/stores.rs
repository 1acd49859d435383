//! Handles of the stores of windows and sessions, for tests.

use super::engine::Expected;
use super::{DriverError, TopologyTestDriver};
use crate::store::{
    SessionStore, StoreKind, TimestampedWindowStore, VersionedKeyValueStore, WindowStore,
};

impl TopologyTestDriver {
    /// Returns the handle of a store of windows, for reading and for preparing a test. A write goes
    /// to the changelog with the next record.
    ///
    /// # Errors
    /// If there is no such store or it has other types.
    pub fn window_store<K: 'static, V: 'static>(
        &self,
        name: &str,
    ) -> Result<WindowStore<K, V>, DriverError> {
        let engine = self.engine.try_borrow().map_err(|_| DriverError::Busy)?;
        let fits = |kind| matches!(kind, StoreKind::Window(_));
        engine.store(name, Some(Expected { name: "window store", fits })).map(WindowStore::new)
    }

    /// Returns the handle of a timestamped store of windows, e.g. of a windowed table of the DSL.
    ///
    /// # Errors
    /// As [`TopologyTestDriver::window_store`].
    pub fn timestamped_window_store<K: 'static, V: 'static>(
        &self,
        name: &str,
    ) -> Result<TimestampedWindowStore<K, V>, DriverError> {
        let engine = self.engine.try_borrow().map_err(|_| DriverError::Busy)?;
        let fits = |kind| matches!(kind, StoreKind::TimestampedWindow(_));
        let core = engine.store(name, Some(Expected { name: "timestamped window store", fits }))?;
        Ok(TimestampedWindowStore::new(core))
    }

    /// Returns the handle of a store of sessions.
    ///
    /// # Errors
    /// As [`TopologyTestDriver::window_store`].
    pub fn session_store<K: 'static, V: 'static>(
        &self,
        name: &str,
    ) -> Result<SessionStore<K, V>, DriverError> {
        let engine = self.engine.try_borrow().map_err(|_| DriverError::Busy)?;
        let fits = |kind| matches!(kind, StoreKind::Session(_));
        engine.store(name, Some(Expected { name: "session store", fits })).map(SessionStore::new)
    }

    /// Returns the handle of a versioned store, e.g. of a versioned table of the DSL.
    ///
    /// # Errors
    /// As [`TopologyTestDriver::window_store`].
    pub fn versioned_key_value_store<K: 'static, V: 'static>(
        &self,
        name: &str,
    ) -> Result<VersionedKeyValueStore<K, V>, DriverError> {
        let engine = self.engine.try_borrow().map_err(|_| DriverError::Busy)?;
        engine.versions(name).map(VersionedKeyValueStore::new)
    }
}
