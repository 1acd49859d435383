//! What the drive holds: directories, and for each task what its database files would.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use tidemill_core::record::{TaskId, Timestamp};
use tidemill_core::store::Checkpoint;

use crate::storage::audit::TaskDump;
use crate::storage::manifest::TaskManifest;

/// The entries of one store.
pub(super) type Contents = BTreeMap<Rc<[u8]>, Rc<[u8]>>;

/// A write to the store of a name.
#[derive(Debug)]
pub(super) enum Write {
    Put(Rc<str>, Rc<[u8]>, Rc<[u8]>),
    Delete(Rc<str>, Rc<[u8]>),
    /// Deletes the keys from the first on, up to and without the second.
    DeleteRange(Rc<str>, Rc<[u8]>, Rc<[u8]>),
}

impl Write {
    fn apply(self, stores: &mut BTreeMap<String, Contents>) {
        match self {
            Self::Put(store, key, value) => drop(contents(stores, &store).insert(key, value)),
            Self::Delete(store, key) => drop(contents(stores, &store).remove(&key)),
            Self::DeleteRange(store, from, to) => {
                contents(stores, &store).retain(|key, _| *key < from || *key >= to);
            }
        }
    }
}

fn contents<'a>(stores: &'a mut BTreeMap<String, Contents>, store: &str) -> &'a mut Contents {
    stores.entry(store.to_owned()).or_default()
}

/// The directory of an application.
#[derive(Debug)]
pub(super) struct DirectoryFiles {
    pub(super) process_id: String,
    /// The number of the process that has it.
    pub(super) locked_by: Option<u64>,
    pub(super) tasks: BTreeMap<TaskId, Rc<RefCell<TaskFiles>>>,
}

/// The database of a task.
#[derive(Debug)]
pub(super) struct TaskFiles {
    /// `None` before the first opening.
    pub(super) manifest: Option<TaskManifest>,
    pub(super) state: TaskState,
    /// What a kill goes back to, while something waits for a flush.
    durable: Option<TaskState>,
    pub(super) damaged: bool,
    pub(super) written_at: Timestamp,
}

/// Contents with what they correspond to: they change together (INV-3).
#[derive(Debug, Clone, Default)]
pub(super) struct TaskState {
    pub(super) stores: BTreeMap<String, Contents>,
    pub(super) checkpoint: Checkpoint,
}

impl TaskFiles {
    pub(super) fn new(now: Timestamp) -> Self {
        let state = TaskState::default();
        Self { manifest: None, state, durable: None, damaged: false, written_at: now }
    }

    /// Takes a batch.
    pub(super) fn write(&mut self, batch: Vec<Write>, checkpoint: &Checkpoint, logged: bool) {
        assert!(
            !(logged && self.is_unlogged()),
            "INV-3: a logged checkpoint must not survive the unlogged contents that it counts on",
        );
        if !logged && self.durable.is_none() {
            self.durable = Some(self.state.clone());
        }
        batch.into_iter().for_each(|write| write.apply(&mut self.state.stores));
        self.state.checkpoint = checkpoint.clone();
    }

    /// Makes everything durable.
    pub(super) fn flush(&mut self) {
        self.durable = None;
    }

    /// Returns whether something waits for a flush.
    pub(super) fn is_unlogged(&self) -> bool {
        self.durable.is_some()
    }

    /// The process died.
    pub(super) fn lose_unlogged(&mut self) {
        if let Some(durable) = self.durable.take() {
            self.state = durable;
        }
    }

    /// Returns what a restart would find.
    pub(super) fn dump(&self) -> Option<TaskDump> {
        if self.damaged || self.manifest.is_none() {
            return None;
        }
        let TaskState { stores, checkpoint } = self.durable.as_ref().unwrap_or(&self.state);
        let entries = |contents: &Contents| {
            contents.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
        };
        Some(TaskDump {
            checkpoint: checkpoint.clone(),
            stores: stores.iter().map(|(name, held)| (name.clone(), entries(held))).collect(),
        })
    }
}
