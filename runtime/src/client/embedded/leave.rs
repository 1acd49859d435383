//! Takes a static member out of its group: the one request that librdkafka never makes.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{LeaveGroupRequest, ResponseKind};

use super::Embedded;
use super::options::Options;
use super::requests::{GROUP, find_coordinator, group_id, text, version};
use crate::client::kafka::LeaveError;
use crate::client::kafka::code;
use crate::client::types::ClientConfig;

// COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR
const TRY_AGAIN: [i16; 3] = [14, 15, 16];
// UNKNOWN_MEMBER_ID, GROUP_ID_NOT_FOUND: it is out already
const NOT_A_MEMBER: [i16; 2] = [25, 69];

/// See [`crate::client::leave_group`].
pub(super) fn leave_group(
    embedded: &Embedded,
    config: &ClientConfig,
    group: &str,
    instance_id: &str,
    timeout: Duration,
) -> Result<(), LeaveError> {
    let protocol = config.get("security.protocol").unwrap_or("plaintext");
    if !protocol.eq_ignore_ascii_case("plaintext") {
        return Err(LeaveError::Unsupported { protocol: protocol.to_owned() });
    }
    let Ok(options) = Options::new(config) else {
        return Err(unreachable(embedded, "the options are not valid"));
    };
    let scheduler = embedded.network().scheduler().clone();
    let link = embedded.link("tidemill", options.timing(None), Rc::default());
    let deadline = scheduler.now().saturating_add(timeout);
    let outcome = loop {
        let outcome = attempt(embedded, &link, group, instance_id, deadline);
        let again = match &outcome {
            Ok(()) => false,
            Err(LeaveError::Refused { code }) => TRY_AGAIN.contains(code),
            Err(_) => true,
        };
        if !again || scheduler.now() >= deadline || link.is_closed() {
            break outcome;
        }
        scheduler.sleep(Duration::from_millis(100).min(deadline.saturating_sub(scheduler.now())));
    };
    link.close();
    outcome
}

fn attempt(
    embedded: &Embedded,
    link: &super::Link,
    group: &str,
    instance_id: &str,
    deadline: Duration,
) -> Result<(), LeaveError> {
    let found = find_coordinator(link, GROUP, group, deadline);
    if found != code::NO_ERROR {
        return Err(match i16::try_from(found) {
            Ok(code) if code > 0 => LeaveError::Refused { code },
            _ => unreachable(embedded, "no answer"),
        });
    }
    let member = MemberIdentity::default().with_group_instance_id(Some(text(instance_id)));
    let request =
        LeaveGroupRequest::default().with_group_id(group_id(group)).with_members(vec![member]);
    let Ok(ResponseKind::LeaveGroup(answer)) =
        link.call_until(version::LEAVE_GROUP_STATIC, request, deadline)
    else {
        return Err(unreachable(embedded, "no answer"));
    };
    let mut codes = std::iter::once(answer.error_code)
        .chain(answer.members.iter().map(|member| member.error_code));
    let refused = codes.find(|code| *code != 0 && !NOT_A_MEMBER.contains(code));
    refused.map_or(Ok(()), |code| Err(LeaveError::Refused { code }))
}

fn unreachable(embedded: &Embedded, why: &str) -> LeaveError {
    let address = format!("{:?}", embedded.network());
    LeaveError::Unreachable { address, source: io::Error::other(why.to_owned()) }
}
