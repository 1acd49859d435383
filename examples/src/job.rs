//! The topics of one run of the balances job.

use std::time::{SystemTime, UNIX_EPOCH};

use tidemill::BoxError;

use crate::balances::STORE;
use crate::cluster::Cluster;

/// One run of the balances job, with names that no other run has.
#[derive(Debug, Clone)]
pub struct Job {
    /// Names the application, and so its group, changelog and repartition topic.
    pub application_id: String,
    /// Where transactions come from.
    pub input: String,
    /// Where balances go.
    pub output: String,
    /// Where invalid records go.
    pub dead_letters: String,
    /// Partitions of each of the three.
    pub partitions: u32,
}

impl Job {
    /// Makes names that begin with `prefix` and are not in use.
    #[must_use]
    pub fn unique(prefix: &str, partitions: u32) -> Self {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis());
        let run = format!("{prefix}-{time:x}-{:x}", std::process::id());
        Self {
            application_id: format!("{run}-app"),
            input: format!("{run}-transactions"),
            output: format!("{run}-balances"),
            dead_letters: format!("{run}-transactions-dlq"),
            partitions,
        }
    }

    /// Creates the topics that the application does not create by itself.
    ///
    /// # Errors
    /// If the cluster refuses.
    pub fn create_topics(&self, cluster: &Cluster) -> Result<(), BoxError> {
        cluster.create_topics(&[&self.input, &self.output, &self.dead_letters], self.partitions)
    }

    /// Deletes all topics of the run.
    ///
    /// # Errors
    /// If the cluster refuses.
    pub fn delete_topics(&self, cluster: &Cluster) -> Result<(), BoxError> {
        let (repartition, changelog) = (self.repartition(), self.changelog());
        cluster.delete_topics(&[
            &self.input,
            &self.output,
            &self.dead_letters,
            &repartition,
            &changelog,
        ])
    }

    /// The topic between the two sub-topologies.
    #[must_use]
    pub fn repartition(&self) -> String {
        format!("{}-{STORE}-repartition", self.application_id)
    }

    /// The changelog of the store.
    #[must_use]
    pub fn changelog(&self) -> String {
        format!("{}-{STORE}-changelog", self.application_id)
    }
}
