//! Coordinators that have moved away: what a client sees of it on a cluster with one node.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;

use super::Millis;

/// Keys (groups or transactional ids) whose coordinator has moved.
///
/// The old coordinator refuses a client until it looks for the new one; that one loads until a
/// given time.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    moved: BTreeMap<String, Moved>,
}

#[derive(Debug)]
struct Moved {
    until: Millis,
    /// Whether a client has asked where the coordinator is now.
    found: bool,
}

impl Moves {
    /// The coordinator of `key` moves now; the new one has loaded at `until`.
    pub(crate) fn start(&mut self, key: &str, until: Millis) {
        self.moved.insert(key.to_owned(), Moved { until, found: false });
    }

    /// A client was told where the coordinator of `key` is.
    pub(crate) fn found(&mut self, key: &str) {
        if let Some(moved) = self.moved.get_mut(key) {
            moved.found = true;
        }
    }

    /// Refuses what a moving coordinator can't answer.
    pub(crate) fn check(&self, key: &str, now: Millis) -> Result<(), ResponseError> {
        match self.moved.get(key) {
            Some(moved) if now < moved.until && moved.found => {
                Err(ResponseError::CoordinatorLoadInProgress)
            }
            Some(moved) if now < moved.until => Err(ResponseError::NotCoordinator),
            _ => Ok(()),
        }
    }

    /// Whether the coordinator of `key` does nothing by itself at `now`.
    pub(crate) fn is_away(&self, key: &str, now: Millis) -> bool {
        self.until(key).is_some_and(|until| now < until)
    }

    /// When the coordinator of `key` has loaded.
    pub(crate) fn until(&self, key: &str) -> Option<Millis> {
        self.moved.get(key).map(|moved| moved.until)
    }

    /// Takes the keys whose coordinators have loaded by `now`.
    pub(crate) fn arrived(&mut self, now: Millis) -> Vec<String> {
        let arrived = self.moved.extract_if(.., |_, moved| moved.until <= now);
        arrived.map(|(key, _)| key).collect()
    }

    /// When the next coordinator has loaded.
    pub(crate) fn next(&self) -> Option<Millis> {
        self.moved.values().map(|moved| moved.until).min()
    }
}
