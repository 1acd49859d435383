//! Stopping and starting again: what is resumed, what is restored, and from where.

use tidemill::{CloseOptions, State};

use super::support::ledger::Bank;
use super::support::process::Process;
use super::support::running::{Restored, Running};

#[test]
fn inv_1_outputs_changelogs_and_offsets_are_committed_together() {
    let mut bank = Bank::new("atomic", 2);
    // a reader that runs along sees what a later one sees, and nothing in pieces
    let mut reader = bank.kafka.reader(&bank.spec.output);
    let app = Running::start(&bank.spec);
    for _ in 0..20 {
        bank.feed(100);
        reader.read();
    }
    bank.until_consumed();
    app.close();
    bank.verify();
    bank.audit_current();
    reader.read_to(&bank.kafka.settled(&bank.spec.output));
    assert_eq!(reader.records, bank.kafka.read(&bank.spec.output));
}

#[test]
fn a_clean_restart_resumes_without_restoring() {
    let mut bank = Bank::new("resume", 3);
    for round in 0..3 {
        bank.feed(500);
        let app = Running::start(&bank.spec);
        bank.until_consumed();
        let expected = if round == 0 { 0 } else { 3 };
        assert_eq!(app.metrics().resumes, expected, "round {round}");
        assert_eq!(app.metrics().restores, 0, "round {round}");
        app.close();
        bank.audit_current();
    }
    bank.verify();
}

#[test]
fn a_killed_worker_resumes_without_restoring_if_its_disk_is_current() {
    let mut bank = Bank::new("killed", 2);
    bank.feed(1_000);
    let mut process = Process::start(&bank.spec, None);
    bank.until_consumed();
    // the disk is written right after the commit: its input is committed, so ask the disk
    super::support::until("the state of the last commit", || {
        process.kill();
        let current = bank.audit() == 2;
        if !current {
            process = Process::start(&bank.spec, None);
            process.until_logged("running");
        }
        current.then_some(())
    });
    let app = Running::start(&bank.spec);
    bank.feed(1_000);
    bank.until_consumed();
    assert_eq!((app.metrics().resumes, app.metrics().restores), (2, 0));
    app.close();
    bank.verify();
    bank.audit_current();
}

#[test]
fn a_deleted_state_directory_is_restored_in_full() {
    let mut bank = Bank::new("restore", 2);
    bank.feed(2_000);
    let app = Running::start(&bank.spec);
    bank.until_consumed();
    app.close();
    let before = [bank.dump(0).unwrap(), bank.dump(1).unwrap()];
    std::fs::remove_dir_all(&bank.spec.state_dir).unwrap();

    let app = Running::start(&bank.spec);
    app.until_running();
    let metrics = app.metrics();
    assert_eq!((metrics.resumes, metrics.restores), (0, 2));
    let starts = |event: &Restored| match event {
        Restored::Start(store, start, end) => (start.0 == 0 && end.0 > 0).then(|| store.clone()),
        _ => None,
    };
    let mut stores: Vec<String> = app.restores().iter().filter_map(starts).collect();
    stores.sort();
    assert_eq!(stores, ["balances", "balances", "commits", "commits"]);
    let sum = |pick: fn(&Restored) -> u64| app.restores().iter().map(pick).sum::<u64>();
    let ended = sum(|event| if let Restored::End(_, records) = event { *records } else { 0 });
    let batches =
        sum(|event| if let Restored::Batch(_, _, records) = event { *records } else { 0 });
    assert_eq!((ended, batches), (metrics.restored_records, metrics.restored_records));
    assert!(ended > 0);
    app.close();
    // contents, positions of the inputs and commit numbers are those of before
    for (partition, before) in (0..).zip(before) {
        let after = bank.dump(partition).unwrap();
        assert_eq!(after.stores, before.stores, "contents of partition {partition}");
        assert_eq!(after.checkpoint.inputs, before.checkpoint.inputs);
        assert_eq!(after.checkpoint.commit_number, before.checkpoint.commit_number);
    }
    bank.audit_current();

    bank.feed(500);
    let app = Running::start(&bank.spec);
    bank.until_consumed();
    app.close();
    bank.verify();
}

#[test]
fn two_sub_topologies_restart_through_their_repartition_topic() {
    let mut bank = Bank::new("repartitioned", 2);
    bank.spec.repartition = true;
    for _ in 0..3 {
        let app = Running::start(&bank.spec);
        bank.feed(700);
        bank.until_consumed();
        app.close();
        bank.audit();
    }
    bank.verify();
}

#[test]
fn the_state_listener_sees_every_state_in_order() {
    let mut bank = Bank::new("states", 1);
    bank.feed(10);
    let app = Running::start(&bank.spec);
    app.until_running();
    bank.until_consumed();
    let states = app.states();
    assert_eq!(
        states,
        [(State::Created, State::Rebalancing), (State::Rebalancing, State::Running)]
    );
    app.close_with(CloseOptions::stay_in_group());
}
