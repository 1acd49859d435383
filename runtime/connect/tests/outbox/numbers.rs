//! A source of numbers, for what concerns the loop alone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidemill::client::ClientConfig;
use tidemill::record::{Headers, Timestamp};
use tidemill_connect::source::{
    BatchLimits, SourceBatch, SourceError, SourceRecord, SourceRunner, TransactionalSource,
};
use tidemill_connect::testing::{Broker, Seen};

/// Counts from 0 to a limit that can be raised while it runs.
#[derive(Debug, Clone)]
pub(crate) struct Numbers {
    pub(crate) topic: Arc<str>,
    pub(crate) limit: Arc<AtomicU64>,
    /// So many batches belong to one position.
    pub(crate) batches_each: u64,
    pub(crate) told: Arc<Mutex<Vec<u64>>>,
    pub(crate) next: u64,
    pub(crate) batches: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Next {
    pub(crate) next: u64,
}

impl Numbers {
    pub(crate) fn new(topic: &str, limit: u64) -> Self {
        let limit = Arc::new(AtomicU64::new(limit));
        let told = Arc::default();
        Self { topic: topic.into(), limit, batches_each: 1, told, next: 0, batches: 0 }
    }

    pub(crate) fn record(&self, number: u64) -> SourceRecord {
        SourceRecord {
            topic: Arc::clone(&self.topic),
            partition: None,
            key: Some(format!("k{}", number % 7).into()),
            value: Some(number.to_string().into()),
            timestamp: Timestamp(1),
            headers: Headers::new(),
        }
    }
}

impl TransactionalSource for Numbers {
    type Position = Next;

    async fn open(&mut self, committed: Option<&Next>) -> Result<Option<Next>, SourceError> {
        self.next = committed.map_or(0, |position| position.next);
        self.batches = 0;
        Ok(None)
    }

    async fn poll(
        &mut self,
        limits: &BatchLimits,
    ) -> Result<Option<SourceBatch<Next>>, SourceError> {
        let end = self.limit.load(Ordering::SeqCst).min(self.next + limits.records as u64);
        if self.next >= end {
            tokio::time::sleep(limits.wait.min(Duration::from_millis(5))).await;
            return Ok(None);
        }
        let records = (self.next..end).map(|number| self.record(number)).collect();
        self.next = end;
        self.batches += 1;
        let whole = self.batches.is_multiple_of(self.batches_each);
        Ok(Some(SourceBatch { records, position: whole.then_some(Next { next: end }) }))
    }

    async fn committed(&mut self, position: &Next) -> Result<(), SourceError> {
        self.told.lock().unwrap().push(position.next);
        Ok(())
    }
}

/// A relay in small batches, with the names that a test gave.
pub(crate) fn relay<S: TransactionalSource>(
    name: &str,
    source: S,
    kafka: ClientConfig,
    positions: &str,
) -> SourceRunner<S> {
    let limits = BatchLimits { records: 10, wait: Duration::from_millis(20), ..Default::default() };
    SourceRunner::new(name, source, kafka, positions).replication_factor(1).batch(limits)
}

/// The values of a topic, sorted.
pub(crate) fn numbers(broker: &Broker, topic: &str) -> Vec<u64> {
    let seen = broker.committed(topic).unwrap();
    let mut found: Vec<u64> = seen.iter().map(|one| one.value_text().parse().unwrap()).collect();
    found.sort_unstable();
    found
}

/// Asserts that within a partition the numbers only grow.
pub(crate) fn assert_ordered(seen: &[Seen]) {
    for pair in seen.windows(2) {
        let [a, b] = pair else { continue };
        let number = |one: &Seen| one.value_text().parse::<u64>().unwrap();
        assert!(a.partition != b.partition || number(a) < number(b), "{a:?} before {b:?}");
    }
}
