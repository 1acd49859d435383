//! Revisions of a process that is killed again and again.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use tidemill::revision::RevisionGenerator;

const DIRECTORY: &str = "TIDEMILL_TEST_REVISIONS_IN";

/// What the child does: writes revisions until it is killed.
#[test]
fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let revisions = RevisionGenerator::new().persisted_in(directory).unwrap();
    let mut out = std::io::stdout().lock();
    loop {
        writeln!(out, "revision {}", revisions.next_revision().unwrap()).unwrap();
    }
}

#[test]
fn rv4_a_process_killed_at_any_time_goes_on_above_its_last_revision() {
    let directory = tempfile::tempdir().unwrap();
    let (mut last, mut lines) = (0, 0);
    for round in 0..12_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut seen = 0;
        let out = BufReader::new(child.stdout.take().unwrap());
        for line in out.split(b'\n') {
            let line = String::from_utf8(line.unwrap()).unwrap();
            // the last line may be cut off in the middle: a part of a number proves nothing
            let Some(number) = line.strip_prefix("revision ").filter(|n| n.len() == 19) else {
                continue;
            };
            let number: i64 = number.parse().unwrap();
            assert!(number > last, "{number} after {last}");
            last = number;
            seen += 1;
            if seen == 1 + round * 700 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen > 0, "round {round} gave nothing out");
        lines += seen;
    }
    assert!(lines > 12);
}
