//! The headers of a dead letter (KIP-1034).

use std::error::Error;

use super::{BoxError, ErrorHandlerContext};
use crate::record::Headers;

/// A dead letter could not be written, so that nothing may be committed.
#[derive(Debug, thiserror::Error)]
#[error("could not write to the dead letter queue {topic}: {cause} (a dead letter because: {why})")]
pub(crate) struct DeadLetterError {
    pub(crate) topic: String,
    /// Why there was a dead letter to write.
    pub(crate) why: String,
    /// What the client says.
    #[source]
    pub(crate) cause: BoxError,
}

/// Adds to the original headers what failed and where the record came from.
///
/// `exception` is the kind of failure, `stacktrace` the chain of causes: Rust has no more.
pub(crate) fn dead_letter_headers(
    mut headers: Headers,
    context: &ErrorHandlerContext<'_>,
    exception: &str,
    error: &(dyn Error + 'static),
) -> Headers {
    let mut causes = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    let mut add = |name: &str, value: String| {
        headers.add(format!("__streams.errors.{name}"), Some(value.into_bytes()));
    };
    add("exception", exception.to_owned());
    add("message", error.to_string());
    add("stacktrace", causes.join("\ncaused by: "));
    add("topic", context.topic.unwrap_or_default().to_owned());
    add("partition", context.partition.map_or_else(|| "-1".to_owned(), |p| p.to_string()));
    add("offset", context.offset.map_or_else(|| "-1".to_owned(), |o| o.to_string()));
    headers
}
