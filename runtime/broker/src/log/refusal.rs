//! Why a partition refuses a batch, with the code that clients know.

use kafka_protocol::ResponseError;

use super::batch::BatchError;

/// A batch that was not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: ResponseError,
    pub(crate) message: String,
    /// Records at fault, by their number in the batch, with a reason each.
    pub(crate) records: Vec<(i32, String)>,
}

impl Refusal {
    pub(crate) fn new(error: ResponseError, message: impl Into<String>) -> Self {
        Self { error, message: message.into(), records: Vec::new() }
    }

    pub(crate) fn fenced(id: i64, epoch: i16, known: i16) -> Self {
        Self::new(
            ResponseError::InvalidProducerEpoch,
            format!("epoch {epoch} of producer {id} is older than {known}, which wrote here"),
        )
    }

    pub(crate) fn new_epoch(id: i64, epoch: i16, first: i32, known: i16) -> Self {
        Self::new(
            ResponseError::OutOfOrderSequenceNumber,
            format!(
                "producer {id} begins epoch {epoch} with sequence {first}, not 0; \
                 the last epoch was {known}"
            ),
        )
    }

    pub(crate) fn out_of_order(id: i64, epoch: i16, first: i32, last: i32) -> Self {
        Self::new(
            ResponseError::OutOfOrderSequenceNumber,
            format!("sequence {first} of producer {id} in epoch {epoch} does not follow {last}"),
        )
    }

    pub(crate) fn not_transactional(id: i64, epoch: i16) -> Self {
        Self::new(
            ResponseError::InvalidTxnState,
            format!(
                "producer {id} in epoch {epoch} has an open transaction and sent records \
                 outside of it"
            ),
        )
    }

    pub(crate) fn not_in_transaction(id: i64, epoch: i16, abortable: bool) -> Self {
        let error = if abortable {
            ResponseError::TransactionAbortable
        } else {
            ResponseError::InvalidTxnState
        };
        let message = format!(
            "the partition is not part of an ongoing transaction of producer {id} in epoch {epoch}"
        );
        Self::new(error, message)
    }
}

impl From<BatchError> for Refusal {
    fn from(error: BatchError) -> Self {
        let code = match error {
            BatchError::Short { .. } | BatchError::Checksum { .. } => ResponseError::CorruptMessage,
            BatchError::Magic { .. } => ResponseError::UnsupportedForMessageFormat,
            BatchError::Trailing { .. } | BatchError::Records(_) => ResponseError::InvalidRecord,
        };
        Self::new(code, error.to_string())
    }
}
