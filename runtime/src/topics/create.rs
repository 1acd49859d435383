//! Looking at the topics on the broker, and creating the internal ones.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidemill_core::topology::{TopicName, Topology};

use super::Plan;
use crate::Error;
use crate::client::seam::Administer;
use crate::client::{NewTopic, Severity, TopicCreation, TopicDescription};
use crate::config::Config;
use crate::world::{AdminOf, World};

/// One request to the broker, when it is well.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A broker that can't be reached at the start is most likely a wrong address.
const STARTUP_LIMIT: Duration = Duration::from_secs(30);

/// How long a topic of the user that was created just before may take to be known.
const SPREADING: Duration = Duration::from_secs(1);

/// How long the start may take on the broker's account.
fn startup_limit(config: &Config) -> Duration {
    config.task_timeout.min(STARTUP_LIMIT)
}

/// An internal topic as it has to be.
struct Wanted {
    name: String,
    partitions: u32,
    configs: BTreeMap<String, String>,
}

/// Checks the user's topics, creates the internal ones and checks those that were there.
///
/// # Errors
/// If the broker can't be reached for 30 s or `task.timeout.ms`, or topics are missing or wrong.
pub(crate) fn prepare<W: World>(
    world: &W,
    admin: &AdminOf<W>,
    topology: &Topology,
    config: &Config,
) -> Result<Plan, Error> {
    let at = At { world, admin, config };
    let counts = at.user_topics(topology)?;
    let plan = Plan::new(topology, &config.application_id, &counts).map_err(Error::Topics)?;
    let wanted = wanted(&plan, config);
    at.create(&wanted)?;
    at.check(&wanted)?;
    Ok(plan)
}

/// Whom to ask, on whose behalf.
struct At<'a, W: World> {
    world: &'a W,
    admin: &'a AdminOf<W>,
    config: &'a Config,
}

impl<W: World> At<'_, W> {
    /// Returns the partition counts of all topics of the user that the topology reads or writes.
    fn user_topics(&self, topology: &Topology) -> Result<BTreeMap<String, u32>, Error> {
        let mut subs = topology.sub_topologies();
        subs.extend(topology.global_topology());
        let sources = subs.iter().flat_map(|sub| sub.source_topics.iter().map(|(topic, _)| topic));
        let sinks = subs.iter().flat_map(|sub| &sub.sink_topics);
        let user = |topic: &'_ TopicName| match topic {
            TopicName::User(name) => Some(name.clone()),
            TopicName::Internal(_) => None,
        };
        let mut names: BTreeSet<String> = sources.chain(sinks).filter_map(user).collect();
        names.extend(self.config.dead_letter_queue_topic.clone());
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut missing = Vec::new();
        let mut counts = BTreeMap::new();
        let doing = format!("could not look up the topics at {}", self.config.bootstrap_servers);
        for topic in self.look_up(&names, SPREADING, &doing)? {
            match topic.partitions.and_then(|count| u32::try_from(count).ok()) {
                Some(count) => drop(counts.insert(topic.name, count)),
                None => missing.push(format!(
                    "topic {} does not exist: create it (Tidemill creates internal topics only)",
                    topic.name
                )),
            }
        }
        if missing.is_empty() { Ok(counts) } else { Err(Error::Topics(missing)) }
    }

    /// Asks for topics, again for as long as `patience` while one is missing: a topic that was just
    /// created is not known to every broker at once.
    fn look_up(
        &self,
        names: &[&str],
        patience: Duration,
        doing: &str,
    ) -> Result<Vec<TopicDescription>, Error> {
        let deadline = self.world.monotonic() + patience;
        loop {
            let found = retrying(self.world, startup_limit(self.config), doing, |t| {
                self.admin.topics(names, t)
            })?;
            if found.iter().all(|topic| topic.partitions.is_some())
                || self.world.monotonic() >= deadline
            {
                return Ok(found);
            }
            self.world.sleep(Duration::from_millis(20));
        }
    }

    fn create(&self, wanted: &[Wanted]) -> Result<(), Error> {
        let topics: Vec<NewTopic> = wanted
            .iter()
            .map(|topic| NewTopic {
                name: topic.name.clone(),
                partitions: i32::try_from(topic.partitions).unwrap_or(i32::MAX),
                replication_factor: self.config.replication_factor,
                configs: topic.configs.clone(),
            })
            .collect();
        if topics.is_empty() {
            return Ok(());
        }
        retrying(
            self.world,
            startup_limit(self.config),
            "could not create the internal topics",
            |timeout| {
                for (topic, outcome) in self.admin.create_topics(&topics, timeout)? {
                    match outcome {
                        TopicCreation::Created => tracing::info!(topic, "created internal topic"),
                        TopicCreation::AlreadyExists => {}
                        TopicCreation::Failed(error) => return Err(error),
                    }
                }
                Ok(())
            },
        )
    }

    /// Checks partition counts and cleanup policies of the internal topics as they are.
    fn check(&self, wanted: &[Wanted]) -> Result<(), Error> {
        if wanted.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = wanted.iter().map(|topic| &*topic.name).collect();
        let limit = startup_limit(self.config);
        let doing = "could not look up the internal topics";
        let found = self.look_up(&names, limit, doing)?;
        let settings = retrying(self.world, limit, doing, |timeout| {
            self.admin.topic_configs(&names, timeout)
        })?;
        let mut problems = Vec::new();
        for topic in wanted {
            let has = found.iter().find(|f| f.name == topic.name).and_then(|f| f.partitions);
            if has != Some(topic.partitions as usize) {
                problems.push(format!(
                    "internal topic {} has {} partitions, expects {}: after a change of the input \
                     topics or the topology, reset the application (delete its internal topics and \
                     offsets) or give it a new application.id",
                    topic.name,
                    has.map_or_else(|| "no".to_owned(), |has| has.to_string()),
                    topic.partitions,
                ));
            }
            let policy = settings
                .iter()
                .find(|setting| setting.name == topic.name)
                .and_then(|setting| setting.entries.get("cleanup.policy"));
            let expected = topic.configs.get("cleanup.policy");
            if let (Some(policy), Some(expected)) = (policy, expected)
                && policy != expected
            {
                problems.push(format!(
                    "internal topic {} has cleanup.policy={policy}, expects {expected}: with \
                     another policy the broker deletes records that are still needed",
                    topic.name,
                ));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::Topics(problems)) }
    }
}

/// Lists the internal topics with Kafka Streams' settings.
fn wanted(plan: &Plan, config: &Config) -> Vec<Wanted> {
    let set = |entries: &[(&str, &str)]| -> BTreeMap<String, String> {
        entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    let mut wanted = Vec::new();
    for (name, partitions) in &plan.repartitions {
        let mut configs = set(&[
            ("cleanup.policy", "delete"),
            ("message.timestamp.type", "CreateTime"),
            ("retention.ms", "-1"),
            ("segment.bytes", "52428800"),
        ]);
        configs.extend(config.topic_options.clone());
        wanted.push(Wanted { name: name.clone(), partitions: *partitions, configs });
    }
    for sub in &plan.subs {
        for (store, changelog) in sub.sub_topology.stores.iter().zip(&sub.changelogs) {
            let Some(name) = changelog.clone() else { continue };
            let additional = config.windowstore_changelog_additional_retention.as_millis();
            let additional = i64::try_from(additional).unwrap_or(i64::MAX);
            let mut configs = store.changelog_defaults(additional);
            configs.extend(config.topic_options.clone());
            configs.extend(store.changelog_config.clone());
            wanted.push(Wanted { name, partitions: sub.partitions, configs });
        }
    }
    wanted
}

/// Repeats a request while it fails in a way that may pass, for at most `limit`.
pub(crate) fn retrying<T>(
    world: &impl World,
    limit: Duration,
    doing: &str,
    mut request: impl FnMut(Duration) -> Result<T, crate::client::ClientError>,
) -> Result<T, Error> {
    let deadline = world.monotonic() + limit;
    loop {
        let left = deadline.saturating_duration_since(world.monotonic());
        match request(REQUEST_TIMEOUT.min(left.max(Duration::from_secs(1)))) {
            Ok(answer) => return Ok(answer),
            Err(error) if error.severity == Severity::Retry && !left.is_zero() => {
                tracing::warn!(%error, "{doing}; trying again");
                world.sleep(Duration::from_millis(100).min(left));
            }
            Err(error) => return Err(Error::client(doing, error)),
        }
    }
}
