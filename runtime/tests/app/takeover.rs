//! Several processes in one group: they come, go, die and fall asleep.

use std::time::{Duration, Instant};

use super::support::ledger::{Bank, Spec};
use super::support::process::Process;
use super::support::running::Running;
use super::support::until;

/// The same application on another machine: with a state directory of its own.
fn elsewhere(spec: &Spec) -> Spec {
    let mut spec = spec.clone();
    spec.state_dir = spec.state_dir.with_file_name("elsewhere");
    spec
}

/// A worker is stopped in the middle of a commit for longer than its session; another one takes its
/// tasks over. When it wakes up, it does not know that.
fn asleep_at(step: &str) {
    let mut bank = Bank::new(&format!("asleep-at-{}", step.to_lowercase()), 2);
    bank.spec.set("session.timeout.ms", "2000");
    bank.spec.set("transaction.timeout.ms", "2000");
    bank.feed(200);
    let mut zombie = Process::start(&bank.spec, Some(&format!("{step}:4:stop")));
    zombie.until_logged("running");
    let mut sender = bank.kafka.producer();
    until("the stop", || {
        (0..20).for_each(|_| bank.feed_one(&mut sender));
        sender.flush();
        zombie.log().contains("fail point reached").then_some(())
    });
    let other = elsewhere(&bank.spec);
    let app = Running::start(&other);
    bank.feed(300);
    bank.until_consumed();

    zombie.signal("CONT");
    // its commit is refused, and it is a member like any other again
    zombie.until_logged("the transaction is in trouble");
    until("the zombie to run again", || {
        (0..20).for_each(|_| bank.feed_one(&mut sender));
        sender.flush();
        let log = zombie.log();
        let refused = log.find("the transaction is in trouble").unwrap();
        log[refused..].contains(" running task=").then_some(())
    });
    bank.feed(300);
    bank.until_consumed();
    assert_eq!(zombie.ended(), None);
    zombie.stop();
    bank.feed(300);
    bank.until_consumed();
    app.close();
    bank.verify();
    bank.audit();
    bank.spec = other;
    bank.audit_current();
}

#[test]
fn inv_7_a_worker_that_slept_before_sending_its_offsets_is_refused_and_lives_on() {
    asleep_at("S2");
}

#[test]
fn inv_7_a_worker_that_slept_before_its_commit_is_refused_and_lives_on() {
    asleep_at("S4");
}

#[test]
fn a_second_process_takes_tasks_over_and_gives_them_back_at_once_when_it_is_closed() {
    let mut bank = Bank::new("joins", 4);
    // leaving must not depend on it
    bank.spec.set("session.timeout.ms", "45000");
    let app = Running::start(&bank.spec);
    bank.feed(400);
    bank.until_consumed();
    let mut second = Process::start(&elsewhere(&bank.spec), None);
    let mut sender = bank.kafka.producer();
    until("tasks of the second", || {
        (0..20).for_each(|_| bank.feed_one(&mut sender));
        sender.flush();
        second.log().contains(" running task=").then_some(())
    });
    app.until_running();
    // what it kept it did not restore
    let metrics = app.metrics();
    assert_eq!(metrics.restores, 0, "{metrics:?}");
    assert!(metrics.resumes >= 2, "{metrics:?}");
    bank.feed(400);
    bank.until_consumed();

    let began = Instant::now();
    second.stop();
    bank.feed(400);
    bank.until_consumed();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    app.close();
    bank.verify();
    bank.audit_current();
}

#[test]
fn a_static_member_that_is_killed_and_started_again_disturbs_nobody() {
    let mut bank = Bank::new("static", 4);
    bank.spec.set("session.timeout.ms", "45000");
    let app = Running::start(&bank.spec);
    app.until_running();
    let other = elsewhere(&bank.spec);
    let mut second = Process::start(&other, None);
    second.until_logged(" running task=");
    bank.feed(400);
    bank.until_consumed();
    app.until_running();
    let before = app.states();

    second.kill();
    bank.feed(400);
    let began = Instant::now();
    let mut second = Process::start(&other, None);
    bank.until_consumed();
    // long before its session would have ended, and the first never stopped working
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(app.states(), before);
    assert_eq!(app.metrics().restores, 0);
    second.stop();
    bank.feed(100);
    bank.until_consumed();
    app.close();
    bank.verify();
    bank.audit_current();
}

#[test]
fn several_workers_of_one_process_share_its_tasks() {
    let mut bank = Bank::new("workers", 4);
    bank.spec.repartition = true;
    bank.spec.set("num.stream.threads", "2");
    for _ in 0..3 {
        let app = Running::start(&bank.spec);
        bank.feed(500);
        bank.until_consumed();
        assert_eq!(app.close().restores, 0);
        bank.audit_current();
    }
    bank.verify();
}
