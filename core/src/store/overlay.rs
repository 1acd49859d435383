//! Writes since the last commit over committed contents, and a bounded read cache.
//!
//! Entries live in a slab; a hash table maps the key's bytes to a slot, so a hot key costs one look
//! up per record, and no allocation after its first. A *dirty* entry differs from what is
//! committed; a *clean* one equals it and may be evicted at any commit.

use std::collections::BTreeMap;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::KeyRange;
use super::memory::is_empty_range;
use crate::record::{Headers, Origin, Timestamp};

/// One key of a store.
#[derive(Debug)]
pub(super) struct Entry<V> {
    pub(super) key: Box<[u8]>,
    /// `None`: the key is known to have no value.
    pub(super) value: Option<V>,
    pub(super) timestamp: Timestamp,
    /// Of the record that wrote last; a cached update is forwarded with them.
    pub(super) headers: Headers,
    /// The source record that wrote last, for a cached update.
    pub(super) origin: Origin,
    /// The value that was last forwarded downstream, kept while `unforwarded` if somebody asks.
    pub(super) forwarded: Option<V>,
    /// Whether there was a value, or an uncommitted deletion, when `unforwarded` became true.
    pub(super) was_present: bool,
    /// Differs from the committed contents.
    pub(super) dirty: bool,
    /// Changed since the last forward.
    pub(super) unforwarded: bool,
    /// When it was last written, in writes of this store: the order of changelog and forwards.
    pub(super) sequence: u64,
    /// The commit interval in which it was last used.
    used_in: u64,
    /// Serialised length of the value when it was last known.
    pub(super) value_bytes: usize,
}

/// A slot of the slab. Valid until the next eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(u32);

#[derive(Debug)]
pub(super) struct Overlay<V> {
    table: HashTable<Slot>,
    hasher: DefaultHashBuilder,
    entries: Vec<Option<Entry<V>>>,
    free: Vec<Slot>,
    dirty: Vec<Slot>,
    /// The dirty entries in the order of their keys, once a scan asked for them.
    sorted: Option<BTreeMap<Box<[u8]>, Slot>>,
    bytes: usize,
    dirty_bytes: usize,
    writes: u64,
    interval: u64,
}

impl<V> Overlay<V> {
    pub(super) fn new() -> Self {
        Self {
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            entries: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            sorted: None,
            bytes: 0,
            dirty_bytes: 0,
            writes: 0,
            interval: 0,
        }
    }

    /// Finds a key and notes that it is in use.
    pub(super) fn find(&mut self, key: &[u8]) -> Option<Slot> {
        let hash = self.hasher.hash_one(key);
        let entries = &self.entries;
        let slot = *self.table.find(hash, |slot| &*entry(entries, *slot).key == key)?;
        let interval = self.interval;
        self.entry_mut(slot).used_in = interval;
        Some(slot)
    }

    /// Adds a clean entry for a key that [`Overlay::find`] did not find.
    pub(super) fn insert_clean(
        &mut self,
        key: &[u8],
        value: Option<V>,
        timestamp: Timestamp,
        value_bytes: usize,
    ) -> Slot {
        let added = Entry {
            key: key.into(),
            value,
            timestamp,
            headers: Headers::new(),
            origin: Origin::NONE,
            forwarded: None,
            was_present: false,
            dirty: false,
            unforwarded: false,
            sequence: 0,
            used_in: self.interval,
            value_bytes,
        };
        self.bytes += cost(&added);
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = Slot(u32::try_from(self.entries.len()).expect("bounded by memory"));
                self.entries.push(None);
                slot
            }
        };
        self.entries[slot.0 as usize] = Some(added);
        let (hash, hasher, entries) = (self.hasher.hash_one(key), &self.hasher, &self.entries);
        self.table.insert_unique(hash, slot, |s| hasher.hash_one(&*entry(entries, *s).key));
        slot
    }

    pub(super) fn entry(&self, slot: Slot) -> &Entry<V> {
        entry(&self.entries, slot)
    }

    pub(super) fn entry_mut(&mut self, slot: Slot) -> &mut Entry<V> {
        self.entries[slot.0 as usize].as_mut().expect("a slot is valid until the next eviction")
    }

    /// Notes that the entry was written just now. The first write of an interval makes it dirty.
    pub(super) fn mark_dirty(&mut self, slot: Slot) {
        self.writes += 1;
        let writes = self.writes;
        let written = self.entry_mut(slot);
        written.sequence = writes;
        if !written.dirty {
            written.dirty = true;
            let cost = cost(written);
            let key = self.sorted.is_some().then(|| self.entry(slot).key.clone());
            self.dirty.push(slot);
            self.dirty_bytes += cost;
            if let (Some(sorted), Some(key)) = (&mut self.sorted, key) {
                sorted.insert(key, slot);
            }
        }
    }

    /// Returns the dirty slots in the order of their last write.
    pub(super) fn dirty_in_order(&mut self) -> Vec<Slot> {
        let entries = &self.entries;
        self.dirty.sort_unstable_by_key(|slot| entry(entries, *slot).sequence);
        self.dirty.clone()
    }

    /// Returns the dirty slots of a range, in the order of their keys.
    pub(super) fn dirty_in(&mut self, range: KeyRange<'_>) -> Vec<Slot> {
        if is_empty_range(range) {
            return Vec::new();
        }
        let Self { sorted, dirty, entries, .. } = self;
        let sort = || dirty.iter().map(|slot| (entry(entries, *slot).key.clone(), *slot)).collect();
        let sorted = sorted.get_or_insert_with(sort);
        sorted.range::<[u8], _>(range).map(|(_, slot)| *slot).collect()
    }

    /// Notes the serialised length of a value, for the bounds.
    pub(super) fn note_value_bytes(&mut self, slot: Slot, value_bytes: usize) {
        let entry = self.entry_mut(slot);
        let before = std::mem::replace(&mut entry.value_bytes, value_bytes);
        self.bytes = self.bytes + value_bytes - before.min(self.bytes + value_bytes);
    }

    /// Makes every dirty entry clean: its bytes were logged and staged.
    pub(super) fn mark_flushed(&mut self) {
        for slot in std::mem::take(&mut self.dirty) {
            let entry = self.entry_mut(slot);
            assert!(!entry.unforwarded, "a store was flushed before its updates were forwarded");
            entry.dirty = false;
            entry.headers = Headers::new();
        }
        self.dirty_bytes = 0;
        if let Some(sorted) = &mut self.sorted {
            sorted.clear();
        }
    }

    /// Makes dirty entries clean that came back to what is committed.
    pub(super) fn forget_writes(&mut self, slots: &[Slot]) {
        for slot in slots {
            let entry = self.entry_mut(*slot);
            entry.dirty = false;
            entry.headers = Headers::new();
            let cost = cost(entry);
            self.dirty_bytes = self.dirty_bytes.saturating_sub(cost);
        }
        self.sorted = None;
        let entries = &self.entries;
        self.dirty.retain(|slot| entry(entries, *slot).dirty);
    }

    /// Starts the next commit interval and, above `bytes_max`, evicts clean entries: first those
    /// that the last interval did not use, then any, down to half the bound.
    pub(super) fn end_interval(&mut self, bytes_max: usize) {
        let last = self.interval;
        self.interval += 1;
        if self.bytes <= bytes_max {
            return;
        }
        self.evict(bytes_max / 2, |entry| entry.used_in < last);
        if self.bytes > bytes_max {
            self.evict(bytes_max / 2, |_| true);
        }
        assert!(
            self.bytes <= bytes_max || self.table.len() == self.dirty.len(),
            "INV-11: the overlay holds {} bytes above its bound of {bytes_max}",
            self.bytes,
        );
        let kept = |slot: &Slot| self.entries[slot.0 as usize].is_some();
        assert!(self.dirty.iter().all(kept), "INV-12: a write that is not committed was evicted");
    }

    /// Forgets clean entries, whatever the bound.
    pub(super) fn forget(&mut self, gone: impl Fn(&[u8]) -> bool) {
        self.evict(0, |entry| gone(&entry.key));
    }

    fn evict(&mut self, bytes_goal: usize, evictable: impl Fn(&Entry<V>) -> bool) {
        let Self { table, hasher, entries, free, bytes, .. } = self;
        // in the order of the slots, not of the hashes, which differs from process to process: what
        // is read from the storage again must be the same in each run of a simulation
        for (slot, place) in (0..).map(Slot).zip(entries.iter_mut()) {
            if *bytes <= bytes_goal {
                return;
            }
            let Some(found) = place.take_if(|found| !found.dirty && evictable(found)) else {
                continue;
            };
            *bytes = bytes.saturating_sub(cost(&found));
            if let Ok(known) = table.find_entry(hasher.hash_one(&*found.key), |s| s.0 == slot.0) {
                known.remove();
            }
            free.push(slot);
        }
    }

    /// Bytes held, estimated.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes held by dirty entries, estimated: what can't be evicted before a commit.
    pub(super) fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
    }
}

fn entry<V>(entries: &[Option<Entry<V>>], slot: Slot) -> &Entry<V> {
    entries[slot.0 as usize].as_ref().expect("a slot is valid until the next eviction")
}

fn cost<V>(entry: &Entry<V>) -> usize {
    size_of::<Entry<V>>() + size_of::<Slot>() + 1 + entry.key.len() + entry.value_bytes
}
