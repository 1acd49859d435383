//! EndTxn and what ends a transaction without it: a new producer, a time-out.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{EndTxnRequest, EndTxnResponse};

use super::{TransactionState, Transactions, for_version};
use crate::engine::Context;
use crate::group::Groups;
use crate::log::Topics;

/// From this version on clients know that a producer can be fenced.
const KNOWS_FENCED: i16 = 2;

impl Transactions {
    /// Decides a producer's transaction. A repetition of what was decided is answered the same way,
    /// a contradiction is refused.
    pub(crate) fn end(
        &mut self,
        ctx: &mut Context<'_>,
        version: i16,
        request: &EndTxnRequest,
        parts: (&mut Topics, &mut Groups),
    ) -> EndTxnResponse {
        let id = &*request.transactional_id;
        let producer = (*request.producer_id, request.producer_epoch);
        let result = self.decide(ctx, id, producer, request.committed);
        let error = result.map_err(|error| for_version(version, KNOWS_FENCED, error)).err();
        if error.is_none() {
            self.write_markers(ctx, parts, id);
        }
        EndTxnResponse::default().with_error_code(error.map_or(0, |error| error.code()))
    }

    fn decide(
        &mut self,
        ctx: &mut Context<'_>,
        id: &str,
        producer: (i64, i16),
        committed: bool,
    ) -> Result<(), ResponseError> {
        let transaction = self.of_producer(id, producer, ctx.now)?;
        match (transaction.state, committed) {
            (TransactionState::Ongoing, true) => {
                self.prepare(ctx, id, TransactionState::PrepareCommit);
                Ok(())
            }
            (TransactionState::Ongoing, false) => {
                self.prepare(ctx, id, TransactionState::PrepareAbort);
                Ok(())
            }
            (TransactionState::CompleteCommit, true) | (TransactionState::CompleteAbort, false) => {
                Ok(())
            }
            _ => Err(ResponseError::InvalidTxnState),
        }
    }

    fn prepare(&mut self, ctx: &mut Context<'_>, id: &str, state: TransactionState) {
        let Some(transaction) = self.ids.get_mut(id) else { return };
        transaction.transition(state, ctx.now);
        transaction.unsent.clone_from(&transaction.targets);
        self.store(ctx, id);
    }

    /// Aborts an ongoing transaction under a new epoch, which its producer does not have.
    pub(super) fn fence(
        &mut self,
        ctx: &mut Context<'_>,
        parts: (&mut Topics, &mut Groups),
        id: &str,
    ) {
        let Some(transaction) = self.ids.get_mut(id) else { return };
        // The last epoch can be used up only by a client that was never given it: nobody to fence.
        transaction.epoch = transaction.epoch.saturating_add(1);
        transaction.last_epoch = -1;
        self.prepare(ctx, id, TransactionState::PrepareAbort);
        self.write_markers(ctx, parts, id);
    }

    /// Lets an ongoing transaction time out now; false if there is none.
    pub(crate) fn time_out(
        &mut self,
        ctx: &mut Context<'_>,
        id: &str,
        parts: (&mut Topics, &mut Groups),
    ) -> bool {
        let found = self.ids.get(id);
        let ongoing = found.is_some_and(|found| found.state == TransactionState::Ongoing);
        if ongoing {
            self.fence(ctx, parts, id);
        }
        ongoing
    }
}
