//! Frames: cut, read, refused, never a panic.

use kafka_protocol::messages::ApiVersionsResponse;
use proptest::prelude::*;

use super::*;
use crate::fault::Random;
use crate::server::shape::tests::random_body;

/// A whole request that is served: its header and its body, without the prefix.
fn request(random: &mut Random) -> Vec<u8> {
    let served = |(api, version, _): &(i16, i16, _)| is_offered(*api, *version);
    let (api, version, body) = std::iter::repeat_with(|| random_body(random)).find(served).unwrap();
    let key = ApiKey::try_from(api).unwrap();
    let header = RequestHeader::default()
        .with_request_api_key(api)
        .with_request_api_version(version)
        .with_correlation_id(7);
    let mut frame = BytesMut::new();
    header.encode(&mut frame, key.request_header_version(version)).unwrap();
    frame.extend_from_slice(&body);
    frame.to_vec()
}

#[test]
fn a_frame_is_cut_when_it_is_whole_and_refused_when_its_size_is_not_one() {
    let mut inbox = BytesMut::from(&[0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8][..]);
    assert!(cut(&mut inbox).unwrap().is_none());
    inbox.extend_from_slice(&[9, 0xff]);
    assert_eq!(cut(&mut inbox).unwrap().unwrap(), vec![1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(&inbox[..], [0xff]);
    for size in [-1, 0, 7, 100 * 1024 * 1024 + 1, i32::MAX] {
        let mut inbox = BytesMut::from(&size.to_be_bytes()[..]);
        assert!(matches!(cut(&mut inbox), Err(FrameError::Size(_))), "{size}");
    }
}

#[test]
fn an_unknown_api_or_version_is_named() {
    let shapes = Shapes::new();
    let read = |api: i16, version: i16| {
        let frame = [api.to_be_bytes(), version.to_be_bytes(), [0; 2], [7; 2]].concat();
        read(&shapes, frame.into())
    };
    assert!(matches!(read(999, 0), Err(FrameError::Api(999))));
    let refused = read(0, 2).unwrap_err();
    assert_eq!(refused.to_string(), "version 2 of Produce is not served");
    let origin = Origin { correlation_id: 0x0707, version: 99 };
    let Incoming::NewerApiVersions { origin: found } = read(18, 99).unwrap() else {
        panic!("the client is to be told the versions");
    };
    assert_eq!(found, origin);
}

#[test]
fn an_answer_that_cannot_be_encoded_leaves_nothing_behind() {
    let mut out = BytesMut::from(&b"before"[..]);
    let origin = Origin { correlation_id: 1, version: 99 };
    assert!(write(&mut out, origin, &ApiVersionsResponse::default().into()).is_err());
    assert_eq!(&out[..], b"before");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes_never_make_the_reader_panic(bytes: Vec<u8>) {
        let _either = read(&Shapes::new(), bytes.into());
    }

    #[test]
    fn whole_requests_are_read_and_damaged_ones_never_panic(
        seed: u64,
        cut_to: prop::sample::Index,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let shapes = Shapes::new();
        let frame = request(&mut Random::new(seed));
        let whole = read(&shapes, frame.clone().into());
        prop_assert!(matches!(whole, Ok(Incoming::Request { .. })), "{:?}", whole);
        let shorter = frame[..cut_to.index(frame.len())].to_vec();
        prop_assert!(read(&shapes, shorter.into()).is_err());
        let mut changed = frame;
        for (place, byte) in changes {
            let place = place.index(changed.len());
            changed[place] = byte;
        }
        let _either = read(&shapes, changed.into());
    }
}
