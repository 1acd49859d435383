//! InitProducerId: who may produce under a transactional id from now on.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::entry::is_exhausted;
use super::{Entry, Transaction, TransactionState, Transactions, for_version};
use crate::engine::{Context, Millis};
use crate::group::Groups;
use crate::journal;
use crate::log::Topics;

/// From this version on clients know that a producer can be fenced.
const KNOWS_FENCED: i16 = 4;

impl Transactions {
    /// Gives a producer its id and epoch. An ongoing transaction of an older producer is aborted
    /// first; until that is done the new one is told to come again.
    pub(crate) fn init_producer_id(
        &mut self,
        ctx: &mut Context<'_>,
        version: i16,
        request: &InitProducerIdRequest,
        parts: (&mut Topics, &mut Groups),
    ) -> InitProducerIdResponse {
        let answer = InitProducerIdResponse::default();
        let result = match request.transactional_id.as_deref() {
            None => Ok((self.new_producer_id(ctx), 0)),
            Some(id) => self.init_transactions(ctx, id, request, parts),
        };
        match result {
            Ok((producer_id, epoch)) => {
                answer.with_producer_id(ProducerId(producer_id)).with_producer_epoch(epoch)
            }
            Err(error) => answer
                .with_producer_id(ProducerId(-1))
                .with_producer_epoch(-1)
                .with_error_code(for_version(version, KNOWS_FENCED, error).code()),
        }
    }

    fn init_transactions(
        &mut self,
        ctx: &mut Context<'_>,
        id: &str,
        request: &InitProducerIdRequest,
        parts: (&mut Topics, &mut Groups),
    ) -> Result<(i64, i16), ResponseError> {
        let expected = match (*request.producer_id, request.producer_epoch) {
            (-1, -1) => None,
            (-1, _) | (_, -1) => return Err(ResponseError::InvalidRequest),
            expected => Some(expected),
        };
        self.check(id, ctx.now)?;
        let timeout = Millis::from(request.transaction_timeout_ms);
        if timeout <= 0 || timeout > ctx.config.transaction_max_timeout_ms {
            return Err(ResponseError::InvalidTransactionTimeout);
        }
        if !self.ids.contains_key(id) {
            let producer_id = self.new_producer_id(ctx);
            let transaction = Transaction::new(producer_id, timeout, ctx.now);
            self.ids.insert(id.to_owned(), transaction);
        }
        let Some(transaction) = self.ids.get(id) else {
            return Err(ResponseError::CoordinatorNotAvailable);
        };
        if transaction.state.is_prepared() {
            return Err(ResponseError::ConcurrentTransactions);
        }
        if expected.is_some_and(|expected| !is_this_producer(transaction, expected)) {
            return Err(ResponseError::ProducerFenced);
        }
        if transaction.state == TransactionState::Ongoing {
            self.fence(ctx, parts, id);
            return Err(ResponseError::ConcurrentTransactions);
        }
        let next = self.next_epoch(ctx, id, expected.map(|(_, epoch)| epoch))?;
        let Some(transaction) = self.ids.get_mut(id) else {
            return Err(ResponseError::CoordinatorNotAvailable);
        };
        transaction.transition(TransactionState::Empty, ctx.now);
        transaction.previous_producer_id = transaction.producer_id;
        (transaction.producer_id, transaction.epoch, transaction.last_epoch) = next;
        transaction.timeout = timeout;
        transaction.started = -1;
        self.store(ctx, id);
        Ok((next.0, next.1))
    }

    /// Producer id, epoch and last epoch of the producer that is let in. One that names the epoch
    /// that it had goes on with the next; one that repeats itself is told the same again.
    fn next_epoch(
        &mut self,
        ctx: &mut Context<'_>,
        id: &str,
        expected: Option<i16>,
    ) -> Result<(i64, i16, i16), ResponseError> {
        let Some(transaction) = self.ids.get(id) else {
            return Err(ResponseError::CoordinatorNotAvailable);
        };
        let (producer_id, epoch, last) =
            (transaction.producer_id, transaction.epoch, transaction.last_epoch);
        let current = expected.is_none_or(|expected| expected == epoch);
        if transaction.is_epoch_exhausted() && current {
            let last = if expected.is_some() { epoch } else { -1 };
            return Ok((self.new_producer_id(ctx), 0, last));
        }
        match expected {
            None => Ok((producer_id, epoch + 1, -1)),
            Some(_) if epoch == -1 || current => Ok((producer_id, epoch + 1, epoch)),
            Some(expected) if expected == last => Ok((producer_id, epoch, last)),
            Some(_) => Err(ResponseError::ProducerFenced),
        }
    }

    fn new_producer_id(&mut self, ctx: &mut Context<'_>) -> i64 {
        let producer_id = self.next_producer_id;
        self.next_producer_id += 1;
        let entry = Entry::NextProducerId(self.next_producer_id);
        ctx.journal.push(journal::Entry::Transaction(entry));
        producer_id
    }
}

/// Whether a producer that names its id and epoch is the one that the coordinator knows: under its
/// id, or under the one before if that had no epochs left.
fn is_this_producer(transaction: &Transaction, (producer_id, epoch): (i64, i16)) -> bool {
    transaction.epoch == -1
        || producer_id == transaction.producer_id
        || (producer_id == transaction.previous_producer_id && is_exhausted(epoch))
}
