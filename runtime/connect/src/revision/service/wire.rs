//! What goes over the wire, in JSON. Numbers of 64 bits are strings.

use serde::{Deserialize, Serialize};
use tidemill::revision::text;

pub(super) const REVISIONS: &str = "/v1/revisions";
pub(super) const HEALTH: &str = "/health";
/// Neither questions nor answers are longer.
pub(super) const BODY_BYTES_MAX: usize = 4_096;

/// Asks for numbers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    #[serde(default = "one")]
    pub(super) count: u32,
    /// Of which counter; none: whichever the service has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
}

/// The numbers from first to last belong to whoever asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Granted {
    pub(super) name: String,
    #[serde(with = "text")]
    pub(super) first: i64,
    #[serde(with = "text")]
    pub(super) last: i64,
}

/// Why there are none.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refusal {
    pub(super) error: String,
}

/// The service can give out numbers.
#[derive(Debug, Serialize)]
pub(super) struct Health {
    pub(super) status: &'static str,
    pub(super) name: String,
    #[serde(with = "text")]
    pub(super) last: i64,
}

fn one() -> u32 {
    1
}
