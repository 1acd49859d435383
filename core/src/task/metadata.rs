//! The metadata of a committed offset: partition time and commit number.
//!
//! ```text
//!   base64( 02 | partition time i64 | entries i32 | { key length i32 | key | value i64 }* )
//! ```
//!
//! Version 2 of Kafka Streams' `TopicPartitionMetadata`. The commit number is an entry of its
//! processor metadata, under a name that no store can have; Kafka Streams keeps and ignores it.
//! Version 1 (`01 | partition time`) is read too.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::record::StreamTime;

const COMMIT_NUMBER: &str = "tidemill:commit-number";

/// Writes the metadata of an offset.
#[must_use]
pub fn encode_commit_metadata(partition_time: StreamTime, commit_number: u64) -> String {
    let mut bytes = vec![2];
    bytes.extend_from_slice(&partition_time.as_millis().to_be_bytes());
    bytes.extend_from_slice(&1_i32.to_be_bytes());
    let key_length = i32::try_from(COMMIT_NUMBER.len()).unwrap_or(0);
    bytes.extend_from_slice(&key_length.to_be_bytes());
    bytes.extend_from_slice(COMMIT_NUMBER.as_bytes());
    bytes.extend_from_slice(&commit_number.to_be_bytes());
    STANDARD.encode(bytes)
}

/// Reads the metadata of an offset. What can't be read counts as unknown, as in Kafka Streams:
/// somebody may have committed the offset by hand.
#[must_use]
pub fn decode_commit_metadata(metadata: &str) -> (StreamTime, Option<u64>) {
    let bytes = STANDARD.decode(metadata).unwrap_or_default();
    let unknown = (StreamTime::UNKNOWN, None);
    let Some((version @ (1 | 2), rest)) = bytes.split_first() else { return unknown };
    let Some((time, mut rest)) = take(rest) else { return unknown };
    let partition_time = StreamTime::from_millis(i64::from_be_bytes(time));
    let mut commit_number = None;
    if *version == 2 {
        let mut entries = 0;
        if let Some((count, after)) = take(rest) {
            (entries, rest) = (i32::from_be_bytes(count), after);
        }
        for _ in 0..entries {
            let Some((key, value, after)) = entry(rest) else { break };
            if key == COMMIT_NUMBER.as_bytes() {
                commit_number = Some(u64::from_be_bytes(value));
            }
            rest = after;
        }
    }
    (partition_time, commit_number)
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
