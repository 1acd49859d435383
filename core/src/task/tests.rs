//! The metadata of a committed offset.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

fn metadata(time: i64, commit_number: Option<u64>) -> CommitMetadata {
    let partition_time = StreamTime::from_millis(time);
    CommitMetadata { partition_time, commit_number, ..CommitMetadata::default() }
}

#[test]
fn metadata_of_version_1_as_java_writes_it_is_read() {
    let mut bytes = vec![1];
    bytes.extend_from_slice(&1_234_i64.to_be_bytes());
    let read = decode_commit_metadata(&STANDARD.encode(&bytes));
    assert_eq!(read, metadata(1_234, None));
    // partition time -1, as Java writes it before the first record
    assert_eq!(decode_commit_metadata("Af//////////"), metadata(-1, None));
}

#[test]
fn metadata_of_version_2_with_entries_of_java_is_read() {
    let mut bytes = vec![2];
    bytes.extend_from_slice(&7_i64.to_be_bytes());
    assert_eq!(
        decode_commit_metadata(&STANDARD.encode(&bytes)),
        metadata(7, None),
        "the block of entries may be absent"
    );
    bytes.extend_from_slice(&1_i32.to_be_bytes());
    bytes.extend_from_slice(&5_i32.to_be_bytes());
    bytes.extend_from_slice(b"store");
    bytes.extend_from_slice(&99_i64.to_be_bytes());
    let read = decode_commit_metadata(&STANDARD.encode(&bytes));
    let processors = ProcessorMetadata::from([("store".to_owned(), 99)]);
    assert_eq!(read, CommitMetadata { processors, ..metadata(7, None) });
}

#[test]
fn metadata_that_somebody_else_wrote_counts_as_unknown() {
    for foreign in ["", "hello", "AA==", "Aw==", "AQ==", "AQAAAAAAAA==", "\u{20ac}"] {
        assert_eq!(decode_commit_metadata(foreign), metadata(-1, None), "{foreign}");
    }
}

proptest! {
    #[test]
    fn inv_9_metadata_gives_back_what_was_written(
        time in -1..i64::MAX,
        number: Option<u64>,
        processors: ProcessorMetadata,
    ) {
        let written = CommitMetadata { processors, ..metadata(time, number) };
        prop_assert_eq!(decode_commit_metadata(&encode_commit_metadata(&written)), written);
    }

    #[test]
    fn decoding_metadata_never_panics(text in ".*", bytes: Vec<u8>, version in 0..4_u8) {
        let _ = decode_commit_metadata(&text);
        let _ = decode_commit_metadata(&STANDARD.encode(&bytes));
        let _ = decode_commit_metadata(&STANDARD.encode([&[version], &bytes[..]].concat()));
    }

    #[test]
    fn cut_metadata_never_panics(cut in 0..60_usize) {
        let bytes = STANDARD.decode(encode_commit_metadata(&metadata(5, Some(6)))).unwrap();
        let cut = &bytes[..cut.min(bytes.len())];
        let _ = decode_commit_metadata(&STANDARD.encode(cut));
    }
}
