//! SIGKILL at each step of the commit protocol, as `docs/TRANSACTIONS.md` has them.

use std::os::unix::process::ExitStatusExt;

use super::support::ledger::{Bank, FAILING};
use super::support::process::Process;
use super::support::running::Running;
use super::support::until;

/// Runs a worker under load until it kills itself at the place, and checks everything; then starts
/// one in its place and checks everything again.
fn killed_at(step: &str, pass: u32, prepare: impl FnOnce(&mut Bank), disturb: impl FnOnce(&Bank)) {
    let mut bank = Bank::new(&format!("at-{}", step.to_lowercase()), 2);
    prepare(&mut bank);
    bank.feed(200);
    let mut process = Process::start(&bank.spec, Some(&format!("{step}:{pass}:kill")));
    process.until_logged("running");
    disturb(&bank);
    let mut sender = bank.kafka.producer();
    let status = until("the kill", || {
        for _ in 0..20 {
            bank.feed_one(&mut sender);
        }
        sender.flush();
        process.ended()
    });
    assert_eq!(status.signal(), Some(9), "{}", process.log());
    assert!(process.log().contains("fail point reached"));
    drop(process);

    // as the dead left it, with its transaction open
    bank.audit();
    let source = bank.spec.sources().pop().unwrap();
    let before = bank.kafka.committed_so_far(&bank.spec.application_id, &source);
    let app = Running::start(&bank.spec);
    app.until_running();
    let after = bank.kafka.committed(&bank.spec.application_id, &source);
    for (partition, before) in before {
        assert!(after[&partition] >= before, "{partition} went back: {before:?}, {after:?}");
    }
    bank.feed(300);
    bank.until_consumed();
    app.close();
    bank.verify();
    bank.audit_current();
}

fn killed_in_commit(step: &str) {
    killed_at(step, 5, |_| {}, |_| {});
}

#[test]
fn inv_1_killed_at_s0_after_reading() {
    killed_at("S0", 50, |_| {}, |_| {});
}

#[test]
fn inv_1_killed_at_s1_with_records_in_an_open_transaction() {
    killed_in_commit("S1");
}

#[test]
fn inv_1_killed_at_s2_after_the_flush() {
    killed_in_commit("S2");
}

#[test]
fn inv_1_killed_at_s3_after_sending_the_offsets() {
    killed_in_commit("S3");
}

#[test]
fn inv_1_killed_at_s4_before_the_commit_request() {
    killed_in_commit("S4");
}

#[test]
fn inv_2_killed_at_s5_after_the_acknowledgement() {
    killed_in_commit("S5");
}

#[test]
fn inv_2_killed_at_s6_before_the_batch() {
    killed_in_commit("S6");
}

#[test]
fn inv_3_killed_at_s7_after_the_batch() {
    killed_in_commit("S7");
}

#[test]
fn inv_1_killed_at_s8_before_the_next_transaction() {
    killed_in_commit("S8");
}

#[test]
fn inv_5_killed_at_x1_before_the_abort() {
    let fails = |bank: &mut Bank| (bank.spec.failures, bank.spec.replace) = (1, true);
    killed_at("X1", 1, fails, |bank| bank.feed_amount("account-1", FAILING));
}

/// Another producer with the worker's transactional id: the worker's own is fenced.
fn fence(bank: &Bank) {
    bank.kafka.transactional(&bank.spec.transactional_id());
}

#[test]
fn inv_5_killed_at_x2_with_the_tasks_dropped() {
    killed_at("X2", 1, |_| {}, fence);
}

#[test]
fn inv_5_killed_at_x3_after_the_rewind() {
    // the first pass is the first assignment
    killed_at("X3", 2, |_| {}, fence);
}

#[test]
fn inv_7_a_fenced_worker_rolls_back_and_goes_on() {
    let mut bank = Bank::new("fenced", 2);
    bank.feed(200);
    let app = Running::start(&bank.spec);
    bank.until_consumed();
    for _ in 0..3 {
        let before = app.metrics().rebuilds;
        fence(&bank);
        until("a new producer", || {
            bank.feed(20);
            (app.metrics().rebuilds > before).then_some(())
        });
        // the new producer is at work, so the next fence is one
        bank.until_consumed();
    }
    bank.feed(200);
    bank.until_consumed();
    assert_eq!(app.metrics().restores, 0, "the stores were current");
    app.close();
    bank.verify();
    bank.audit_current();
}

#[test]
fn inv_5_a_failed_worker_is_replaced_and_nothing_of_its_transaction_is_seen() {
    let mut bank = Bank::new("replaced", 2);
    (bank.spec.failures, bank.spec.replace) = (3, true);
    bank.feed(300);
    bank.feed_amount("account-1", FAILING);
    bank.feed(300);
    let app = Running::start(&bank.spec);
    bank.until_consumed();
    assert!(app.metrics().aborts >= 3, "{:?}", app.metrics());
    app.close();
    bank.verify();
    bank.audit_current();
}

#[test]
fn inv_1_a_panic_at_a_fail_point_of_the_commit_ends_the_worker_only() {
    let mut bank = Bank::new("panic", 2);
    bank.spec.replace = true;
    let mut process = Process::start(&bank.spec, Some("S3:3:panic"));
    let mut sender = bank.kafka.producer();
    until("the panic", || {
        (0..20).for_each(|_| bank.feed_one(&mut sender));
        sender.flush();
        process.log().contains("the worker panicked").then_some(())
    });
    bank.feed(200);
    bank.until_consumed();
    process.stop();
    bank.verify();
    bank.audit_current();
}
