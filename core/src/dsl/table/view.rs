//! How other operators read the current values of a table.
//!
//! A table with a store is read from it. One without computes its value from that of its parent, so
//! the chain ends at a store in any case: whoever asks for a view has the source materialised.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::BoxError;
use crate::processor::StoreAccess;
use crate::record::Timestamp;
use crate::store::{StoreCore, VersionedCore, VersionedKeyValueStore};

/// Takes what a key has: value and timestamp.
pub(in crate::dsl) type Take<'a, V> =
    dyn FnMut(Option<(&V, Timestamp)>) -> Result<(), BoxError> + 'a;

/// Reads the current values of a table, in one task.
pub(in crate::dsl) trait ReadTable<K, V> {
    /// Hands over what the key has now. Without a look at uncommitted writes nothing would be
    /// right: they are seen (INV-12).
    fn read(&self, key: &K, take: &mut Take<'_, V>) -> Result<(), BoxError>;

    /// As [`ReadTable::read`], of a versioned table what the key had at an instant.
    fn read_as_of(&self, key: &K, _at: Timestamp, take: &mut Take<'_, V>) -> Result<(), BoxError> {
        self.read(key, take)
    }
}

type Open<K, V> =
    Arc<dyn Fn(&dyn StoreAccess) -> Result<Box<dyn ReadTable<K, V>>, BoxError> + Send + Sync>;

/// What a processor needs to read a table.
pub(in crate::dsl) struct View<K, V> {
    /// The stores that it has to be connected to.
    pub(in crate::dsl) stores: Vec<String>,
    /// Makes the reader, with those stores at hand.
    pub(in crate::dsl) open: Open<K, V>,
}

impl<K, V> Clone for View<K, V> {
    fn clone(&self) -> Self {
        Self { stores: self.stores.clone(), open: Arc::clone(&self.open) }
    }
}

impl<K: 'static, V: Clone + 'static> View<K, V> {
    /// Reads a store.
    pub(super) fn of_store(name: &str) -> Self {
        let store = name.to_owned();
        Self {
            stores: vec![store.clone()],
            open: Arc::new(move |access| {
                let core = crate::processor::open_store::<K, V>(access, &store)?;
                Ok(Box::new(Stored(core)))
            }),
        }
    }

    /// Reads a versioned store.
    pub(super) fn of_versions(name: &str) -> Self {
        let store = name.to_owned();
        Self {
            stores: vec![store.clone()],
            open: Arc::new(move |access| {
                type Core<K, V> = RefCell<VersionedCore<K, V>>;
                let core = crate::processor::open_handle::<Core<K, V>>(access, &store)?;
                Ok(Box::new(Versions(VersionedKeyValueStore::new(core))))
            }),
        }
    }

    /// Computes each value from one of this table; `None` is no value.
    pub(super) fn computed<V2: Clone + 'static>(
        self,
        compute: impl Fn(&K, &V) -> Result<Option<V2>, BoxError> + Send + Sync + 'static,
    ) -> View<K, V2> {
        let Self { stores, open } = self;
        let compute = Arc::new(compute);
        View {
            stores,
            open: Arc::new(move |access| {
                let parent = open(access)?;
                Ok(Box::new(Computed { parent, compute: Arc::clone(&compute) }))
            }),
        }
    }
}

struct Stored<K, V>(Rc<RefCell<StoreCore<K, V>>>);

impl<K: 'static, V: Clone + 'static> ReadTable<K, V> for Stored<K, V> {
    fn read(&self, key: &K, take: &mut Take<'_, V>) -> Result<(), BoxError> {
        take(self.0.borrow_mut().get(key)?)
    }
}

struct Versions<K, V>(VersionedKeyValueStore<K, V>);

impl<K: 'static, V: 'static> ReadTable<K, V> for Versions<K, V> {
    fn read(&self, key: &K, take: &mut Take<'_, V>) -> Result<(), BoxError> {
        let found = self.0.get(key)?;
        take(found.as_ref().map(|found| (&found.value, found.timestamp)))
    }

    fn read_as_of(&self, key: &K, at: Timestamp, take: &mut Take<'_, V>) -> Result<(), BoxError> {
        let found = self.0.get_as_of(key, at)?;
        take(found.as_ref().map(|found| (&found.value, found.timestamp)))
    }
}

struct Computed<K, V, F> {
    parent: Box<dyn ReadTable<K, V>>,
    compute: Arc<F>,
}

impl<K, V, F> Computed<K, V, F> {
    fn compute<V2>(
        &self,
        key: &K,
        found: Option<(&V, Timestamp)>,
        take: &mut Take<'_, V2>,
    ) -> Result<(), BoxError>
    where
        F: Fn(&K, &V) -> Result<Option<V2>, BoxError>,
    {
        let Some((value, timestamp)) = found else { return take(None) };
        let computed = (self.compute)(key, value)?;
        take(computed.as_ref().map(|value| (value, timestamp)))
    }
}

impl<K, V, V2, F> ReadTable<K, V2> for Computed<K, V, F>
where
    F: Fn(&K, &V) -> Result<Option<V2>, BoxError>,
{
    fn read(&self, key: &K, take: &mut Take<'_, V2>) -> Result<(), BoxError> {
        self.parent.read(key, &mut |found| self.compute(key, found, take))
    }

    fn read_as_of(&self, key: &K, at: Timestamp, take: &mut Take<'_, V2>) -> Result<(), BoxError> {
        self.parent.read_as_of(key, at, &mut |found| self.compute(key, found, take))
    }
}
