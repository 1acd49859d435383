//! Takes a static member out of its group: the one request that librdkafka never makes.
//!
//! A member with a `group.instance.id` does not leave when its consumer closes, so that it may come
//! back without a rebalance; its partitions stay idle until `session.timeout.ms`. A worker that is
//! closed for good says so here, in the broker's protocol over a plain socket, as Kafka's admin
//! client does in `removeMembersFromConsumerGroup` (KIP-345).

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{
    ApiKey, FindCoordinatorRequest, FindCoordinatorResponse, GroupId, LeaveGroupRequest,
    LeaveGroupResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use super::ffi::{deadline, left};
use crate::client::types::ClientConfig;

/// The member was not taken out of its group: its partitions return after `session.timeout.ms`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaveError {
    /// Only plaintext connections are spoken here.
    #[error("a static member can leave its group over plaintext only, not over {protocol}")]
    Unsupported {
        /// The configured `security.protocol`.
        protocol: String,
    },
    /// No broker of the list could be reached, or one did not answer in time.
    #[error("could not reach {address} to leave the group")]
    Unreachable {
        /// The last address that was tried.
        address: String,
        /// What went wrong there.
        #[source]
        source: std::io::Error,
    },
    /// The broker's answer could not be read.
    #[error("could not understand the answer of {address}: {message}")]
    Malformed {
        /// Who answered.
        address: String,
        /// What was wrong with it.
        message: String,
    },
    /// The broker refused.
    #[error("the broker refused to let the member leave the group, error code {code}")]
    Refused {
        /// Kafka's error code.
        code: i16,
    },
}

// The oldest versions that every broker since 2.4 and before a Kafka 5 speaks; both "flexible".
const FIND_COORDINATOR_VERSION: i16 = 3;
const LEAVE_GROUP_VERSION: i16 = 4;

// COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR
const TRY_AGAIN: [i16; 3] = [14, 15, 16];
// UNKNOWN_MEMBER_ID, GROUP_ID_NOT_FOUND: it is out already
const NOT_A_MEMBER: [i16; 2] = [25, 69];

/// Takes the static member out of the group, so that its partitions are given to others at once.
///
/// Close the consumer first: a member that still polls would join again. A member that the group
/// does not know counts as out.
///
/// # Errors
/// See [`LeaveError`]; log it and go on, nothing depends on success but the delay.
pub fn leave_group(
    config: &ClientConfig,
    group: &str,
    instance_id: &str,
    timeout: Duration,
) -> Result<(), LeaveError> {
    let protocol = config.get("security.protocol").unwrap_or("plaintext");
    if !protocol.eq_ignore_ascii_case("plaintext") {
        return Err(LeaveError::Unsupported { protocol: protocol.to_owned() });
    }
    let bootstrap = config
        .get("bootstrap.servers")
        .or_else(|| config.get("metadata.broker.list"))
        .unwrap_or_default();
    let deadline = deadline(timeout);
    let mut outcome = Err(LeaveError::Refused { code: TRY_AGAIN[1] });
    while outcome.is_err() && Instant::now() < deadline {
        for address in bootstrap.split(',').map(str::trim).filter(|address| !address.is_empty()) {
            outcome = leave_through(address, group, instance_id, deadline);
            match &outcome {
                Ok(()) => return Ok(()),
                Err(LeaveError::Refused { code }) if !TRY_AGAIN.contains(code) => return outcome,
                Err(_) => {}
            }
        }
        // The coordinator is elsewhere or still loading: nothing to wait on but time.
        std::thread::sleep(left(deadline).min(Duration::from_millis(100)));
    }
    outcome
}

fn leave_through(
    address: &str,
    group: &str,
    instance_id: &str,
    deadline: Instant,
) -> Result<(), LeaveError> {
    let address = address.rsplit_once("://").map_or(address, |(_, address)| address);
    let request = FindCoordinatorRequest::default()
        .with_key(StrBytes::from_string(group.to_owned()))
        .with_key_type(0);
    let found: FindCoordinatorResponse = Connection::open(address, deadline)?.call(
        ApiKey::FindCoordinator,
        FIND_COORDINATOR_VERSION,
        &request,
    )?;
    refuse_unless_ok(found.error_code)?;
    let coordinator = format!("{}:{}", found.host.as_str(), found.port);
    let member = MemberIdentity::default()
        .with_group_instance_id(Some(StrBytes::from_string(instance_id.to_owned())));
    let request = LeaveGroupRequest::default()
        .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
        .with_members(vec![member]);
    let left: LeaveGroupResponse = Connection::open(&coordinator, deadline)?.call(
        ApiKey::LeaveGroup,
        LEAVE_GROUP_VERSION,
        &request,
    )?;
    let codes = std::iter::once(left.error_code)
        .chain(left.members.iter().map(|member| member.error_code))
        .filter(|code| !NOT_A_MEMBER.contains(code));
    codes.into_iter().try_for_each(refuse_unless_ok)
}

fn refuse_unless_ok(code: i16) -> Result<(), LeaveError> {
    if code == 0 { Ok(()) } else { Err(LeaveError::Refused { code }) }
}

/// A socket that carries one request after another, each with its answer.
struct Connection<'a> {
    stream: TcpStream,
    address: &'a str,
    deadline: Instant,
}

impl<'a> Connection<'a> {
    fn open(address: &'a str, deadline: Instant) -> Result<Self, LeaveError> {
        let unreachable = |source| LeaveError::Unreachable { address: address.to_owned(), source };
        let mut last = std::io::Error::other("the name has no address");
        for resolved in address.to_socket_addrs().map_err(unreachable)? {
            match TcpStream::connect_timeout(&resolved, time_left(deadline)) {
                Ok(stream) => return Ok(Self { stream, address, deadline }),
                Err(error) => last = error,
            }
        }
        Err(unreachable(last))
    }

    fn call<Q: Encodable + HeaderVersion, A: Decodable + HeaderVersion>(
        &mut self,
        key: ApiKey,
        version: i16,
        request: &Q,
    ) -> Result<A, LeaveError> {
        let mut frame = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_client_id(Some(StrBytes::from_static_str("tidemill")));
        header
            .encode(&mut frame, Q::header_version(version))
            .and_then(|()| request.encode(&mut frame, version))
            .map_err(|error| self.malformed(error))?;
        let mut answer = self.exchange(&frame).map_err(|source| LeaveError::Unreachable {
            address: self.address.to_owned(),
            source,
        })?;
        ResponseHeader::decode(&mut answer, A::header_version(version))
            .and_then(|_| A::decode(&mut answer, version))
            .map_err(|error| self.malformed(error))
    }

    fn exchange(&mut self, frame: &[u8]) -> std::io::Result<Bytes> {
        // Answers are a few hundred bytes; whoever announces more speaks something else.
        const ANSWER_BYTES_MAX: u32 = 1 << 20;
        self.stream.set_write_timeout(Some(time_left(self.deadline)))?;
        self.stream.set_read_timeout(Some(time_left(self.deadline)))?;
        let size = u32::try_from(frame.len()).map_err(std::io::Error::other)?;
        self.stream.write_all(&size.to_be_bytes())?;
        self.stream.write_all(frame)?;
        let mut size = [0; 4];
        self.stream.read_exact(&mut size)?;
        let size = u32::from_be_bytes(size);
        if size > ANSWER_BYTES_MAX {
            return Err(std::io::Error::other("the answer is not one of Kafka's"));
        }
        let mut answer = vec![0; size as usize];
        self.stream.read_exact(&mut answer)?;
        Ok(answer.into())
    }

    fn malformed(&self, error: impl std::fmt::Display) -> LeaveError {
        LeaveError::Malformed { address: self.address.to_owned(), message: error.to_string() }
    }
}

// A socket timeout of zero means "for ever", so at least a millisecond is left.
fn time_left(deadline: Instant) -> Duration {
    left(deadline).max(Duration::from_millis(1))
}
