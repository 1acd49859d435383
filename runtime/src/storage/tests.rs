//! The bytes of a checkpoint are fixed, and what was not written by us is refused, never used.

use std::path::Path;

use proptest::prelude::*;
use tidemill_core::record::{
    Offset, Partition, StreamTime, SubTopologyId, TaskId, Timestamp, TopicPartition,
};
use tidemill_core::store::{Checkpoint, InputPosition, StoreKind, StoreSpec};

use super::encoding::{DecodeError, decode, encode};
use super::manifest::TaskManifest;

/// What release 0.1 wrote for [`sample`]. If this has to change, the format version has to as well.
#[rustfmt::skip]
const FIXTURE: &[u8] = &[
    0, 1,                                                   // format version
    0, 0, 0, 0, 0, 0, 0, 7,                                 // commit number
    0, 0, 0, 1,                                             // changelogs
    0, 1, b's', 0, 0, 0, 0, 0, 0, 1, 0,                     // store, position
    0, 0, 0, 2,                                             // inputs
    0, 2, b'i', b'n', 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 9,   // topic, partition, position
    0, 0, 1, 0x8f, 0, 0, 0, 0,                              // partition time
    0, 2, b'i', b'n', 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,         // unknown
    0xdc, 0x17, 0x4d, 0x61,                                 // CRC-32C of all before
];

fn sample() -> Checkpoint {
    let source = |number| TopicPartition::new("in", Partition(number));
    let mut time = StreamTime::UNKNOWN;
    time.advance(Timestamp(0x018f_0000_0000));
    let read = InputPosition { offset: Offset(9), partition_time: time };
    let unread = InputPosition { offset: Offset(0), partition_time: StreamTime::UNKNOWN };
    Checkpoint {
        commit_number: 7,
        changelogs: [("s".to_owned(), Offset(256))].into(),
        inputs: [(source(3), read), (source(4), unread)].into(),
    }
}

fn encoded(checkpoint: &Checkpoint) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(checkpoint, &mut bytes);
    bytes
}

/// Replaces the checksum by the right one.
fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    let checksum = crc32c::crc32c(&body);
    body.extend_from_slice(&checksum.to_be_bytes());
    body
}

#[test]
fn the_bytes_of_a_checkpoint_do_not_drift() {
    assert_eq!(encoded(&sample()), FIXTURE);
    assert_eq!(decode(FIXTURE), Ok(sample()));
}

#[test]
fn an_empty_checkpoint_survives() {
    assert_eq!(decode(&encoded(&Checkpoint::default())), Ok(Checkpoint::default()));
}

#[test]
fn every_flipped_bit_is_noticed() {
    for bit in 0..FIXTURE.len() * 8 {
        let mut bytes = FIXTURE.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&bytes).is_err(), "bit {bit}");
    }
}

#[test]
fn every_cut_is_noticed() {
    for length in 0..FIXTURE.len() {
        assert!(decode(&FIXTURE[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn what_we_would_not_write_is_refused_even_with_the_right_checksum() {
    let body = &FIXTURE[..FIXTURE.len() - 4];
    let with = |at: usize, byte: u8| {
        let mut changed = body.to_vec();
        changed[at] = byte;
        decode(&sealed(changed)).unwrap_err()
    };
    assert_eq!(with(1, 2), DecodeError::Newer(2));
    assert_eq!(with(1, 0), DecodeError::Invalid("format 0"));
    assert_eq!(with(16, 0xff), DecodeError::Invalid("a name that is not UTF-8"));
    assert_eq!(with(17, 0x80), DecodeError::Invalid("a negative offset"));
    assert_eq!(with(60, 3), DecodeError::Invalid("a source partition twice"));
    // counts and lengths far beyond the end
    assert_eq!(with(10, 0xff), DecodeError::CutOff);
    assert_eq!(with(14, 0xff), DecodeError::CutOff);
    let longer = [body, &[0]].concat();
    assert_eq!(decode(&sealed(longer)), Err(DecodeError::Invalid("bytes after its end")));
}

#[test]
fn inv_10_a_manifest_admits_its_own_task_only() {
    let spec = |kind| StoreSpec::new("counts", kind);
    let task = |number| TaskId::new(SubTopologyId(0), Partition(number));
    let path = Path::new("/state/a/0_1");
    let stores = [spec(StoreKind::KeyValue)];
    let ours = TaskManifest::new("a", task(1), &stores);
    let read = TaskManifest::decode(path, &ours.encode()).unwrap();
    assert_eq!(read, ours);
    read.admits(&ours, path).unwrap();
    // stores may come and go
    read.admits(&TaskManifest::new("a", task(1), &[]), path).unwrap();

    let error = |wanted: &TaskManifest| read.admits(wanted, path).unwrap_err().to_string();
    let foreign = error(&TaskManifest::new("b", task(1), &stores));
    assert!(foreign.contains("task 0_1 of application b: found task 0_1 of application a"));
    assert!(error(&TaskManifest::new("a", task(2), &stores)).contains("task 0_2"));
    let timed = [spec(StoreKind::TimestampedKeyValue)];
    let changed = error(&TaskManifest::new("a", task(1), &timed));
    assert!(changed.contains("is a key-value store with changelog, the topology says a timestamp"));
}

#[test]
fn newer_and_unreadable_manifests_of_a_task_are_told_apart() {
    let path = Path::new("/state/a/0_1");
    let newer = TaskManifest::decode(path, b"{\"format_version\": 2, \"more\": 1}").unwrap_err();
    assert!(newer.to_string().contains("has format 2, this release knows 1"), "{newer}");
    for text in ["", "{}", "{\"format_version\": 1}", "\u{0}"] {
        let error = TaskManifest::decode(path, text.as_bytes()).unwrap_err();
        assert!(error.is_damage(), "{text:?}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// With the right version and checksum, too, so that the damage is not seen at once.
    #[test]
    fn any_checkpoint_is_read_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..120),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let _ = decode(&bytes);
        let _ = decode(&sealed([&[0, 1], &bytes[..]].concat()));
        let mut body = FIXTURE[..FIXTURE.len() - 4].to_vec();
        for (at, with) in flips {
            let at = at.index(body.len());
            body[at] = with;
        }
        let damaged = sealed(body);
        if let Ok(checkpoint) = decode(&damaged) {
            prop_assert!(checkpoint.changelogs.len() + checkpoint.inputs.len() <= damaged.len());
        }
    }

    #[test]
    fn any_manifest_is_read_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
    ) {
        let path = Path::new("manifest");
        let _ = TaskManifest::decode(path, &bytes);
        let stores = [StoreSpec::new("s", StoreKind::KeyValue)];
        let task_id = TaskId::new(SubTopologyId(0), Partition(3));
        let manifest = TaskManifest::new("app", task_id, &stores);
        let mut damaged = manifest.encode();
        let at = at.index(damaged.len());
        let _ = TaskManifest::decode(path, &damaged[..at]);
        damaged[at] = with;
        if let Ok(read) = TaskManifest::decode(path, &damaged) {
            let _ = read.admits(&manifest, path);
        }
    }
}
