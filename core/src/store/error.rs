//! What can go wrong with a store.

/// A store could not be read, written or found. The message names the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The storage below failed. The task is rebuilt from its changelog.
    #[error("could not {operation} store {store}: {cause}")]
    Storage {
        /// The store's name.
        store: String,
        /// What was being done, e.g. `read`.
        operation: &'static str,
        /// What the storage says.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A changelog record was not taken: too large, or the transaction is lost.
    #[error("could not write the changelog of store {store}: {cause}")]
    Changelog {
        /// The store's name.
        store: String,
        /// What the client says.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A key or a value could not be turned into bytes or back.
    #[error("could not {operation} of store {store}: {cause}")]
    Serde {
        /// The store's name.
        store: String,
        /// What was being done, e.g. `serialize a key`.
        operation: &'static str,
        /// What the serde says.
        #[source]
        cause: crate::serdes::SerdeError,
    },
    /// A key that stands for null.
    #[error("null is no key of store {store}")]
    NullKey {
        /// The store's name.
        store: String,
    },
    /// A changelog record whose key can't be one of the store.
    #[error(
        "the changelog of store {store} has a record with a key of {length} bytes, but the \
         shortest key of such a store has {shortest}: it was written by something else, or the \
         store was of another kind before; reset the application to begin anew"
    )]
    ForeignKey {
        /// The store's name.
        store: String,
        /// Bytes of the key.
        length: usize,
        /// Bytes that the shortest key has.
        shortest: usize,
    },
    /// The processor is not connected to a store of that name.
    #[error("processor {processor} has no store {store} (connected: {connected})")]
    NotConnected {
        /// The processor's name.
        processor: String,
        /// The name asked for.
        store: String,
        /// The names that would have been right.
        connected: String,
    },
    /// A store of that name, but not of that sort: a global one is read by other methods.
    #[error("processor {processor}: {store} is no {wanted} (there are: {known})")]
    NoSuchStore {
        /// The processor's name.
        processor: String,
        /// The name asked for.
        store: String,
        /// What was asked for, e.g. `global store`.
        wanted: &'static str,
        /// The names that would have been right.
        known: String,
    },
    /// The store has other types than those asked for.
    #[error("store {store} is a {actual}, not a {expected}")]
    WrongType {
        /// The store's name.
        store: String,
        /// Its types.
        actual: &'static str,
        /// The types asked for.
        expected: &'static str,
    },
    /// More waits in a strict buffer than it may hold.
    #[error(
        "the buffer of {node} is full: {records} of {records_max} records, {bytes} of {bytes_max} \
         bytes (allow more, or emit_early_when_full)"
    )]
    BufferFull {
        /// The suppressing operator.
        node: String,
        /// Keys that wait.
        records: u64,
        /// Keys that may wait.
        records_max: u64,
        /// Their bytes, as Kafka Streams estimates them.
        bytes: u64,
        /// Bytes that may wait.
        bytes_max: u64,
    },
    /// User code panicked in the middle of an update.
    #[error("store {store} holds a half-done update, its task has to be rebuilt")]
    Poisoned {
        /// The store's name.
        store: String,
    },
}
