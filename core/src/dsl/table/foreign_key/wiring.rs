//! The nodes, topics and stores of a foreign-key join, in the order of Kafka Streams.

use std::rc::Rc;
use std::sync::Arc;

use super::TableJoined;
use super::foreign::{Announce, Answer, ForeignRules, Receive};
use super::resolve::{Resolve, ResolveRules};
use super::subscribe::{Extract, Subscribe, SubscribeRules};
use super::wire::{Response, ResponseSerde, Subscription, SubscriptionSerde};
use crate::BoxError;
use crate::dsl::graph::{Graph, GraphId};
use crate::dsl::table::source::{SourceNode, TableSpec};
use crate::dsl::table::{KTable, StoreNode, TableParts};
use crate::dsl::{KStream, Materialized};
use crate::record::Partition;
use crate::serdes::{SharedSerde, bytes, optional};
use crate::store::{StoreKind, StoreSpec};
use crate::topology::{
    AutoOffsetReset, Consumed, Partitions, Produced, RepartitionSpec, StoreBuilder,
    StreamPartitioner, TopicName, TopologyError,
};

const REGISTRATION: &str = "KTABLE-FK-JOIN-SUBSCRIPTION-REGISTRATION-";
const STATE_STORE: &str = "KTABLE-FK-JOIN-SUBSCRIPTION-STATE-STORE-";
const PROCESSOR: &str = "KTABLE-FK-JOIN-SUBSCRIPTION-PROCESSOR-";
const RESPONSE: &str = "KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE-";
const RESOLVER: &str = "KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE-RESOLVER-PROCESSOR-";
const OUTPUT: &str = "KTABLE-FK-JOIN-OUTPUT-";
const OUTPUT_STORE: &str = "KTABLE-FK-JOIN-OUTPUT-STATE-STORE-";
const SINK: &str = "KTABLE-SINK-";
const SOURCE: &str = "KTABLE-SOURCE-";

/// An internal topic and the nodes before and behind it.
struct Crossing {
    topic: String,
    sink: String,
    source: String,
}

struct Names {
    registration: Crossing,
    send: String,
    store: String,
    receive: String,
    answer: String,
    announce: String,
    response: Crossing,
    resolve: String,
    result: String,
}

impl Names {
    /// Consumes thirteen numbers, named or not.
    fn new(graph: &mut Graph, given: Option<&str>) -> Self {
        let mut next = |suffix: &str, prefix| {
            graph.name_or_generate(given.map(|name| format!("{name}-{suffix}")), prefix)
        };
        let topic = |name: String| format!("{name}-topic");
        let registration = topic(next("subscription-registration", REGISTRATION));
        let send = next("subscription-registration-processor", REGISTRATION);
        let registration = Crossing {
            topic: registration,
            sink: next("subscription-registration-sink", SINK),
            source: next("subscription-registration-source", SOURCE),
        };
        let store = next("subscription-store", STATE_STORE);
        let receive = next("subscription-receive", PROCESSOR);
        let answer = next("subscription-join-foreign", PROCESSOR);
        let announce = next("foreign-join-subscription", PROCESSOR);
        let response = Crossing {
            topic: topic(next("subscription-response", RESPONSE)),
            sink: next("subscription-response-sink", SINK),
            source: next("subscription-response-source", SOURCE),
        };
        let resolve = next("subscription-response-resolver", RESOLVER);
        let result = next("result", OUTPUT);
        Self { registration, send, store, receive, answer, announce, response, resolve, result }
    }
}

/// The serdes of both tables.
struct Serdes<K, V, KO, VO> {
    keys: SharedSerde<K>,
    values: SharedSerde<V>,
    foreign_keys: SharedSerde<KO>,
    foreign_values: SharedSerde<VO>,
}

impl<K, V, KO, VO> Serdes<K, V, KO, VO> {
    /// Returns what both tables know, or what one of them does not.
    fn of(this: &KTable<K, V>, other: &KTable<KO, VO>, node: &str) -> Result<Self, TopologyError> {
        let missing = |node: String, what| TopologyError::MissingSerde { node, what };
        let here = |what| missing(node.to_owned(), what);
        let there = |what| missing(format!("{node}, the other table"), what);
        Ok(Self {
            keys: this.key_serde.clone().ok_or_else(|| here("key"))?,
            values: this.value_serde.clone().ok_or_else(|| here("value"))?,
            foreign_keys: other.key_serde.clone().ok_or_else(|| there("key"))?,
            foreign_values: other.value_serde.clone().ok_or_else(|| there("value"))?,
        })
    }
}

/// A join that is being added to the graph.
pub(super) struct JoinOnForeignKey<'t, K, V, KO, VO> {
    this: &'t KTable<K, V>,
    other: &'t KTable<KO, VO>,
    left: bool,
    joined: TableJoined<K, KO>,
    names: Names,
}

impl<'t, K, V, KO, VO> JoinOnForeignKey<'t, K, V, KO, VO>
where
    K: Clone + 'static,
    V: Clone + 'static,
    KO: Clone + 'static,
    VO: Clone + 'static,
{
    pub(super) fn new(
        this: &'t KTable<K, V>,
        other: &'t KTable<KO, VO>,
        left: bool,
        mut joined: TableJoined<K, KO>,
    ) -> Self {
        let given = joined.name.take().or_else(|| this.changes.given_name());
        let names = Names::new(&mut this.changes.graph().borrow_mut(), given.as_deref());
        Self { this, other, left, joined, names }
    }

    /// Adds everything and returns the table of the results.
    pub(super) fn add<R, F>(
        self,
        extract: Box<Extract<K, V, KO>>,
        joiner: F,
        mut materialized: Materialized<K, R>,
    ) -> KTable<K, R>
    where
        R: Clone + 'static,
        F: Fn(&K, &V, Option<&VO>) -> Result<Option<R>, BoxError> + Send + Sync + 'static,
    {
        let graph = self.this.changes.shared_graph();
        let queryable = materialized.name.clone();
        let store = match materialized.name.take() {
            Some(name) => name,
            None => graph.borrow_mut().name_or_generate(None, OUTPUT_STORE),
        };
        materialized.refuse_revision(&mut graph.borrow_mut(), &self.names.result);
        let node = &self.names.result;
        let serdes = if self.other.is_of(&graph) {
            Serdes::of(self.this, self.other, node)
        } else {
            Err(TopologyError::ForeignStream { node: node.clone() })
        };
        let serdes = match serdes {
            Ok(serdes) => serdes,
            Err(mistake) => {
                graph.borrow_mut().fail(mistake);
                let (key_serde, value_serde) = (materialized.key_serde, materialized.value_serde);
                let parts = TableParts { key_serde, value_serde, queryable_store_name: queryable };
                let nothing = Rc::new(StoreNode::new(&store));
                return KTable::new(graph, self.this.changes.id, nothing, parts);
            }
        };
        self.other.send_old_values(true);
        self.this.send_old_values(true);
        let node = SourceNode::new(&store, queryable.is_some());
        let result = self.names.result.clone();
        let resolved = self.connect(&serdes, extract.into(), joiner);
        let (keys, values) = (serdes.keys, materialized.value_serde.clone());
        let spec =
            TableSpec { node, keys: Some(keys), values, materialized, queryable, reuse: None };
        spec.attach(&resolved, result)
    }

    /// Adds what is between the tables and the table of the results.
    fn connect<R, F>(
        self,
        serdes: &Serdes<K, V, KO, VO>,
        extract: Arc<Extract<K, V, KO>>,
        joiner: F,
    ) -> KStream<K, Option<R>>
    where
        R: Clone + 'static,
        F: Fn(&K, &V, Option<&VO>) -> Result<Option<R>, BoxError> + Send + Sync + 'static,
    {
        let Self { this, other, left, joined, names } = self;
        let topic = names.registration.topic.clone();
        let rules = Arc::new(SubscribeRules {
            topic: topic.clone(),
            left,
            extract,
            keys: Arc::clone(&serdes.keys),
            values: Arc::clone(&serdes.values),
            foreign_keys: Arc::clone(&serdes.foreign_keys),
        });
        let sent: KStream<Option<KO>, Subscription> = this.changes.attach_processor(
            &[this.changes.id],
            names.send,
            false,
            move || Subscribe::new(Arc::clone(&rules)),
            Vec::new(),
        );
        let registered = registered(&sent, names.registration, &serdes.foreign_keys, &joined);
        add_store(&registered, &names.store);
        let rules = Arc::new(ForeignRules {
            topic: topic.clone(),
            store: names.store.clone(),
            keys: Arc::clone(&serdes.keys),
            foreign_keys: Arc::clone(&serdes.foreign_keys),
        });
        let shared = Arc::clone(&rules);
        let received: KStream<Option<KO>, Subscription> = registered.attach_processor(
            &[registered.id],
            names.receive,
            false,
            move || Receive::<K, KO>::new(&shared),
            vec![names.store.clone()],
        );
        let (view, shared) = (other.view(), Arc::clone(&rules));
        let stores = view.stores.clone();
        let answered: KStream<K, Response<VO>> = received.attach_processor(
            &[received.id],
            names.answer,
            false,
            move || Answer::new(&shared, view.clone()),
            stores,
        );
        let announced: KStream<K, Response<VO>> = other.changes.attach_processor(
            &[other.changes.id],
            names.announce,
            false,
            move || Announce::new(&rules),
            vec![names.store],
        );
        let parents = [answered.id, announced.id];
        let responses = responded(&answered, &parents, names.response, serdes, joined);
        let view = this.view();
        let stores = view.stores.clone();
        let rules = Arc::new(ResolveRules { topic, values: Arc::clone(&serdes.values), joiner });
        responses.attach_processor(
            &[responses.id],
            names.resolve,
            false,
            move || Resolve::new(Arc::clone(&rules), view.clone()),
            stores,
        )
    }
}

/// Adds the registration topic.
fn registered<K: 'static, KO: Clone + 'static>(
    sent: &KStream<Option<KO>, Subscription>,
    crossing: Crossing,
    foreign_keys: &SharedSerde<KO>,
    joined: &TableJoined<K, KO>,
) -> KStream<Option<KO>, Subscription> {
    type Partitioner<KO> = Arc<dyn StreamPartitioner<Option<KO>, Subscription>>;
    let partitioner = joined.other_partitioner.clone().map(|partitioner| -> Partitioner<KO> {
        Arc::new(move |topic: &str, key: &Option<KO>, _: &Subscription, partitions: u32| {
            let chosen = |key| partitioner.partitions(topic, key, &(), partitions);
            key.as_ref().map_or(Partitions::ByKey, chosen)
        })
    });
    let produced = Produced {
        key_serde: Arc::new(optional(Arc::clone(foreign_keys))),
        value_serde: Arc::new(SubscriptionSerde),
        name: None,
        partitioner,
        one_partition: true,
        windows_together: false,
    };
    cross(sent, &[sent.id], crossing, produced)
}

/// Adds the response topic.
fn responded<K: Clone + 'static, V, KO: 'static, VO: Clone + 'static>(
    answered: &KStream<K, Response<VO>>,
    parents: &[GraphId],
    crossing: Crossing,
    serdes: &Serdes<K, V, KO, VO>,
    joined: TableJoined<K, KO>,
) -> KStream<K, Response<VO>> {
    type Partitioner<K, VO> = Arc<dyn StreamPartitioner<K, Response<VO>>>;
    let partitioner: Partitioner<K, VO> = match joined.partitioner {
        None => Arc::new(|_: &str, _: &K, response: &Response<VO>, _: u32| -> Option<Partition> {
            response.primary_partition
        }),
        Some(partitioner) => {
            Arc::new(move |topic: &str, key: &K, _: &Response<VO>, partitions: u32| {
                partitioner.partitions(topic, key, &(), partitions)
            })
        }
    };
    let produced = Produced {
        key_serde: Arc::clone(&serdes.keys),
        value_serde: Arc::new(ResponseSerde(Arc::clone(&serdes.foreign_values))),
        name: None,
        partitioner: Some(partitioner),
        one_partition: true,
        windows_together: false,
    };
    cross(answered, parents, crossing, produced)
}

/// Adds an internal topic with the nodes before and behind it.
fn cross<A: Clone + 'static, B: Clone + 'static>(
    from: &KStream<A, B>,
    parents: &[GraphId],
    crossing: Crossing,
    produced: Produced<A, B>,
) -> KStream<A, B> {
    let Crossing { topic, sink, source } = crossing;
    let consumed = Consumed {
        key_serde: Arc::clone(&produced.key_serde),
        value_serde: Arc::clone(&produced.value_serde),
        name: None,
        // what was written before the first start of the reader is not to be skipped
        auto_offset_reset: Some(AutoOffsetReset::Earliest),
        timestamp_extractor: None,
    };
    let mut graph = from.graph().borrow_mut();
    let (node, target) = (sink.clone(), topic.clone());
    let id = graph.add(parents, sink, move |topology, parents| {
        topology.add_repartition(RepartitionSpec { name: target.clone(), partitions: None });
        topology.add_sink_to(&node, TopicName::Internal(target), produced, parents).map(|_| ())
    });
    let node = source.clone();
    let id = graph.add(&[id], source, move |topology, _| {
        topology.add_source_of(&node, consumed, vec![TopicName::Internal(topic)]).map(|_| ())
    });
    KStream::new(from.shared_graph(), id, false)
}

/// Adds the store of subscriptions.
fn add_store<KO>(beside: &KStream<Option<KO>, Subscription>, name: &str) {
    let spec = StoreSpec::new(name, StoreKind::TimestampedKeyValue);
    let builder = StoreBuilder::from_parts(spec, Arc::new(bytes()), Arc::new(SubscriptionSerde));
    beside.graph().borrow_mut().add(&[GraphId::ROOT], name, move |topology, _| {
        topology.add_state_store(builder, &[]).map(|_| ())
    });
}
