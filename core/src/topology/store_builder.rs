//! Declaring stores for the processor API.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::TopologyError;
use crate::record::{Origin, Timestamp};
use crate::serdes::{Serde, SharedSerde};
use crate::store::{
    BufferParts, ErasedReader, ErasedStore, GlobalCore, ReaderEnv, Segments, SharedBuffer,
    SharedReader, SharedStorage, SharedStore, SharedVersioned, StoreCore, StoreIndex, StoreKind,
    StoreParts, StoreSpec, VersionedParts, WindowSpec, session_key_serde, window_key_serde,
};
use crate::window::Windowed;

/// What instantiating a store takes.
pub(crate) struct StoreEnv {
    pub(crate) index: StoreIndex,
    pub(crate) application_id: String,
    pub(crate) storage: SharedStorage,
    pub(crate) now: Rc<Cell<Timestamp>>,
    pub(crate) origin: Rc<Cell<Origin>>,
}

type ReaderFactory = Arc<dyn Fn(ReaderEnv) -> Rc<dyn ErasedReader> + Send + Sync>;
type StoreFactory = Arc<dyn Fn(StoreEnv) -> Rc<dyn ErasedStore> + Send + Sync>;

/// A store of the topology, before it is instantiated.
#[derive(Clone)]
pub(crate) struct StoreDef {
    pub(crate) spec: StoreSpec,
    pub(crate) factory: StoreFactory,
    /// For tasks that read the store as a global one, where it can be one.
    pub(crate) reader: Option<ReaderFactory>,
}

impl StoreDef {
    /// Declares the buffer of a suppression.
    pub(crate) fn buffer<K: 'static, V: 'static>(
        spec: StoreSpec,
        key_serde: SharedSerde<K>,
        value_serde: SharedSerde<V>,
    ) -> Self {
        let factory_spec = spec.clone();
        let factory = move |env: StoreEnv| -> Rc<dyn ErasedStore> {
            Rc::new(SharedBuffer::new(BufferParts {
                spec: factory_spec.clone(),
                index: env.index,
                application_id: env.application_id,
                key_serde: Arc::clone(&key_serde),
                value_serde: Arc::clone(&value_serde),
                storage: env.storage,
            }))
        };
        Self { spec, factory: Arc::new(factory), reader: None }
    }
}

/// Declares a store. Made by [`key_value_store`], [`timestamped_key_value_store`],
/// [`window_store`], [`timestamped_window_store`] or [`session_store`].
pub struct StoreBuilder<K, V> {
    spec: StoreSpec,
    key_serde: SharedSerde<K>,
    value_serde: SharedSerde<V>,
}

impl<K, V> fmt::Debug for StoreBuilder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreBuilder").field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// Declares a store of plain values (`Stores.persistentKeyValueStore`).
pub fn key_value_store<K, V>(
    name: impl Into<String>,
    key_serde: impl Serde<K>,
    value_serde: impl Serde<V>,
) -> StoreBuilder<K, V> {
    StoreBuilder::from_parts(
        StoreSpec::new(name, StoreKind::KeyValue),
        Arc::new(key_serde),
        Arc::new(value_serde),
    )
}

/// Declares a store that keeps a timestamp beside each value
/// (`Stores.persistentTimestampedKeyValueStore`).
pub fn timestamped_key_value_store<K, V>(
    name: impl Into<String>,
    key_serde: impl Serde<K>,
    value_serde: impl Serde<V>,
) -> StoreBuilder<K, V> {
    StoreBuilder::from_parts(
        StoreSpec::new(name, StoreKind::TimestampedKeyValue),
        Arc::new(key_serde),
        Arc::new(value_serde),
    )
}

/// Declares a store of windows (`Stores.persistentWindowStore`). Windows of `window_size` are kept
/// for `retention`, which must not be shorter. With `retain_duplicates` a second value of a key and
/// window is kept beside the first.
///
/// Its handle is a [`WindowStore`](crate::store::WindowStore).
pub fn window_store<K: 'static, V>(
    name: impl Into<String>,
    (retention, window_size): (Duration, Duration),
    retain_duplicates: bool,
    key_serde: impl Serde<K>,
    value_serde: impl Serde<V>,
) -> StoreBuilder<Windowed<K>, V> {
    let kind = StoreKind::Window(window_spec(retention, window_size, retain_duplicates));
    StoreBuilder::windowed(StoreSpec::new(name, kind), Arc::new(key_serde), Arc::new(value_serde))
}

/// Declares a store of windows that keeps a timestamp beside each value
/// (`Stores.persistentTimestampedWindowStore`). See [`window_store`].
///
/// Its handle is a [`TimestampedWindowStore`](crate::store::TimestampedWindowStore).
pub fn timestamped_window_store<K: 'static, V>(
    name: impl Into<String>,
    (retention, window_size): (Duration, Duration),
    retain_duplicates: bool,
    key_serde: impl Serde<K>,
    value_serde: impl Serde<V>,
) -> StoreBuilder<Windowed<K>, V> {
    let kind = StoreKind::TimestampedWindow(window_spec(retention, window_size, retain_duplicates));
    StoreBuilder::windowed(StoreSpec::new(name, kind), Arc::new(key_serde), Arc::new(value_serde))
}

/// Declares a store of the versions of each key (`Stores.persistentVersionedKeyValueStore`,
/// KIP-889), which knows for `history_retention` what a key had before.
///
/// Its handle is a [`VersionedKeyValueStore`](crate::store::VersionedKeyValueStore).
pub fn versioned_key_value_store<K, V>(
    name: impl Into<String>,
    history_retention: Duration,
    key_serde: impl Serde<K>,
    value_serde: impl Serde<V>,
) -> StoreBuilder<K, V> {
    let kind = StoreKind::VersionedKeyValue(Segments::of_history(millis(history_retention)));
    StoreBuilder::from_parts(StoreSpec::new(name, kind), Arc::new(key_serde), Arc::new(value_serde))
}

/// Declares a store of sessions, kept for `retention` after their end
/// (`Stores.persistentSessionStore`).
///
/// Its handle is a [`SessionStore`](crate::store::SessionStore).
pub fn session_store<K: 'static, V>(
    name: impl Into<String>,
    retention: Duration,
    key_serde: impl Serde<K>,
    value_serde: impl Serde<V>,
) -> StoreBuilder<Windowed<K>, V> {
    let kind = StoreKind::Session(Segments::of_retention(millis(retention)));
    StoreBuilder::windowed(StoreSpec::new(name, kind), Arc::new(key_serde), Arc::new(value_serde))
}

fn window_spec(retention: Duration, window_size: Duration, retain_duplicates: bool) -> WindowSpec {
    let segments = Segments::of_retention(millis(retention));
    WindowSpec { size_ms: millis(window_size), segments, retain_duplicates }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl<K: 'static, V> StoreBuilder<Windowed<K>, V> {
    /// Makes a store of windows or sessions, as the kind in `spec` says, of the serde of the key
    /// without window.
    ///
    /// # Panics
    /// If the kind is another: a bug of the caller.
    pub(crate) fn windowed(
        spec: StoreSpec,
        key_serde: SharedSerde<K>,
        value_serde: SharedSerde<V>,
    ) -> Self {
        let key_serde = match spec.kind {
            StoreKind::Window(windows) | StoreKind::TimestampedWindow(windows) => {
                window_key_serde(key_serde, windows)
            }
            StoreKind::Session(segments) => session_key_serde(key_serde, segments),
            _ => {
                panic!("{} is no store of windows", spec.name)
            }
        };
        Self::from_parts(spec, key_serde, value_serde)
    }
}

impl<K, V> StoreBuilder<K, V> {
    /// Checks what the store is declared with.
    pub(crate) fn check(&self) -> Result<(), TopologyError> {
        let (StoreKind::Window(spec) | StoreKind::TimestampedWindow(spec)) = self.spec.kind else {
            return Ok(());
        };
        let WindowSpec { size_ms, segments: Segments { retention_ms, .. }, .. } = spec;
        if retention_ms >= size_ms {
            return Ok(());
        }
        let store = self.spec.name.clone();
        Err(TopologyError::Retention { store, retention_ms, size_ms })
    }

    pub(crate) fn from_parts(
        spec: StoreSpec,
        key_serde: SharedSerde<K>,
        value_serde: SharedSerde<V>,
    ) -> Self {
        Self { spec, key_serde, value_serde }
    }

    /// Returns the store's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Adds settings of the changelog topic, e.g. `min.compaction.lag.ms`. Logging is on by
    /// default.
    #[must_use]
    pub fn with_logging_enabled(mut self, topic_config: BTreeMap<String, String>) -> Self {
        self.spec.logging = true;
        self.spec.changelog_config = topic_config;
        self
    }

    /// Returns whether the entries of the store expire.
    pub(crate) fn expires(&self) -> bool {
        self.spec.kind.segments().is_some()
    }

    /// Makes it a global store: it has no changelog but the topic that fills it.
    pub(crate) fn filled_by(mut self, topic: &str) -> Self {
        self.spec.logging = false;
        self.spec.caching = false;
        self.spec.changelog_config.clear();
        self.spec.source_topic = Some(topic.to_owned());
        self
    }

    /// Keeps no changelog: the contents are lost when the task moves or the disk is gone.
    #[must_use]
    pub fn with_logging_disabled(mut self) -> Self {
        self.spec.logging = false;
        self
    }
}

impl<K: 'static, V: Clone + 'static> StoreBuilder<K, V> {
    pub(crate) fn build(self) -> StoreDef {
        if let StoreKind::VersionedKeyValue(segments) = self.spec.kind {
            return self.build_versioned(segments);
        }
        let Self { spec, key_serde, value_serde } = self;
        let (reader_spec, keys, values) =
            (spec.clone(), Arc::clone(&key_serde), Arc::clone(&value_serde));
        let reader = move |env: ReaderEnv| -> Rc<dyn ErasedReader> {
            let (spec, serdes) = (reader_spec.clone(), (Arc::clone(&keys), Arc::clone(&values)));
            let core = GlobalCore::new(spec, serdes, env);
            Rc::new(SharedReader::new(core))
        };
        let factory_spec = spec.clone();
        let factory = move |env: StoreEnv| -> Rc<dyn ErasedStore> {
            let core = StoreCore::new(StoreParts {
                spec: factory_spec.clone(),
                index: env.index,
                application_id: env.application_id,
                key_serde: Arc::clone(&key_serde),
                value_serde: Arc::clone(&value_serde),
                storage: env.storage,
                now: env.now,
                origin: env.origin,
            });
            Rc::new(SharedStore { spec: factory_spec.clone(), core: Rc::new(RefCell::new(core)) })
        };
        StoreDef { spec, factory: Arc::new(factory), reader: Some(Arc::new(reader)) }
    }

    fn build_versioned(self, segments: Segments) -> StoreDef {
        let Self { spec, key_serde, value_serde } = self;
        let factory_spec = spec.clone();
        let factory = move |env: StoreEnv| -> Rc<dyn ErasedStore> {
            Rc::new(SharedVersioned::new(VersionedParts {
                spec: factory_spec.clone(),
                segments,
                index: env.index,
                application_id: env.application_id,
                key_serde: Arc::clone(&key_serde),
                value_serde: Arc::clone(&value_serde),
                storage: env.storage,
            }))
        };
        StoreDef { spec, factory: Arc::new(factory), reader: None }
    }
}
