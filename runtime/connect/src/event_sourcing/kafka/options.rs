//! How an operator of event sourcing keeps its streams.

use std::collections::BTreeMap;

use crate::event_sourcing::Upcasters;

/// Commands of each stream that are remembered, unless told otherwise.
const REMEMBERED: u32 = 100;

/// How an operator of event sourcing keeps its streams: the name of its store, how many commands it
/// remembers, how old events are read.
#[derive(Debug, Clone)]
pub struct EventSourced {
    pub(super) store: String,
    pub(super) remembered: u32,
    pub(super) upcasters: Upcasters,
    pub(super) changelog_config: BTreeMap<String, String>,
}

impl EventSourced {
    /// Keeps the streams in a store of this name, and the answers beside it in `<name>-answers`.
    pub fn as_(store: impl Into<String>) -> Self {
        Self {
            store: store.into(),
            remembered: REMEMBERED,
            upcasters: Upcasters::new(),
            changelog_config: BTreeMap::new(),
        }
    }

    /// Remembers the answers to the last so many commands of each stream; default 100. A command
    /// that comes again later than that is carried out again. With 0 each is.
    ///
    /// Bounded by number, not by time: a stream that is asked little remembers long.
    #[must_use]
    pub fn remember_commands(mut self, last: u32) -> Self {
        self.remembered = last;
        self
    }

    /// Reads old events with these.
    #[must_use]
    pub fn with_upcasters(mut self, upcasters: Upcasters) -> Self {
        self.upcasters = upcasters;
        self
    }

    /// Adds settings of the stores' changelog topics.
    #[must_use]
    pub fn with_changelog_config(mut self, config: BTreeMap<String, String>) -> Self {
        self.changelog_config = config;
        self
    }

    pub(super) fn answers(&self) -> String {
        format!("{}-answers", self.store)
    }
}
