//! Leaving the group for good.

use std::time::Duration;

use crate::client::LeaveError;
use crate::client::seam::Connector;
use crate::config::{Config, WorkerIdentity};

use super::client_config;
use crate::world::World;

const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Has a static member's partitions go to others now instead of after the session time-out. To be
/// called after its consumer was closed; dynamic members have left by then.
pub(crate) fn leave<W: World>(world: &W, config: &Config, identity: &WorkerIdentity) {
    let Some(instance) = identity.group_instance_id(config) else { return };
    let properties = client_config(&config.admin_properties(&identity.process));
    match world.client().leave_group(&properties, &config.application_id, &instance, LEAVE_TIMEOUT)
    {
        Ok(()) => {}
        Err(LeaveError::Unsupported { .. }) => tracing::warn!(
            "a static member can't leave the group over this security.protocol: its partitions \
             are free after session.timeout.ms"
        ),
        Err(error) => tracing::warn!(%error, "could not leave the group"),
    }
}
