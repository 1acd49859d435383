//! SG4, SG5, SG9: participants with a real PostgreSQL, killed and stopped at named places.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tidemill_connect::postgres::{TableName, connect};
use tidemill_connect::saga::mutation::Guard;
use tidemill_connect::saga::participant::PgParticipant;
use tidemill_connect::saga::{Answer, Command, Direction, Status, What, command_id};
use tidemill_connect::testing::until;
use tokio_postgres::Transaction;

use crate::checkout::effect;
use crate::mutants::Missed;
use crate::order::{Amount, Order};
use crate::processes::Shop;

const SECOND: Duration = Duration::from_secs(1);
/// Longer than participants take to join on a busy machine: else a saga ends before they are there.
const PATIENT: Duration = Duration::from_secs(10);

fn order(id: &str) -> (String, Order) {
    (id.to_owned(), Order { quantity: 30, cents: 40, ..Order::new(1) })
}

/// The participant dies where `place` says, so that the step is not answered in time.
async fn unanswered(place: &str) {
    let shop = Shop::open(PATIENT, 1).await;
    let _others = shop.participants(&["shop", "points"], "");
    let mut dying = shop.participants(&["payments"], &format!("{place}:1:kill"));
    let _orchestrator = shop.orchestrator("");
    shop.request(&[order("order-1")]);
    dying.wait(Duration::from_secs(60)).unwrap();
    until("the saga to give up", || {
        let transitions = shop.transitions();
        let undone = |what: &tidemill_connect::saga::Transition| {
            what.direction == Direction::Compensation && what.step == "charge"
        };
        transitions.iter().any(undone).then_some(())
    });
    let executed: i64 = {
        let sql = "SELECT count(*) FROM holding WHERE service = 'payments'";
        shop.connect().await.query_one(sql, &[]).await.unwrap().get(0)
    };
    assert_eq!(executed, i64::from(place != "SG-participant-before-commit"), "{place}");
    let _again = shop.participants(&["payments"], "");
    let ends = shop.until_ended(1);
    assert_eq!(ends, BTreeMap::from([("order-1".to_owned(), Status::Compensated)]), "{place}");
    shop.verify(&ends).await;
    let undone: Vec<String> = shop
        .transitions()
        .into_iter()
        .filter(|one| one.what == What::Done && one.direction == Direction::Compensation)
        .map(|one| one.step)
        .collect();
    assert_eq!(undone, ["charge", "reserve", "open"], "{place}");
}

#[tokio::test]
async fn sg4_killed_after_its_commit_a_participant_that_was_given_up_is_undone() {
    unanswered("SG-participant-after-commit").await;
}

#[tokio::test]
async fn sg4_killed_before_its_commit_a_participant_that_was_given_up_has_nothing() {
    unanswered("SG-participant-before-commit").await;
}

#[tokio::test]
async fn sg4_killed_after_its_reply_a_participant_answers_again_and_nothing_is_done_twice() {
    let shop = Shop::open(30 * SECOND, 3).await;
    let _others = shop.participants(&["shop", "points"], "");
    let mut dying = shop.participants(&["payments"], "SG-participant-after-reply:1:kill");
    let _orchestrator = shop.orchestrator("");
    shop.request(&[order("order-1")]);
    dying.wait(Duration::from_secs(60)).unwrap();
    let ends = shop.until_ended(1);
    assert_eq!(ends["order-1"], Status::Completed);
    // reads the command again, answers again, and nobody minds
    let _again = shop.participants(&["payments"], "");
    let replies = format!("{}-replies", shop.prefix);
    until("the second answer", || {
        let replies = shop.broker.committed(&replies).unwrap();
        let charged = replies.iter().filter(|seen| seen.value_text().contains("\"charge\""));
        (charged.count() == 2).then_some(())
    });
    shop.verify(&shop.outcomes()).await;
}

fn command(number: u32, direction: Direction, last: bool) -> Command {
    let saga_id = format!("order-{number}");
    let id = |direction| command_id("checkout", &saga_id, "reserve", direction);
    let undoes = (direction == Direction::Compensation).then(|| id(Direction::Forward));
    let payload = Amount { whose: "customer-1".to_owned(), amount: 1, refuse: false };
    Command {
        command_id: id(direction),
        saga: "checkout".to_owned(),
        step: "reserve".to_owned(),
        direction,
        attempt: 1,
        compensates: undoes,
        refusal_is_final: last,
        reply_to: "replies".to_owned(),
        payload: serde_json::to_value(payload).unwrap(),
        saga_id,
    }
}

async fn points(shop: &Shop) -> PgParticipant {
    let participant = PgParticipant::new(TableName::new("points_commands").unwrap()).unwrap();
    participant.ensure_schema(&mut *shop.connect().await).await.unwrap();
    participant
}

async fn never(_: &Transaction<'_>, command: &Command) -> Result<Answer, tidemill::BoxError> {
    Err(format!("{:?} of {} was done", command.direction, command.saga_id).into())
}

#[tokio::test]
async fn sg5_a_command_after_its_compensation_is_refused() {
    let shop = Shop::open(PATIENT, 1).await;
    let (points, mut client) = (points(&shop).await, shop.connect().await);
    let undo = command(1, Direction::Compensation, false);
    for _ in 0..2 {
        let reply = points.handle(&mut client, &undo, never).await.unwrap();
        assert_eq!(reply.answer, Answer::Done(Value::Null), "there was nothing to undo");
    }
    for _ in 0..2 {
        let late = command(1, Direction::Forward, true);
        let reply = points.handle(&mut client, &late, never).await.unwrap();
        assert_eq!(reply.answer, Answer::refused("it was compensated before"));
    }
    // and one that was done, undone, and comes once more
    let forward = command(2, Direction::Forward, true);
    let done = points.handle(&mut client, &forward, effect).await.unwrap();
    assert_eq!(points.handle(&mut client, &forward, never).await.unwrap(), done);
    let undo = command(2, Direction::Compensation, false);
    let undone = points.handle(&mut client, &undo, effect).await.unwrap();
    assert_eq!(points.handle(&mut client, &undo, never).await.unwrap(), undone);
    let reply = points.handle(&mut client, &forward, never).await.unwrap();
    assert_eq!(reply.answer, Answer::refused("it was compensated before"));
    shop.verify(&BTreeMap::new()).await;
}

#[tokio::test]
async fn sg5_a_command_and_its_compensation_at_the_same_time_leave_nothing() {
    let shop = Shop::open(PATIENT, 1).await;
    let points = points(&shop).await;
    let mut clients = [shop.connect().await, shop.connect().await, shop.connect().await];
    let mut refused = 0;
    for number in 0..200 {
        let forward = command(number, Direction::Forward, true);
        let undo = command(number, Direction::Compensation, false);
        let [one, other, third] = &mut clients;
        let (first, second, undone) = tokio::join!(
            points.handle(one, &forward, effect),
            points.handle(other, &forward, effect),
            points.handle(third, &undo, effect),
        );
        assert_eq!(undone.unwrap().answer, Answer::done());
        let answers = [first.unwrap().answer, second.unwrap().answer];
        refused += answers.iter().filter(|answer| matches!(answer, Answer::Refused(_))).count();
        shop.verify(&BTreeMap::new()).await;
    }
    assert!((1..400).contains(&refused), "both orders happen: {refused} of 400 were refused");
}

#[tokio::test]
async fn sg5_a_participant_that_wakes_up_after_the_compensation_does_nothing() {
    let shop = Shop::open(PATIENT, 1).await;
    let _others = shop.participants(&["shop", "points"], "");
    let mut sleeper = shop.participants(&["payments"], "SG-participant-before:1:stop");
    let _orchestrator = shop.orchestrator("");
    shop.request(&[order("order-1")]);
    // it has read the command, and is taken for dead
    until("the sleeper to fall asleep", || sleeper.is_stopped().unwrap().then_some(()));
    until("the saga to give up", || {
        let given_up = shop.transitions().iter().any(|one| one.status == Status::Compensating);
        given_up.then_some(())
    });
    let _heir = shop.participants(&["payments"], "");
    let ends = shop.until_ended(1);
    assert_eq!(ends["order-1"], Status::Compensated);
    shop.verify(&ends).await;
    let replies = format!("{}-replies", shop.prefix);
    let before = shop.broker.committed(&replies).unwrap().len();
    sleeper.signal(Signal::CONT).unwrap();
    // its answer to what it had read; then it notices that it is out of the group
    let last = until("the sleeper's reply", || {
        let mut replies = shop.broker.committed(&replies).unwrap();
        (replies.len() > before).then(|| replies.split_off(before).remove(0))
    });
    let said = last.value_text();
    assert!(said.contains("it was compensated before"), "{said}");
    assert_eq!(last.key_text(), "order-1");
    // and beside it, or by it, the next one goes through
    shop.request(&[order("order-2")]);
    let ends = shop.until_ended(2);
    assert_eq!(ends["order-2"], Status::Completed);
    shop.verify(&ends).await;
    assert!(sleeper.ended().unwrap().is_none(), "the sleeper ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn sg9_what_a_saga_is_about_is_marked_until_it_ends() {
    let shop = Shop::open(60 * SECOND, 1).await;
    let mut others = shop.participants(&["shop", "points"], "");
    let _orchestrator = shop.orchestrator("");
    shop.request(&[order("order-1")]);
    shop.until_count("SELECT count(*) FROM holding WHERE service = 'points'", 1).await;
    // in between: the order is pending for everybody, and its points are nobody else's
    shop.until_count("SELECT count(*) FROM shop_order WHERE status = 'PENDING'", 1).await;
    others.kill().unwrap();
    let _others = shop.participants(&["shop", "points"], "");
    let (id, greedy) = order("order-2");
    shop.request(&[(id, Order { quantity: 71, ..greedy })]);
    let ends = shop.until_ended(1);
    assert_eq!(ends, BTreeMap::from([("order-2".to_owned(), Status::Compensated)]));
    let pending = "SELECT count(*) FROM shop_order WHERE status = 'PENDING'";
    shop.until_count(pending, 1).await;
    // nobody ever sees an order that is confirmed and not paid
    let database = shop.database.parse().unwrap();
    let watching = tokio::spawn(async move {
        let client = connect(&database).await.unwrap();
        let sql = "SELECT status, EXISTS (
                       SELECT FROM holding WHERE service = 'payments' AND saga_id = 'order-1')
                   FROM shop_order WHERE saga_id = 'order-1'";
        let mut seen = Vec::new();
        while seen.last() != Some(&("CONFIRMED".to_owned(), true)) {
            let row = client.query_one(sql, &[]).await.unwrap();
            let now: (String, bool) = (row.get(0), row.get(1));
            assert_ne!(now, ("CONFIRMED".to_owned(), false));
            if seen.last() != Some(&now) {
                seen.push(now);
            }
        }
        seen
    });
    let _payments = shop.participants(&["payments"], "");
    let ends = shop.until_ended(2);
    assert_eq!(ends["order-1"], Status::Completed);
    assert!(watching.await.unwrap().contains(&("PENDING".to_owned(), false)));
    shop.verify(&ends).await;
}

/// What is missed if it is taken out.
pub(crate) const MISSED: &[Missed] = &[
    (
        Guard::Inbox,
        "sg5_a_command_after_its_compensation_is_refused",
        sg5_a_command_after_its_compensation_is_refused,
    ),
    (
        Guard::CompensatedBefore,
        "sg5_a_command_after_its_compensation_is_refused",
        sg5_a_command_after_its_compensation_is_refused,
    ),
    (
        Guard::EmptyRollback,
        "sg5_a_command_after_its_compensation_is_refused",
        sg5_a_command_after_its_compensation_is_refused,
    ),
    (
        Guard::MarkOfCompensation,
        "sg5_a_command_after_its_compensation_is_refused",
        sg5_a_command_after_its_compensation_is_refused,
    ),
];
