//! What is wrong with a stored event, or with the order of a stream's events.

use tidemill::BoxError;
use uuid::Uuid;

use super::Version;

/// A stored event can't be read.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Its data is of a newer program.
    #[error(
        "event {event_type} of version {version} has schema {stored}, this program knows {known}: \
         deploy the program that wrote it"
    )]
    NewerSchema {
        /// The event's name.
        event_type: String,
        /// Which event of its stream.
        version: Version,
        /// Schema version of what is stored.
        stored: u32,
        /// Schema version that this program writes.
        known: u32,
    },
    /// Its data is old, and nothing says how to make it new.
    #[error(
        "event {event_type} of version {version} has schema {stored}, this program wants {known}: \
         add an upcaster from {stored}"
    )]
    NoUpcaster {
        /// The event's name.
        event_type: String,
        /// Which event of its stream.
        version: Version,
        /// Schema version after the last upcaster that there was.
        stored: u32,
        /// Schema version that this program writes.
        known: u32,
    },
    /// An upcaster refused its data.
    #[error("event {event_type} of version {version}: the upcaster from schema {from} failed")]
    Upcaster {
        /// The event's name.
        event_type: String,
        /// Which event of its stream.
        version: Version,
        /// The schema version that the upcaster takes.
        from: u32,
        /// What it said.
        #[source]
        cause: BoxError,
    },
    /// Its data is no event of this decider.
    #[error("event {event_type} of version {version} (schema {schema}) can't be read")]
    Data {
        /// The event's name as stored.
        event_type: String,
        /// Which event of its stream.
        version: Version,
        /// Schema version that the data claims.
        schema: u32,
        /// What does not fit.
        #[source]
        cause: BoxError,
    },
}

/// The events of a stream are not 1, 2, 3, .., each once: somebody else wrote, or something is
/// lost. Neither heals with time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Events are missing.
    #[error(
        "stream {stream} goes from version {last} to {found}: events in between are missing; \
         restore the event log, do not skip"
    )]
    VersionGap {
        /// The stream's id.
        stream: String,
        /// The last version that was there.
        last: Version,
        /// The version that came instead of the next one.
        found: Version,
    },
    /// A version was written twice, with different events: there was a second writer.
    #[error(
        "stream {stream} is at version {last}, and another event of version {found} came \
         ({event_id}): somebody else writes to this stream"
    )]
    ForeignWrite {
        /// The stream's id.
        stream: String,
        /// The last version that was there.
        last: Version,
        /// The version that came again.
        found: Version,
        /// The id of the event that came.
        event_id: Uuid,
    },
}
