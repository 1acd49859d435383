//! Faults as a client meets them.

use std::time::{Duration, Instant};

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, ApiKey, EndTxnRequest, InitProducerIdRequest, ProducerId,
    RequestKind, ResponseKind, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use tidemill_broker::fault::{Action, Api, Faults, ResponseError};
use tidemill_broker::server::{Server, ServerConfig, ask};

use super::client::{Client, Numbered, batch, code, name, produce};

fn server(faults: Faults) -> Server {
    Server::start(ServerConfig { faults, ..ServerConfig::default() }).unwrap()
}

fn send_record(client: &mut Client, value: &str) {
    client.send(ApiKey::Produce, 7, &produce("t", batch(value, None)).into());
}

/// A client and a topic `t`.
fn connected(server: &Server) -> Client {
    let mut client = Client::to(server.address());
    client.create("t");
    client
}

#[test]
fn a_dropped_reply_is_done_but_not_told() {
    let server = server(Faults::plan().on(Api::Produce).nth(1).then(Action::DropReply));
    let mut client = connected(&server);
    send_record(&mut client, "done");
    assert!(client.is_silent());
    let mut other = Client::to(server.address());
    assert_eq!(other.values("t"), ["done"]);
    let unfired = server.with(|_, faults| faults.unfired().len()).unwrap();
    assert_eq!(unfired, 0);
}

#[test]
fn a_dropped_request_is_not_done() {
    let server = server(Faults::plan().on(Api::Produce).nth(1).then(Action::DropRequest));
    let mut client = connected(&server);
    send_record(&mut client, "lost");
    assert!(client.is_silent());
    assert!(Client::to(server.address()).values("t").is_empty());
}

#[test]
fn a_reset_comes_before_or_after_the_request_is_performed() {
    let plan = Faults::plan().on(Api::Produce).nth(1).then(Action::Reset);
    let server = server(plan.on(Api::Produce).nth(1).then(Action::ResetAfter));
    let mut client = connected(&server);
    send_record(&mut client, "before");
    assert!(client.is_closed());
    let mut client = Client::to(server.address());
    send_record(&mut client, "after");
    assert!(client.is_closed());
    assert_eq!(Client::to(server.address()).values("t"), ["after"]);
}

#[test]
fn a_held_reply_and_a_delayed_request_come_later() {
    let plan = Faults::plan().on(Api::Produce).nth(1).then(Action::HoldReply(400));
    let server = server(plan.on(Api::Produce).nth(1).then(Action::DelayRequest(400)));
    let mut client = connected(&server);
    for value in ["held", "delayed"] {
        let started = Instant::now();
        send_record(&mut client, value);
        let mut other = Client::to(server.address());
        let seen = other.values("t").contains(&value.to_owned());
        let (_, answer) = client.receive(ApiKey::Produce, 7).unwrap();
        assert_eq!(code(&answer), 0);
        assert!(started.elapsed() >= Duration::from_millis(390));
        assert!(value == "held" || !seen, "a delayed request is not performed before its time");
        assert!(other.values("t").contains(&value.to_owned()));
    }
}

#[test]
fn a_refused_request_has_the_error_in_its_answer() {
    let refuse = Action::Refuse(ResponseError::NotLeaderOrFollower);
    let server = server(Faults::plan().on(Api::Produce).topic("t").nth(1).then(refuse));
    let mut client = connected(&server);
    assert_eq!(client.produce("t", "v"), ResponseError::NotLeaderOrFollower.code());
    assert_eq!(client.produce("t", "v"), 0);
}

fn id() -> TransactionalId {
    TransactionalId(StrBytes::from_static_str("bank"))
}

fn begin(client: &mut Client, producer: Numbered) {
    let topic = AddPartitionsToTxnTopic::default().with_name(name("t")).with_partitions(vec![0]);
    let request = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(id())
        .with_v3_and_below_producer_id(ProducerId(producer.id))
        .with_v3_and_below_producer_epoch(producer.epoch)
        .with_v3_and_below_topics(vec![topic]);
    let answer = client.call(ApiKey::AddPartitionsToTxn, 1, request);
    let ResponseKind::AddPartitionsToTxn(answer) = answer else { panic!("not the answer") };
    let result = &answer.results_by_topic_v3_and_below[0].results_by_partition[0];
    assert_eq!(result.partition_error_code, 0);
}

fn end(producer: Numbered, committed: bool) -> RequestKind {
    EndTxnRequest::default()
        .with_transactional_id(id())
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_committed(committed)
        .into()
}

/// The way a client loses records (KAFKA-17754): it asks for the commit again, gets it, begins the
/// next transaction, and then the first request arrives, and ends that.
#[test]
fn a_held_commit_ends_the_transaction_that_begins_next() {
    let server = server(Faults::plan().on(Api::EndTxn).nth(1).then(Action::HoldUntilNextBegin));
    let mut first = connected(&server);
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(id()))
        .with_transaction_timeout_ms(20_000);
    let answer = first.call(ApiKey::InitProducerId, 1, request);
    let ResponseKind::InitProducerId(made) = answer else { panic!("not the answer") };
    assert_eq!(made.error_code, 0);
    let (id, epoch) = (made.producer_id.0, made.producer_epoch);
    let mut producer = Numbered { id, epoch, sequence: 0, transactional: true };
    begin(&mut first, producer);
    let transactional = |value, producer| {
        let records = batch(value, Some(producer));
        produce("t", records).with_transactional_id(Some(self::id()))
    };
    assert_eq!(code(&first.call(ApiKey::Produce, 7, transactional("one", producer))), 0);
    first.send(ApiKey::EndTxn, 1, &end(producer, true));
    assert!(first.is_silent());
    drop(first);

    let mut second = Client::to(server.address());
    let answer = second.call(ApiKey::EndTxn, 1, end(producer, true));
    let ResponseKind::EndTxn(answer) = answer else { panic!("not the answer") };
    assert_eq!(answer.error_code, 0);
    begin(&mut second, producer);
    producer.sequence = 1;
    // the stray commit has ended what was just begun
    let refused = code(&second.call(ApiKey::Produce, 7, transactional("two", producer)));
    assert_eq!(refused, ResponseError::InvalidTxnState.code());
}

#[test]
fn faults_are_added_listed_and_cleared_over_the_control_port() {
    let control = Some("127.0.0.1:0".parse().unwrap());
    let server = Server::start(ServerConfig { control, ..ServerConfig::default() }).unwrap();
    let port = server.control_address().unwrap();
    let rule = "api=Produce topic=t nth=1 then=drop-reply";
    assert!(ask(port, &format!("fault add {rule}")).unwrap().is_empty());
    let mut client = connected(&server);
    send_record(&mut client, "v");
    assert!(client.is_silent());
    assert_eq!(ask(port, "fault list").unwrap(), [format!("{rule} matched=1 fired=1")]);
    let fired = ask(port, "fault fired").unwrap();
    assert!(fired.len() == 1 && fired[0].contains("api=Produce"), "{fired:?}");
    ask(port, "fault clear").unwrap();
    assert!(ask(port, "fault list").unwrap().is_empty());
    ask(port, "fault seed 42 fierce").unwrap();
    assert!(ask(port, "fault list").unwrap().len() > 50);
    for wrong in ["fault add then=explode", "fault seed x", "fault dance", "dance"] {
        assert!(ask(port, wrong).is_err(), "{wrong}");
    }
}
