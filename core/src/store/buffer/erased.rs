//! What a task does with a buffer.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use super::{BufferedSerde, ChangeBuffer};
use crate::BoxError;
use crate::record::{Headers, Origin, Timestamp};
use crate::serdes::{SharedSerde, bytes};
use crate::store::{
    ChangelogWriter, ErasedStore, Logged, SharedStorage, StoreCore, StoreIndex, StoreParts,
    StoreSpec,
};

/// Says in a changelog's record how its value is laid out; a tombstone has no such header.
const VERSION: (&str, u8) = ("v", 3);

/// Everything a [`SharedBuffer`] is made of.
pub(crate) struct BufferParts<K, V> {
    pub(crate) spec: StoreSpec,
    pub(crate) index: StoreIndex,
    pub(crate) application_id: String,
    pub(crate) key_serde: SharedSerde<K>,
    pub(crate) value_serde: SharedSerde<V>,
    pub(crate) storage: SharedStorage,
}

/// A buffer shared by the task, its processor and those who read through it.
pub(crate) struct SharedBuffer<K, V> {
    spec: StoreSpec,
    versioned: Headers,
    buffer: Rc<RefCell<ChangeBuffer<K, V>>>,
}

impl<K: 'static, V: 'static> SharedBuffer<K, V> {
    pub(crate) fn new(parts: BufferParts<K, V>) -> Self {
        let BufferParts { spec, index, application_id, key_serde, value_serde, storage } = parts;
        let changelog = spec.changelog_topic(&application_id);
        let core = StoreCore::new(StoreParts {
            spec: spec.clone(),
            index,
            application_id,
            key_serde: Arc::new(bytes()),
            value_serde: Arc::new(BufferedSerde),
            storage,
            // nothing is logged with the time of a record
            now: Rc::new(Cell::new(Timestamp(-1))),
            origin: Rc::new(Cell::new(Origin::NONE)),
        });
        let buffer = ChangeBuffer {
            core,
            name: spec.name.clone(),
            changelog,
            key_serde,
            value_serde,
            order: BTreeSet::new(),
            order_bytes: 0,
            size: 0,
        };
        let mut versioned = Headers::new();
        versioned.add(VERSION.0, Some(vec![VERSION.1]));
        Self { spec, versioned, buffer: Rc::new(RefCell::new(buffer)) }
    }
}

impl<K: 'static, V: 'static> ErasedStore for SharedBuffer<K, V> {
    fn spec(&self) -> &StoreSpec {
        &self.spec
    }

    fn flush(&self, log: &mut ChangelogWriter<'_>) -> Result<(), BoxError> {
        let none = Headers::new();
        let mut marked = |record: Logged<'_>| {
            let headers = if record.value.is_some() { &self.versioned } else { &none };
            log(Logged { timestamp: None, headers, ..record })
        };
        self.buffer.borrow_mut().core.flush_dirty(&mut marked)
    }

    fn end_interval(&self, bytes_max: usize) {
        self.buffer.borrow_mut().core.end_interval(bytes_max);
    }

    fn held_bytes(&self) -> (usize, usize) {
        let buffer = self.buffer.borrow();
        let (held, dirty) = buffer.core.held_bytes();
        (held + buffer.order_bytes, dirty)
    }

    fn handle(&self) -> Rc<dyn Any> {
        Rc::clone(&self.buffer) as Rc<dyn Any>
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<ChangeBuffer<K, V>>()
    }
}
