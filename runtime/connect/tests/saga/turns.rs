//! SG1, SG3, SG6, SG7: the orchestrator alone, record by record, with the clock turned by hand.

use std::time::Duration;

use tidemill_connect::saga::mutation::Guard;
use tidemill_connect::saga::{Answer, Call, Direction, Reply, Saga, SagaError, Status, Undo, What};

use crate::hand::{Hand, accomplished};
use crate::mutants::Missed;
use crate::order::{Order, PIVOT, Pace, STEPS, saga};

const ID: &str = "order-1";

fn started() -> Hand {
    let mut hand = Hand::new(saga(Pace::SECOND));
    hand.start(ID, Order::new(1));
    hand
}

/// Has every step before this one succeed, and returns the command of this one.
fn until_step(hand: &mut Hand, step: usize) -> tidemill_connect::saga::Command {
    loop {
        let command = hand.command();
        if command.step == STEPS[step].0 && command.direction == Direction::Forward {
            return command;
        }
        hand.answer(&command, Answer::done());
    }
}

/// The steps up to this one, then the compensations of those that may have been done.
fn there_and_back(last: usize, undo_from: usize) -> Vec<(&'static str, Direction)> {
    let there = (0..=last).map(|step| (STEPS[step].0, Direction::Forward));
    let back = (0..undo_from).rev().map(|step| (STEPS[step].0, Direction::Compensation));
    there.chain(back).collect()
}

#[test]
fn a_saga_whose_steps_succeed_is_completed_and_knows_what_they_said() {
    let mut hand = started();
    hand.play(|command| match &*command.step {
        "charge" => Answer::done_with("payment-7").unwrap(),
        _ => Answer::done(),
    });
    let outcomes = hand.outcomes();
    assert_eq!(outcomes.len(), 1);
    assert_eq!(outcomes[0].status, Status::Completed);
    assert_eq!(outcomes[0].data.payment.as_deref(), Some("payment-7"));
    assert_eq!(hand.steps(), there_and_back(4, 0));
    let transitions = hand.transitions();
    let numbers: Vec<u64> = transitions.iter().map(|transition| transition.number).collect();
    assert_eq!(numbers, (1..=11).collect::<Vec<_>>());
    let metrics = hand.saga.metrics();
    assert_eq!((metrics.started(), metrics.completed(), metrics.stuck()), (1, 1, 0));
}

#[test]
fn sg1_each_step_refused_in_turn_has_the_earlier_ones_undone_in_reverse_order_once() {
    for (failing, (name, _)) in STEPS.iter().enumerate().take(PIVOT + 1) {
        let mut hand = started();
        hand.play(|command| match command.direction {
            Direction::Forward if command.step == *name => Answer::refused("not today"),
            _ => Answer::done(),
        });
        let outcome = hand.outcomes().pop().unwrap();
        assert_eq!(outcome.status, Status::Compensated, "{name}");
        assert_eq!(outcome.failed_step.as_deref(), Some(*name));
        assert_eq!(outcome.reason.as_deref(), Some("refused: not today"));
        assert_eq!(hand.steps(), there_and_back(failing, failing), "{name}");
        assert_eq!(hand.sent.len(), 2 * failing + 1, "each command once: {name}");
    }
}

#[test]
fn sg1_each_step_unanswered_in_turn_is_undone_itself_too() {
    for (failing, (name, _)) in STEPS.iter().enumerate().take(PIVOT) {
        let mut hand = started();
        let first = until_step(&mut hand, failing);
        for attempt in 2..=3 {
            assert_eq!(hand.next_command(), None, "before the time is up");
            hand.wait(Duration::from_secs(1));
            assert_eq!(hand.next_command(), None, "before the pause is over");
            hand.wait(Duration::from_secs(1 << (attempt - 2)));
            let again = hand.command();
            assert_eq!((again.command_id, again.attempt), (first.command_id, attempt));
        }
        hand.wait(Duration::from_secs(1));
        hand.play(|_| Answer::done());
        assert_eq!(hand.status(), Some(Status::Compensated), "{name}");
        assert_eq!(hand.steps(), there_and_back(failing, failing + 1), "{name}");
        assert_eq!(hand.saga.metrics().timed_out(), 3);
    }
}

#[test]
fn sg3_duplicate_reordered_and_late_replies_change_nothing() {
    let undisturbed = |refuse: Option<&str>| {
        let mut hand = started();
        hand.play(|command| answer(command, refuse));
        (hand.transitions(), hand.outcomes())
    };
    for refuse in [None, Some("charge"), Some("confirm")] {
        let expected = undisturbed(refuse);
        for seed in 0..20 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut hand = started();
            let mut replies = Vec::new();
            while let Some(command) = hand.next_command() {
                replies.push(command.reply(answer(&command, refuse)));
                // those of earlier steps, in any order, and this one among them, twice
                let last = replies.len() - 1;
                let mut again: Vec<usize> =
                    (0..rng.usize(..6)).map(|_| rng.usize(..=last)).collect();
                again.extend([last, last]);
                rng.shuffle(&mut again);
                again.into_iter().for_each(|index| hand.reply(replies[index].clone()));
            }
            replies.iter().for_each(|reply| hand.reply(reply.clone()));
            hand.start(ID, Order::new(4));
            assert_eq!(hand.next_command(), None, "nothing is sent for what was there before");
            assert_eq!((hand.transitions(), hand.outcomes()), expected, "seed {seed}, {refuse:?}");
            assert!(hand.saga.metrics().ignored() > 0);
        }
    }
}

fn answer(command: &tidemill_connect::saga::Command, refuse: Option<&str>) -> Answer {
    match command.direction {
        Direction::Forward if Some(&*command.step) == refuse => Answer::refused("no"),
        _ => Answer::done(),
    }
}

#[test]
fn sg3_a_reply_that_comes_after_the_saga_turned_back_does_not_turn_it_again() {
    let mut hand = started();
    let charge = until_step(&mut hand, 2);
    for seconds in [1, 1, 1, 2, 1] {
        hand.wait(Duration::from_secs(seconds));
        hand.next_command();
    }
    let undo = hand.sent.last().unwrap().clone();
    assert_eq!((&*undo.step, undo.direction), ("charge", Direction::Compensation));
    assert_eq!(undo.compensates, Some(charge.command_id));
    hand.answer(&charge, Answer::done());
    assert_eq!(hand.next_command(), None);
    hand.answer(&undo, Answer::done());
    hand.play(|_| Answer::done());
    assert_eq!(hand.status(), Some(Status::Compensated));
    let transitions = hand.transitions();
    let undone: Vec<&str> = accomplished(&transitions)
        .into_iter()
        .filter_map(|(step, direction)| (direction == Direction::Compensation).then_some(step))
        .collect();
    assert_eq!(undone, ["charge", "reserve-stock", "reserve-points"]);
}

#[test]
fn sg3_replies_of_another_saga_or_for_nobody_are_ignored() {
    let mut hand = started();
    let command = hand.command();
    let mut foreign = command.reply(Answer::done());
    foreign.command_id = uuid::Uuid::from_u128(1);
    hand.reply(foreign);
    let mut nobody = command.reply(Answer::done());
    nobody.saga_id = "order-2".to_owned();
    hand.reply(nobody);
    assert_eq!(hand.next_command(), None);
    assert_eq!(hand.saga.metrics().ignored(), 2);
}

/// Brings a saga to the point where the compensation of the second step is refused.
fn refused_compensation() -> (Hand, tidemill_connect::saga::Command) {
    let mut hand = started();
    let charge = until_step(&mut hand, 2);
    hand.answer(&charge, Answer::refused("no money"));
    let undo = hand.command();
    assert_eq!((&*undo.step, undo.direction), ("reserve-stock", Direction::Compensation));
    hand.answer(&undo, Answer::refused("closed"));
    (hand, undo)
}

#[test]
fn sg6_a_compensation_that_fails_is_tried_again_with_longer_and_longer_pauses() {
    let (mut hand, undo) = refused_compensation();
    for (attempt, pause) in [(2, 1), (3, 2)] {
        hand.wait(Duration::from_millis(pause * 1000 - 1));
        assert_eq!(hand.next_command(), None, "before the pause is over");
        hand.wait(Duration::from_millis(1));
        let again = hand.command();
        assert_eq!((again.command_id, again.attempt), (undo.command_id, attempt));
        // the refusal of an attempt before counts no more
        hand.answer(&undo, Answer::refused("still the first one"));
        assert_eq!(hand.next_command(), None);
        let end = if attempt == 3 { Answer::done() } else { Answer::refused("closed") };
        hand.answer(&again, end);
    }
    hand.play(|_| Answer::done());
    assert_eq!(hand.status(), Some(Status::Compensated));
    let refused = hand.transitions().into_iter().filter(|one| one.what == What::Refused);
    let refused: Vec<(String, u32)> = refused.map(|one| (one.step, one.attempt)).collect();
    let again = |attempt| ("reserve-stock".to_owned(), attempt);
    assert_eq!(refused, [("charge".to_owned(), 1), again(1), again(2)], "each refusal once");
    assert_eq!(hand.dead_letters(), 0);
    assert_eq!(hand.saga.metrics().stuck(), 0);
}

#[test]
fn sg6_a_compensation_that_never_works_leaves_the_saga_stuck_until_an_operator_settles_it() {
    for settled in [true, false] {
        let (mut hand, undo) = refused_compensation();
        for pause in [1, 2, 4] {
            hand.wait(Duration::from_secs(pause));
            let again = hand.command();
            hand.answer(&again, Answer::refused("closed"));
        }
        let outcome = hand.outcomes().pop().unwrap();
        assert_eq!(outcome.status, Status::Stuck);
        assert_eq!(outcome.failed_step.as_deref(), Some("charge"));
        assert_eq!(outcome.reason.as_deref(), Some("refused: closed (4 attempts)"));
        assert_eq!(hand.dead_letters(), 1);
        assert_eq!(hand.saga.metrics().stuck(), 1);
        // neither time nor the participant move it
        hand.wait(Duration::from_hours(24 * 30));
        hand.answer(&undo, Answer::done());
        assert_eq!(hand.next_command(), None);
        let word = if settled { Answer::done() } else { Answer::refused("try again") };
        let last = hand.transitions().pop().unwrap();
        hand.reply(Reply::by_operator(&last, word));
        if !settled {
            let again = hand.command();
            assert_eq!((again.command_id, again.attempt), (undo.command_id, 5));
            hand.answer(&again, Answer::done());
        }
        hand.play(|_| Answer::done());
        assert_eq!(hand.status(), Some(Status::Compensated));
    }
}

#[test]
fn sg7_after_the_pivot_there_is_no_way_back() {
    let mut hand = started();
    let notify = until_step(&mut hand, 4);
    hand.answer(&notify, Answer::refused("no network"));
    for attempt in 2..30 {
        hand.wait(Duration::from_secs(4));
        let again = hand.command();
        assert_eq!((again.command_id, again.attempt), (notify.command_id, attempt));
        assert!(!again.refusal_is_final, "so that the participant does not remember it");
        if attempt % 2 == 0 {
            hand.answer(&again, Answer::refused("no network"));
        } else {
            hand.wait(Duration::from_secs(1));
        }
    }
    hand.wait(Duration::from_secs(4));
    hand.play(|_| Answer::done());
    assert_eq!(hand.status(), Some(Status::Completed));
    assert!(hand.sent.iter().all(|command| command.direction == Direction::Forward));
}

#[test]
fn sg7_a_pivot_without_an_answer_is_asked_until_there_is_one() {
    for refused in [false, true] {
        let mut hand = started();
        let confirm = until_step(&mut hand, PIVOT);
        for attempt in 2..20 {
            hand.wait(Duration::from_secs(1));
            hand.wait(Duration::from_secs(4));
            let again = hand.command();
            assert_eq!((again.command_id, again.attempt), (confirm.command_id, attempt));
        }
        let word = if refused { Answer::refused("sold") } else { Answer::done() };
        hand.answer(&confirm, word);
        hand.play(|_| Answer::done());
        let (end, steps) = match refused {
            true => (Status::Compensated, there_and_back(PIVOT, PIVOT)),
            false => (Status::Completed, there_and_back(4, 0)),
        };
        assert_eq!(hand.status(), Some(end));
        assert_eq!(hand.steps(), steps);
    }
}

#[test]
fn sg7_a_step_after_the_pivot_that_is_given_up_is_stuck_and_not_undone() {
    let call = || Call::to("shop", |order: &Order| order.clone());
    let saga = Saga::define("place-order")
        .step("reserve", call())
        .compensate(Undo::with(|order: &Order| order.clone()))
        .pivot("confirm", call())
        .step("notify", call().back_off(Duration::ZERO, Duration::ZERO))
        .retry_at_most(2)
        .build()
        .unwrap();
    let mut hand = Hand::new(saga);
    hand.start(ID, Order::new(1));
    for _ in 0..2 {
        let command = hand.command();
        hand.answer(&command, Answer::done());
    }
    for _ in 0..2 {
        let command = hand.command();
        hand.answer(&command, Answer::refused("no network"));
        hand.wait(Duration::from_millis(10));
    }
    assert_eq!(hand.next_command(), None);
    assert_eq!(hand.status(), Some(Status::Stuck));
    assert_eq!(hand.transitions().last().unwrap().what, What::Ended);
}

#[test]
fn a_saga_that_ended_is_forgotten_in_time_and_not_before() {
    let mut hand = started();
    hand.play(|_| Answer::done());
    assert_eq!(hand.status(), Some(Status::Completed));
    hand.wait(Duration::from_hours(7 * 24) - Duration::from_millis(1));
    hand.start(ID, Order::new(1));
    assert_eq!(hand.next_command(), None, "it is remembered");
    hand.wait(Duration::from_millis(1));
    hand.start(ID, Order::new(1));
    assert!(hand.next_command().is_some(), "it is forgotten");
}

#[test]
fn mistakes_of_a_definition_are_told() {
    let call = || Call::to("shop", |order: &Order| order.clone());
    let undo = || Undo::with(|order: &Order| order.clone());
    let empty = Saga::<Order>::define("empty").build();
    assert_eq!(empty.unwrap_err(), SagaError::Empty("empty".to_owned()));
    let twice = Saga::define("twice")
        .step("reserve", call())
        .compensate(undo())
        .pivot("reserve", call())
        .build()
        .unwrap_err();
    let told = "saga twice has two steps called reserve: their commands could not be told apart";
    assert_eq!(twice.to_string(), told);
    let name = Saga::define("a/b").pivot("confirm", call()).build().unwrap_err();
    assert_eq!(name, SagaError::IllegalName("a/b".to_owned()));
    let never = Saga::define("never").pivot("confirm", call().attempts(0)).build();
    assert!(matches!(never, Err(SagaError::Setting { .. })), "{never:?}");
}

/// What is missed if it is taken out.
pub(crate) const MISSED: &[Missed] = &[
    (
        Guard::SecondRequest,
        "sg3_duplicate_reordered_and_late_replies_change_nothing",
        sg3_duplicate_reordered_and_late_replies_change_nothing,
    ),
    (
        Guard::ReplyIsAwaited,
        "sg3_duplicate_reordered_and_late_replies_change_nothing",
        sg3_duplicate_reordered_and_late_replies_change_nothing,
    ),
    (
        Guard::ReplyIsAwaited,
        "sg3_a_reply_that_comes_after_the_saga_turned_back_does_not_turn_it_again",
        sg3_a_reply_that_comes_after_the_saga_turned_back_does_not_turn_it_again,
    ),
    (
        Guard::ReplyIsAwaited,
        "sg3_replies_of_another_saga_or_for_nobody_are_ignored",
        sg3_replies_of_another_saga_or_for_nobody_are_ignored,
    ),
    (
        Guard::EndIsTheEnd,
        "sg3_duplicate_reordered_and_late_replies_change_nothing",
        sg3_duplicate_reordered_and_late_replies_change_nothing,
    ),
    (
        Guard::EndIsTheEnd,
        "sg6_a_compensation_that_never_works_leaves_the_saga_stuck_until_an_operator_settles_it",
        sg6_a_compensation_that_never_works_leaves_the_saga_stuck_until_an_operator_settles_it,
    ),
    (
        Guard::RefusalOfTheAttempt,
        "sg6_a_compensation_that_fails_is_tried_again_with_longer_and_longer_pauses",
        sg6_a_compensation_that_fails_is_tried_again_with_longer_and_longer_pauses,
    ),
    (
        Guard::UndoTheUnanswered,
        "sg1_each_step_unanswered_in_turn_is_undone_itself_too",
        sg1_each_step_unanswered_in_turn_is_undone_itself_too,
    ),
];
