//! Kafka's transactional promises, checked without Tidemill: clients on librdkafka alone send and
//! poll in transactions over several partitions, are killed, paused and replaced under the same
//! transactional id, and a checker looks through all they saw. It runs against any broker, and what
//! it finds is a fault of that broker (or of the client library).
//!
//! `make conformance SECONDS=300` runs it for longer. A failure leaves the histories of the clients
//! behind and names their folder; the seed decides what the clients do and suffer, not how the
//! processes interleave.

#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

mod checker;
mod client;
mod history;
mod planted;
mod reader;
mod run;
mod sender;
mod topic;

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use checker::check;
use history::{History, Mode, Outcome};
use run::Faults;

const DEFAULT_SECONDS: u64 = 20;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

#[test]
fn transactions_of_clients_that_crash_and_linger_keep_their_promises() {
    let bootstrap = std::env::var("TIDEMILL_TEST_KAFKA")
        .expect("TIDEMILL_TEST_KAFKA is not set: `make test` starts a broker and sets it");
    let seconds = number("TIDEMILL_TEST_WORKLOAD_SECONDS").unwrap_or(DEFAULT_SECONDS);
    let by_time = || UNIX_EPOCH.elapsed().unwrap().as_secs();
    let seed = number("TIDEMILL_TEST_WORKLOAD_SEED").unwrap_or_else(by_time);
    println!("seed {seed}, {seconds} s, on {bootstrap}");
    let (history, faults, folder) = run::run(&bootstrap, seed, Duration::from_secs(seconds));
    let counts = Counts::of(&history);
    println!("{counts:?}\n{faults:?}");
    let anomalies = check(&history);
    if !anomalies.is_empty() {
        let shown: Vec<String> = anomalies.iter().take(20).map(ToString::to_string).collect();
        let (count, shown) = (anomalies.len(), shown.join("\n"));
        let kept = folder.keep();
        panic!("seed {seed}: {count} anomalies; histories in {}\n{shown}", kept.display());
    }
    counts.assert_worth(&faults);
}

/// How much a run tried.
#[derive(Debug)]
struct Counts {
    committed: usize,
    failed: usize,
    unknown: usize,
    /// Committed transactions that sent to more than one partition.
    wide: usize,
    read_by_assigned: usize,
    read_by_group: usize,
    visible: usize,
    group_moved: i64,
}

impl Counts {
    fn of(history: &History) -> Self {
        let with = |outcome| history.txns.iter().filter(move |txn| txn.outcome == outcome);
        let is_wide = |txn: &&history::Txn| {
            txn.sends().map(|(key, ..)| key).collect::<BTreeSet<_>>().len() > 1
        };
        let read_by = |mode| {
            let of_mode =
                history.txns.iter().filter(|txn| history.clients[&txn.client].mode == mode);
            of_mode.map(|txn| txn.reads().count()).sum()
        };
        Self {
            committed: with(Outcome::Committed).count(),
            failed: with(Outcome::Failed).count(),
            unknown: with(Outcome::Unknown).count(),
            wide: with(Outcome::Committed).filter(is_wide).count(),
            read_by_assigned: read_by(Mode::Assign),
            read_by_group: read_by(Mode::Subscribe),
            visible: history.last.len(),
            group_moved: history.group.values().sum(),
        }
    }

    /// A run in which nothing happened proves nothing.
    fn assert_worth(&self, faults: &Faults) {
        assert!(self.committed >= 100 && self.wide >= 20, "too few transactions: {self:?}");
        assert!(self.unknown < self.committed, "too little is known: {self:?}");
        assert!(self.failed >= 10, "too few failed: {self:?}");
        assert!(self.visible >= 100, "too little was written: {self:?}");
        let read = self.read_by_assigned.min(self.read_by_group);
        assert!(read >= 100 && self.group_moved > 0, "too little was read: {self:?}");
        let Faults { kills, zombies, gave_up, .. } = faults;
        let enough = *kills > 0 && *zombies > 0 && !gave_up.is_empty();
        assert!(enough, "too few faults: {faults:?}");
    }
}
