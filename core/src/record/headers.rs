//! Record headers: an ordered list of named byte strings; names may repeat.

/// One header. A null value is `None`, kept apart from an empty one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The header's name.
    pub key: String,
    /// The header's bytes.
    pub value: Option<Vec<u8>>,
}

/// The headers of a record, in the order in which they were added.
///
/// No headers costs no allocation, which is the common case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    #[expect(clippy::box_collection, reason = "one word when empty: records move by value")]
    entries: Option<Box<Vec<Header>>>,
}

impl Headers {
    /// Makes an empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: None }
    }

    /// Returns true if there is no header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many headers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.as_ref().map_or(0, |entries| entries.len())
    }

    /// Adds a header at the end; earlier headers of the same name stay.
    pub fn add(&mut self, key: impl Into<String>, value: Option<Vec<u8>>) {
        self.entries.get_or_insert_default().push(Header { key: key.into(), value });
    }

    /// Removes every header of that name.
    pub fn remove(&mut self, key: &str) {
        if let Some(entries) = &mut self.entries {
            entries.retain(|header| header.key != key);
        }
    }

    /// Returns the last header of that name.
    #[must_use]
    pub fn last(&self, key: &str) -> Option<&Header> {
        self.iter().rev().find(|header| header.key == key)
    }

    /// Iterates in the order of addition.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Header> {
        self.entries.iter().flat_map(|entries| entries.iter())
    }
}

impl FromIterator<Header> for Headers {
    fn from_iter<I: IntoIterator<Item = Header>>(iter: I) -> Self {
        let entries: Vec<Header> = iter.into_iter().collect();
        Self { entries: (!entries.is_empty()).then(|| Box::new(entries)) }
    }
}
