//! The plan of a seed: faults of every kind, at the calls where they hurt.

use kafka_protocol::ResponseError;

use super::Api;
use super::random::Random;
use super::rule::{Action, Rule, When};
use crate::engine::Millis;

/// How much goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intensity {
    /// A fault in a few thousand calls.
    Rare,
    /// A fault in a few hundred calls.
    Normal,
    /// A fault in a few dozen calls: little work gets done.
    Fierce,
}

impl Intensity {
    /// One in how many calls an average rule fires.
    fn one_in(self) -> u64 {
        match self {
            Self::Rare => 4_000,
            Self::Normal => 400,
            Self::Fierce => 60,
        }
    }
}

/// The calls that change something, or on which the protocol of a commit rests.
const TARGETS: &[Api] = &[
    Api::Produce,
    Api::Fetch,
    Api::ListOffsets,
    Api::OffsetFetch,
    Api::FindCoordinator,
    Api::JoinGroup,
    Api::SyncGroup,
    Api::Heartbeat,
    Api::InitProducerId,
    Api::AddPartitionsToTxn,
    Api::AddOffsetsToTxn,
    Api::TxnOffsetCommit,
    Api::EndTxn,
];

/// Calls that are one in thousands of an application's: they would never meet a fault otherwise.
const PRECIOUS: &[Api] =
    &[Api::EndTxn, Api::TxnOffsetCommit, Api::AddOffsetsToTxn, Api::AddPartitionsToTxn];

/// Draws the rules.
pub(super) fn rules(random: &mut Random, intensity: Intensity) -> Vec<Rule> {
    let mut rules = Vec::new();
    for api in TARGETS {
        let precious = if PRECIOUS.contains(api) { 4 } else { 1 };
        for action in actions(random, *api) {
            // each rule is more or less likely than the average, so that runs differ in character
            let one_in = intensity.one_in() / precious;
            let one_in = one_in / 2 + random.below(one_in * 2);
            let mut rule = Rule::new(action);
            rule.api = Some(*api);
            rule.when = When::OneIn(one_in.max(1));
            rules.push(rule);
        }
    }
    rules
}

/// What can happen to a call of this API.
fn actions(random: &mut Random, api: Api) -> Vec<Action> {
    let mut actions = vec![
        Action::DelayRequest(short(random)),
        Action::DropRequest,
        Action::DropReply,
        Action::HoldReply(short(random)),
        Action::Reset,
        Action::ResetAfter,
    ];
    match api {
        Api::Produce => {
            actions.push(Action::Refuse(ResponseError::NotLeaderOrFollower));
            actions.push(Action::FailWrites(short(random)));
        }
        Api::Fetch | Api::ListOffsets => {
            actions.push(Action::Refuse(ResponseError::NotLeaderOrFollower));
        }
        Api::FindCoordinator => {
            actions.push(Action::Refuse(ResponseError::CoordinatorNotAvailable));
        }
        Api::JoinGroup | Api::SyncGroup | Api::Heartbeat => {
            actions.push(Action::MoveCoordinator(short(random)));
            actions.push(Action::KickMember);
        }
        Api::OffsetFetch => actions.push(Action::Refuse(ResponseError::UnstableOffsetCommit)),
        Api::InitProducerId => {
            actions.push(Action::Refuse(ResponseError::ConcurrentTransactions));
            actions.push(Action::MoveCoordinator(short(random)));
        }
        Api::AddPartitionsToTxn | Api::AddOffsetsToTxn => {
            actions.push(Action::Refuse(ResponseError::ConcurrentTransactions));
            actions.push(Action::HoldMarkers(long(random)));
            actions.push(Action::TimeOutTransaction);
        }
        Api::TxnOffsetCommit => {
            actions.push(Action::Refuse(ResponseError::CoordinatorLoadInProgress));
            actions.push(Action::KickMember);
        }
        Api::EndTxn => {
            actions.push(Action::HoldUntilNextBegin);
            actions.push(Action::MoveCoordinator(short(random)));
            actions.push(Action::TimeOutTransaction);
        }
        _ => {}
    }
    actions
}

/// Up to half a second: less than any time-out of a client.
fn short(random: &mut Random) -> Millis {
    1 + i64::try_from(random.below(500)).unwrap_or(0)
}

/// Up to five seconds: longer than a client is patient.
fn long(random: &mut Random) -> Millis {
    1 + i64::try_from(random.below(5_000)).unwrap_or(0)
}
