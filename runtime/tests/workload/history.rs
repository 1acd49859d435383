//! What clients did and saw: written by each client as it goes, put together when all have ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// A partition of the one topic.
pub(crate) type Key = i32;
/// What a record says; no other record says the same.
pub(crate) type Value = u64;
pub(crate) type Offset = i64;
/// One process, numbered in the order in which they were started.
pub(crate) type ClientNumber = u64;

/// How a client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mode {
    /// Every partition, at positions of its own.
    Assign,
    /// What the group gives it; its positions are committed with its transactions.
    Subscribe,
}

/// One step of a client. What changes the world is written before it is done, so that the history
/// of a client that is killed claims too much rather than too little.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Event {
    Start {
        client: ClientNumber,
        transactional_id: String,
        mode: Mode,
    },
    /// The client asks for the transactional id.
    Claim,
    /// The transactional id is this client's, until somebody else claims it.
    Ready,
    Begin,
    Send {
        key: Key,
        value: Value,
    },
    /// The broker has the record, and said where.
    Sent {
        value: Value,
        offset: Offset,
    },
    Read(Read),
    /// From here on the outcome is the broker's.
    Committing,
    Committed,
    Aborted {
        why: String,
    },
    /// The outcome can't be known: the call failed in a way that leaves it open.
    Unknown,
    End {
        why: String,
    },
}

/// A record as a reader of committed records saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Read {
    pub(crate) key: Key,
    pub(crate) offset: Offset,
    pub(crate) value: Value,
}

/// An event and when it was, in microseconds since 1970.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) at: u64,
    pub(crate) event: Event,
}

/// The file of one client. What is written stays when the process is killed.
#[derive(Debug)]
pub(crate) struct Log(File);

impl Log {
    pub(crate) fn create(path: &Path) -> Self {
        Self(File::create(path).unwrap())
    }

    pub(crate) fn write(&mut self, event: Event) {
        let at = u64::try_from(UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap();
        let mut line = serde_json::to_vec(&Entry { at, event }).unwrap();
        line.push(b'\n');
        // one write: a line is there in full or, by the kill in its midst, not at all or torn
        self.0.write_all(&line).unwrap();
    }
}

/// Reads the file of a client; a torn last line counts as not written.
pub(crate) fn entries(path: &Path) -> Vec<Entry> {
    let text = std::fs::read_to_string(path).unwrap();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Committed,
    /// It was aborted, or its client died before it asked for the commit.
    Failed,
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MicroOp {
    Send { key: Key, value: Value, offset: Option<Offset> },
    Read(Read),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Txn {
    pub(crate) client: ClientNumber,
    pub(crate) begun: u64,
    pub(crate) outcome: Outcome,
    pub(crate) ops: Vec<MicroOp>,
}

impl Txn {
    pub(crate) fn reads(&self) -> impl Iterator<Item = Read> {
        self.ops.iter().filter_map(|op| match op {
            MicroOp::Read(read) => Some(*read),
            MicroOp::Send { .. } => None,
        })
    }

    pub(crate) fn sends(&self) -> impl Iterator<Item = (Key, Value, Option<Offset>)> {
        self.ops.iter().filter_map(|op| match op {
            MicroOp::Send { key, value, offset } => Some((*key, *value, *offset)),
            MicroOp::Read(_) => None,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) mode: Mode,
    /// When another client had taken its transactional id over.
    pub(crate) superseded: Option<u64>,
}

/// Everything that is known about a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub(crate) clients: BTreeMap<ClientNumber, Client>,
    /// Those of one client in their order.
    pub(crate) txns: Vec<Txn>,
    /// All of the topic, read when everything was over.
    pub(crate) last: Vec<Read>,
    /// Where the group is in the end.
    pub(crate) group: BTreeMap<Key, Offset>,
}

impl History {
    /// Adds what one client wrote.
    pub(crate) fn add_client(&mut self, entries: &[Entry], claims: &mut Claims) {
        let Some(Event::Start { client, transactional_id, mode }) =
            entries.first().map(|entry| entry.event.clone())
        else {
            return;
        };
        self.clients.insert(client, Client { mode, superseded: None });
        let (mut open, mut claimed): (Option<Txn>, u64) = (None, 0);
        for Entry { at, event } in entries {
            match event {
                Event::Start { .. } | Event::End { .. } => {}
                Event::Claim => claimed = *at,
                Event::Ready => {
                    let of_id = claims.0.entry(transactional_id.clone()).or_default();
                    of_id.push((client, claimed, *at));
                }
                Event::Begin => {
                    self.txns.extend(open.take());
                    let (begun, outcome, ops) = (*at, Outcome::Failed, Vec::new());
                    open = Some(Txn { client, begun, outcome, ops });
                }
                of_transaction => {
                    let txn = open.as_mut().expect("a transaction begins first");
                    apply(txn, of_transaction);
                }
            }
        }
        self.txns.extend(open);
    }

    /// Finds out who lost a transactional id, and when: to one who claimed it after he had it. Of
    /// two who claimed it at the same time either may be the last.
    pub(crate) fn settle(&mut self, claims: &Claims) {
        for of_id in claims.0.values() {
            for (client, _, ready) in of_id {
                let later = of_id.iter().filter(|(_, claimed, _)| claimed > ready);
                let client = self.clients.get_mut(client).expect("it was added");
                client.superseded = later.map(|(_, _, ready)| *ready).min();
            }
        }
    }
}

/// For each transactional id: who claimed it, when, and when it was his.
#[derive(Debug, Default)]
pub(crate) struct Claims(BTreeMap<String, Vec<(ClientNumber, u64, u64)>>);

fn apply(txn: &mut Txn, event: &Event) {
    match event {
        Event::Send { key, value } => {
            txn.ops.push(MicroOp::Send { key: *key, value: *value, offset: None });
        }
        Event::Sent { value: sent, offset: reported } => {
            for op in &mut txn.ops {
                if let MicroOp::Send { value, offset, .. } = op
                    && value == sent
                {
                    *offset = Some(*reported);
                }
            }
        }
        Event::Read(read) => txn.ops.push(MicroOp::Read(*read)),
        Event::Committing | Event::Unknown => txn.outcome = Outcome::Unknown,
        Event::Committed => txn.outcome = Outcome::Committed,
        Event::Aborted { .. } => txn.outcome = Outcome::Failed,
        Event::Start { .. } | Event::Claim | Event::Ready | Event::Begin | Event::End { .. } => {}
    }
}
