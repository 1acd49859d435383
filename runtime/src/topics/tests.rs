//! Plans of topologies, without a broker.

use std::collections::BTreeMap;

use tidemill_core::dsl::{
    Grouped, KStream, Materialized, Repartitioned, StreamsBuilder, TableJoined,
};
use tidemill_core::record::{Offset, Partition, StreamTime, SubTopologyId, TaskId, TopicPartition};
use tidemill_core::serdes::{i64, optional, string};
use tidemill_core::store::InputPosition;
use tidemill_core::task::CommitPlan;
use tidemill_core::topology::{Consumed, Produced, Topology};

use super::Plan;

fn strings(builder: &StreamsBuilder, topic: &str) -> KStream<String, String> {
    builder.stream(topic, Consumed::with(string(), string()))
}

fn counts(counts: &[(&str, u32)]) -> BTreeMap<String, u32> {
    counts.iter().map(|(topic, count)| ((*topic).to_owned(), *count)).collect()
}

fn repartitioned(partitions: Option<u32>, beside: Option<&str>) -> Topology {
    let builder = StreamsBuilder::new();
    let mut how = Repartitioned::with(string(), string()).with_name("again");
    if let Some(partitions) = partitions {
        how = how.with_number_of_partitions(partitions);
    }
    let mut stream = strings(&builder, "in").select_key(|_, v| v.clone()).repartition(how);
    if let Some(topic) = beside {
        stream = stream.merge(&strings(&builder, topic));
    }
    stream.to("out", Produced::with(string(), string()));
    builder.build().unwrap()
}

#[test]
fn a_repartition_topic_has_as_many_partitions_as_its_writers_read() {
    let plan = Plan::new(&repartitioned(None, None), "app", &counts(&[("in", 6)])).unwrap();
    assert_eq!(plan.repartitions, counts(&[("app-again-repartition", 6)]));
    assert_eq!(plan.subs.iter().map(|sub| sub.partitions).collect::<Vec<_>>(), [6, 6]);
    assert_eq!(plan.subscription(), ["app-again-repartition", "in"]);
    let task = plan.task_of("app-again-repartition", Partition(3)).unwrap();
    assert_eq!(task, TaskId::new(SubTopologyId(1), Partition(3)));
    assert_eq!(plan.task_of("out", Partition(0)), None);
}

#[test]
fn a_number_that_was_asked_for_is_kept() {
    let plan = Plan::new(&repartitioned(Some(2), None), "app", &counts(&[("in", 6)])).unwrap();
    assert_eq!(plan.repartitions, counts(&[("app-again-repartition", 2)]));
    assert_eq!(plan.subs.iter().map(|sub| sub.partitions).collect::<Vec<_>>(), [6, 2]);
}

#[test]
fn beside_a_topic_with_more_partitions_a_repartition_topic_takes_that_number() {
    let topology = repartitioned(None, Some("beside"));
    let plan = Plan::new(&topology, "app", &counts(&[("in", 2), ("beside", 5)])).unwrap();
    assert_eq!(plan.repartitions, counts(&[("app-again-repartition", 5)]));
}

#[test]
fn beside_a_topic_with_fewer_partitions_it_takes_that_number_too() {
    let topology = repartitioned(None, Some("beside"));
    let plan = Plan::new(&topology, "app", &counts(&[("in", 6), ("beside", 5)])).unwrap();
    assert_eq!(plan.repartitions, counts(&[("app-again-repartition", 5)]));
}

/// A join by a foreign key; of aggregated streams if `grouped` is set.
fn on_foreign_key(grouped: bool) -> Topology {
    let builder = StreamsBuilder::new();
    let table = |topic: &str| {
        if !grouped {
            let consumed = Consumed::with(string(), string());
            return builder.table(topic, consumed, Materialized::default());
        }
        let by = Grouped::with(string(), string()).with_name(topic);
        let grouped = strings(&builder, topic).group_by(|_, value| value.clone(), by);
        grouped.reduce(|_, new| new, Materialized::with(string(), string()))
    };
    let joined = TableJoined::as_("fk");
    let by = |_: &String, value: &String| Some(value.clone());
    let join = |a: &String, b: &String| format!("{a}{b}");
    table("l").join_on_foreign_key(&table("o"), by, join, joined, Materialized::default());
    builder.build().unwrap()
}

#[test]
fn a_foreign_key_join_writes_to_and_fro_between_topics_of_any_two_numbers() {
    let plan = Plan::new(&on_foreign_key(false), "app", &counts(&[("l", 4), ("o", 2)])).unwrap();
    let expected = counts(&[
        ("app-fk-subscription-registration-topic", 2),
        ("app-fk-subscription-response-topic", 4),
    ]);
    assert_eq!(plan.repartitions, expected);
    assert_eq!(plan.subs.iter().map(|sub| sub.partitions).collect::<Vec<_>>(), [4, 2]);
}

#[test]
fn a_foreign_key_join_of_aggregations_has_one_number_throughout() {
    let plan = Plan::new(&on_foreign_key(true), "app", &counts(&[("l", 4), ("o", 6)])).unwrap();
    assert_eq!(plan.repartitions.values().collect::<Vec<_>>(), [&6, &6, &6, &6]);
    let plan = Plan::new(&on_foreign_key(true), "app", &counts(&[("l", 3), ("o", 2)])).unwrap();
    assert_eq!(plan.repartitions.values().collect::<Vec<_>>(), [&3, &3, &3, &3]);
}

#[test]
fn topics_that_are_not_co_partitioned_are_refused_by_name_and_number() {
    let topology = repartitioned(Some(3), Some("beside"));
    let problems = Plan::new(&topology, "app", &counts(&[("in", 2), ("beside", 5)])).unwrap_err();
    assert_eq!(problems.len(), 1);
    for part in ["sub-topology 1", "app-again-repartition has 3", "beside has 5"] {
        assert!(problems[0].contains(part), "{part} in {}", problems[0]);
    }
}

#[test]
fn only_stores_with_logging_have_a_changelog() {
    let builder = StreamsBuilder::new();
    let grouped = strings(&builder, "in").group_by_key(Grouped::with(string(), string()));
    let count = |materialized: Materialized<String, i64>, to: &str| {
        let table = grouped.count(materialized.with_value_serde(i64()));
        table.to_stream().to(to, Produced::with(string(), optional(i64())));
    };
    count(Materialized::as_("logged"), "out-1");
    count(Materialized::as_("unlogged").with_logging_disabled(), "out-2");
    let plan = Plan::new(&builder.build().unwrap(), "app", &counts(&[("in", 1)])).unwrap();
    assert_eq!(plan.subs[0].changelogs, [Some("app-logged-changelog".to_owned()), None]);
}

#[test]
fn a_purge_never_names_a_topic_of_the_user_however_the_names_sort() {
    for beside in ["aaa", "zzz"] {
        let topology = repartitioned(None, Some(beside));
        let plan = Plan::new(&topology, "app", &counts(&[("in", 1), (beside, 1)])).unwrap();
        let internal = "app-again-repartition";
        let task_id = plan.task_of(internal, Partition(0)).unwrap();
        let position =
            |offset| InputPosition { offset: Offset(offset), partition_time: StreamTime::UNKNOWN };
        let at = |topic: &str| TopicPartition::new(topic, Partition(0));
        let inputs = BTreeMap::from([(at(internal), position(7)), (at(beside), position(9))]);
        let commit =
            CommitPlan { task_id, commit_number: 1, inputs, processor_metadata: BTreeMap::new() };
        let purged: Vec<_> = plan.sub(task_id).purgeable(&commit).collect();
        assert_eq!(purged, [(at(internal), Offset(7))], "beside {beside}");
    }
}
