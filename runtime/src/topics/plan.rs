//! From sub-topologies and partition counts to tasks.

use std::collections::{BTreeMap, BTreeSet};

use tidemill_core::record::{Offset, Partition, TaskId, TopicPartition};
use tidemill_core::task::CommitPlan;
use tidemill_core::topology::{AutoOffsetReset, SubTopology, TopicName, Topology};

/// A topic that a sub-topology reads.
#[derive(Debug, Clone)]
pub(crate) struct InputTopic {
    pub(crate) name: String,
    pub(crate) reset: Option<AutoOffsetReset>,
    pub(crate) repartition: bool,
}

/// A sub-topology with its topics under their names on the broker.
#[derive(Debug, Clone)]
pub(crate) struct SubPlan {
    pub(crate) sub_topology: SubTopology,
    pub(crate) inputs: Vec<InputTopic>,
    pub(crate) partitions: u32,
    /// For each store: its changelog, unless logging is off.
    pub(crate) changelogs: Vec<Option<String>>,
}

impl SubPlan {
    /// The positions of a commit below which records may be deleted: those of repartition topics,
    /// which nobody else reads. Never a topic of the user.
    pub(crate) fn purgeable(
        &self,
        plan: &CommitPlan,
    ) -> impl Iterator<Item = (TopicPartition, Offset)> {
        plan.inputs.iter().filter_map(|(partition, position)| {
            let input = self.inputs.iter().find(|input| *input.name == *partition.topic)?;
            input.repartition.then(|| (partition.clone(), position.offset))
        })
    }
}

/// All tasks of an application.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) subs: Vec<SubPlan>,
    /// Partition counts of the repartition topics.
    pub(crate) repartitions: BTreeMap<String, u32>,
    /// Partition counts of the topics of global stores.
    pub(crate) globals: BTreeMap<String, u32>,
}

impl Plan {
    /// Makes the plan; `counts` has the partitions of the user's topics.
    ///
    /// A repartition topic has as many partitions as it was told to, else as many as the most
    /// partitioned topic upstream or beside it (the iteration of `StreamsPartitionAssignor`).
    pub(crate) fn new(
        topology: &Topology,
        application_id: &str,
        counts: &BTreeMap<String, u32>,
    ) -> Result<Self, Vec<String>> {
        let subs = topology.sub_topologies();
        let repartitions = repartition_counts(topology, &subs, application_id, counts)?;
        let count_of = |name: &str| counts.get(name).or_else(|| repartitions.get(name)).copied();
        let mut problems = Vec::new();
        let mut planned = Vec::new();
        for sub_topology in subs {
            let inputs = inputs(&sub_topology, application_id);
            let known: Vec<(&str, u32)> = inputs
                .iter()
                .filter_map(|input| count_of(&input.name).map(|count| (&*input.name, count)))
                .collect();
            let partitions = known.iter().map(|(_, count)| *count).max().unwrap_or(0);
            if known.iter().any(|(_, count)| *count != partitions) {
                problems.push(not_co_partitioned(&sub_topology, &known));
            }
            let changelogs = sub_topology
                .stores
                .iter()
                .map(|store| store.logging.then(|| store.changelog_topic(application_id)))
                .collect();
            planned.push(SubPlan { sub_topology, inputs, partitions, changelogs });
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let globals = topology.global_topology();
        let topics = globals.iter().flat_map(|sub| sub.source_topics.iter());
        let topics = topics.map(|(topic, _)| topic.resolve(application_id));
        let globals = topics.filter_map(|topic| Some((topic.clone(), *counts.get(&topic)?)));
        Ok(Self { subs: planned, repartitions, globals: globals.collect() })
    }

    /// The topics that every worker subscribes to.
    pub(crate) fn subscription(&self) -> Vec<&str> {
        let inputs = self.subs.iter().flat_map(|sub| &sub.inputs);
        inputs.map(|input| &*input.name).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Finds the task that reads a partition.
    pub(crate) fn task_of(&self, topic: &str, partition: Partition) -> Option<TaskId> {
        let reads = |sub: &&SubPlan| sub.inputs.iter().any(|input| input.name == topic);
        let sub = self.subs.iter().find(reads)?;
        Some(TaskId::new(sub.sub_topology.id, partition))
    }

    /// Returns the plan of a task's sub-topology.
    ///
    /// # Panics
    /// If the task is not of this plan.
    pub(crate) fn sub(&self, task: TaskId) -> &SubPlan {
        let found = self.subs.iter().find(|sub| sub.sub_topology.id == task.sub_topology);
        found.expect("a task is of the plan that named it")
    }
}

fn inputs(sub: &SubTopology, application_id: &str) -> Vec<InputTopic> {
    sub.source_topics
        .iter()
        .map(|(topic, reset)| InputTopic {
            name: topic.resolve(application_id),
            reset: *reset,
            repartition: matches!(topic, TopicName::Internal(_)),
        })
        .collect()
}

fn not_co_partitioned(sub: &SubTopology, counts: &[(&str, u32)]) -> String {
    let list: Vec<String> = counts.iter().map(|(name, n)| format!("{name} has {n}")).collect();
    format!(
        "sub-topology {} reads topics with different numbers of partitions ({}): give them the \
         same number, or put a repartition() before",
        sub.id,
        list.join(", "),
    )
}

/// Iterates until every repartition topic has a count: a chain of them is known one by one.
///
/// As in Kafka Streams a number that is given, of a topic of the user or one that was asked for,
/// holds for all that is read beside it. Only then does it matter what is upstream.
fn repartition_counts(
    topology: &Topology,
    subs: &[SubTopology],
    application_id: &str,
    user: &BTreeMap<String, u32>,
) -> Result<BTreeMap<String, u32>, Vec<String>> {
    let name = |topic: &TopicName| topic.resolve(application_id);
    let mut known = user.clone();
    let mut open = BTreeSet::new();
    for spec in topology.repartitions() {
        let topic = name(&TopicName::Internal(spec.name.clone()));
        match spec.partitions {
            Some(partitions) => drop(known.insert(topic, partitions)),
            None => drop(open.insert(topic)),
        }
    }
    let read = |sub: &SubTopology| -> Vec<String> {
        sub.source_topics.iter().map(|(topic, _)| name(topic)).collect()
    };
    for topics in subs.iter().map(read) {
        let given = topics.iter().filter_map(|topic| known.get(topic)).max().copied();
        let Some(given) = given else { continue };
        known.extend(topics.into_iter().filter(|topic| open.remove(topic)).map(|t| (t, given)));
    }
    let flexible = open.clone();
    while !open.is_empty() {
        let Some((topic, partitions)) = derived(&open, subs, &known, &name) else {
            let names: Vec<_> = open.into_iter().collect();
            return Err(vec![format!(
                "the number of partitions of {} can't be derived: name it with \
                 Repartitioned::with_number_of_partitions",
                names.join(", ")
            )]);
        };
        open.remove(&topic);
        known.insert(topic, partitions);
    }
    // beside a more partitioned topic, one that may choose takes that number
    for topics in subs.iter().map(read) {
        let most = topics.iter().filter_map(|topic| known.get(topic)).max().copied();
        for topic in topics.into_iter().filter(|topic| flexible.contains(topic)) {
            known.extend(most.map(|most| (topic, most)));
        }
    }
    known.retain(|topic, _| !user.contains_key(topic));
    Ok(known)
}

/// Finds a topic whose number follows from what its writers read. Two sub-topologies may write to
/// each other, as in a foreign-key join: then what is known of it has to do.
fn derived(
    open: &BTreeSet<String>,
    subs: &[SubTopology],
    known: &BTreeMap<String, u32>,
    name: &impl Fn(&TopicName) -> String,
) -> Option<(String, u32)> {
    let upstream = |topic: &String| -> Vec<Option<u32>> {
        let writers = subs.iter().filter(|s| s.sink_topics.iter().any(|t| name(t) == *topic));
        let sources = writers.flat_map(|sub| &sub.source_topics);
        sources.map(|(source, _)| known.get(&name(source)).copied()).collect()
    };
    let complete = |topic: &&String| upstream(topic).iter().all(Option::is_some);
    let most = |topic: &String| Some((topic.clone(), upstream(topic).into_iter().flatten().max()?));
    open.iter().filter(complete).find_map(most).or_else(|| open.iter().find_map(most))
}
