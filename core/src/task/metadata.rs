//! The metadata of a committed offset: partition time, commit number, processor metadata.
//!
//! ```text
//!   base64( 02 | partition time i64 | entries i32 | { key length i32 | key | value i64 }* )
//! ```
//!
//! Version 2 of Kafka Streams' `TopicPartitionMetadata`. The commit number is an entry of its
//! processor metadata, under a name that no store can have; Kafka Streams keeps and ignores it.
//! Version 1 (`01 | partition time`) is read too.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::record::StreamTime;

const COMMIT_NUMBER: &str = "tidemill:commit-number";

/// Times that processors keep with the committed offsets (Kafka Streams' `ProcessorMetadata`), in
/// milliseconds: how far an aggregation has emitted closed windows, under the store's name as in
/// Kafka Streams, and the stream time of an aggregation, under `tidemill:time:` and its node's.
///
/// Every source partition of a task is committed with all of them; the largest value of each
/// counts. Brokers take 4096 bytes of metadata (`offset.metadata.max.bytes`): enough for some 40
/// of them.
pub type ProcessorMetadata = BTreeMap<String, i64>;

/// What is committed with an offset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitMetadata {
    /// The largest timestamp taken from the partition.
    pub partition_time: StreamTime,
    /// The number of the task's commit; `None` if somebody else committed, e.g. Kafka Streams.
    pub commit_number: Option<u64>,
    /// What the task's processors keep.
    pub processors: ProcessorMetadata,
}

/// Writes the metadata of an offset.
#[must_use]
pub fn encode_commit_metadata(metadata: &CommitMetadata) -> String {
    let CommitMetadata { partition_time, commit_number, processors } = metadata;
    let mut bytes = vec![2];
    bytes.extend_from_slice(&partition_time.as_millis().to_be_bytes());
    let number = commit_number.map(|number| (COMMIT_NUMBER, number.to_be_bytes()));
    let times = processors.iter().map(|(key, time)| (&**key, time.to_be_bytes()));
    let entries: Vec<(&str, [u8; 8])> = number.into_iter().chain(times).collect();
    bytes.extend_from_slice(&i32::try_from(entries.len()).unwrap_or(0).to_be_bytes());
    for (key, value) in entries {
        bytes.extend_from_slice(&i32::try_from(key.len()).unwrap_or(0).to_be_bytes());
        bytes.extend_from_slice(key.as_bytes());
        bytes.extend_from_slice(&value);
    }
    STANDARD.encode(bytes)
}

/// Reads the metadata of an offset. What can't be read counts as unknown, as in Kafka Streams:
/// somebody may have committed the offset by hand.
#[must_use]
pub fn decode_commit_metadata(metadata: &str) -> CommitMetadata {
    let bytes = STANDARD.decode(metadata).unwrap_or_default();
    let mut decoded = CommitMetadata::default();
    let Some((version @ (1 | 2), rest)) = bytes.split_first() else { return decoded };
    let Some((time, mut rest)) = take(rest) else { return decoded };
    decoded.partition_time = StreamTime::from_millis(i64::from_be_bytes(time));
    if *version == 2 {
        let mut entries = 0;
        if let Some((count, after)) = take(rest) {
            (entries, rest) = (i32::from_be_bytes(count), after);
        }
        for _ in 0..entries {
            let Some((key, value, after)) = entry(rest) else { break };
            if key == COMMIT_NUMBER.as_bytes() {
                decoded.commit_number = Some(u64::from_be_bytes(value));
            } else if let Ok(key) = std::str::from_utf8(key) {
                decoded.processors.insert(key.to_owned(), i64::from_be_bytes(value));
            }
            rest = after;
        }
    }
    decoded
}

fn take<const N: usize>(bytes: &[u8]) -> Option<([u8; N], &[u8])> {
    bytes.split_first_chunk::<N>().map(|(head, rest)| (*head, rest))
}

fn entry(bytes: &[u8]) -> Option<(&[u8], [u8; 8], &[u8])> {
    let (length, rest) = take(bytes)?;
    let length = usize::try_from(i32::from_be_bytes(length)).ok()?;
    let (key, rest) = rest.split_at_checked(length)?;
    let (value, rest) = take(rest)?;
    Some((key, value, rest))
}
