//! How far a job has come: committed offsets against the ends of its topics.

use tidemill::BoxError;
use tidemill::client::{Consumer, Isolation, OffsetSpec};
use tidemill::record::{Offset, TopicPartition};

use crate::cluster::{Cluster, retrying};
use crate::job::Job;

/// Asks how far a job has come.
#[derive(Debug)]
pub struct LagWatch<'a> {
    cluster: &'a Cluster,
    group: Consumer,
    input: Vec<TopicPartition>,
    /// Empty until the application has created the topic.
    repartition: Vec<TopicPartition>,
    repartition_name: String,
}

/// How far a job has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The committed offset of each input partition.
    pub committed: Vec<i64>,
    /// The same of the repartition topic.
    pub committed_repartition: Vec<i64>,
    /// Records between committed offsets and ends of the input topic.
    pub input_lag: u64,
    /// The same of the repartition topic, control records included. `None` if there is no such
    /// topic yet.
    pub repartition_lag: Option<u64>,
}

impl Progress {
    /// Returns how many input records are committed as processed.
    #[must_use]
    pub fn processed(&self) -> u64 {
        self.committed.iter().map(|offset| offset.unsigned_abs()).sum()
    }

    /// Returns true if nothing is left to do.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.input_lag == 0 && self.repartition_lag == Some(0)
    }

    /// Returns true if every input partition and every repartition partition was committed anew
    /// since `before`.
    #[must_use]
    pub fn moved_everywhere(&self, before: &Self) -> bool {
        let moved = |now: &[i64], before: &[i64]| {
            let before = before.iter().copied().chain(std::iter::repeat(0));
            !now.is_empty() && now.iter().zip(before).all(|(now, before)| *now > before)
        };
        moved(&self.committed, &before.committed)
            && moved(&self.committed_repartition, &before.committed_repartition)
    }
}

impl<'a> LagWatch<'a> {
    /// Watches a job whose input topic exists.
    ///
    /// # Errors
    /// If it does not.
    pub fn new(cluster: &'a Cluster, job: &Job) -> Result<Self, BoxError> {
        Ok(Self {
            cluster,
            group: cluster.group_watcher(&job.application_id)?,
            input: cluster.partitions(&job.input)?,
            repartition: Vec::new(),
            repartition_name: job.repartition(),
        })
    }

    /// Returns how far the job is now.
    ///
    /// # Errors
    /// If the cluster does not answer.
    pub fn progress(&mut self) -> Result<Progress, BoxError> {
        if self.repartition.is_empty() {
            // the application creates it when it starts
            self.repartition = self.cluster.partitions(&self.repartition_name).unwrap_or_default();
        }
        let all: Vec<TopicPartition> =
            self.input.iter().chain(&self.repartition).cloned().collect();
        // the committed offsets first: what is written meanwhile counts as lag, never as done
        let committed: Vec<i64> = retrying(|timeout| self.group.committed(&all, timeout))?
            .into_iter()
            .map(|committed| committed.offset.unwrap_or(Offset::ZERO).0)
            .collect();
        let ends = self.cluster.log_ends(&all, OffsetSpec::Latest, Isolation::ReadUncommitted)?;
        let behind = |(end, committed): (&Offset, &i64)| end.0.saturating_sub(*committed).max(0);
        let lags: Vec<u64> =
            ends.iter().zip(&committed).map(behind).map(i64::unsigned_abs).collect();
        let (input, repartition) = lags.split_at(self.input.len());
        Ok(Progress {
            committed: committed[..self.input.len()].to_vec(),
            committed_repartition: committed[self.input.len()..].to_vec(),
            input_lag: input.iter().sum(),
            repartition_lag: (!repartition.is_empty()).then(|| repartition.iter().sum()),
        })
    }
}
