//! Events: what they are to their emitter and to their consumers.

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// An event. Its value on the topic is its JSON; its id and type are the headers `id` and `type`.
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Names the type, for consumers that tell several apart.
    const TYPE: &'static str;

    /// Returns the id. Whoever makes the event chooses it once (the client, best of all), and every
    /// resend has the same.
    fn event_id(&self) -> Uuid;

    /// Returns the key: events of one key are in one partition and keep their order. The id of what
    /// they are about, never of the event.
    fn key(&self) -> String;
}
