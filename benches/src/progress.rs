//! Follows a worker's commits from outside, by what its group has committed, and what it used.

use std::thread;
use std::time::Duration;

use tidemill::BoxError;
use tidemill::record::TopicPartition;

use crate::cluster::{Cluster, Group};
use crate::host;
use crate::process::Worker;

/// How often offsets are asked for: until the first commit, and then.
const BEFORE: Duration = Duration::from_millis(5);
const AFTER: Duration = Duration::from_millis(20);
/// Nothing moves for so long after the last record: several commit intervals.
const SETTLED: Duration = Duration::from_millis(400);

/// One look at the worker.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Seconds since the worker was started.
    at: f64,
    /// Offsets committed on the topic that leads to the output.
    done: f64,
    worker_cpu: f64,
    broker_cpu: f64,
}

/// What came of following a worker through the pre-filled input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drained {
    /// Seconds from the start of the process to the first commit that was seen.
    pub(crate) first_commit: f64,
    /// From the first commit to the last.
    pub(crate) whole: Span,
    /// From the last commit at which at most half of the records were done.
    pub(crate) second_half: Span,
    /// CPU seconds of the worker from its start to the last commit.
    pub(crate) cpu_from_start: f64,
}

/// What happened between two commits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) records: f64,
    pub(crate) seconds: f64,
    pub(crate) worker_cpu: f64,
    pub(crate) broker_cpu: f64,
}

impl Span {
    pub(crate) fn records_per_second(&self) -> f64 {
        self.records / self.seconds
    }

    pub(crate) fn cpu_per_million(&self) -> f64 {
        self.worker_cpu / self.records * 1e6
    }
}

/// Where commits are seen.
#[derive(Debug)]
pub(crate) struct Follower<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) group: &'a Group,
    pub(crate) input: &'a str,
    /// The repartition topic, if there is one.
    pub(crate) between: Option<&'a str>,
    pub(crate) broker: Option<u32>,
}

impl Follower<'_> {
    /// Follows the worker until `records` records are done.
    pub(crate) fn drain(
        &self,
        worker: &mut Worker,
        records: u64,
        timeout: Duration,
    ) -> Result<Drained, BoxError> {
        let input = self.cluster.partitions_of(self.input);
        let between = self.between.map(|topic| self.cluster.partitions_of(topic));
        let last = between.as_ref().unwrap_or(&input);
        let mut samples: Vec<Sample> = Vec::new();
        loop {
            worker.check()?;
            if worker.age() > timeout {
                let done = samples.last().map_or(0.0, |sample| sample.done);
                return Err(format!("{done} of {records} records after {timeout:?}").into());
            }
            let sample = self.look(worker, last)?;
            let moved = samples.last().is_none_or(|before| before.done < sample.done);
            if sample.done > 0.0 && moved {
                samples.push(sample);
            }
            let quiet = samples.last().is_some_and(|last| {
                sample.at - last.at > if between.is_some() { SETTLED.as_secs_f64() } else { 0.0 }
            });
            if !moved && quiet && self.is_done(&input, last, records)? {
                return summary(&samples, records);
            }
            thread::sleep(if samples.is_empty() { BEFORE } else { AFTER });
        }
    }

    fn look(&self, worker: &Worker, topic: &[TopicPartition]) -> Result<Sample, BoxError> {
        let done = self.group.committed(topic).map_or(0, |offsets| offsets.iter().sum::<i64>());
        Ok(Sample {
            at: worker.age().as_secs_f64(),
            done: count(done),
            worker_cpu: host::cpu_seconds(worker.pid())?,
            broker_cpu: self.broker.map_or(Ok(0.0), host::cpu_seconds)?,
        })
    }

    /// Whether everything up to the ends is committed. A repartition topic ends with the marker of
    /// a transaction, which may or may not be counted as read.
    fn is_done(
        &self,
        input: &[TopicPartition],
        last: &[TopicPartition],
        records: u64,
    ) -> Result<bool, BoxError> {
        let taken: i64 = self.group.committed(input)?.iter().sum();
        if u64::try_from(taken)? < records {
            return Ok(false);
        }
        let Some(between) = self.between else { return Ok(true) };
        let ends = self.cluster.ends(between)?;
        let read = self.group.committed(last)?;
        Ok(ends.iter().zip(&read).all(|(end, read)| end - read <= 1))
    }
}

/// Offsets as a number of records: exact far beyond any benchmark.
#[expect(clippy::cast_precision_loss, reason = "offsets stay below 2^53")]
fn count(offsets: i64) -> f64 {
    offsets as f64
}

fn summary(samples: &[Sample], records: u64) -> Result<Drained, BoxError> {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return Err("no commit was seen".into());
    };
    // Markers of transactions take offsets too.
    let scale = count(i64::try_from(records)?) / last.done;
    let span = |from: &Sample| Span {
        records: (last.done - from.done) * scale,
        seconds: last.at - from.at,
        worker_cpu: last.worker_cpu - from.worker_cpu,
        broker_cpu: last.broker_cpu - from.broker_cpu,
    };
    let half = samples.iter().rfind(|sample| sample.done <= last.done / 2.0).unwrap_or(first);
    Ok(Drained {
        first_commit: first.at,
        whole: span(first),
        second_half: span(half),
        cpu_from_start: last.worker_cpu,
    })
}
