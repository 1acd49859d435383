//! Tests of the journal's file.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tempfile::TempDir;

use super::{Entry, File, JournalError, encode};
use crate::log;

fn entry(number: u8) -> Entry {
    let bytes = Bytes::from(vec![number; usize::from(number) * 3 + 1]);
    Entry::Log(log::Entry::Appended((7, 0), bytes))
}

fn entries(count: u8) -> Vec<Entry> {
    (0..count).map(entry).collect()
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    (folder, path)
}

fn written(path: &Path, entries: &[Entry]) -> Vec<u8> {
    let (mut file, found) = File::open(path).unwrap();
    assert!(found.is_empty());
    file.append(entries).unwrap();
    drop(file);
    fs::read(path.join("journal")).unwrap()
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let (_folder, path) = folder();
    written(&path, &entries(3));
    let (mut file, found) = File::open(&path).unwrap();
    assert_eq!(found, entries(3));
    file.append(&[entry(3)]).unwrap();
    drop(file);
    assert_eq!(File::open(&path).unwrap().1, entries(4));
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_writing_goes_on() {
    let (_folder, path) = folder();
    let whole = written(&path, &entries(4));
    let mut ends = Vec::new();
    let mut bytes = whole[..12].to_vec();
    for entry in entries(4) {
        encode(&entry, &mut bytes).unwrap();
        ends.push(bytes.len());
    }
    assert_eq!(bytes, whole);
    for length in 0..whole.len() {
        fs::write(path.join("journal"), &whole[..length]).unwrap();
        let (mut file, found) = File::open(&path).unwrap();
        let expected = ends.iter().filter(|end| **end <= length).count();
        assert_eq!(found, entries(4)[..expected], "cut at {length}");
        file.append(&[entry(9)]).unwrap();
        drop(file);
        let mut longer = entries(4)[..expected].to_vec();
        longer.push(entry(9));
        assert_eq!(File::open(&path).unwrap().1, longer, "cut at {length}");
    }
}

#[test]
fn a_flipped_bit_in_the_middle_is_refused_by_file_and_offset() {
    let (_folder, path) = folder();
    let whole = written(&path, &entries(4));
    let mut last = Vec::new();
    encode(&entry(3), &mut last).unwrap();
    for at in 12..whole.len() - last.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(path.join("journal"), &bytes).unwrap();
        let error = File::open(&path).unwrap_err();
        let JournalError::Corrupt { path: file, offset, .. } = &error else { panic!("{error}") };
        assert!(*offset <= at as u64 && file.ends_with("journal"), "byte {at}: {error}");
        assert_eq!(fs::read(path.join("journal")).unwrap(), bytes, "nothing was changed");
    }
}

#[test]
fn another_file_is_not_taken_for_a_journal() {
    let (_folder, path) = folder();
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("journal"), "something else entirely").unwrap();
    assert!(matches!(File::open(&path).unwrap_err(), JournalError::Foreign(_)));
}

#[test]
fn zeros_behind_the_end_are_cut() {
    let (_folder, path) = folder();
    let mut bytes = written(&path, &entries(2));
    bytes.extend_from_slice(&[0; 5000]);
    fs::write(path.join("journal"), &bytes).unwrap();
    assert_eq!(File::open(&path).unwrap().1, entries(2));
}

#[test]
fn a_second_broker_is_kept_away() {
    let (_folder, path) = folder();
    let (first, _) = File::open(&path).unwrap();
    assert!(matches!(File::open(&path).unwrap_err(), JournalError::InUse(_)));
    drop(first);
    File::open(&path).unwrap();
}

#[test]
fn a_rewritten_file_has_the_new_entries_and_goes_on() {
    let (_folder, path) = folder();
    let (mut file, _) = File::open(&path).unwrap();
    file.append(&entries(200)).unwrap();
    let before = file.size();
    file.rewrite(&entries(2)).unwrap();
    assert!(file.size() < before);
    file.append(&[entry(2)]).unwrap();
    drop(file);
    assert_eq!(File::open(&path).unwrap().1, entries(3));
}

#[test]
fn a_rewrite_that_was_not_finished_is_as_if_it_had_not_begun() {
    let (_folder, path) = folder();
    let whole = written(&path, &entries(3));
    fs::write(path.join("journal.new"), &whole[..whole.len() / 2]).unwrap();
    assert_eq!(File::open(&path).unwrap().1, entries(3));
    assert!(!path.join("journal.new").exists());
}

#[test]
fn a_file_is_due_when_more_than_half_of_it_is_dead() {
    let (_folder, path) = folder();
    let (mut file, _) = File::open(&path).unwrap();
    let large = Entry::Log(log::Entry::Appended((0, 0), Bytes::from(vec![1; 9 << 20])));
    file.append(std::slice::from_ref(&large)).unwrap();
    assert!(!file.is_due(|| panic!("a small file is not looked at")));
    file.append(&[large.clone(), large.clone()]).unwrap();
    assert!(!file.is_due(|| 27 << 20), "all of it is alive");
    assert!(!file.is_due(|| panic!("not before it has grown")));
    for _ in 0..5 {
        file.append(std::slice::from_ref(&large)).unwrap();
    }
    assert!(file.is_due(|| 1 << 20));
}
