//! Between bytes and messages: the header and body of a request, the frame of an answer.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable};
use thiserror::Error;

use super::shape::{ShapeError, Shapes};
use crate::engine::is_offered;

/// The largest request, in bytes (`socket.request.max.bytes`, Kafka's default).
pub(super) const REQUEST_BYTES_MAX: usize = 100 * 1024 * 1024;

/// API key, version and correlation id.
const FIXED_HEADER: usize = 8;

/// What the answer to a request needs of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) correlation_id: i32,
    pub(super) version: i16,
}

/// A frame that was understood.
#[derive(Debug)]
pub(super) enum Incoming {
    Request {
        origin: Origin,
        client_id: String,
        request: Box<RequestKind>,
    },
    /// `ApiVersions` in a version that is not known: answered in version 0, with the list.
    NewerApiVersions {
        origin: Origin,
    },
}

/// Why a connection is closed.
#[derive(Debug, Error)]
pub(super) enum FrameError {
    #[error("a frame of {0} bytes: a request has {FIXED_HEADER} to {REQUEST_BYTES_MAX}")]
    Size(i64),
    #[error("API {0} is not served")]
    Api(i16),
    #[error("version {version} of {api} is not served")]
    Version { api: &'static str, version: i16 },
    #[error("the header of {api} is damaged")]
    Header { api: &'static str },
    #[error("a malformed {api} (version {version}): {source}")]
    Shape { api: &'static str, version: i16, source: ShapeError },
    #[error("an undecodable {api} (version {version}): {reason}")]
    Body { api: &'static str, version: i16, reason: String },
    #[error("no answer could be encoded: {0}")]
    Answer(String),
}

/// Size of the field that says how long a frame is.
const PREFIX: usize = 4;

/// Returns the size of the first frame, with its prefix, if it is whole.
fn whole(inbox: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(prefix) = inbox.first_chunk::<PREFIX>() else { return Ok(None) };
    let size = i32::from_be_bytes(*prefix);
    let legal = usize::try_from(size).ok();
    let legal = legal.filter(|size| (FIXED_HEADER..=REQUEST_BYTES_MAX).contains(size));
    let whole = legal.ok_or(FrameError::Size(size.into()))? + PREFIX;
    Ok((inbox.len() >= whole).then_some(whole))
}

/// Whether [`cut`] returns a frame, or an error.
pub(super) fn is_whole(inbox: &[u8]) -> bool {
    !matches!(whole(inbox), Ok(None))
}

/// Cuts the first whole frame off; `None` until it is there.
pub(super) fn cut(inbox: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
    let Some(whole) = whole(inbox)? else { return Ok(None) };
    let mut frame = inbox.split_to(whole).freeze();
    Ok(Some(frame.split_off(PREFIX)))
}

/// Reads a request.
pub(super) fn read(shapes: &Shapes, mut frame: Bytes) -> Result<Incoming, FrameError> {
    let Some(fixed) = frame.first_chunk::<FIXED_HEADER>() else {
        return Err(FrameError::Size(i64::try_from(frame.len()).unwrap_or(i64::MAX)));
    };
    let [a, b, c, d, correlation @ ..] = *fixed;
    let (api, version) = (i16::from_be_bytes([a, b]), i16::from_be_bytes([c, d]));
    let origin = Origin { correlation_id: i32::from_be_bytes(correlation), version };
    let name = shapes.name(api).ok_or(FrameError::Api(api))?;
    let key = ApiKey::try_from(api).map_err(|()| FrameError::Api(api))?;
    if !is_offered(api, version) || !shapes.knows(api, version) {
        let newer = key == ApiKey::ApiVersions;
        let refused = FrameError::Version { api: name, version };
        return if newer { Ok(Incoming::NewerApiVersions { origin }) } else { Err(refused) };
    }
    let header = RequestHeader::decode(&mut frame, key.request_header_version(version));
    let header = header.map_err(|_| FrameError::Header { api: name })?;
    let check = shapes.check(api, version, &frame);
    check.map_err(|source| FrameError::Shape { api: name, version, source })?;
    let request = RequestKind::decode(key, &mut frame, version);
    let undecodable =
        |reason| FrameError::Body { api: name, version, reason: format!("{reason:#}") };
    let request = Box::new(request.map_err(undecodable)?);
    let client_id = header.client_id.map(|id| id.to_string()).unwrap_or_default();
    Ok(Incoming::Request { origin, client_id, request })
}

/// Appends the frame of an answer.
pub(super) fn write(
    out: &mut BytesMut,
    origin: Origin,
    answer: &ResponseKind,
) -> Result<(), FrameError> {
    let start = out.len();
    out.put_i32(0);
    let header = ResponseHeader::default().with_correlation_id(origin.correlation_id);
    let written = header
        .encode(out, answer.header_version(origin.version))
        .and_then(|()| answer.encode(out, origin.version));
    let size = out.len() - start - PREFIX;
    let size = written.and_then(|()| Ok(i32::try_from(size)?)).map_err(|reason| {
        out.truncate(start);
        FrameError::Answer(format!("{reason:#}"))
    })?;
    out[start..start + PREFIX].copy_from_slice(&size.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests;
