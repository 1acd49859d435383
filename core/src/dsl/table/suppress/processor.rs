//! Lets changes wait, and go.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::BufferBounds;
use super::config::WhenFull;
use crate::BoxError;
use crate::dsl::table::Change;
use crate::dsl::table::view::{ReadTable, Take, View};
use crate::dsl::windows::Progress;
use crate::processor::{Processor, ProcessorContext, StoreAccess, open_handle};
use crate::record::{Record, Timestamp};
use crate::store::{ChangeBuffer, Evicted, StoreError, Waiting};

/// Returns the end of a key's window.
pub(super) type EndOf<K> = fn(&K) -> Timestamp;

/// What the instances share.
pub(super) struct Rules<K> {
    pub(super) node: String,
    pub(super) store: String,
    pub(super) wait_ms: i64,
    /// Set if it is the end of a window that is waited for.
    pub(super) end_of: Option<EndOf<K>>,
    pub(super) bounds: BufferBounds,
    pub(super) send_old: bool,
}

type SharedBuffer<K, V> = Rc<RefCell<ChangeBuffer<K, V>>>;

/// A suppression in a task.
pub(super) struct Suppress<K, V> {
    rules: Arc<Rules<K>>,
    buffer: Option<SharedBuffer<K, V>>,
    progress: Progress,
}

impl<K, V> Suppress<K, V> {
    pub(super) fn new(rules: Arc<Rules<K>>) -> Self {
        let progress = Progress::new(&rules.node);
        Self { rules, buffer: None, progress }
    }
}

impl<K: Clone + 'static, V: Clone + 'static> Suppress<K, V> {
    fn buffer(&self) -> SharedBuffer<K, V> {
        Rc::clone(self.buffer.as_ref().expect("a processor is initialised first"))
    }

    fn is_full(&self, buffer: &ChangeBuffer<K, V>) -> bool {
        let BufferBounds { records_max, bytes_max, .. } = &self.rules.bounds;
        buffer.len() as u64 > *records_max || buffer.size() > *bytes_max
    }

    /// Lets the first of the order go.
    fn emit(
        &self,
        context: &mut ProcessorContext<'_, '_, K, Change<V>>,
        buffer: &SharedBuffer<K, V>,
    ) -> Result<(), BoxError> {
        let first = buffer.borrow_mut().first(self.rules.send_old)?;
        let Some(Evicted { key, new, prior, timestamp, headers, source }) = first else {
            return Ok(());
        };
        // Kafka Streams forwards the old value of the last change, which those below may never have
        // had: it would be subtracted from groups that it was not added to
        let value = Change { new, old: prior };
        if self.rules.end_of.is_some() && value.new.is_none() {
            // a window's only result: there is nothing below that could be deleted
            return Ok(buffer.borrow_mut().remove_first()?);
        }
        // it still waits for those who look while it is forwarded
        context.forward_source(&source, Record { key, value, timestamp, headers })?;
        Ok(buffer.borrow_mut().remove_first()?)
    }

    fn full(&self, buffer: &ChangeBuffer<K, V>) -> StoreError {
        StoreError::BufferFull {
            node: self.rules.node.clone(),
            records: buffer.len() as u64,
            records_max: self.rules.bounds.records_max,
            bytes: buffer.size(),
            bytes_max: self.rules.bounds.bytes_max,
        }
    }
}

impl<K, V> Processor<K, Change<V>, K, Change<V>> for Suppress<K, V>
where
    K: Clone + 'static,
    V: Clone + 'static,
{
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, Change<V>>,
    ) -> Result<(), BoxError> {
        let buffer: SharedBuffer<K, V> = open_handle(context, &self.rules.store)?;
        buffer.borrow_mut().load()?;
        self.buffer = Some(buffer);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, Change<V>>,
        record: Record<K, Change<V>>,
    ) -> Result<(), BoxError> {
        let buffer = self.buffer();
        let Record { key, value: Change { new, old }, timestamp, headers } = record;
        let (observed, _) = self.progress.observe(context, timestamp);
        let time = self.rules.end_of.map_or(timestamp, |end_of| end_of(&key));
        let (new, old, source) = (new.as_ref(), old.as_ref(), context.source());
        let waiting = Waiting { key: &key, new, old, time, timestamp, headers, source };
        buffer.borrow_mut().put(waiting)?;
        let due = Timestamp(observed.saturating_sub(self.rules.wait_ms));
        while buffer.borrow().min_time().is_some_and(|time| time <= due) {
            self.emit(context, &buffer)?;
        }
        while self.is_full(&buffer.borrow()) {
            match self.rules.bounds.when_full {
                WhenFull::EmitEarly => self.emit(context, &buffer)?,
                WhenFull::ShutDown => return Err(self.full(&buffer.borrow()).into()),
            }
        }
        Ok(())
    }

    fn flush(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, Change<V>>,
    ) -> Result<(), BoxError> {
        self.progress.keep(context);
        Ok(())
    }
}

/// Reads a table through the buffer that holds its changes back.
pub(super) fn through<K: 'static, V: Clone + 'static>(
    buffer: &str,
    parent: View<K, V>,
) -> View<K, V> {
    let store = buffer.to_owned();
    let mut stores = vec![store.clone()];
    stores.extend(parent.stores);
    let open_parent = parent.open;
    let open = move |access: &dyn StoreAccess| -> Result<Box<dyn ReadTable<K, V>>, BoxError> {
        let buffer: SharedBuffer<K, V> = open_handle(access, &store)?;
        Ok(Box::new(Through { buffer, parent: open_parent(access)? }))
    };
    View { stores, open: Arc::new(open) }
}

struct Through<K, V> {
    buffer: SharedBuffer<K, V>,
    parent: Box<dyn ReadTable<K, V>>,
}

impl<K: 'static, V: Clone + 'static> ReadTable<K, V> for Through<K, V> {
    fn read(&self, key: &K, take: &mut Take<'_, V>) -> Result<(), BoxError> {
        let waits = self.buffer.borrow_mut().prior(key)?;
        match waits {
            // of what was forwarded last nobody knows the timestamp any more
            Some(prior) => take(prior.as_ref().map(|value| (value, Timestamp(-1)))),
            None => self.parent.read(key, take),
        }
    }
}
