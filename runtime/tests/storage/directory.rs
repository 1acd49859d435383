//! INV-10: a state directory belongs to one process and one application.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::tempdir;
use tidemill::storage::{StateDirectory, StateDirectoryError};

use super::{APPLICATION, task};

/// Set for the child process that holds a lock: the state directory.
const HOLD: &str = "TIDEMILL_TEST_HOLD_LOCK";

fn refused(state_dir: &Path) -> String {
    StateDirectory::open(state_dir, APPLICATION).unwrap_err().to_string()
}

#[test]
#[ignore = "the child process of inv_10_a_second_process_is_refused_with_the_pid_of_the_first"]
fn child_that_holds_the_lock() {
    let dir = std::env::var(HOLD).unwrap();
    let directory = StateDirectory::open(Path::new(&dir), APPLICATION).unwrap();
    println!("holding");
    // until the parent closes its end or kills us
    std::io::stdin().lines().for_each(drop);
    drop(directory);
}

#[test]
fn inv_10_a_second_process_is_refused_with_the_pid_of_the_first() {
    let dir = tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--nocapture", "--exact", "directory::child_that_holds_the_lock"])
        .env(HOLD, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    assert!(output.lines().any(|line| line.unwrap().contains("holding")), "no lock");

    let started = Instant::now();
    let error = refused(dir.path());
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(error.contains(&format!("in use by process {}", child.id())), "{error}");
    assert!(error.contains(dir.path().to_str().unwrap()), "{error}");

    child.kill().unwrap();
    child.wait().unwrap();
    // the lock of a dead process is nobody's
    StateDirectory::open(dir.path(), APPLICATION).unwrap();
}

#[test]
fn inv_10_a_second_instance_in_this_process_is_refused() {
    let dir = tempdir().unwrap();
    let _first = StateDirectory::open(dir.path(), APPLICATION).unwrap();
    assert!(refused(dir.path()).contains("in use by this process"));
}

#[test]
fn a_restarted_process_has_the_same_identity() {
    let (dir, other) = (tempdir().unwrap(), tempdir().unwrap());
    let identity =
        |dir: &Path| StateDirectory::open(dir, APPLICATION).unwrap().process_id().to_owned();
    let first = identity(dir.path());
    assert_eq!(first.len(), 36, "{first}");
    assert_eq!(identity(dir.path()), first);
    assert_ne!(identity(other.path()), first);
}

#[test]
fn directories_are_for_the_owner_only() {
    let dir = tempdir().unwrap();
    let directory = StateDirectory::open(dir.path(), APPLICATION).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(directory.path()), 0o700);
    assert_eq!(mode(&directory.path().join(".lock")), 0o600);
    assert_eq!(mode(&directory.path().join("tidemill.json")), 0o600);
    drop(super::open_storage_in(&directory));
    assert_eq!(mode(&directory.task_path(task())), 0o700);
}

#[test]
fn inv_10_a_directory_that_others_can_write_is_refused() {
    let dir = tempdir().unwrap();
    drop(StateDirectory::open(dir.path(), APPLICATION).unwrap());
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode(&dir.path().join(APPLICATION), 0o777);
    assert!(refused(dir.path()).contains("others can write to it (mode 777)"));
    set_mode(&dir.path().join(APPLICATION), 0o700);
    set_mode(dir.path(), 0o777);
    assert!(refused(dir.path()).contains("everybody can write to it"));
    set_mode(dir.path(), 0o1777);
    StateDirectory::open(dir.path(), APPLICATION).unwrap();
}

#[test]
fn inv_10_a_directory_of_kafka_streams_is_refused_and_not_touched() {
    let dir = tempdir().unwrap();
    let path = dir.path().join(APPLICATION);
    fs::create_dir_all(path.join("0_0/rocksdb/counts")).unwrap();
    fs::write(path.join("kafka-streams-process-metadata"), "{}").unwrap();
    let error = refused(dir.path());
    assert!(error.contains("holds 0_0, kafka-streams-process-metadata but no tidemill.json"));
    assert!(error.contains("choose another state.dir"), "{error}");
    assert_eq!(fs::read_dir(&path).unwrap().count(), 2);
}

#[test]
fn inv_10_foreign_newer_and_unreadable_manifests_are_refused() {
    let dir = tempdir().unwrap();
    drop(StateDirectory::open(dir.path(), APPLICATION).unwrap());
    let file = dir.path().join(APPLICATION).join("tidemill.json");
    let written = fs::read_to_string(&file).unwrap();
    let with = |from: &str, to: &str| {
        let changed = written.replace(from, to);
        assert_ne!(changed, written);
        fs::write(&file, changed).unwrap();
        refused(dir.path())
    };
    let error = with("\"accounts\"", "\"orders\"");
    assert!(error.contains("belongs to application orders, not to accounts"), "{error}");
    let error = with("\"format_version\": 1", "\"format_version\": 2, \"more\": []");
    assert!(error.contains("has format 2, this release knows 1"), "{error}");
    let error = with("{", "");
    assert!(error.contains("no readable manifest"), "{error}");
    assert!(error.contains("delete the directory"), "{error}");
    let error = with("\"process_id\": \"", "\"process_id\": \"../");
    assert!(error.contains("process_id is not hexadecimal"), "{error}");
    fs::write(&file, &written).unwrap();
    StateDirectory::open(dir.path(), APPLICATION).unwrap();
}

#[test]
fn a_process_that_died_while_writing_the_manifest_leaves_a_usable_directory() {
    let dir = tempdir().unwrap();
    let path = dir.path().join(APPLICATION);
    fs::create_dir(&path).unwrap();
    fs::write(path.join(".lock"), "").unwrap();
    fs::write(path.join("tidemill.json.tmp"), "{\"form").unwrap();
    StateDirectory::open(dir.path(), APPLICATION).unwrap();
    assert!(!path.join("tidemill.json.tmp").exists());
}

#[test]
fn application_ids_that_leave_the_state_directory_are_refused() {
    let dir = tempdir().unwrap();
    for id in ["", ".", "..", "a/b", "../a", ".a", "-a", "a\0b", "caf\u{e9}", &"a".repeat(250)] {
        let error = StateDirectory::open(dir.path(), id).unwrap_err();
        assert!(matches!(error, StateDirectoryError::UnusableApplicationId(_)), "{error}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn symbolic_links_in_the_way_are_refused() {
    let (dir, elsewhere) = (tempdir().unwrap(), tempdir().unwrap());
    fs::write(elsewhere.path().join("precious"), "1").unwrap();
    symlink(elsewhere.path(), dir.path().join(APPLICATION)).unwrap();
    assert!(refused(dir.path()).contains("symbolic link"));

    let dir = tempdir().unwrap();
    let directory = StateDirectory::open(dir.path(), APPLICATION).unwrap();
    symlink(elsewhere.path(), directory.task_path(task())).unwrap();
    let error = directory.wipe_task(task()).unwrap_err().to_string();
    assert!(error.contains("symbolic link"), "{error}");
    assert_eq!(directory.task_ids_on_disk().unwrap(), []);
    assert!(elsewhere.path().join("precious").exists());
}

#[test]
fn inv_10_a_task_has_one_owner_until_it_is_dropped() {
    let dir = tempdir().unwrap();
    let directory = StateDirectory::open(dir.path(), APPLICATION).unwrap();
    let owner = directory.acquire_task(task()).unwrap();
    let error = directory.acquire_task(task()).unwrap_err();
    assert!(matches!(error, StateDirectoryError::TaskInUse { .. }), "{error}");
    assert!(directory.wipe_task(task()).is_err());
    drop(owner);
    directory.acquire_task(task()).unwrap();
}

#[test]
fn a_database_keeps_the_directory_locked_until_it_is_closed() {
    let dir = tempdir().unwrap();
    let db = super::open(dir.path());
    assert!(refused(dir.path()).contains("in use by this process"));
    drop(db);
    StateDirectory::open(dir.path(), APPLICATION).unwrap();
}

#[test]
fn a_wiped_task_is_gone_and_half_deleted_ones_are_swept() {
    let dir = tempdir().unwrap();
    let directory = StateDirectory::open(dir.path(), APPLICATION).unwrap();
    drop(super::open_storage_in(&directory));
    assert_eq!(directory.task_ids_on_disk().unwrap(), [task()]);
    directory.wipe_task(task()).unwrap();
    assert_eq!(directory.task_ids_on_disk().unwrap(), []);
    directory.wipe_task(task()).unwrap();

    let half = directory.path().join(".deleted-0_1");
    fs::create_dir_all(half.join("more")).unwrap();
    drop(directory);
    drop(StateDirectory::open(dir.path(), APPLICATION).unwrap());
    assert!(!half.exists());
}
