//! One fault: which calls, which of them, and what happens.

use kafka_protocol::ResponseError;

use super::Api;
use super::subject::Subject;
use crate::engine::Millis;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The request is not performed; the answer is this error.
    Refuse(ResponseError),
    /// The request is performed later, by so many milliseconds. The connection waits.
    DelayRequest(Millis),
    /// The request is lost: not performed, and never answered.
    DropRequest,
    /// Done but not told: the request is performed and never answered.
    DropReply,
    /// Done, and told later, by so many milliseconds.
    HoldReply(Millis),
    /// The connection is closed before the request is performed.
    Reset,
    /// The connection is closed after the request was performed, without an answer.
    ResetAfter,
    /// For `EndTxn`: the request is held until the same transactional id has begun its next
    /// transaction, and performed then, even if the client is gone. There is never an answer.
    HoldUntilNextBegin,
    /// The markers for the call's partitions, or for its group, are written so much later, for any
    /// transaction that ends until then. Calls: `AddPartitionsToTxn`, `Produce`, `AddOffsetsToTxn`,
    /// `TxnOffsetCommit`.
    HoldMarkers(Millis),
    /// The coordinator of the call's transactional id, or else of its group, is elsewhere for so
    /// long.
    MoveCoordinator(Millis),
    /// The call's transaction times out before the call is performed.
    TimeOutTransaction,
    /// The call's member is thrown out of its group before the call is performed.
    KickMember,
    /// Writes to the call's partitions fail for so long, as if the disk were broken.
    FailWrites(Millis),
}

impl Action {
    /// Whether the call has what the action acts upon.
    pub(super) fn applies(self, subject: &Subject<'_>) -> bool {
        match self {
            Self::HoldUntilNextBegin => subject.api == Some(Api::EndTxn),
            Self::TimeOutTransaction => subject.transactional_id.is_some(),
            Self::MoveCoordinator(_) => {
                subject.transactional_id.is_some() || subject.group.is_some()
            }
            Self::KickMember => subject.group.is_some() && subject.member.is_some(),
            Self::FailWrites(_) => !subject.partitions.is_empty(),
            Self::HoldMarkers(_) => {
                let in_transaction = subject.transactional_id.is_some();
                in_transaction && (!subject.partitions.is_empty() || subject.group.is_some())
            }
            _ => true,
        }
    }
}

/// Which of the calls that match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Each one.
    Always,
    /// The n-th, from 1, and no other.
    Nth(u64),
    /// The n-th, from 1, and each after it.
    From(u64),
    /// The first n.
    First(u64),
    /// One in n, drawn with the plan's random numbers.
    OneIn(u64),
}

/// A fault of a plan. Its text form is `api=EndTxn txn=bank nth=2 then=drop-reply`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Only calls of this API.
    pub api: Option<Api>,
    /// Only calls about this topic.
    pub topic: Option<String>,
    /// Only calls about this partition, of the topic if one is given.
    pub partition: Option<i32>,
    /// Only calls of this transactional id.
    pub transactional_id: Option<String>,
    /// Only calls about this group.
    pub group: Option<String>,
    /// Only calls of this `client.id`.
    pub client_id: Option<String>,
    /// Which of those calls.
    pub when: When,
    /// What happens to them.
    pub action: Action,
}

impl Rule {
    /// Returns the fault that always happens, to every call.
    #[must_use]
    pub fn new(action: Action) -> Self {
        Self {
            api: None,
            topic: None,
            partition: None,
            transactional_id: None,
            group: None,
            client_id: None,
            when: When::Always,
            action,
        }
    }

    /// Whether the rule is about such a call. Which of them is a question of counting.
    pub(super) fn matches(&self, subject: &Subject<'_>) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        let here = self.topic.is_none() && self.partition.is_none()
            || subject.partitions.iter().any(|(topic, partition)| self.covers(topic, *partition));
        self.api.is_none_or(|api| subject.api == Some(api))
            && is(&self.transactional_id, subject.transactional_id)
            && is(&self.group, subject.group)
            && is(&self.client_id, Some(subject.client_id))
            && here
            && self.action.applies(subject)
    }

    /// Whether the rule is about this partition.
    pub(super) fn covers(&self, topic: &str, partition: i32) -> bool {
        self.topic.as_deref().is_none_or(|wanted| wanted == topic)
            && self.partition.is_none_or(|wanted| wanted == partition)
    }
}
