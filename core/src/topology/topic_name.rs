//! Sinks that choose the topic record by record (KIP-303, Kafka Streams' `TopicNameExtractor`).

use std::borrow::Cow;

use crate::BoxError;
use crate::record::{Headers, RecordMetadata, Timestamp};

/// What is known of a record on its way to a sink besides key and value.
#[derive(Debug, Clone, Copy)]
pub struct RecordContext<'a> {
    /// The timestamp that it will be written with, in milliseconds since the Unix epoch.
    pub timestamp: Timestamp,
    /// The headers that it will be written with.
    pub headers: &'a Headers,
    /// Where the source record in process came from; of what a store above held back, the record
    /// that was the last to write it. `None` for what a punctuation makes.
    pub source: Option<RecordMetadata<'a>>,
}

/// Chooses the topic of each record of a sink. Closures that return a `String` do, too.
///
/// The topic must exist: a record for one that does not goes to the production handler.
pub trait TopicNameExtractor<K, V>: Send + Sync {
    /// Returns the name of the topic.
    ///
    /// # Errors
    /// If there is none for this record: the processing handler decides what becomes of it.
    fn extract<'r>(
        &'r self,
        key: &'r K,
        value: &'r V,
        context: &RecordContext<'_>,
    ) -> Result<Cow<'r, str>, BoxError>;

    /// Returns what `describe()` calls it. Default: the name of the type.
    fn name(&self) -> &str {
        std::any::type_name::<Self>()
    }
}

impl<K, V, F> TopicNameExtractor<K, V> for F
where
    F: Fn(&K, &V, &RecordContext<'_>) -> String + Send + Sync,
{
    fn extract<'r>(
        &'r self,
        key: &'r K,
        value: &'r V,
        context: &RecordContext<'_>,
    ) -> Result<Cow<'r, str>, BoxError> {
        Ok(self(key, value, context).into())
    }
}
