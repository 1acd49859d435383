//! A broker with two topics, and short ways to ask it. Every answer goes through its wire form.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Request, StrBytes};
use tidemill_broker::engine::{Call, Engine, EngineConfig, Handled, Millis, Ticket};
use tidemill_broker::journal::Entry;
use tidemill_broker::log;

pub(crate) const MINUTE: Millis = 60_000;

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from(text.to_owned())
}

/// A broker, its clock, its journal and the answers that came late.
pub(crate) struct Broker {
    pub(crate) engine: Engine,
    pub(crate) now: Millis,
    pub(crate) journal: Vec<Entry>,
    late: BTreeMap<Ticket, ResponseKind>,
    config: EngineConfig,
}

impl Broker {
    pub(crate) fn new() -> Self {
        Self::with(EngineConfig::default())
    }

    /// A broker with the topics `in` and `out` of two partitions each.
    pub(crate) fn with(config: EngineConfig) -> Self {
        let topics = [(0, "in"), (1, "out")].map(|(topic, name)| {
            Entry::Log(log::Entry::Created {
                topic,
                name: name.to_owned(),
                partitions: 2,
                configs: BTreeMap::new(),
            })
        });
        let journal = topics.to_vec();
        let engine = Engine::recover(config.clone(), journal.clone(), 1_000_000)
            .expect("two topics are a journal");
        Self { engine, now: 1_000_000, journal, late: BTreeMap::new(), config }
    }

    pub(crate) fn send(&mut self, version: i16, request: impl Into<RequestKind>) -> Handled {
        let handled = self.engine.handle(
            self.now,
            Call {
                connection: 1,
                client_id: "client".to_owned(),
                client_host: "/127.0.0.1".to_owned(),
                version,
                request: request.into(),
            },
        );
        self.collect();
        handled
    }

    fn collect(&mut self) {
        self.late.extend(self.engine.take_answers());
        self.journal.extend(self.engine.take_journal());
    }

    /// Asks what is answered at once.
    pub(crate) fn ask<R: Request + Into<RequestKind>>(
        &mut self,
        version: i16,
        request: R,
    ) -> R::Response {
        match self.send(version, request) {
            Handled::Answer(answer) => over_the_wire::<R>(&answer, version),
            other => panic!("expected an answer, got {other:?}"),
        }
    }

    /// Asks what has to wait.
    pub(crate) fn ask_later<R: Request + Into<RequestKind>>(
        &mut self,
        version: i16,
        request: R,
    ) -> Ticket {
        match self.send(version, request) {
            Handled::Waiting(ticket) => ticket,
            other => panic!("expected to wait, got {other:?}"),
        }
    }

    /// Takes an answer that came late; `None` if it has not come.
    pub(crate) fn answer<R: Request>(
        &mut self,
        version: i16,
        ticket: Ticket,
    ) -> Option<R::Response> {
        let answer = self.late.remove(&ticket)?;
        Some(over_the_wire::<R>(&answer, version))
    }

    /// Lets time pass, doing what is due when it is due.
    pub(crate) fn pass(&mut self, time: Millis) {
        let until = self.now + time;
        while let Some(next) = self.engine.next_deadline().filter(|next| *next <= until) {
            self.now = next.max(self.now);
            self.engine.advance(self.now);
            self.collect();
        }
        self.now = until;
    }

    /// Kills the broker and starts it again from its journal.
    pub(crate) fn restart(&mut self) {
        let journal = self.journal.clone();
        self.engine = Engine::recover(self.config.clone(), journal, self.now)
            .expect("the journal is its own");
        self.late.clear();
        self.collect();
    }

    pub(crate) fn join(
        &mut self,
        version: i16,
        member: &str,
        instance: Option<&str>,
        protocols: &[&str],
    ) -> Handled {
        self.send(version, join_request(member, instance, protocols))
    }

    /// Lets a dynamic member into the group `g` and returns its id and how its join is handled.
    pub(crate) fn join_new(&mut self, protocols: &[&str]) -> (String, Handled) {
        let answer = self.ask(9, join_request("", None, protocols));
        assert_eq!(answer.error_code, 79, "MEMBER_ID_REQUIRED");
        let id = answer.member_id.to_string();
        let handled = self.join(9, &id, None, protocols);
        (id, handled)
    }

    /// The group `g` with one member in its first generation.
    pub(crate) fn group_of_one(&mut self) -> String {
        let (id, handled) = self.join_new(&["range"]);
        let Handled::Answer(answer) = handled else { panic!("the first member waits for nobody") };
        let joined = over_the_wire::<JoinGroupRequest>(&answer, 9);
        assert_eq!((joined.error_code, &*joined.leader), (0, &*id));
        let synced = self.ask(5, sync_request(joined.generation_id, &id, &[(&id, "all")]));
        assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"all"[..]));
        id
    }

    pub(crate) fn heartbeat(&mut self, generation: i32, member: &str) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_generation_id(generation)
            .with_member_id(text(member));
        self.ask(4, request).error_code
    }

    pub(crate) fn commit(&mut self, generation: i32, member: &str, offset: i64) -> i16 {
        let request = commit_request(generation, member, offset, "");
        self.ask(9, request).topics[0].partitions[0].error_code
    }

    /// The committed offset of partition 0 of `in`, or the error.
    pub(crate) fn committed(&mut self, stable: bool) -> Result<i64, i16> {
        let group = offset_fetch_request::OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(text("g")))
            .with_topics(Some(vec![
                offset_fetch_request::OffsetFetchRequestTopics::default()
                    .with_name(TopicName(text("in")))
                    .with_partition_indexes(vec![0]),
            ]));
        let request =
            OffsetFetchRequest::default().with_groups(vec![group]).with_require_stable(stable);
        let answer = self.ask(9, request);
        let group = &answer.groups[0];
        if group.error_code != 0 {
            return Err(group.error_code);
        }
        let partition = &group.topics[0].partitions[0];
        match partition.error_code {
            0 => Ok(partition.committed_offset),
            error => Err(error),
        }
    }

    /// A producer id and epoch for a transactional id.
    pub(crate) fn init(&mut self, id: &str) -> Result<(i64, i16), i16> {
        self.init_as(id, (-1, -1))
    }

    pub(crate) fn init_as(&mut self, id: &str, known: (i64, i16)) -> Result<(i64, i16), i16> {
        let answer = self.ask(4, init_request(id, known));
        match answer.error_code {
            0 => Ok((*answer.producer_id, answer.producer_epoch)),
            error => Err(error),
        }
    }

    pub(crate) fn add(&mut self, id: &str, producer: (i64, i16), partition: i32) -> i16 {
        let request = add_request(id, producer, "out", partition);
        let answer = self.ask(3, request);
        answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
    }

    pub(crate) fn add_offsets(&mut self, id: &str, producer: (i64, i16)) -> i16 {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(TransactionalId(text(id)))
            .with_producer_id(ProducerId(producer.0))
            .with_producer_epoch(producer.1)
            .with_group_id(GroupId(text("g")));
        self.ask(3, request).error_code
    }

    /// Commits an offset in a transaction, without being a member.
    pub(crate) fn txn_commit(&mut self, id: &str, producer: (i64, i16), offset: i64) -> i16 {
        self.txn_commit_as(id, producer, offset, (-1, ""))
    }

    pub(crate) fn txn_commit_as(
        &mut self,
        id: &str,
        producer: (i64, i16),
        offset: i64,
        (generation, member): (i32, &str),
    ) -> i16 {
        let partition = TxnOffsetCommitRequestPartition::default().with_committed_offset(offset);
        let topic = TxnOffsetCommitRequestTopic::default()
            .with_name(TopicName(text("in")))
            .with_partitions(vec![partition]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(TransactionalId(text(id)))
            .with_group_id(GroupId(text("g")))
            .with_producer_id(ProducerId(producer.0))
            .with_producer_epoch(producer.1)
            .with_generation_id(generation)
            .with_member_id(text(member))
            .with_topics(vec![topic]);
        self.ask(3, request).topics[0].partitions[0].error_code
    }

    pub(crate) fn end(&mut self, id: &str, producer: (i64, i16), committed: bool) -> i16 {
        self.ask(3, end_request(id, producer, committed)).error_code
    }

    /// The state of a transactional id as tools are shown it.
    pub(crate) fn state(&mut self, id: &str) -> String {
        let request = DescribeTransactionsRequest::default()
            .with_transactional_ids(vec![TransactionalId(text(id))]);
        self.ask(0, request).transaction_states[0].transaction_state.to_string()
    }
}

fn over_the_wire<R: Request>(answer: &ResponseKind, version: i16) -> R::Response {
    let mut bytes = BytesMut::new();
    answer.encode(&mut bytes, version).expect("the answer fits its version");
    let mut bytes = bytes.freeze();
    let decoded = R::Response::decode(&mut bytes, version).expect("the answer can be read");
    assert!(bytes.is_empty(), "the answer is read to its end");
    decoded
}

pub(crate) fn joined(handled: &Handled, version: i16) -> JoinGroupResponse {
    match handled {
        Handled::Answer(answer) => over_the_wire::<JoinGroupRequest>(answer, version),
        other => panic!("expected an answer, got {other:?}"),
    }
}

pub(crate) fn waits(handled: &Handled) -> Ticket {
    match handled {
        Handled::Waiting(ticket) => *ticket,
        other => panic!("expected to wait, got {other:?}"),
    }
}

pub(crate) fn join_request(
    member: &str,
    instance: Option<&str>,
    protocols: &[&str],
) -> JoinGroupRequest {
    let protocols = protocols.iter().map(|name| {
        JoinGroupRequestProtocol::default()
            .with_name(text(name))
            .with_metadata(Bytes::from(format!("{name} metadata")))
    });
    JoinGroupRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(60_000)
        .with_member_id(text(member))
        .with_group_instance_id(instance.map(text))
        .with_protocol_type(text("consumer"))
        .with_protocols(protocols.collect())
}

pub(crate) fn sync_request(
    generation: i32,
    member: &str,
    assignments: &[(&str, &'static str)],
) -> SyncGroupRequest {
    let assignments = assignments.iter().map(|(member, assignment)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(member))
            .with_assignment(Bytes::from_static(assignment.as_bytes()))
    });
    SyncGroupRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_generation_id(generation)
        .with_member_id(text(member))
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")))
        .with_assignments(assignments.collect())
}

pub(crate) fn commit_request(
    generation: i32,
    member: &str,
    offset: i64,
    metadata: &str,
) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text(metadata)));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text("in")))
        .with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(text(member))
        .with_topics(vec![topic])
}

pub(crate) fn init_request(id: &str, known: (i64, i16)) -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(text(id))))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(known.0))
        .with_producer_epoch(known.1)
}

pub(crate) fn add_request(
    id: &str,
    producer: (i64, i16),
    topic: &str,
    partition: i32,
) -> AddPartitionsToTxnRequest {
    AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(TransactionalId(text(id)))
        .with_v3_and_below_producer_id(ProducerId(producer.0))
        .with_v3_and_below_producer_epoch(producer.1)
        .with_v3_and_below_topics(vec![
            AddPartitionsToTxnTopic::default()
                .with_name(TopicName(text(topic)))
                .with_partitions(vec![partition]),
        ])
}

pub(crate) fn end_request(id: &str, producer: (i64, i16), committed: bool) -> EndTxnRequest {
    EndTxnRequest::default()
        .with_transactional_id(TransactionalId(text(id)))
        .with_producer_id(ProducerId(producer.0))
        .with_producer_epoch(producer.1)
        .with_committed(committed)
}
