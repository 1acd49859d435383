//! Finds what Kafka's transactions must never show. Pure: a history in, anomalies out.
//!
//! The anomalies are those of Jepsen's Kafka workload, and five more that its model leaves out: a
//! transaction that is torn, a commit of a client whose transactional id was taken over, a record
//! nobody wrote, and, since the positions of the group are committed with transactions, a record
//! that the group consumed twice or never. Writes of transactions may interleave: no anomaly.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::history::{History, Key, Mode, Offset, Outcome, Read, Txn, Value};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// G1a: a value of a transaction that failed was read.
    AbortedRead,
    /// A transaction read what it had sent itself.
    PrecommittedRead,
    /// A committed value is not there, and later ones of its partition are.
    LostWrite,
    /// A committed value can't be read, not even when everything is over.
    Unseen,
    /// One value at two places.
    Duplicate,
    /// Two values at one place.
    InconsistentOffsets,
    /// Inside a transaction a reader went on behind a record that it did not get.
    IntPollSkip,
    /// Inside a transaction a reader went back.
    IntNonmonotonicPoll,
    /// Inside a transaction sends to one partition landed in another order.
    IntNonmonotonicSend,
    /// As `IntPollSkip`, from one transaction of an assigned reader to its next.
    PollSkip,
    /// As `IntNonmonotonicPoll`, from one transaction of an assigned reader to its next.
    NonmonotonicPoll,
    /// G1c with reads alone: each transaction of a circle read what another one of it wrote.
    CircularFlow,
    /// Some sends of a transaction are there and others are not.
    TornTransaction,
    /// Begun after another client had taken the id over, and committed.
    ZombieCommit,
    /// Two committed transactions of the group read the same record.
    ConsumedTwice,
    /// The group is past a record that no transaction of it read.
    ConsumedNever,
    /// A value was read that nobody sent.
    Phantom,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Anomaly {
    pub(crate) kind: Kind,
    pub(crate) what: String,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.what)
    }
}

/// Returns every anomaly of a run.
pub(crate) fn check(history: &History) -> Vec<Anomaly> {
    let mut checker = Checker::new(history);
    checker.places();
    checker.last_reads();
    for (index, txn) in history.txns.iter().enumerate() {
        checker.reads(index, txn);
        checker.sends(txn);
        checker.outcome(txn);
    }
    checker.across_transactions();
    checker.circles();
    checker.group();
    checker.found
}

/// The sender of a value: index of its transaction, partition, and the offset it was told.
#[derive(Debug, Clone, Copy)]
struct Sender {
    txn: usize,
    key: Key,
    offset: Option<Offset>,
}

struct Checker<'a> {
    history: &'a History,
    senders: BTreeMap<Value, Sender>,
    /// What is in the log as far as any reader saw it: the order of a partition's versions.
    visible: BTreeMap<Key, BTreeMap<Offset, Value>>,
    /// Where readers saw each value.
    seen: BTreeMap<Value, Read>,
    found: Vec<Anomaly>,
}

impl<'a> Checker<'a> {
    fn new(history: &'a History) -> Self {
        let mut senders = BTreeMap::new();
        for (txn, sent) in history.txns.iter().enumerate() {
            for (key, value, offset) in sent.sends() {
                senders.insert(value, Sender { txn, key, offset });
            }
        }
        let mut checker = Self {
            history,
            senders,
            visible: BTreeMap::new(),
            seen: BTreeMap::new(),
            found: Vec::new(),
        };
        for read in checker.all_reads() {
            checker.visible.entry(read.key).or_default().insert(read.offset, read.value);
            checker.seen.insert(read.value, read);
        }
        checker
    }

    fn all_reads(&self) -> Vec<Read> {
        let by_clients = self.history.txns.iter().flat_map(Txn::reads);
        by_clients.chain(self.history.last.iter().copied()).collect()
    }

    fn add(&mut self, kind: Kind, what: impl Into<String>) {
        self.found.push(Anomaly { kind, what: what.into() });
    }

    fn mode(&self, txn: &Txn) -> Mode {
        self.history.clients[&txn.client].mode
    }

    /// Every value has one place and every place one value, by what readers saw and senders were
    /// told.
    fn places(&mut self) {
        let told = self
            .senders
            .iter()
            .filter_map(|(value, sender)| sender.offset.map(|offset| (sender.key, offset, *value)));
        let read = self.all_reads().into_iter().map(|read| (read.key, read.offset, read.value));
        let all: BTreeSet<(Key, Offset, Value)> = told.chain(read).collect();
        let mut of_place: BTreeMap<(Key, Offset), Vec<Value>> = BTreeMap::new();
        let mut of_value: BTreeMap<Value, Vec<(Key, Offset)>> = BTreeMap::new();
        for (key, offset, value) in all {
            of_place.entry((key, offset)).or_default().push(value);
            of_value.entry(value).or_default().push((key, offset));
        }
        for ((key, offset), values) in of_place.iter().filter(|(_, values)| values.len() > 1) {
            let what = format!("partition {key} offset {offset} has the values {values:?}");
            self.add(Kind::InconsistentOffsets, what);
        }
        for (value, places) in of_value.iter().filter(|(_, places)| places.len() > 1) {
            self.add(Kind::Duplicate, format!("value {value} is at {places:?}"));
        }
    }

    fn last_reads(&mut self) {
        for read in &self.history.last {
            self.read(None, *read);
        }
    }

    /// What is wrong with a read by itself.
    fn read(&mut self, reader: Option<usize>, read: Read) {
        let Some(sender) = self.senders.get(&read.value).copied() else {
            self.add(Kind::Phantom, format!("{read:?} was sent by nobody"));
            return;
        };
        if reader == Some(sender.txn) {
            let what = format!("transaction {} read its own {read:?}", sender.txn);
            self.add(Kind::PrecommittedRead, what);
        } else if self.history.txns[sender.txn].outcome == Outcome::Failed {
            let what = format!("transaction {} failed and {read:?} was read", sender.txn);
            self.add(Kind::AbortedRead, what);
        }
    }

    fn reads(&mut self, index: usize, txn: &Txn) {
        let mut positions = BTreeMap::new();
        for read in txn.reads() {
            self.read(Some(index), read);
            let before = positions.insert(read.key, read.offset);
            let kinds = (Kind::IntNonmonotonicPoll, Kind::IntPollSkip);
            self.step(txn, before, read, kinds);
        }
    }

    /// A reader went from one record of a partition to the next one it got.
    fn step(&mut self, txn: &Txn, before: Option<Offset>, read: Read, kinds: (Kind, Kind)) {
        let Some(before) = before else { return };
        let (client, key, offset) = (txn.client, read.key, read.offset);
        if offset <= before {
            let what = format!("client {client}, partition {key}: from {before} to {offset}");
            self.add(kinds.0, what);
            return;
        }
        let skipped: Vec<Offset> =
            self.visible[&key].range(before + 1..offset).map(|(skipped, _)| *skipped).collect();
        if !skipped.is_empty() {
            let what = format!("client {client}, partition {key}: {skipped:?} before {offset}");
            self.add(kinds.1, what);
        }
    }

    fn sends(&mut self, txn: &Txn) {
        let mut positions: BTreeMap<Key, Offset> = BTreeMap::new();
        for (key, value, told) in txn.sends() {
            let offset = self.seen.get(&value).map(|read| read.offset).or(told);
            let Some(offset) = offset else { continue };
            if let Some(before) = positions.insert(key, offset)
                && before >= offset
            {
                let what = format!("value {value} of partition {key}: {offset} after {before}");
                self.add(Kind::IntNonmonotonicSend, what);
            }
        }
    }

    fn outcome(&mut self, txn: &Txn) {
        let (there, missing): (Vec<_>, Vec<_>) =
            txn.sends().partition(|(_, value, _)| self.seen.contains_key(value));
        match txn.outcome {
            Outcome::Failed => {}
            Outcome::Unknown => {
                if !there.is_empty() && !missing.is_empty() {
                    let what = format!("read: {there:?}, never read: {missing:?}");
                    self.add(Kind::TornTransaction, what);
                }
            }
            Outcome::Committed => {
                for (key, value, offset) in missing {
                    let end = self.visible.get(&key).and_then(|log| log.keys().next_back());
                    let lost = offset.zip(end).is_some_and(|(offset, end)| offset < *end);
                    let kind = if lost { Kind::LostWrite } else { Kind::Unseen };
                    self.add(kind, format!("value {value} of partition {key} at {offset:?}"));
                }
                let superseded = self.history.clients[&txn.client].superseded;
                let commits_reads = self.mode(txn) == Mode::Subscribe && txn.reads().count() > 0;
                // of a transaction without effect the client library tells nobody
                let asked_broker = commits_reads || txn.sends().count() > 0;
                if asked_broker && superseded.is_some_and(|at| at < txn.begun) {
                    let what = format!("client {} had lost its transactional id", txn.client);
                    self.add(Kind::ZombieCommit, what);
                }
            }
        }
    }

    /// An assigned reader goes back to where it was when a transaction fails, so the records of
    /// its other transactions follow each other.
    fn across_transactions(&mut self) {
        let mut last: BTreeMap<(u64, Key), Offset> = BTreeMap::new();
        for txn in &self.history.txns {
            if self.mode(txn) == Mode::Subscribe || txn.outcome == Outcome::Failed {
                continue;
            }
            let mut first_of_key = BTreeSet::new();
            for read in txn.reads() {
                let before = last.insert((txn.client, read.key), read.offset);
                if first_of_key.insert(read.key) {
                    self.step(txn, before, read, (Kind::NonmonotonicPoll, Kind::PollSkip));
                }
            }
        }
    }

    /// Takes away transactions of which nothing was read, again and again; only circles stay.
    fn circles(&mut self) {
        let mut wrote_for: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        let mut readers_left: BTreeMap<usize, usize> = BTreeMap::new();
        for (reader, txn) in self.history.txns.iter().enumerate() {
            if txn.outcome == Outcome::Failed {
                continue;
            }
            for read in txn.reads() {
                let Some(sender) = self.senders.get(&read.value) else { continue };
                let new =
                    sender.txn != reader && wrote_for.entry(reader).or_default().insert(sender.txn);
                if new {
                    *readers_left.entry(sender.txn).or_default() += 1;
                }
            }
        }
        let mut unread: Vec<usize> =
            wrote_for.keys().filter(|txn| !readers_left.contains_key(txn)).copied().collect();
        while let Some(txn) = unread.pop() {
            for sender in wrote_for.remove(&txn).unwrap_or_default() {
                let left = readers_left.get_mut(&sender).expect("it was counted");
                *left -= 1;
                if *left == 0 {
                    readers_left.remove(&sender);
                    unread.push(sender);
                }
            }
        }
        let circle: Vec<&usize> =
            readers_left.keys().filter(|txn| wrote_for.contains_key(txn)).collect();
        if !circle.is_empty() {
            let what = format!("transactions {circle:?} read from each other");
            self.add(Kind::CircularFlow, what);
        }
    }

    /// Positions are committed with transactions: each record of the group is in just one.
    fn group(&mut self) {
        let mut consumed: BTreeMap<(Key, Offset), u32> = BTreeMap::new();
        let mut maybe: BTreeSet<(Key, Offset)> = BTreeSet::new();
        for txn in &self.history.txns {
            if self.mode(txn) == Mode::Assign {
                continue;
            }
            let places: BTreeSet<_> = txn.reads().map(|read| (read.key, read.offset)).collect();
            match txn.outcome {
                Outcome::Committed => {
                    for place in places {
                        *consumed.entry(place).or_default() += 1;
                    }
                }
                Outcome::Unknown => maybe.extend(places),
                Outcome::Failed => {}
            }
        }
        for ((key, offset), times) in consumed.iter().filter(|(_, times)| **times > 1) {
            let what = format!("partition {key} offset {offset}, {times} times");
            self.add(Kind::ConsumedTwice, what);
        }
        let mut never = Vec::new();
        for (key, end) in &self.history.group {
            let Some(log) = self.visible.get(key) else { continue };
            let passed = log.range(..end).map(|(offset, _)| (*key, *offset));
            let missed = |place: &_| !consumed.contains_key(place) && !maybe.contains(place);
            never.extend(passed.filter(missed));
        }
        for (key, offset) in never {
            let end = self.history.group[&key];
            let what = format!("partition {key} offset {offset}, the group is at {end}");
            self.add(Kind::ConsumedNever, what);
        }
    }
}
