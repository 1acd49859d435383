//! Connections: in order, apart from each other, and safe from what they send.

use std::net::SocketAddr;

use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, FetchRequest, MetadataRequest, RequestKind, ResponseKind,
};
use proptest::prelude::*;
use tidemill_broker::server::{Server, ServerConfig, ServerError};

use super::client::{Client, batch, code, fetch, produce};

fn server() -> Server {
    Server::start(ServerConfig::default()).unwrap()
}

fn is_served(address: SocketAddr) -> bool {
    let mut client = Client::to(address);
    let answer = client.call(ApiKey::Metadata, 1, MetadataRequest::default().with_topics(None));
    matches!(answer, ResponseKind::Metadata(_))
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let server = server();
    let mut client = Client::to(server.address());
    client.create("t");
    let record = RequestKind::from(produce("t", batch("v", None)));
    // a fetch that waits holds back the answers behind it
    let wait = RequestKind::from(fetch("t", 0, 200));
    let mut sent = vec![client.send(ApiKey::Fetch, 11, &wait)];
    sent.extend((0..200).map(|_| client.send(ApiKey::Produce, 7, &record)));
    let (first, _) = client.receive(ApiKey::Fetch, 11).unwrap();
    let mut answered = vec![first];
    for _ in 0..200 {
        let (id, answer) = client.receive(ApiKey::Produce, 7).unwrap();
        assert_eq!(code(&answer), 0);
        answered.push(id);
    }
    assert_eq!(answered, sent);
    assert_eq!(client.values("t").len(), 200);
}

#[test]
fn a_long_poll_waits_for_a_record_and_nobody_waits_for_it() {
    let server = server();
    let (mut reader, mut writer) = (Client::to(server.address()), Client::to(server.address()));
    writer.create("t");
    reader.send(ApiKey::Fetch, 11, &fetch("t", 0, 25_000).into());
    assert!(reader.is_silent());
    assert_eq!(writer.produce("t", "v"), 0);
    let (_, answer) = reader.receive(ApiKey::Fetch, 11).unwrap();
    let ResponseKind::Fetch(answer) = answer else { panic!("not the answer") };
    let records = answer.responses[0].partitions[0].records.as_ref().unwrap();
    assert!(!records.is_empty());
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_with_the_list() {
    let server = server();
    let mut client = Client::to(server.address());
    // key 18, version 99, correlation id 5, client id null, no tagged fields
    let frame = [0, 0, 0, 11, 0, 18, 0, 99, 0, 0, 0, 5, 0xff, 0xff, 0];
    client.send_bytes(&frame).unwrap();
    let (id, answer) = client.receive(ApiKey::ApiVersions, 0).unwrap();
    let ResponseKind::ApiVersions(answer) = answer else { panic!("not the answer") };
    assert_eq!((id, answer.error_code), (5, 35));
    let offered = answer.api_keys.iter().find(|one| one.api_key == 18).unwrap();
    let version = offered.max_version;
    let answer = client.call(ApiKey::ApiVersions, version, {
        let named = ApiVersionsRequest::default().with_client_software_name("test".into());
        named.with_client_software_version("1".into())
    });
    let ResponseKind::ApiVersions(answer) = answer else { panic!("not the answer") };
    assert_eq!(answer.error_code, 0);
}

#[test]
fn a_bad_frame_closes_its_connection_and_no_other() {
    let server = server();
    let mut other = Client::to(server.address());
    other.create("t");
    let frames: [&[u8]; 6] = [
        // negative, too small, larger than 100 MiB
        &[0xff; 4],
        &[0, 0, 0, 3, 1, 2, 3],
        &[0x7f, 0xff, 0xff, 0xff],
        // an API that is not there, a version that is not there
        &[0, 0, 0, 8, 0x7f, 0, 0, 0, 0, 0, 0, 1],
        &[0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 1],
        // Metadata for two thousand million topics
        &[0, 0, 0, 14, 0, 3, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff],
    ];
    for frame in frames {
        let mut bad = Client::to(server.address());
        bad.send_bytes(frame).unwrap();
        assert!(bad.is_closed(), "{frame:?}");
        assert_eq!(other.produce("t", "v"), 0);
    }
    let mut truncated = Client::to(server.address());
    truncated.send_bytes(&[0, 0, 0, 9, 0, 3]).unwrap();
    drop(truncated);
    assert_eq!(other.values("t").len(), 6);
}

#[test]
fn a_request_before_the_client_left_is_performed() {
    let server = server();
    let mut client = Client::to(server.address());
    client.create("t");
    let mut leaving = Client::to(server.address());
    leaving.send(ApiKey::Fetch, 11, &fetch("t", 0, 25_000).into());
    leaving.send(ApiKey::Produce, 7, &produce("t", batch("farewell", None)).into());
    drop(leaving);
    let wait = RequestKind::from(fetch("t", 0, 25_000));
    client.send(ApiKey::Fetch, 11, &wait);
    client.receive(ApiKey::Fetch, 11).unwrap();
    assert_eq!(client.values("t"), ["farewell"]);
}

#[test]
fn an_address_that_others_reach_is_refused_unless_it_is_meant() {
    let listen = SocketAddr::from(([0, 0, 0, 0], 0));
    let config = ServerConfig { listen, ..ServerConfig::default() };
    let refused = Server::start(config.clone()).unwrap_err();
    assert!(matches!(refused, ServerError::Remote(_)), "{refused}");
    let server = Server::start(ServerConfig { allow_remote: true, ..config }).unwrap();
    assert!(is_served(SocketAddr::from(([127, 0, 0, 1], server.address().port()))));
}

#[test]
fn a_stopped_server_closes_its_connections_and_frees_its_port() {
    let server = server();
    let mut client = Client::to(server.address());
    client.create("t");
    let listen = server.address();
    server.stop().unwrap();
    assert!(client.is_closed());
    let again = Server::start(ServerConfig { listen, ..ServerConfig::default() }).unwrap();
    assert!(is_served(again.address()));
}

#[test]
fn random_bytes_never_harm_the_server() {
    let server = server();
    let address = server.address();
    let body = prop::collection::vec(any::<u8>(), 8..200);
    // a legal size and API make it past the first checks
    let frame = (body, 0_u8..70, 0_u8..14).prop_map(|(mut body, api, version)| {
        body[..4].copy_from_slice(&[0, api, 0, version]);
        [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
    });
    let mut runner = proptest::test_runner::TestRunner::default();
    let done = runner.run(&prop::collection::vec(frame, 1..4), |frames| {
        let mut client = Client::to(address);
        for frame in frames {
            // the server may have closed already
            let _either = client.send_bytes(&frame);
        }
        Ok(())
    });
    done.unwrap();
    assert!(is_served(address));
}

#[test]
fn an_empty_fetch_is_answered_when_its_time_is_up() {
    let server = server();
    let mut client = Client::to(server.address());
    let answer = client.call(ApiKey::Fetch, 11, FetchRequest::default().with_max_wait_ms(50));
    assert!(matches!(answer, ResponseKind::Fetch(_)));
}
