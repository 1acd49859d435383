//! The transition table: every state and every input.

use super::*;

const STATES: [State; 9] = [
    State::Idle,
    State::Suspect,
    State::Open,
    State::Flushing,
    State::SendingOffsets,
    State::Committing,
    State::InDoubt,
    State::Aborting,
    State::Fenced,
];

const INPUTS: [Input; 11] = [
    Input::Work,
    Input::CommitDue,
    Input::Done,
    Input::DoneSuspect,
    Input::Failed(Severity::Retry),
    Input::Failed(Severity::Abort),
    Input::Failed(Severity::Fenced),
    Input::Failed(Severity::Fatal),
    Input::Deadline,
    Input::Lost,
    Input::Rebuilt,
];

fn after(inputs: &[Input]) -> State {
    let mut transaction = Transaction::new();
    for input in inputs {
        transaction.step(*input);
    }
    transaction.state()
}

#[test]
fn a_commit_without_trouble_publishes_and_is_idle_again() {
    let mut transaction = Transaction::new();
    assert!(matches!(transaction.step(Input::Work), Command::Begin));
    assert!(matches!(transaction.step(Input::Work), Command::Nothing));
    assert!(matches!(transaction.step(Input::CommitDue), Command::Flush));
    assert!(matches!(transaction.step(Input::Done), Command::SendOffsets));
    assert!(matches!(transaction.step(Input::Done), Command::Commit));
    assert!(matches!(transaction.step(Input::Done), Command::Publish(_)));
    assert_eq!(transaction.state(), State::Idle);
}

#[test]
fn inv_2_nothing_but_an_acknowledged_commit_publishes() {
    for state in STATES {
        for input in INPUTS {
            if let Some((_, Command::Publish(_))) = transition(state, input) {
                assert!(matches!(state, State::Committing | State::InDoubt), "{state:?}");
                assert!(matches!(input, Input::Done | Input::DoneSuspect), "{input:?}");
            }
        }
    }
}

#[test]
fn inv_6_in_doubt_the_same_call_is_made_again_and_nothing_else() {
    use Input::{CommitDue, Done, Failed, Work};
    let mut transaction = Transaction::new();
    for input in [Work, CommitDue, Done, Done] {
        transaction.step(input);
    }
    assert!(matches!(transaction.step(Failed(Severity::Retry)), Command::Commit));
    assert_eq!(transaction.state(), State::InDoubt);
    assert!(!transaction.may_work());
    assert!(transition(State::InDoubt, Work).is_none());
    assert!(transition(State::InDoubt, Input::Lost).is_none());
    assert!(matches!(transaction.step(Failed(Severity::Retry)), Command::Commit));
    assert!(matches!(transaction.step(Input::Deadline), Command::Rebuild));
    assert_eq!(transaction.state(), State::Fenced);
}

#[test]
fn inv_6_a_suspect_producer_is_replaced_before_anything_begins() {
    use Input::{CommitDue, Done, DoneSuspect, Rebuilt, Work};
    assert_eq!(after(&[Work, CommitDue, Done, Done, DoneSuspect]), State::Suspect);
    assert!(transition(State::Suspect, Work).is_none());
    assert_eq!(after(&[Work, CommitDue, Done, Done, DoneSuspect, Rebuilt]), State::Idle);
}

#[test]
fn inv_5_a_failure_before_the_commit_rolls_everything_back() {
    use Input::{CommitDue, Done, Failed, Lost, Work};
    let abort = Failed(Severity::Abort);
    for path in [
        &[Work, abort][..],
        &[Work, Lost],
        &[Work, CommitDue, abort],
        &[Work, CommitDue, Done, abort],
        &[Work, CommitDue, Done, Done, abort],
    ] {
        assert_eq!(after(path), State::Aborting, "{path:?}");
    }
    assert!(matches!(transition(State::Aborting, Done), Some((State::Idle, Command::RollBack))));
}

#[test]
fn inv_7_a_fence_ends_every_state_in_a_rebuild() {
    for state in STATES {
        for severity in [Severity::Fenced, Severity::Fatal] {
            let next = transition(state, Input::Failed(severity));
            assert!(matches!(next, Some((State::Fenced, Command::Rebuild))), "{state:?}");
        }
    }
    assert_eq!(after(&[Input::Failed(Severity::Fenced), Input::Rebuilt]), State::Idle);
}

#[test]
fn every_state_but_idle_has_a_way_back_to_idle() {
    for start in STATES {
        let mut reached = vec![start];
        let mut next = 0;
        while next < reached.len() {
            for input in INPUTS {
                if let Some((state, _)) = transition(reached[next], input)
                    && !reached.contains(&state)
                {
                    reached.push(state);
                }
            }
            next += 1;
        }
        assert!(reached.contains(&State::Idle), "{start:?} only leads to {reached:?}");
    }
}

#[test]
#[should_panic(expected = "no transition of the commit protocol from Idle on CommitDue")]
fn an_illegal_input_is_a_panic_that_names_state_and_input() {
    Transaction::new().step(Input::CommitDue);
}
