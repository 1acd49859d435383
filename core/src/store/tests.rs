//! What stores promise, from the overlay up.

mod changes;
mod committed;
mod overlay;
mod scan;
mod sessions;
mod windows;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::*;
use crate::BoxError;
use crate::record::{Origin, Timestamp};
use crate::serdes::{Serde, string};

/// A changelog record.
type Line = (Vec<u8>, Option<Vec<u8>>, Timestamp);

/// A store with its storage, committed by hand.
struct Fixture<V> {
    shared: SharedStore<String, V>,
    storage: Rc<RefCell<MemoryStorage>>,
    now: Rc<Cell<Timestamp>>,
    log: Vec<Line>,
}

impl<V: Clone + 'static> Fixture<V> {
    fn new(kind: StoreKind, value_serde: impl Serde<V>) -> Self {
        Self::with_spec(StoreSpec::new("s", kind), value_serde)
    }

    fn cached(value_serde: impl Serde<V>) -> Self {
        let spec = StoreSpec::new("s", StoreKind::TimestampedKeyValue);
        Self::with_spec(StoreSpec { caching: true, ..spec }, value_serde)
    }

    fn with_spec(spec: StoreSpec, value_serde: impl Serde<V>) -> Self {
        let storage = Rc::new(RefCell::new(MemoryStorage::new()));
        let now = Rc::new(Cell::new(Timestamp(0)));
        let core = StoreCore::new(StoreParts {
            spec: spec.clone(),
            index: StoreIndex(0),
            application_id: "app".to_owned(),
            key_serde: Arc::new(string()),
            value_serde: Arc::new(value_serde),
            storage: storage.clone(),
            now: Rc::clone(&now),
            origin: Rc::new(Cell::new(Origin::NONE)),
        });
        let shared = SharedStore { spec, core: Rc::new(RefCell::new(core)) };
        Self { shared, storage, now, log: Vec::new() }
    }

    fn handle(&self) -> KeyValueStore<String, V> {
        KeyValueStore::new(Rc::clone(&self.shared.core))
    }

    fn timestamped(&self) -> TimestampedKeyValueStore<String, V> {
        TimestampedKeyValueStore::new(Rc::clone(&self.shared.core))
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        let log = &mut self.log;
        self.shared.flush(&mut |record| {
            let Logged { key, value, timestamp, headers } = record;
            assert!(headers.is_empty());
            log.push((key.to_vec(), value.map(<[u8]>::to_vec), timestamp.unwrap()));
            Ok(())
        })
    }

    fn commit(&mut self, cache_bytes: usize) {
        self.flush().unwrap();
        let before = self.storage.borrow().checkpoint().clone();
        let checkpoint = Checkpoint { commit_number: before.commit_number + 1, ..before };
        self.storage.borrow_mut().publish(checkpoint, Acknowledged::by_broker()).unwrap();
        self.shared.end_interval(cache_bytes);
    }

    fn committed(&self, key: &str) -> Option<Vec<u8>> {
        let mut found = None;
        let storage = self.storage.borrow();
        storage.get(StoreIndex(0), key.as_bytes(), &mut |v| found = Some(v.to_vec())).unwrap();
        found
    }
}

fn key(text: &str) -> String {
    text.to_owned()
}
