//! INV-2, INV-3: whatever kills the process, the disk is at a commit: contents and checkpoint of
//! one and the same, and with the log never an earlier one than was acknowledged.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::tempdir;
use tidemill::storage::audit::{self, StoreDump, TaskDump};
use tidemill::storage::{OpenOutcome, RocksStorage, SharedRocks, StateDirectory, TaskDb};
use tidemill_core::record::Offset;
use tidemill_core::store::{StoreIndex, TaskStorage};

use super::{APPLICATION, PLAIN, TIMED, checkpoint, commit, open_storage, open_with, specs, task};

/// Set for child processes: the state directory.
const STATE_DIR: &str = "TIDEMILL_TEST_STATE_DIR";
const WRITES: u64 = 20;
const KEYS: u64 = 500;

/// The `j`-th write of commit `n`: store, key, and value or deletion. The same in every process.
fn write(n: u64, j: u64) -> (StoreIndex, [u8; 8], Option<Vec<u8>>) {
    let mixed = (n * WRITES + j).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let store = if mixed & 1 == 0 { PLAIN } else { TIMED };
    let value = (!mixed.is_multiple_of(7)).then(|| n.to_be_bytes().repeat(64));
    (store, (mixed % KEYS).to_be_bytes(), value)
}

/// What the stores hold after commit `last`.
fn expected(last: u64) -> [StoreDump; 2] {
    let mut stores = [StoreDump::new(), StoreDump::new()];
    for (n, j) in (1..=last).flat_map(|n| (0..WRITES).map(move |j| (n, j))) {
        let (store, key, value) = write(n, j);
        let entries = &mut stores[store.0 as usize];
        match value {
            Some(value) => entries.insert(key.to_vec(), value),
            None => entries.remove(&key[..]),
        };
    }
    stores
}

/// Checks that a dump is what some commit left, and returns which.
fn check(dump: &TaskDump) -> u64 {
    let last = dump.checkpoint.commit_number;
    let [plain, timed] = expected(last);
    assert!(dump.stores.get("plain").cloned().unwrap_or_default() == plain, "commit {last}");
    assert!(dump.stores.get("timed").cloned().unwrap_or_default() == timed, "commit {last}");
    if last > 0 {
        assert_eq!(dump.checkpoint, checkpoint(last), "INV-3");
    }
    last
}

fn stage(storage: &mut RocksStorage, n: u64) {
    for j in 0..WRITES {
        let (store, key, value) = write(n, j);
        storage.stage(store, &key, value.as_deref());
    }
}

/// Opens the task with write buffers so small that they are flushed all the time.
fn open_small(state_dir: &Path) -> TaskDb {
    let directory = StateDirectory::open(state_dir, APPLICATION).unwrap();
    let shared = SharedRocks::new(1 << 20, 512 << 10, std::num::NonZeroU32::MIN).unwrap();
    match TaskDb::open(&shared, directory.acquire_task(task()).unwrap(), &specs()).unwrap() {
        OpenOutcome::Ready(db) | OpenOutcome::Fresh(db) => db,
        OpenOutcome::Damaged { reason, .. } => panic!("damaged: {reason}"),
    }
}

fn task_path(state_dir: &Path) -> PathBuf {
    state_dir.join(APPLICATION).join(task().to_string())
}

fn child(name: &str, state_dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--nocapture", "--exact", name]);
    command.env(STATE_DIR, state_dir).stdout(Stdio::piped());
    command
}

fn child_state_dir() -> PathBuf {
    PathBuf::from(std::env::var(STATE_DIR).unwrap())
}

/// Reads lines until `count` numbers were reported, kills the child, and returns the last number
/// that it reported before it died.
fn kill_after(mut child: Child, count: usize) -> u64 {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut reported = Vec::new();
    let mut note = |line: &str| {
        let number = line.split_once("done ").and_then(|(_, rest)| rest.strip_suffix(" ."));
        if let Some(number) = number {
            reported.push(number.parse::<u64>().unwrap());
        }
        reported.len()
    };
    for line in lines.by_ref() {
        if note(&line.unwrap()) >= count {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines {
        // the last one may be cut, and counts only with its full stop
        note(&line.unwrap());
    }
    reported.into_iter().max().unwrap_or(0)
}

#[test]
#[ignore = "a child process that is killed while it commits"]
fn child_that_commits() {
    let mut storage = RocksStorage::new(&open_small(&child_state_dir())).unwrap();
    loop {
        let n = storage.checkpoint().commit_number + 1;
        stage(&mut storage, n);
        commit(&mut storage);
        println!("done {n} .");
    }
}

#[test]
fn inv_2_inv_3_a_killed_process_leaves_its_last_commit() {
    let dir = tempdir().unwrap();
    let mut before = 0;
    for round in 0..5 {
        let child = child("crash::child_that_commits", dir.path()).spawn().unwrap();
        let acknowledged = kill_after(child, 20 + 60 * round);
        let stored = check(&audit::dump(&task_path(dir.path())).unwrap());
        assert!(stored >= acknowledged, "commit {acknowledged} was lost, {stored} is stored");
        assert!(stored > before, "no progress in round {round}");
        before = stored;
    }
}

#[test]
#[ignore = "a child process that is killed while it restores"]
fn child_that_restores() {
    let db = open_small(&child_state_dir());
    let mut restorer = db.restorer().unwrap();
    restorer.begin_bulk().unwrap();
    loop {
        let from = restorer.checkpoint().changelogs.get("plain").map_or(0, |offset| offset.0);
        let keys: Vec<_> = (from..from + 50).map(|i| (i, ((i % 777) * 13).to_be_bytes())).collect();
        let records: Vec<_> =
            keys.iter().map(|(i, key)| (key, i.to_be_bytes().repeat(64))).collect();
        let records = records.iter().map(|(key, value)| (&key[..], Some(&value[..]), 0));
        restorer.apply(PLAIN, records, Offset(from + 50)).unwrap();
        println!("done {from} .");
    }
}

#[test]
fn inv_2_a_restore_that_is_killed_goes_on_at_the_position_of_its_contents() {
    let dir = tempdir().unwrap();
    let mut progress = 0;
    for round in 0..4 {
        let child = child("crash::child_that_restores", dir.path()).spawn().unwrap();
        kill_after(child, 40 + 60 * round);
        let dump = audit::dump(&task_path(dir.path())).unwrap();
        let position = dump.checkpoint.changelogs.get("plain").map_or(0, |offset| offset.0);
        let mut expected = StoreDump::new();
        for i in 0..position {
            expected.insert(((i % 777) * 13).to_be_bytes().to_vec(), i.to_be_bytes().repeat(64));
        }
        assert!(dump.stores["plain"] == expected, "position {position}");
        assert!(position >= progress);
        progress = position;
    }
    assert!(progress > 0, "nothing was ever flushed");
}

/// Writes some commits and returns the task's directory and its log, which holds all of them.
fn written_log(state_dir: &Path, commits: u64) -> (PathBuf, PathBuf) {
    let mut storage = open_storage(state_dir);
    for n in 1..=commits {
        stage(&mut storage, n);
        commit(&mut storage);
    }
    let path = storage.db().path().to_owned();
    drop(storage);
    let logs = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<_> = logs.filter(|path| path.extension() == Some("log".as_ref())).collect();
    logs.sort();
    (path, logs.pop().unwrap())
}

#[test]
fn a_log_cut_anywhere_leaves_an_earlier_commit() {
    let dir = tempdir().unwrap();
    let (path, log) = written_log(dir.path(), 6);
    let whole = fs::read(&log).unwrap();
    assert_eq!(check(&audit::dump(&path).unwrap()), 6);
    // each of the last bytes, then with larger steps down to nothing
    let near = whole.len() - 64..whole.len();
    let cuts = near.rev().chain((0..whole.len() - 64).rev().step_by(997));
    let mut last = 6;
    for length in cuts {
        fs::write(&log, &whole[..length]).unwrap();
        let stored = check(&audit::dump(&path).unwrap());
        assert!(stored <= last, "a shorter log has more");
        last = stored;
    }
    assert_eq!(last, 0);

    fs::write(&log, &whole[..whole.len() - 1]).unwrap();
    let OpenOutcome::Ready(db) = open_with(dir.path(), &specs()) else { panic!("not ready") };
    let mut storage = RocksStorage::new(&db).unwrap();
    assert_eq!(*storage.checkpoint(), checkpoint(5));
    // and life goes on from there
    stage(&mut storage, 6);
    commit(&mut storage);
    drop((storage, db));
    assert_eq!(check(&audit::dump(&path).unwrap()), 6);
}

#[test]
fn a_bit_flipped_in_the_log_leaves_an_earlier_commit() {
    let dir = tempdir().unwrap();
    let (path, log) = written_log(dir.path(), 6);
    let whole = fs::read(&log).unwrap();
    for at in (0..whole.len()).step_by(509) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&log, flipped).unwrap();
        match audit::dump(&path) {
            Ok(dump) => assert!(check(&dump) <= 6),
            Err(error) => assert!(error.is_damage(), "{error}"),
        }
    }
}

#[test]
#[ignore = "a child process that may not write large files"]
fn child_whose_disk_is_full() {
    let dir = child_state_dir();
    let mut storage = RocksStorage::new(&super::open(&dir)).unwrap();
    loop {
        let n = storage.checkpoint().commit_number + 1;
        stage(&mut storage, n);
        if let Err(error) = storage.publish(checkpoint(n), super::proof()) {
            let stored = storage.checkpoint().commit_number;
            stage(&mut storage, n);
            let again = storage.publish(checkpoint(n), super::proof()).unwrap_err();
            println!("stored {stored} error {error} again {again} end");
            break;
        }
    }
}

#[test]
fn a_full_disk_fails_the_commit_by_name_and_loses_nothing() {
    let dir = tempdir().unwrap();
    // a write beyond the limit fails as it does on a full disk, if the signal is ignored
    let output = Command::new("sh")
        .arg("-c")
        .arg("trap '' XFSZ; ulimit -f 512; exec \"$0\" \"$@\"")
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--nocapture", "--exact", "crash::child_whose_disk_is_full"])
        .env(STATE_DIR, dir.path())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let path = task_path(dir.path());
    assert!(output.contains(&format!("could not write {}", path.display())), "{output}");
    assert!(output.contains("an earlier write to"), "{output}");
    let stored = output.split("stored ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let stored: u64 = stored.parse().unwrap();
    assert!(stored > 0);
    assert_eq!(check(&audit::dump(&path).unwrap()), stored);
}

#[test]
fn a_lost_log_leaves_what_was_flushed() {
    let dir = tempdir().unwrap();
    let mut storage = open_storage(dir.path());
    for n in 1..=3 {
        stage(&mut storage, n);
        commit(&mut storage);
    }
    storage.db().flush().unwrap();
    stage(&mut storage, 4);
    commit(&mut storage);
    let path = storage.db().path().to_owned();
    drop(storage);
    for entry in fs::read_dir(&path).unwrap() {
        let file = entry.unwrap().path();
        if file.extension() == Some("log".as_ref()) {
            OpenOptions::new().write(true).open(file).unwrap().set_len(0).unwrap();
        }
    }
    assert_eq!(check(&audit::dump(&path).unwrap()), 3);
}
