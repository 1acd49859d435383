//! The witness: a reader at read_committed that looks on while things break.
//!
//! What it was shown must be what everybody is shown later, record by record: nothing that was
//! visible once may be missing afterwards, and nothing may appear before what was seen already.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tidemill::BoxError;
use tidemill::client::{Isolation, Message, OffsetSpec};
use tidemill::record::{Offset, Partition, RawRecord};

use crate::cluster::Cluster;

/// For each partition: the offset of each record, and a hash of the record.
type Seen = Vec<Vec<(Offset, u64)>>;

/// A reader in a thread of its own.
#[derive(Debug)]
pub struct Witness {
    topic: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Seen, BoxError>>>,
}

impl Witness {
    /// Starts reading a topic from its beginning.
    ///
    /// # Errors
    /// If the topic does not exist.
    pub fn start(cluster: Arc<Cluster>, topic: &str) -> Result<Self, BoxError> {
        let stop = Arc::<AtomicBool>::default();
        let partitions = cluster.partitions(topic)?;
        let mut reader = cluster.reader(&partitions, Isolation::ReadCommitted)?;
        let stopping = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("witness".to_owned()).spawn(move || {
            let mut seen: Seen = vec![Vec::new(); partitions.len()];
            let mut note = |partition, record: &Message| note(&mut seen, partition, record);
            while !stopping.load(Ordering::Acquire) {
                reader.read(Duration::from_millis(200), &mut note)?;
            }
            let ends =
                cluster.log_ends(&partitions, OffsetSpec::Latest, Isolation::ReadCommitted)?;
            reader.read_to(&ends, &mut note)?;
            Ok(seen)
        })?;
        Ok(Self { topic: topic.to_owned(), stop, thread: Some(thread) })
    }

    /// Reads to the end, once nothing is written any more, and compares with what a new reader
    /// sees. Returns how many records that were, and what differs.
    ///
    /// # Errors
    /// If the topic can't be read.
    pub fn testify(mut self, cluster: &Cluster) -> Result<(u64, Vec<String>), BoxError> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().ok_or("the witness was heard already")?;
        let seen = thread.join().map_err(|_| "the witness panicked")??;
        let mut later: Seen = vec![Vec::new(); seen.len()];
        cluster.read_all(&self.topic, Isolation::ReadCommitted, |partition, record| {
            note(&mut later, partition, record)
        })?;
        let mut problems = Vec::new();
        for (number, (seen, later)) in seen.iter().zip(&later).enumerate() {
            if seen != later {
                let place = seen.iter().zip(later).position(|(one, other)| one != other);
                let place = place.unwrap_or(seen.len().min(later.len()));
                problems.push(format!(
                    "{}-{number}: the witness saw {} records, a later reader sees {}; they differ \
                     from {:?} and {:?} on",
                    self.topic,
                    seen.len(),
                    later.len(),
                    seen.get(place),
                    later.get(place)
                ));
            }
        }
        Ok((seen.iter().map(|records| records.len() as u64).sum(), problems))
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn note(seen: &mut Seen, partition: Partition, record: &Message) -> Result<(), BoxError> {
    let mut hash = DefaultHasher::new();
    (record.key(), record.value(), record.timestamp().0).hash(&mut hash);
    let place = usize::try_from(partition.0)?;
    seen[place].push((record.offset(), hash.finish()));
    Ok(())
}
