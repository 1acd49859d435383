//! Reading committed records of topics from their beginning to their present end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::client::{
    Admin, ClientConfig, ClientError, Consumer, Fetched, Isolation, Message, OffsetSpec,
    PartitionReader, Severity, Waker,
};
use tidemill::record::{Offset, Partition, RawRecord, TopicPartition};

use super::log_error::EventLogError;

const REQUEST: Duration = Duration::from_secs(10);
/// Longer than a transaction can stay open by default, and a broker takes to come back.
const NO_PROGRESS: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(50);

/// Where a record was.
pub(super) type Place = (Partition, Offset);

/// A way to read.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub(super) kafka: ClientConfig,
}

impl Reader {
    pub(super) fn partitions(&self, topic: &str) -> Result<Vec<TopicPartition>, EventLogError> {
        let failed = |cause| failed(topic, "looking for its partitions", cause);
        let admin = Admin::new(&self.kafka).map_err(failed)?;
        let found = patiently(|| admin.topics(&[topic], REQUEST)).map_err(failed)?;
        let count = found.first().and_then(|topic| topic.partitions);
        let count = count.ok_or_else(|| EventLogError::NoTopic { topic: topic.to_owned() })?;
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        Ok((0..count).map(|number| TopicPartition::new(topic, Partition(number))).collect())
    }

    /// Reads committed records from the beginning to the present end, which may be in the middle of
    /// transactions: those are waited for.
    pub(super) fn read(
        &self,
        topic: &str,
        partitions: Vec<TopicPartition>,
        visit: &mut dyn FnMut(Place, &Message) -> Result<(), EventLogError>,
    ) -> Result<(), EventLogError> {
        let failed = |cause| failed(topic, "reading it", cause);
        let admin = Admin::new(&self.kafka).map_err(failed)?;
        let offsets = |spec| {
            let uncommitted = Isolation::ReadUncommitted;
            patiently(|| admin.list_offsets(&partitions, spec, uncommitted, REQUEST))
        };
        let starts = offsets(OffsetSpec::Earliest).map_err(failed)?;
        let ends: BTreeMap<TopicPartition, Offset> =
            offsets(OffsetSpec::Latest).map_err(failed)?.into_iter().collect();
        let mut config = self.kafka.clone();
        config.set("isolation.level", "read_committed").set("auto.offset.reset", "error");
        let waker = Arc::new(Waker::new());
        let mut consumer = Consumer::new(&config, Arc::clone(&waker)).map_err(failed)?;
        // one at a time: what is fetched ahead is that of one partition
        for (partition, start) in starts {
            let end = ends.get(&partition).copied().unwrap_or(Offset::ZERO);
            if start >= end {
                continue;
            }
            let one = [(partition, start)];
            for reader in consumer.assign(&one).map_err(failed)? {
                read_to(topic, reader, (start, end), (&mut consumer, &waker), visit)?;
            }
            consumer.unassign().map_err(failed)?;
        }
        Ok(())
    }
}

fn read_to(
    topic: &str,
    mut reader: PartitionReader,
    (start, end): (Offset, Offset),
    (consumer, waker): (&mut Consumer, &Waker),
    visit: &mut dyn FnMut(Place, &Message) -> Result<(), EventLogError>,
) -> Result<(), EventLogError> {
    let partition = reader.topic_partition().partition;
    let (mut position, mut outcome) = (start, Ok(()));
    let mut deadline = Instant::now() + NO_PROGRESS;
    while position < end {
        consumer.poll_event(Duration::ZERO);
        let before = position;
        reader.read(1000, &mut |fetched| match fetched {
            Fetched::Record(record) => {
                position = record.offset().next();
                // what came in after the beginning is not asked for
                if outcome.is_ok() && record.offset() < end {
                    outcome = visit((partition, record.offset()), &record);
                }
            }
            Fetched::EndOfPartition(at) => position = position.max(at),
            Fetched::Failed(error) if error.severity == Severity::Retry => {}
            Fetched::Failed(error) => outcome = Err(failed(topic, "reading it", error)),
        });
        std::mem::replace(&mut outcome, Ok(()))?;
        if position > before {
            deadline = Instant::now() + NO_PROGRESS;
        } else if Instant::now() > deadline {
            let topic = topic.to_owned();
            return Err(EventLogError::NoProgress { topic, partition, position, end });
        } else {
            waker.wait(PAUSE);
        }
    }
    Ok(())
}

fn failed(topic: &str, doing: &'static str, cause: ClientError) -> EventLogError {
    EventLogError::Kafka { topic: topic.to_owned(), doing, cause }
}

/// Makes a call again while its severity asks for it.
fn patiently<T>(mut call: impl FnMut() -> Result<T, ClientError>) -> Result<T, ClientError> {
    let deadline = Instant::now() + NO_PROGRESS;
    loop {
        match call() {
            Err(error) if error.severity == Severity::Retry && Instant::now() < deadline => {
                std::thread::sleep(PAUSE);
            }
            outcome => return outcome,
        }
    }
}
