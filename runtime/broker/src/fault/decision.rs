//! What a plan says about one call.

use kafka_protocol::messages::ResponseKind;

use crate::engine::{Call, CoordinatorKey, Engine, MarkerTarget, Millis};

/// What a door does with one call: first the hooks, then the call by its fate, then the deliveries.
#[derive(Debug, Clone, Default)]
pub struct Decision {
    /// What happens to the engine before the call.
    pub hooks: Vec<Hook>,
    /// What happens to the call.
    pub fate: Fate,
    /// Calls that were held and are performed right after this one. Nobody waits for their answers.
    pub deliver: Vec<Call>,
}

/// What happens to a call.
#[derive(Debug, Clone, Default)]
pub enum Fate {
    /// Nothing unusual.
    #[default]
    Perform,
    /// It is not performed; this is the answer.
    Answer(Box<ResponseKind>),
    /// It is performed at this time.
    Delay(Millis),
    /// It is not performed and never answered.
    Lose,
    /// It is performed and never answered.
    PerformUntold,
    /// It is performed now and answered at this time.
    HoldReply(Millis),
    /// The connection is closed; the call is not performed.
    Reset,
    /// It is performed, then the connection is closed without an answer.
    PerformAndReset,
}

/// What happens to the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// Markers are written later.
    HoldMarkers {
        /// Of whom.
        target: MarkerTarget,
        /// Until when.
        until: Millis,
    },
    /// A coordinator is elsewhere for a while.
    MoveCoordinator {
        /// Of whom.
        key: CoordinatorKey,
        /// Until when.
        until: Millis,
    },
    /// The open transaction times out.
    TimeOutTransaction {
        /// Of whom.
        transactional_id: String,
    },
    /// A member is thrown out of its group.
    KickMember {
        /// Out of which group.
        group: String,
        /// Whom.
        member_id: String,
    },
    /// Writes fail for a while, as of a broken disk.
    FailWrites {
        /// Of which topic.
        topic: String,
        /// Of which partition.
        partition: i32,
        /// Until when.
        until: Millis,
    },
}

impl Hook {
    /// Makes it happen. What is not there (a member that left, a transaction that ended) is not
    /// hurt.
    pub fn apply(&self, now: Millis, engine: &mut Engine) {
        match self {
            Self::HoldMarkers { target, until } => engine.hold_markers(target.clone(), *until),
            Self::MoveCoordinator { key, until } => engine.move_coordinator(now, key, *until),
            Self::TimeOutTransaction { transactional_id } => {
                let _was_open = engine.time_out_transaction(now, transactional_id);
            }
            Self::KickMember { group, member_id } => {
                let _was_there = engine.kick_member(now, group, member_id);
            }
            Self::FailWrites { topic, partition, until } => {
                let _was_there = engine.fail_writes(topic, *partition, *until);
            }
        }
    }
}
