//! The iteration orders of Java's collections, which are visible in the text of a topology.

use std::cmp::Ordering;

/// Returns the items in the order of a `HashSet` or `HashMap` to which they were added one by one.
pub(super) fn hash_set<'a, T>(
    items: impl Iterator<Item = T>,
    key: impl Fn(&T) -> &'a str,
) -> Vec<T> {
    let items: Vec<T> = items.collect();
    let mut capacity = 16;
    while items.len() > capacity / 4 * 3 {
        capacity *= 2;
    }
    by_bucket(items, capacity, key)
}

/// Returns the items in the order of a `HashSet` that was made as a copy of a collection of them.
pub(super) fn hash_set_copy<'a, T>(
    items: impl Iterator<Item = T>,
    key: impl Fn(&T) -> &'a str,
) -> Vec<T> {
    let items: Vec<T> = items.collect();
    let capacity = (items.len() * 4 / 3 + 1).next_power_of_two().max(16);
    by_bucket(items, capacity, key)
}

/// Within a bucket the order of addition is kept. (A bucket of more than eight entries becomes a
/// tree in Java; its order is then another one, which is not imitated.)
fn by_bucket<'a, T>(mut items: Vec<T>, capacity: usize, key: impl Fn(&T) -> &'a str) -> Vec<T> {
    items.sort_by_key(|item| {
        let hash = hash_code(key(item));
        (hash ^ (hash >> 16)) as usize & (capacity - 1)
    });
    items
}

/// `String.hashCode()`.
fn hash_code(text: &str) -> u32 {
    text.encode_utf16().fold(0, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)))
}

/// A `TreeSet` of node numbers whose order changes while it is filled: where an item ends up
/// depends on the shape of the red-black tree at that time, so the tree is built as Java builds it.
#[derive(Debug, Clone, Default)]
pub(super) struct TreeSet {
    entries: Vec<Entry>,
    root: Option<usize>,
}

#[derive(Debug, Clone)]
struct Entry {
    item: usize,
    parent: Option<usize>,
    /// Left and right.
    children: [Option<usize>; 2],
    red: bool,
}

const LEFT: usize = 0;
const RIGHT: usize = 1;

impl TreeSet {
    /// Adds an item that is not in the set.
    pub(super) fn insert(&mut self, item: usize, order: impl Fn(usize, usize) -> Ordering) {
        let mut place = None;
        let mut next = self.root;
        while let Some(at) = next {
            let side = if order(item, self.entries[at].item).is_lt() { LEFT } else { RIGHT };
            place = Some((at, side));
            next = self.entries[at].children[side];
        }
        let added = self.entries.len();
        let parent = place.map(|(at, _)| at);
        self.entries.push(Entry { item, parent, children: [None, None], red: true });
        match place {
            Some((at, side)) => self.entries[at].children[side] = Some(added),
            None => self.root = Some(added),
        }
        self.rebalance(added);
    }

    /// Iterates in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        let mut path = Vec::new();
        let mut next = self.root;
        std::iter::from_fn(move || {
            while let Some(at) = next {
                path.push(at);
                next = self.entries[at].children[LEFT];
            }
            let at: usize = path.pop()?;
            next = self.entries[at].children[RIGHT];
            Some(self.entries[at].item)
        })
    }

    /// Restores the colours after an insertion: no red entry below a red one.
    fn rebalance(&mut self, added: usize) {
        let mut at = added;
        while let Some((parent, grandparent)) = self.red_parent(at) {
            let side = self.side(parent);
            let uncle = self.entries[grandparent].children[1 - side];
            self.entries[grandparent].red = true;
            if let Some(uncle) = uncle.filter(|uncle| self.entries[*uncle].red) {
                self.entries[parent].red = false;
                self.entries[uncle].red = false;
                at = grandparent;
                continue;
            }
            let mut top = parent;
            if self.side(at) != side {
                self.rotate(parent, side);
                (top, at) = (at, parent);
            }
            self.entries[top].red = false;
            self.rotate(grandparent, 1 - side);
        }
        if let Some(root) = self.root {
            self.entries[root].red = false;
        }
    }

    /// Returns parent and grandparent if the parent is red.
    fn red_parent(&self, at: usize) -> Option<(usize, usize)> {
        let parent = self.entries[at].parent.filter(|parent| self.entries[*parent].red)?;
        Some((parent, self.entries[parent].parent?))
    }

    fn side(&self, at: usize) -> usize {
        match self.entries[at].parent {
            Some(parent) if self.entries[parent].children[RIGHT] == Some(at) => RIGHT,
            _ => LEFT,
        }
    }

    /// Moves an entry down to `side`; its child on the other side takes its place.
    fn rotate(&mut self, at: usize, side: usize) {
        let Some(child) = self.entries[at].children[1 - side] else { return };
        let (parent, at_side) = (self.entries[at].parent, self.side(at));
        let inner = self.entries[child].children[side];
        self.entries[at].children[1 - side] = inner;
        if let Some(inner) = inner {
            self.entries[inner].parent = Some(at);
        }
        self.entries[child].parent = parent;
        match parent {
            Some(parent) => self.entries[parent].children[at_side] = Some(child),
            None => self.root = Some(child),
        }
        self.entries[child].children[side] = Some(at);
        self.entries[at].parent = Some(child);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_codes_are_those_of_java() {
        assert_eq!(hash_code(""), 0);
        assert_eq!(hash_code("hello"), 99_162_322);
    }
}
