//! What a task does with a store without knowing its types.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use super::{StoreCore, StoreSpec};
use crate::BoxError;
use crate::record::{Headers, Timestamp};

/// A record for a changelog.
pub(crate) struct Logged<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<&'a [u8]>,
    /// `None`: the time of the wall clock.
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) headers: &'a Headers,
}

/// Takes a changelog record.
pub(crate) type ChangelogWriter<'a> = dyn FnMut(Logged<'_>) -> Result<(), BoxError> + 'a;

/// What a task does with each of its stores, whatever their types.
pub(crate) trait ErasedStore {
    fn spec(&self) -> &StoreSpec;
    /// Serialises every dirty entry once: to `log`, and staged.
    fn flush(&self, log: &mut ChangelogWriter<'_>) -> Result<(), BoxError>;
    /// After the commit was published: evicts down to the bound.
    fn end_interval(&self, bytes_max: usize);
    /// Bytes (estimated) that are held, and those of them that only a commit frees.
    fn held_bytes(&self) -> (usize, usize);
    /// Writes so far that came after their entry had expired.
    fn expired(&self) -> u64 {
        0
    }
    /// The typed handle, to be downcast once per processor.
    fn handle(&self) -> Rc<dyn Any>;
    fn type_name(&self) -> &'static str;
}

/// The erased side of a shared store.
pub(crate) struct SharedStore<K, V> {
    pub(crate) spec: StoreSpec,
    pub(crate) core: Rc<RefCell<StoreCore<K, V>>>,
}

impl<K: 'static, V: Clone + 'static> ErasedStore for SharedStore<K, V> {
    fn spec(&self) -> &StoreSpec {
        &self.spec
    }

    fn flush(&self, log: &mut ChangelogWriter<'_>) -> Result<(), BoxError> {
        self.core.borrow_mut().flush_dirty(log)
    }

    fn end_interval(&self, bytes_max: usize) {
        self.core.borrow_mut().end_interval(bytes_max);
    }

    fn held_bytes(&self) -> (usize, usize) {
        self.core.borrow().held_bytes()
    }

    fn expired(&self) -> u64 {
        self.core.borrow().expired_writes()
    }

    fn handle(&self) -> Rc<dyn Any> {
        Rc::clone(&self.core) as Rc<dyn Any>
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<(K, V)>()
    }
}
