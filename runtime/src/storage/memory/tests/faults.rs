//! What is done to the simulated disk: kills and faults.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tidemill_core::record::Offset;
use tidemill_core::store::{StoreError, TaskStorage};

use super::{PLAIN, all, checkpoint, commit, drive, get, open, open_with, proof, specs, task};
use crate::storage::memory::{DiskCall, DiskFault, Drive, MemoryDisk};
use crate::storage::seam::{Database, Directory, Disk, OpenOutcome, OwnTask, Restore};

const STATE_DIR: &str = "/state";

fn healthy(drive: &Drive) -> MemoryDisk {
    drive.mount(|_| None)
}

/// The next call that fails, and how.
type Planned = Rc<Cell<Option<(DiskCall, DiskFault)>>>;

/// A process whose next call of the kind that was put in fails in that way.
fn failing(drive: &Drive) -> (MemoryDisk, Planned) {
    let next = Rc::new(Cell::new(None));
    let planned: Planned = Rc::clone(&next);
    let disk = drive.mount(move |call| {
        let (_, fault) = planned.get().filter(|(planned, _)| *planned == call)?;
        planned.set(None);
        Some(fault)
    });
    (disk, next)
}

#[test]
fn a_killed_process_leaves_its_locks_and_what_it_logged() {
    let drive = drive();
    let disk = healthy(&drive);
    let mut storage = open(&disk, STATE_DIR.as_ref()).storage().unwrap();
    storage.stage(PLAIN, b"a", Some(b"1"));
    commit(&mut storage);
    storage.stage(PLAIN, b"a", Some(b"2"));
    assert!(healthy(&drive).open_directory(STATE_DIR.as_ref(), "accounts").is_err());
    disk.kill();

    let successor = healthy(&drive);
    let after = open(&successor, STATE_DIR.as_ref()).storage().unwrap();
    assert_eq!(get(&after, PLAIN, b"a").as_deref(), Some(&b"1"[..]));
    // what is left of the dead reaches nothing, and its end frees nobody else's lock
    storage.publish(checkpoint(2), proof()).unwrap_err();
    drop(storage);
    assert_eq!(*after.checkpoint(), checkpoint(1));
    assert_eq!(get(&after, PLAIN, b"a").as_deref(), Some(&b"1"[..]));
    assert!(healthy(&drive).open_directory(STATE_DIR.as_ref(), "accounts").is_err());
}

#[test]
fn inv_3_a_kill_takes_what_a_bulk_load_had_not_flushed_with_its_position() {
    let drive = drive();
    let disk = healthy(&drive);
    let mut restorer = open(&disk, STATE_DIR.as_ref()).restorer().unwrap();
    restorer.apply(PLAIN, [(&b"a"[..], Some(&b"1"[..]), 0)], Offset(1)).unwrap();
    restorer.begin_bulk().unwrap();
    restorer.apply(PLAIN, [(&b"b"[..], Some(&b"2"[..]), 0)], Offset(2)).unwrap();
    let found = drive.dump("/state/accounts".as_ref(), task()).unwrap();
    assert_eq!(found.checkpoint.changelogs["plain"], Offset(1));
    disk.kill();
    let after = open(&healthy(&drive), STATE_DIR.as_ref()).storage().unwrap();
    assert_eq!(after.checkpoint().changelogs["plain"], Offset(1));
    assert_eq!(all(&after, PLAIN), [(b"a"[..].into(), b"1"[..].into())]);
    drop((restorer, after));

    // the end of a process in order loses nothing
    let mut restorer = open(&healthy(&drive), STATE_DIR.as_ref()).restorer().unwrap();
    restorer.begin_bulk().unwrap();
    restorer.apply(PLAIN, [(&b"b"[..], Some(&b"2"[..]), 0)], Offset(2)).unwrap();
    drop(restorer);
    let after = open(&healthy(&drive), STATE_DIR.as_ref()).read_checkpoint().unwrap();
    assert_eq!(after.changelogs["plain"], Offset(2));
}

#[test]
fn a_failed_write_is_the_last_until_the_task_is_opened_again() {
    for (fault, stored) in [(DiskFault::Refused, 1), (DiskFault::DoneButFailed, 2)] {
        let drive = drive();
        let (disk, next) = failing(&drive);
        let mut storage = open(&disk, STATE_DIR.as_ref()).storage().unwrap();
        commit(&mut storage);
        next.set(Some((DiskCall::Write(task()), fault)));
        let error = storage.publish(checkpoint(2), proof()).unwrap_err();
        assert!(matches!(error, StoreError::Storage { operation: "write", .. }), "{error}");
        storage.publish(checkpoint(2), proof()).unwrap_err();
        drop(storage);
        let found = open(&disk, STATE_DIR.as_ref()).read_checkpoint().unwrap();
        assert_eq!(found, checkpoint(stored), "{fault:?}");
    }
}

#[test]
fn damaged_contents_are_damaged_until_they_are_wiped() {
    let drive = drive();
    let (disk, next) = failing(&drive);
    let damage = Some((DiskCall::OpenTask(task()), DiskFault::Damaged));
    next.set(damage);
    let fresh = open_with(&disk, STATE_DIR.as_ref(), &specs());
    assert!(matches!(fresh, OpenOutcome::Fresh(_)), "nothing was there to be damaged");
    drop(fresh);
    next.set(damage);
    for _ in 0..2 {
        let found = open_with(&disk, STATE_DIR.as_ref(), &specs());
        assert!(matches!(found, OpenOutcome::Damaged { .. }));
    }
    assert_eq!(drive.dump("/state/accounts".as_ref(), task()), None);
    let directory = disk.open_directory(STATE_DIR.as_ref(), "accounts").unwrap();
    let lock = directory.acquire_task(task()).unwrap();
    next.set(Some((DiskCall::Wipe(task()), DiskFault::Refused)));
    lock.wipe().unwrap_err();
    lock.wipe().unwrap();
    drop((lock, directory));
    let fresh = open_with(&disk, STATE_DIR.as_ref(), &specs());
    assert!(matches!(fresh, OpenOutcome::Fresh(_)));
}

#[test]
fn each_call_is_put_to_the_hook_and_may_fail() {
    let drive = drive();
    let (disk, next) = failing(&drive);
    next.set(Some((DiskCall::OpenDirectory, DiskFault::Refused)));
    disk.open_directory(STATE_DIR.as_ref(), "accounts").unwrap_err();
    let directory = disk.open_directory(STATE_DIR.as_ref(), "accounts").unwrap();
    next.set(Some((DiskCall::OpenTask(task()), DiskFault::Refused)));
    disk.open_task(directory.acquire_task(task()).unwrap(), &specs()).unwrap_err();
    drop(directory);
    let db = open(&disk, STATE_DIR.as_ref());
    let mut storage = db.storage().unwrap();
    storage.stage(PLAIN, b"a", Some(b"1"));
    commit(&mut storage);
    next.set(Some((DiskCall::Read(task()), DiskFault::Refused)));
    storage.get(PLAIN, b"a", &mut |_| panic!("it was to fail")).unwrap_err();
    next.set(Some((DiskCall::Flush(task()), DiskFault::Refused)));
    db.flush().unwrap_err();
    assert_eq!(next.get(), None);
    db.flush().unwrap();
    assert_eq!(drive.tasks(), [("/state/accounts".into(), task())]);
}

#[test]
#[should_panic(expected = "INV-10: task 0_1 has a writer already")]
fn inv_10_a_task_of_a_simulated_disk_has_one_writer() {
    let db = open(&healthy(&drive()), STATE_DIR.as_ref());
    let _first = db.restorer().unwrap();
    let _ = db.storage();
}

#[test]
fn a_hook_may_look_at_the_drive() {
    let drive = drive();
    let (seen, watched) = (Rc::new(RefCell::new(Vec::new())), drive.clone());
    let log = Rc::clone(&seen);
    let disk = drive.mount(move |call| {
        log.borrow_mut().push((call, watched.tasks().len()));
        None
    });
    drop(open(&disk, STATE_DIR.as_ref()));
    assert_eq!(*seen.borrow(), [(DiskCall::OpenDirectory, 0), (DiskCall::OpenTask(task()), 0)]);
}
