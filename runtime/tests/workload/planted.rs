//! The checker can fail: for each anomaly a history that has it, and one that has none.

use super::checker::{Kind, check};
use super::history::{
    Claims, Client, Entry, Event, History, Key, MicroOp, Mode, Offset, Outcome, Read, Txn, Value,
};

fn send(key: Key, value: Value, offset: Offset) -> MicroOp {
    MicroOp::Send { key, value, offset: Some(offset) }
}

fn poll(key: Key, offset: Offset, value: Value) -> MicroOp {
    MicroOp::Read(Read { key, offset, value })
}

/// A run of two assigned clients, 1 and 2, and two of the group, 3 and 4.
#[derive(Default)]
struct Plan(History);

impl Plan {
    fn new() -> Self {
        let mut plan = Self::default();
        for client in 1..=4 {
            let mode = if client <= 2 { Mode::Assign } else { Mode::Subscribe };
            plan.0.clients.insert(client, Client { mode, superseded: None });
        }
        plan
    }

    fn txn(mut self, client: u64, outcome: Outcome, ops: &[MicroOp]) -> Self {
        let begun = self.0.txns.len() as u64;
        self.0.txns.push(Txn { client, begun, outcome, ops: ops.to_vec() });
        self
    }

    fn committed(self, client: u64, ops: &[MicroOp]) -> Self {
        self.txn(client, Outcome::Committed, ops)
    }

    /// What is read at the very end.
    fn last(mut self, key: Key, offset: Offset, value: Value) -> Self {
        self.0.last.push(Read { key, offset, value });
        self
    }

    fn group_at(mut self, key: Key, offset: Offset) -> Self {
        self.0.group.insert(key, offset);
        self
    }

    fn superseded(mut self, client: u64, at: u64) -> Self {
        self.0.clients.get_mut(&client).unwrap().superseded = Some(at);
        self
    }

    fn finds(self, kinds: &[Kind]) {
        let found = check(&self.0);
        let found_kinds: Vec<Kind> = found.iter().map(|anomaly| anomaly.kind).collect();
        assert_eq!(found_kinds, kinds, "{found:?}");
    }
}

/// Three committed records in partition 0, at 0, 1 and 3.
fn three_records() -> Plan {
    let sends = [send(0, 10, 0), send(0, 11, 1), send(0, 13, 3)];
    Plan::new().committed(1, &sends).last(0, 0, 10).last(0, 1, 11).last(0, 3, 13)
}

#[test]
fn what_kafka_allows_is_no_anomaly() {
    three_records()
        // aborted records, and those of a client that was killed, leave holes
        .txn(2, Outcome::Failed, &[send(0, 12, 2), poll(0, 0, 10)])
        // positions of the failed transaction count for nothing
        .committed(2, &[poll(0, 0, 10), poll(0, 1, 11)])
        .committed(2, &[poll(0, 3, 13)])
        // sends of transactions may interleave
        .committed(1, &[send(0, 14, 4), send(1, 20, 1)])
        .committed(2, &[send(0, 15, 5), send(1, 21, 0)])
        .txn(1, Outcome::Unknown, &[send(0, 16, 6), send(1, 22, 2)])
        .txn(2, Outcome::Unknown, &[send(0, 17, 7), send(1, 23, 3)])
        .last(0, 4, 14)
        .last(0, 5, 15)
        .last(0, 6, 16)
        .last(1, 0, 21)
        .last(1, 1, 20)
        .last(1, 2, 22)
        // the group moves on: another member goes on anywhere, and may go back after a rebalance
        .committed(3, &[poll(0, 0, 10)])
        .txn(3, Outcome::Failed, &[poll(0, 1, 11), poll(0, 3, 13)])
        .committed(4, &[poll(0, 1, 11), poll(0, 3, 13)])
        .txn(3, Outcome::Unknown, &[poll(0, 4, 14)])
        .group_at(0, 5)
        .finds(&[]);
}

#[test]
fn an_aborted_read_is_found() {
    let failed = [send(0, 12, 2)];
    let plan = || three_records().txn(2, Outcome::Failed, &failed);
    plan().committed(1, &[poll(0, 2, 12)]).finds(&[Kind::AbortedRead]);
    plan().txn(1, Outcome::Failed, &[poll(0, 2, 12)]).finds(&[Kind::AbortedRead]);
    plan().last(0, 2, 12).finds(&[Kind::AbortedRead]);
}

#[test]
fn a_precommitted_read_is_found() {
    let own = [send(0, 14, 4), poll(0, 4, 14)];
    three_records().committed(2, &own).finds(&[Kind::PrecommittedRead]);
}

#[test]
fn a_lost_write_is_found() {
    let plan = three_records().committed(2, &[send(0, 12, 2)]);
    plan.finds(&[Kind::LostWrite]);
}

#[test]
fn a_write_that_stays_unseen_is_found() {
    three_records().committed(2, &[send(0, 14, 4)]).finds(&[Kind::Unseen]);
    let untold = MicroOp::Send { key: 1, value: 14, offset: None };
    three_records().committed(2, &[untold]).finds(&[Kind::Unseen]);
}

#[test]
fn a_duplicate_is_found() {
    three_records().last(0, 4, 13).finds(&[Kind::Duplicate]);
    // by what its sender was told
    let plan = Plan::new().committed(1, &[send(0, 10, 7)]).last(0, 8, 10);
    plan.finds(&[Kind::Duplicate]);
}

#[test]
fn two_values_at_one_offset_are_found() {
    let sends = [send(1, 20, 0)];
    let plan = Plan::new().committed(1, &sends).last(1, 0, 20);
    // the other one was aborted: its place was taken all the same
    plan.txn(2, Outcome::Failed, &[send(1, 21, 0)]).finds(&[Kind::InconsistentOffsets]);
}

#[test]
fn a_skip_inside_a_transaction_is_found() {
    let skips = [poll(0, 0, 10), poll(0, 3, 13)];
    three_records().committed(2, &skips).finds(&[Kind::IntPollSkip]);
    three_records().txn(2, Outcome::Failed, &skips).finds(&[Kind::IntPollSkip]);
    let of_group = three_records().txn(3, Outcome::Unknown, &skips);
    of_group.finds(&[Kind::IntPollSkip]);
}

#[test]
fn a_step_back_inside_a_transaction_is_found() {
    let back = [poll(0, 1, 11), poll(0, 0, 10)];
    three_records().committed(2, &back).finds(&[Kind::IntNonmonotonicPoll]);
    let again = [poll(0, 1, 11), poll(0, 1, 11)];
    three_records().committed(2, &again).finds(&[Kind::IntNonmonotonicPoll]);
}

#[test]
fn sends_that_land_in_another_order_are_found() {
    let sends = [send(0, 10, 1), send(0, 11, 0)];
    let plan = Plan::new().committed(1, &sends).last(0, 0, 11).last(0, 1, 10);
    plan.finds(&[Kind::IntNonmonotonicSend]);
}

#[test]
fn a_skip_from_one_transaction_to_the_next_is_found_for_assigned_readers() {
    let steps = |client| {
        let plan = three_records().committed(client, &[poll(0, 0, 10)]);
        plan.committed(client, &[poll(0, 3, 13)])
    };
    steps(2).finds(&[Kind::PollSkip]);
    steps(3).finds(&[]);
}

#[test]
fn a_step_back_from_one_transaction_to_the_next_is_found_for_assigned_readers() {
    let plan = three_records().committed(2, &[poll(0, 1, 11)]);
    plan.committed(2, &[poll(0, 0, 10)]).finds(&[Kind::NonmonotonicPoll]);
}

#[test]
fn a_circle_of_reads_is_found() {
    let plan = Plan::new()
        .committed(1, &[send(0, 10, 0), poll(1, 0, 20)])
        .committed(2, &[send(1, 20, 0), poll(0, 0, 10)])
        // hangs on the circle and is in none
        .committed(1, &[poll(0, 0, 10)]);
    plan.finds(&[Kind::CircularFlow]);
}

#[test]
fn a_torn_transaction_is_found() {
    let sends = [send(0, 14, 4), send(1, 20, 0)];
    let plan = three_records().txn(2, Outcome::Unknown, &sends).last(1, 0, 20);
    plan.finds(&[Kind::TornTransaction]);
}

#[test]
fn a_commit_after_the_id_was_taken_over_is_found() {
    let plan = || three_records().committed(1, &[send(1, 20, 0)]).last(1, 0, 20);
    // transactions are begun at 0 and 1; one that was open then may still have been committed
    plan().superseded(1, 0).finds(&[Kind::ZombieCommit]);
    plan().superseded(1, 1).finds(&[]);
    // nothing was sent, so nobody was asked
    plan().committed(1, &[poll(1, 0, 20)]).superseded(1, 1).finds(&[]);
    let of_group = plan().committed(3, &[poll(1, 0, 20)]).superseded(3, 1);
    of_group.finds(&[Kind::ZombieCommit]);
}

#[test]
fn a_record_that_the_group_consumed_twice_is_found() {
    let plan = three_records().committed(3, &[poll(0, 0, 10)]);
    plan.committed(4, &[poll(0, 0, 10)]).finds(&[Kind::ConsumedTwice]);
}

#[test]
fn a_record_that_the_group_passed_unread_is_found() {
    let plan = three_records().committed(3, &[poll(0, 0, 10)]);
    plan.group_at(0, 2).finds(&[Kind::ConsumedNever]);
}

#[test]
fn a_value_from_nowhere_is_found() {
    three_records().last(0, 4, 99).finds(&[Kind::Phantom]);
}

#[test]
fn a_client_that_was_killed_leaves_an_outcome_that_is_known_or_not() {
    let mut at = 0;
    let mut entry = |event| {
        at += 1;
        Entry { at, event }
    };
    let begin = [
        entry(Event::Start { client: 1, transactional_id: "a".to_owned(), mode: Mode::Assign }),
        entry(Event::Ready),
        entry(Event::Begin),
        entry(Event::Send { key: 0, value: 5 }),
    ];
    let committing = entry(Event::Committing);
    let outcome = |entries: &[Entry]| {
        let mut history = History::default();
        history.add_client(entries, &mut Claims::default());
        history.txns[0].outcome
    };
    assert_eq!(outcome(&begin), Outcome::Failed);
    let asked: Vec<Entry> = begin.iter().cloned().chain([committing]).collect();
    assert_eq!(outcome(&asked), Outcome::Unknown);
}

#[test]
fn who_had_the_id_loses_it_to_who_claims_it_later() {
    let (mut history, mut claims) = (History::default(), Claims::default());
    // 3 claims it while 2 does: nobody knows which of them is the last
    for (client, claimed, ready) in [(1, 10, 11), (2, 20, 23), (3, 21, 22)] {
        let transactional_id = "a".to_owned();
        let start = Event::Start { client, transactional_id, mode: Mode::Assign };
        let events = [(claimed, start), (claimed, Event::Claim), (ready, Event::Ready)];
        let entries = events.map(|(at, event)| Entry { at, event });
        history.add_client(&entries, &mut claims);
    }
    history.settle(&claims);
    let superseded: Vec<_> = history.clients.values().map(|client| client.superseded).collect();
    assert_eq!(superseded, [Some(22), None, None]);
}
