//! The topics of a relay: that of positions is made and checked, those of data are looked up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidemill::client::{Admin, ClientError, NewTopic, Severity, TopicCreation};

use super::position::retrying;
use super::{Options, RelayError, Stop};

const PATIENCE: Duration = Duration::from_secs(30);
/// How long a topic that was just created may take to be known everywhere.
const SPREADING: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(50);

/// Bytes of a batch of one record besides key and value: batch header 61, record header up to 21.
const BATCH_OVERHEAD: usize = 82;

/// What is asked about topics, on behalf of whom.
pub(super) struct Topics<'a> {
    pub(super) admin: &'a Admin,
    pub(super) options: &'a Options,
    pub(super) stop: &'a Stop,
}

/// A topic that records go to.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) partitions: u32,
    /// The largest sum of key and value that it takes.
    pub(super) record_bytes_max: usize,
}

impl Topics<'_> {
    /// Makes the positions topic if it is missing, and refuses one that would lose positions.
    pub(super) fn prepare(&self) -> Result<(), Option<RelayError>> {
        let name = &*self.options.positions_topic;
        if self.partitions(name, Duration::ZERO)?.is_none() {
            self.create(name)?;
        }
        let found = self.partitions(name, PATIENCE)?;
        let wrong = |problem: String, remedy| {
            let topic = name.to_owned();
            Err(Some(RelayError::PositionsTopic { topic, problem, remedy }))
        };
        if found != Some(1) {
            let has = found.map_or_else(|| "no".to_owned(), |count| count.to_string());
            return wrong(
                format!("it has {has} partitions, not 1"),
                "positions are read in the order of one partition: name another topic",
            );
        }
        let entries = self.config(name)?;
        match entries.get("cleanup.policy").map(String::as_str) {
            Some("compact") | None => Ok(()),
            Some(policy) => wrong(
                format!("it has cleanup.policy={policy}, not compact"),
                "with another policy the broker deletes positions after a while: set it to compact",
            ),
        }
    }

    fn create(&self, name: &str) -> Result<(), Option<RelayError>> {
        // read from its beginning at each start, so it is kept short
        let configs = [
            ("cleanup.policy", "compact"),
            ("segment.bytes", "16777216"),
            ("segment.ms", "3600000"),
            ("min.cleanable.dirty.ratio", "0.1"),
        ];
        let topic = NewTopic {
            name: name.to_owned(),
            partitions: 1,
            replication_factor: self.options.replication_factor,
            configs: configs.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        };
        let create = |timeout| {
            for (topic, outcome) in
                self.admin.create_topics(std::slice::from_ref(&topic), timeout)?
            {
                match outcome {
                    TopicCreation::Created => tracing::info!(topic, "created positions topic"),
                    TopicCreation::AlreadyExists => {}
                    TopicCreation::Failed(error) => return Err(error),
                }
            }
            Ok(())
        };
        self.asked(&format!("could not create positions topic {name}"), create)
    }

    /// Looks a data topic up. `None`: it does not exist.
    pub(super) fn find(&self, name: &str) -> Result<Option<Found>, Option<RelayError>> {
        let Some(partitions) = self.partitions(name, SPREADING)? else { return Ok(None) };
        // without the right to ask there is no bound here, and the broker refuses what is too large
        let config = self.admin.topic_configs(&[name], Duration::from_secs(10)).ok();
        let bound = config.and_then(|mut found| {
            found.pop()?.entries.get("max.message.bytes")?.parse::<usize>().ok()
        });
        let record_bytes_max =
            bound.map_or(usize::MAX, |bound| bound.saturating_sub(BATCH_OVERHEAD));
        Ok(Some(Found { partitions, record_bytes_max }))
    }

    /// Checks that the topics of earlier records are still there (OB11).
    pub(super) fn check(&self, known: &BTreeMap<String, u32>) -> Result<(), Option<RelayError>> {
        for (topic, before) in known {
            let problem = match self.partitions(topic, SPREADING)? {
                None => "it received records of this relay and is gone".to_owned(),
                Some(now) if now < *before => {
                    format!("it had {before} partitions and has {now}: it was made anew")
                }
                Some(_) => continue,
            };
            return Err(Some(RelayError::DataTopic {
                relay: self.options.relay.clone(),
                topic: topic.clone(),
                problem,
                remedy: "records that were in it are lost: restore it, or create it and reset the \
                         position to publish again what the source still has (or to the position \
                         as it is, to go on without them)",
            }));
        }
        Ok(())
    }

    fn partitions(
        &self,
        name: &str,
        patience: Duration,
    ) -> Result<Option<u32>, Option<RelayError>> {
        let mut waited = Duration::ZERO;
        loop {
            let found = self.asked(&format!("could not look up topic {name}"), |timeout| {
                self.admin.topics(&[name], timeout)
            })?;
            let count = found.first().and_then(|topic| topic.partitions);
            if let Some(count) = count.and_then(|count| u32::try_from(count).ok()) {
                return Ok(Some(count));
            }
            if waited >= patience {
                return Ok(None);
            }
            if self.stop.wait(PAUSE) {
                return Err(None);
            }
            waited += PAUSE;
        }
    }

    fn config(&self, name: &str) -> Result<BTreeMap<String, String>, Option<RelayError>> {
        let found =
            self.asked(&format!("could not read the configuration of topic {name}"), |timeout| {
                match self.admin.topic_configs(&[name], timeout) {
                    Err(error) if error.is_unknown_topic_or_partition() => {
                        Err(ClientError { severity: Severity::Retry, ..error })
                    }
                    outcome => outcome,
                }
            })?;
        Ok(found.into_iter().next().map(|config| config.entries).unwrap_or_default())
    }

    fn asked<T>(
        &self,
        doing: &str,
        call: impl FnMut(Duration) -> Result<T, ClientError>,
    ) -> Result<T, Option<RelayError>> {
        retrying(self.stop, PATIENCE, call).map_err(|cause| {
            cause.map(|cause| {
                let (relay, doing) = (self.options.relay.clone(), doing.to_owned());
                RelayError::Kafka { relay, doing, cause }
            })
        })
    }
}

/// What is wrong with a record's topic, so that the record can't ever be sent to it.
pub(super) fn unknown_topic(topic: &Arc<str>) -> String {
    format!("topic {topic} does not exist: create it, or mend the rule that chose it")
}
