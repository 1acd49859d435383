//! Targets other than PostgreSQL: with transactions of their own, and without.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tidemill::record::{Offset, TopicPartition};
use tidemill_connect::sink::idempotent::{
    IdempotencyKey, IdempotentTarget, SendFailed, at_least_once,
};
use tidemill_connect::sink::{
    Applied, OnPoison, PartitionBatch, Sink, SinkRecord, TargetError, TopicFacts,
    TransactionalTarget, records_of,
};

use super::support::{Stage, failure, options, until};

/// A target in memory whose answers get lost now and then, before or after the deed.
#[derive(Default)]
struct Memory {
    offsets: BTreeMap<TopicPartition, Offset>,
    effects: Vec<(TopicPartition, Offset)>,
}

struct Flaky {
    memory: Arc<Mutex<Memory>>,
    calls: u64,
}

impl TransactionalTarget for Flaky {
    async fn open(
        &mut self,
        topics: &[TopicFacts],
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, TargetError> {
        assert!(topics.iter().all(|topic| topic.id.is_some()));
        let memory = self.memory.lock().unwrap();
        let offset = |one: &TopicPartition| memory.offsets.get(one).copied().unwrap_or(Offset(0));
        Ok(partitions.iter().map(|one| (one.clone(), offset(one))).collect())
    }

    async fn apply(&mut self, batches: &[PartitionBatch]) -> Result<Applied, TargetError> {
        self.calls += 1;
        if self.calls % 5 == 1 {
            return Err(TargetError::Unavailable("the question was lost".into()));
        }
        let mut memory = self.memory.lock().unwrap();
        for batch in batches {
            let stored = memory.offsets.get(&batch.partition).copied().unwrap_or(Offset(0));
            if stored != batch.expected {
                return Err(TargetError::Fenced(batch.partition.clone()));
            }
        }
        for batch in batches {
            memory.offsets.insert(batch.partition.clone(), batch.next);
            let offsets = batch.records.iter().map(|record| record.offset);
            memory.effects.extend(offsets.map(|offset| (batch.partition.clone(), offset)));
        }
        assert!(records_of(batches).count() <= options().batch_records);
        if self.calls % 5 == 3 {
            return Err(TargetError::Unavailable("the answer was lost".into()));
        }
        Ok(Applied::default())
    }

    async fn reject(&mut self, _: &PartitionBatch, _: &str) -> Result<(), TargetError> {
        Err(TargetError::Failed("nothing is refused here".into()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sk3_any_transactional_target_gets_each_record_once() {
    let stage = Stage::new(3).await;
    stage.send(0..900);
    let memory = Arc::<Mutex<Memory>>::default();
    let target = Flaky { memory: Arc::clone(&memory), calls: 0 };
    let sink = Sink::new(&stage.broker.config(), &stage.sink, [&*stage.topic], target);
    let handle = sink.options(options()).spawn().unwrap();
    until("everything is there", || async { memory.lock().unwrap().effects.len() >= 900 }).await;
    stage.send(900..950);
    until("the rest is there", || async { memory.lock().unwrap().effects.len() >= 950 }).await;
    handle.stop().await.unwrap();
    let mut effects = memory.lock().unwrap().effects.clone();
    effects.sort_by_key(|(partition, _)| partition.clone());
    let log = stage.broker.committed(&stage.topic).unwrap();
    let log: Vec<_> =
        log.iter().map(|seen| (stage.at(seen.partition), Offset(seen.offset))).collect();
    assert_eq!(effects, log);
}

/// A web service, as it were: it knows keys, fails now and then, and refuses some for good.
struct Service {
    calls: Arc<Mutex<Vec<String>>>,
    refused: Arc<Mutex<Vec<String>>>,
}

impl IdempotentTarget for Service {
    async fn send(&mut self, key: &IdempotencyKey, record: &SinkRecord) -> Result<(), SendFailed> {
        let mut calls = self.calls.lock().unwrap();
        calls.push(key.to_string());
        if record.value.as_deref() == Some(b"13") {
            return Err(SendFailed::Poison("thirteen".into()));
        }
        if calls.len() % 10 == 7 {
            return Err(SendFailed::Later("the answer was lost".into()));
        }
        Ok(())
    }

    async fn put_aside(
        &mut self,
        key: &IdempotencyKey,
        _: &SinkRecord,
        reason: &str,
    ) -> Result<(), SendFailed> {
        assert!(reason.contains("thirteen"), "{reason}");
        self.refused.lock().unwrap().push(key.to_string());
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_transactions_each_record_arrives_at_least_once_under_one_key() {
    let stage = Stage::new(2).await;
    let (calls, refused) = (Arc::default(), Arc::default());
    let spawn = || {
        let service = Service { calls: Arc::clone(&calls), refused: Arc::clone(&refused) };
        let config = stage.broker.config();
        let sink = at_least_once(&config, &stage.sink, [&*stage.topic], service);
        sink.options(options()).on_poison(OnPoison::DeadLetter).spawn().unwrap()
    };
    let keys = |from: usize| -> std::collections::BTreeSet<String> {
        calls.lock().unwrap()[from..].iter().cloned().collect()
    };
    stage.send(0..60);
    let handle = spawn();
    until("all have arrived", || async {
        handle.applied().values().map(|o| o.0).sum::<i64>() == 60
    })
    .await;
    handle.stop().await.unwrap();
    let log = stage.broker.committed(&stage.topic).unwrap();
    let expected = |from: i64| {
        let named = |seen: &tidemill_connect::testing::Seen| {
            format!("{}/{}/{}", stage.topic, seen.partition, seen.offset)
        };
        let amount =
            |seen: &tidemill_connect::testing::Seen| seen.value_text().parse::<i64>().unwrap();
        log.iter().filter(|seen| amount(seen) >= from).map(named).collect()
    };
    assert_eq!(keys(0), expected(0));
    assert_eq!(refused.lock().unwrap().len(), 1);
    // the group keeps the offsets: another process goes on from them
    let before = calls.lock().unwrap().len();
    stage.send(60..80);
    let log = stage.broker.committed(&stage.topic).unwrap();
    let handle = spawn();
    until("the rest has arrived", || async { keys(before).len() >= 20 }).await;
    handle.stop().await.unwrap();
    assert_eq!(log.len(), 80);
    let earlier: Vec<_> = keys(0).into_iter().collect();
    assert_eq!(earlier.len(), 80, "a record came again under another key");
    assert_eq!(keys(before).len(), 20, "what was committed came again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_the_writer_ends_the_sink_and_not_the_program() {
    let stage = Stage::new(1).await;
    stage.send(0..3);
    let sink = stage.postgres(&[]).with(|_, _| panic!("a mistake of the user's"));
    let told = failure(sink.spawn().unwrap()).await;
    assert!(told.contains("ended without an answer"), "{told}");
    assert_eq!(stage.count("SELECT next_offset FROM sink_offset").await, 0);
}
