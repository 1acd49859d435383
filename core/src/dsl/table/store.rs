//! The store of a table's operator: written, and what it holds back forwarded.

use std::cell::RefCell;
use std::rc::Rc;

use super::Change;
use crate::BoxError;
use crate::processor::ProcessorContext;
use crate::record::{Headers, Record, Timestamp};
use crate::store::{PutOutcome, StoreCore, Update, VersionedKeyValueStore};

/// A table's store in a task.
pub(super) enum TableStore<K, V> {
    Latest(Rc<RefCell<StoreCore<K, V>>>),
    Versioned { versions: VersionedKeyValueStore<K, V>, send_old: bool },
}

impl<K: Clone + 'static, V: Clone + 'static> TableStore<K, V> {
    pub(super) fn open(
        context: &mut ProcessorContext<'_, '_, K, Change<V>>,
        name: &str,
        send_old_values: bool,
    ) -> Result<Self, BoxError> {
        let core = context.core(name)?;
        core.borrow_mut().send_old_values |= send_old_values;
        Ok(Self::Latest(core))
    }

    pub(super) fn open_versioned(
        context: &ProcessorContext<'_, '_, K, Change<V>>,
        name: &str,
        send_old: bool,
    ) -> Result<Self, BoxError> {
        Ok(Self::Versioned { versions: context.versioned_key_value_store(name)?, send_old })
    }

    /// Returns true if the key has a value.
    pub(super) fn has(&self, key: &K) -> Result<bool, BoxError> {
        match self {
            Self::Latest(core) => Ok(core.borrow_mut().get(key)?.is_some()),
            Self::Versioned { versions, .. } => Ok(versions.get(key)?.is_some()),
        }
    }

    /// Writes a key's new value and forwards the change, at once or with the next commit.
    pub(super) fn write(
        &self,
        context: &mut ProcessorContext<'_, '_, K, Change<V>>,
        (key, value): (K, Option<V>),
        timestamp: Timestamp,
        headers: Headers,
    ) -> Result<(), BoxError> {
        let core = match self {
            Self::Latest(core) => core,
            Self::Versioned { versions, send_old } => {
                let old = if *send_old { versions.get(&key)? } else { None };
                let outcome = versions.put_or_delete(&key, value.as_ref(), timestamp)?;
                if outcome == PutOutcome::NotPut {
                    return Ok(());
                }
                let change = Change { new: value, old: old.map(|old| old.value) };
                let record = Record { key, value: change, timestamp, headers };
                return context.forward_in_order(outcome == PutOutcome::Latest, record);
            }
        };
        let update = core.borrow_mut().replace(&key, value, timestamp, &headers)?;
        match update {
            Some(update) => context.forward_in_order(true, change(update.of(key))),
            None => Ok(()),
        }
    }

    /// Forwards what caching held back.
    pub(super) fn flush(
        &self,
        context: &mut ProcessorContext<'_, '_, K, Change<V>>,
    ) -> Result<(), BoxError> {
        let Self::Latest(core) = self else { return Ok(()) };
        let updates = core.borrow_mut().take_unforwarded()?;
        for update in updates {
            context.forward_of(update.origin, change(update))?;
        }
        Ok(())
    }
}

/// Turns a store's update into what travels below a table.
pub(in crate::dsl) fn change<K, A>(update: Update<K, A>) -> Record<K, Change<A>> {
    let Update { key, new, old, timestamp, headers, .. } = update;
    Record { key, value: Change { new, old }, timestamp, headers }
}
