//! A log without batches, segments or indexes: what consumers must see.

use std::collections::BTreeMap;

/// What became of a record's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Open(i64),
    Committed,
    Aborted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) key: String,
    pub(super) value: Option<String>,
    pub(super) fate: Fate,
}

/// Records by offset; markers are offsets without one.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) slots: BTreeMap<i64, Slot>,
    pub(super) start: i64,
    pub(super) end: i64,
}

impl Model {
    pub(super) fn write(&mut self, fate: Fate, pairs: &[(String, Option<String>)]) {
        for (key, value) in pairs {
            let slot = Slot { key: key.clone(), value: value.clone(), fate };
            self.slots.insert(self.end, slot);
            self.end += 1;
        }
    }

    pub(super) fn finish(&mut self, producer: i64, fate: Fate) {
        for slot in self.slots.values_mut().filter(|slot| slot.fate == Fate::Open(producer)) {
            slot.fate = fate;
        }
        self.end += 1;
    }

    pub(super) fn stable(&self) -> i64 {
        let open = self.slots.iter().find(|(_, slot)| matches!(slot.fate, Fate::Open(_)));
        open.map_or(self.end, |(offset, _)| *offset).max(self.start)
    }

    /// Whether a record has to be there, may be there, or must not: `Some(true)`, `None`,
    /// `Some(false)`.
    pub(super) fn visible(&self, offset: i64, cleaned_to: i64, committed: bool) -> Option<bool> {
        let slot = &self.slots[&offset];
        if offset < self.start || (committed && offset >= self.stable()) {
            return Some(false);
        }
        if slot.fate == Fate::Aborted && (committed || offset < cleaned_to) {
            return Some(false);
        }
        if offset >= cleaned_to {
            return Some(true);
        }
        let later = self.slots.range(offset + 1..cleaned_to);
        let mut later = later.filter(|(_, other)| other.fate == Fate::Committed);
        if later.any(|(_, other)| other.key == slot.key) {
            return Some(false);
        }
        if slot.value.is_none() { None } else { Some(true) }
    }
}
