//! One partition with everything around it, and batches as producers make them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_protocol::ResponseError;

use crate::engine::{Answers, Context, EngineConfig};
use crate::journal;
use crate::log::batch::{Header, TRANSACTIONAL};
use crate::log::{Batch, Entry, Marker, PartitionLog, Record, Refusal, Topics, record, records};

pub(crate) const NOW: i64 = 1_700_000_000_000;

/// Who sends a batch: id, epoch and sequence, and whether within a transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sender {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) sequence: i32,
    pub(crate) transactional: bool,
}

pub(crate) const NOBODY: Sender = Sender { id: -1, epoch: -1, sequence: -1, transactional: false };

pub(crate) fn idempotent(id: i64, epoch: i16, sequence: i32) -> Sender {
    Sender { id, epoch, sequence, transactional: false }
}

pub(crate) fn transactional(id: i64, epoch: i16, sequence: i32) -> Sender {
    Sender { id, epoch, sequence, transactional: true }
}

/// Key and value of a record.
pub(crate) type Pair<'a> = (Option<&'a str>, Option<&'a str>);

pub(crate) fn batch_of(sender: Sender, timestamp: i64, pairs: &[Pair<'_>]) -> Bytes {
    let mut body = Vec::new();
    for (delta, (key, value)) in pairs.iter().enumerate() {
        body.extend(record::plain(delta as i32, key.map(str::as_bytes), value.map(str::as_bytes)));
    }
    let header = Header {
        base_offset: 0,
        last_offset: pairs.len() as i64 - 1,
        attributes: if sender.transactional { TRANSACTIONAL } else { 0 },
        base_timestamp: timestamp,
        max_timestamp: timestamp,
        producer_id: sender.id,
        producer_epoch: sender.epoch,
        base_sequence: sender.sequence,
    };
    header.with(pairs.len() as i32, &body).bytes().clone()
}

/// Topics with one topic of one partition, and the journal of all that happened.
pub(crate) struct Lab {
    pub(crate) topics: Topics,
    pub(crate) config: EngineConfig,
    pub(crate) journal: Vec<journal::Entry>,
    pub(crate) now: i64,
    answers: Answers,
}

pub(crate) const TOPIC: &str = "t";

impl Lab {
    pub(crate) fn new(configs: &[(&str, &str)]) -> Self {
        let mut lab = Self {
            topics: Topics::default(),
            config: EngineConfig::default(),
            journal: Vec::new(),
            now: NOW,
            answers: Answers::default(),
        };
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let configs: BTreeMap<String, String> = configs.iter().map(owned).collect();
        for (name, value) in &configs {
            crate::log::config::check(name, value).unwrap();
        }
        lab.with(|topics, context| topics.create(context, TOPIC, 1, configs));
        lab
    }

    pub(crate) fn with<R>(&mut self, act: impl FnOnce(&mut Topics, &mut Context<'_>) -> R) -> R {
        let Self { topics, config, journal, now, answers } = self;
        act(topics, &mut Context { now: *now, config, answers, journal })
    }

    pub(crate) fn on<R>(
        &mut self,
        act: impl FnOnce(&mut PartitionLog, &mut Context<'_>) -> R,
    ) -> R {
        self.with(|topics, context| act(topics.partition_mut(TOPIC, 0).unwrap(), context))
    }

    pub(crate) fn log(&self) -> &PartitionLog {
        self.topics.partition(TOPIC, 0).unwrap()
    }

    pub(crate) fn append(&mut self, bytes: Bytes) -> Result<i64, Refusal> {
        let done = self.on(|log, context| log.append(context, bytes, &|_| Ok(())));
        done.map(|done| done.base_offset)
    }

    pub(crate) fn send(
        &mut self,
        sender: Sender,
        pairs: &[Pair<'_>],
    ) -> Result<i64, ResponseError> {
        self.append(batch_of(sender, NOW, pairs)).map_err(|refusal| refusal.error)
    }

    pub(crate) fn end(&mut self, id: i64, epoch: i16, marker: Marker) -> i64 {
        self.on(|log, context| log.append_marker(context, id, epoch, marker, 0))
    }

    pub(crate) fn clean(&mut self) {
        self.on(|log, context| log.clean_if_due(context));
    }

    /// The topics that the journal recovers to.
    pub(crate) fn replayed(&self) -> Topics {
        recovered(self.journal.iter().cloned())
    }

    /// The topics that a rewritten journal recovers to.
    pub(crate) fn rewritten(&self) -> Topics {
        recovered(self.topics.snapshot())
    }

    /// All records that a consumer gets, reading in steps of `step` bytes as clients do.
    pub(crate) fn consumed(&self, committed_only: bool, step: usize) -> Vec<Record> {
        let log = self.log();
        let mut offset = log.log_start();
        let mut found = Vec::new();
        loop {
            let read = log.read(offset, committed_only, step, true).unwrap();
            if read.records.is_empty() {
                return found;
            }
            let mut aborted: Vec<(i64, i64)> =
                read.aborted.iter().map(|one| (one.first_offset, one.producer_id)).collect();
            aborted.sort_unstable();
            let mut aborting = BTreeSet::new();
            for batch in split(&read.records) {
                let next = batch.last_offset() + 1;
                // as the fetcher of the Java client filters
                while aborted.first().is_some_and(|(first, _)| *first <= batch.last_offset()) {
                    aborting.insert(aborted.remove(0).1);
                }
                if batch.is_control() {
                    aborting.remove(&batch.producer_id());
                } else if !(batch.is_transactional() && aborting.contains(&batch.producer_id())) {
                    let records = records(&batch).unwrap().into_iter();
                    found.extend(records.filter(|record| record.offset >= offset));
                }
                offset = next.max(offset);
            }
        }
    }
}

pub(crate) fn recovered(entries: impl IntoIterator<Item = journal::Entry>) -> Topics {
    let mut topics = Topics::default();
    for entry in entries {
        let journal::Entry::Log(entry) = entry else { continue };
        topics.recover(entry, NOW).unwrap();
    }
    topics
}

/// The batches of a fetch.
pub(crate) fn split(records: &Bytes) -> Vec<Batch> {
    let mut rest = records.clone();
    let mut batches = Vec::new();
    while !rest.is_empty() {
        let length = i32::from_be_bytes(rest[8..12].try_into().unwrap()) as usize + 12;
        batches.push(Batch::verified(rest.split_to(length)).unwrap());
    }
    batches
}

pub(crate) fn values(records: &[Record]) -> Vec<String> {
    let text = |value: &Option<Bytes>| match value {
        Some(value) => String::from_utf8(value.to_vec()).unwrap(),
        None => "null".to_owned(),
    };
    records.iter().map(|record| text(&record.value)).collect()
}

pub(crate) fn appended(lab: &Lab) -> usize {
    let is_batch =
        |entry: &&journal::Entry| matches!(entry, journal::Entry::Log(Entry::Appended(..)));
    lab.journal.iter().filter(is_batch).count()
}
