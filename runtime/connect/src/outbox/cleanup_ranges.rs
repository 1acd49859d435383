//! Where rows lie that a relay has published: ranges of ids, so that they are found again without
//! a walk past everything that was ever there.
//!
//! What may be deleted is decided by the committed position alone, in the statement. The ranges
//! only say where to look.

use std::collections::VecDeque;

use super::position::OutboxPosition;

/// The ids of one difference, as far as it was read.
#[derive(Debug, PartialEq, Eq)]
struct Sent {
    /// The later of its two snapshots.
    target: String,
    first: i64,
    last: i64,
}

/// Ids that were sent, and those of them that may be gone.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    sent: VecDeque<Sent>,
    /// From and to, both included.
    due: Option<(i64, i64)>,
}

impl Ranges {
    /// Takes note of rows on their way: `position` is the one behind them.
    pub(super) fn sent(&mut self, position: &OutboxPosition, first: i64, last: i64) {
        let target = position.target.as_ref().unwrap_or(&position.base);
        match self.sent.back_mut() {
            Some(sent) if sent.target == *target => {
                (sent.first, sent.last) = (sent.first.min(first), sent.last.max(last));
            }
            _ => self.sent.push_back(Sent { target: target.clone(), first, last }),
        }
    }

    /// Takes note of a committed position: what was sent up to it is due.
    pub(super) fn committed(&mut self, position: &OutboxPosition) {
        let target = position.target.as_ref().unwrap_or(&position.base);
        // a position may be behind a difference that had no rows: a later one settles it
        let Some(at) = self.sent.iter().position(|sent| sent.target == *target) else { return };
        for sent in self.sent.drain(..at) {
            extend(&mut self.due, sent.first, sent.last);
        }
        let Some(sent) = self.sent.front_mut() else { return };
        if position.target.is_none() {
            extend(&mut self.due, sent.first, sent.last);
            self.sent.pop_front();
        } else if sent.first <= position.last_id {
            extend(&mut self.due, sent.first, position.last_id);
            sent.first = position.last_id + 1;
        }
    }

    /// Has everything up to an id looked at, for what an earlier session left.
    pub(super) fn look_up_to(&mut self, last: i64) {
        extend(&mut self.due, 0, last);
    }

    pub(super) fn due(&self) -> Option<(i64, i64)> {
        self.due
    }

    /// Nothing is left before this id; `None`: nothing at all.
    pub(super) fn done(&mut self, before: Option<i64>) {
        self.due = self.due.zip(before).map(|((_, last), before)| (before, last));
    }
}

fn extend(due: &mut Option<(i64, i64)>, first: i64, last: i64) {
    *due = Some(due.map_or((first, last), |(from, to)| (from.min(first), to.max(last))));
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{OutboxPosition, Ranges};
    use crate::postgres::DatabaseIdentity;

    fn position(base: &str, target: Option<&str>, last_id: i64) -> OutboxPosition {
        OutboxPosition {
            database: DatabaseIdentity {
                system_identifier: "1".to_owned(),
                timeline: 1,
                database: "shop".to_owned(),
            },
            outbox: Uuid::nil(),
            shard: (0, 1),
            token: None,
            lsn: 0,
            base: base.to_owned(),
            target: target.map(str::to_owned),
            last_id,
            ticket: 0,
        }
    }

    #[test]
    fn pages_are_due_as_far_as_they_are_committed() {
        let mut ranges = Ranges::default();
        let (page1, page2) = (position("a", Some("b"), 10), position("a", Some("b"), 20));
        let whole = position("b", None, 0);
        ranges.sent(&page1, 1, 10);
        ranges.sent(&page2, 11, 20);
        ranges.committed(&page1);
        assert_eq!(ranges.due(), Some((1, 10)));
        ranges.done(None);
        ranges.committed(&page1);
        assert_eq!(ranges.due(), None);
        ranges.sent(&whole, 21, 25);
        ranges.committed(&page2);
        assert_eq!(ranges.due(), Some((11, 20)));
        ranges.done(Some(15));
        ranges.committed(&whole);
        assert_eq!(ranges.due(), Some((15, 25)));
    }

    #[test]
    fn differences_that_are_committed_together_are_due_together() {
        let mut ranges = Ranges::default();
        let (b, c, d) = (position("b", None, 0), position("c", None, 0), position("d", None, 0));
        ranges.sent(&b, 5, 9);
        ranges.sent(&c, 2, 12);
        ranges.sent(&d, 13, 14);
        // of a difference that had no rows
        ranges.committed(&position("e", None, 0));
        assert_eq!(ranges.due(), None);
        ranges.committed(&c);
        assert_eq!(ranges.due(), Some((2, 12)));
        ranges.committed(&d);
        assert_eq!(ranges.due(), Some((2, 14)));
    }
}
