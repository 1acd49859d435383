//! Measurements behind the choices in `docs/STORAGE_FORMAT.md`. By hand:
//! `cargo test --release -p tidemill --test storage -- --ignored --nocapture measure`

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::tempdir;
use tidemill::storage::{RocksStorage, SharedRocks, StateDirectory, TaskDb};
use tidemill_core::record::Offset;
use tidemill_core::store::TaskStorage;

use super::{APPLICATION, OpenOutcome, PLAIN, checkpoint, proof, specs, task};

const KEYS: u64 = 1_000_000;
const VALUE: [u8; 100] = [7; 100];

fn open(state_dir: &Path) -> TaskDb {
    let directory = StateDirectory::open(state_dir, APPLICATION).unwrap();
    let shared = SharedRocks::new(64 << 20, 64 << 20, 2.try_into().unwrap()).unwrap();
    match TaskDb::open(&shared, directory.acquire_task(task()).unwrap(), &specs()).unwrap() {
        OpenOutcome::Ready(db) | OpenOutcome::Fresh(db) => db,
        OpenOutcome::Damaged { reason, .. } => panic!("damaged: {reason}"),
    }
}

fn key(i: u64) -> [u8; 16] {
    let mut key = [0; 16];
    let mixed = (i % KEYS).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    key[..8].copy_from_slice(&mixed);
    key
}

fn summary(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let mean = times.iter().sum::<Duration>() / u32::try_from(times.len()).unwrap();
    let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    format!("mean {mean:.1?} p50 {p50:.1?} p99 {p99:.1?} max {:.1?}", times[times.len() - 1])
}

/// What is on disk while the database is open is what a killed process would leave.
fn image(state_dir: &Path) -> tempfile::TempDir {
    let copy = tempdir().unwrap();
    let (from, to) = (state_dir.join(APPLICATION), copy.path().join(APPLICATION));
    let task = task().to_string();
    fs::create_dir_all(to.join(&task)).unwrap();
    fs::copy(from.join("tidemill.json"), to.join("tidemill.json")).unwrap();
    for entry in fs::read_dir(from.join(&task)).unwrap() {
        let file = entry.unwrap();
        fs::copy(file.path(), to.join(&task).join(file.file_name())).unwrap();
    }
    copy
}

fn reopen(state_dir: &Path, commits: u64) -> String {
    let image = image(state_dir);
    fs::set_permissions(
        image.path().join(APPLICATION),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    let started = Instant::now();
    let db = open(image.path());
    let took = started.elapsed();
    let stored = db.read_checkpoint().unwrap().changelogs.get("plain").map_or(0, |o| o.0);
    let stored = u64::try_from(stored).unwrap() / 2;
    format!("open after a kill {took:.1?}, {} commits behind", commits - stored)
}

#[test]
#[ignore = "measures; run it alone"]
fn measure_commits_with_and_without_the_log() {
    for commits in [100, 400] {
        println!("{commits} commits of 1,000 entries (16 + 100 bytes)");
        let dir = tempdir().unwrap();
        let mut storage = RocksStorage::new(&open(dir.path())).unwrap();
        let mut times = Vec::new();
        for n in 1..=commits {
            for i in 0..1_000 {
                storage.stage(PLAIN, &key(n * 1_000 + i), Some(&VALUE));
            }
            let started = Instant::now();
            storage.publish(checkpoint(n), proof()).unwrap();
            times.push(started.elapsed());
        }
        println!(" with the log:    {}", summary(times));
        println!("  {}", reopen(dir.path(), commits));

        let dir = tempdir().unwrap();
        let mut restorer = open(dir.path()).restorer().unwrap();
        restorer.begin_bulk().unwrap();
        let mut times = Vec::new();
        for n in 1..=commits {
            let keys: Vec<_> = (0..1_000).map(|i| key(n * 1_000 + i)).collect();
            let records = keys.iter().map(|key| (&key[..], Some(&VALUE[..]), 0));
            let started = Instant::now();
            let next = checkpoint(n).changelogs["plain"];
            restorer.apply(PLAIN, records, next).unwrap();
            times.push(started.elapsed());
        }
        println!(" without the log: {} (staging included)", summary(times));
        println!("  {}", reopen(dir.path(), commits));
    }
}

#[test]
#[ignore = "measures; run it alone"]
fn measure_restoring_and_reading() {
    const RECORDS: u64 = 4_000_000;
    for bulk in [false, true] {
        let dir = tempdir().unwrap();
        let mut restorer = open(dir.path()).restorer().unwrap();
        if bulk {
            restorer.begin_bulk().unwrap();
        }
        let started = Instant::now();
        for n in 0..RECORDS / 5_000 {
            let keys: Vec<_> = (0..5_000).map(|i| key(n * 5_000 + i)).collect();
            let records = keys.iter().map(|key| (&key[..], Some(&VALUE[..]), 0));
            let next = i64::try_from((n + 1) * 5_000).unwrap();
            restorer.apply(PLAIN, records, Offset(next)).unwrap();
        }
        let applied = started.elapsed();
        let storage = restorer.finish([].into(), 1).unwrap();
        let finished = started.elapsed();
        let rate = RECORDS as f64 / finished.as_secs_f64();
        println!(
            "bulk {bulk}: applied {applied:.2?}, finished {finished:.2?}: {rate:.0} records/s"
        );
        for what in ["right after", "once more"] {
            let started = Instant::now();
            for i in 0..200_000 {
                let found = storage.get(PLAIN, &key(i * 7), &mut |value| {
                    black_box(value);
                });
                assert!(found.unwrap());
            }
            println!("  get {what}: {:.2?}", started.elapsed() / 200_000);
        }
        let started = Instant::now();
        for i in 0..200_000_u32 {
            assert!(!storage.get(PLAIN, &i.to_be_bytes(), &mut |_| {}).unwrap());
        }
        println!("  get of no key: {:.2?}", started.elapsed() / 200_000);
    }
}
