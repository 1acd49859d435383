//! A well-formed answer that says no, for each API.

mod admin;
mod coordinators;
mod records;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{RequestKind, ResponseKind};

/// Returns the answer that refuses a whole request with one error: the answer that a broker gives
/// when it can't serve any part of it. `None` for requests that this broker does not serve.
///
/// Some answers have no place for an error (`Metadata` before version 13, when it names no topic):
/// they come back empty, as of a broker that knows nothing.
#[must_use]
pub fn refuse(request: &RequestKind, version: i16, error: ResponseError) -> Option<ResponseKind> {
    let code = error.code();
    records::refuse(request, version, code)
        .or_else(|| coordinators::refuse(request, version, code))
        .or_else(|| admin::refuse(request, version, code))
}
