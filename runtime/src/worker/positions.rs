//! Where the assigned partitions start.

use std::collections::BTreeMap;

use tidemill_core::record::{Offset, StreamTime, Timestamp, TopicPartition};
use tidemill_core::store::InputPosition;
use tidemill_core::task::{CommitMetadata, ProcessorMetadata, decode_commit_metadata};
use tidemill_core::topology::AutoOffsetReset as SourceReset;

use crate::Error;
use crate::client::seam::{Administer, Consume};
use crate::client::{Committed, Isolation, OffsetSpec};
use crate::config::AutoOffsetReset;
use crate::mutation::{self, Guard};
use crate::topics::retrying;
use crate::world::World;

use super::Worker;

/// Where a source partition starts, and what was committed with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StartPosition {
    pub(super) input: InputPosition,
    /// `None`: the group never committed this partition.
    pub(super) committed: Option<CommittedAs>,
}

/// A committed offset's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CommittedAs {
    /// `None`: committed by somebody who does not count commits, e.g. Kafka Streams.
    pub(super) commit_number: Option<u64>,
    /// What the task's processors kept.
    pub(super) processors: ProcessorMetadata,
}

impl<W: World> Worker<W> {
    /// Reads the committed offsets of partitions, waiting for offsets that a transaction still
    /// holds (INV-4), and decides where uncommitted ones start.
    pub(super) fn resolve_positions(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, StartPosition>, Error> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let config = &self.shared.config;
        let committed = retrying(
            &self.shared.world,
            config.task_timeout,
            "could not read the committed offsets",
            |timeout| self.consumer.committed(partitions, timeout),
        )?;
        let earliest = self.log_ends(partitions, OffsetSpec::Earliest)?;
        let mut positions = BTreeMap::new();
        for Committed { partition, offset, metadata } in committed {
            let start = match offset {
                Some(offset) => {
                    self.check_not_deleted(&partition, offset, &earliest)?;
                    let CommitMetadata { partition_time, commit_number, processors } =
                        decode_commit_metadata(&metadata);
                    StartPosition {
                        input: InputPosition { offset, partition_time },
                        committed: Some(CommittedAs { commit_number, processors }),
                    }
                }
                None => StartPosition {
                    input: InputPosition {
                        offset: self.reset_position(&partition, &earliest)?,
                        partition_time: StreamTime::UNKNOWN,
                    },
                    committed: None,
                },
            };
            positions.insert(partition, start);
        }
        Ok(positions)
    }

    /// Returns one end of each partition's log, as an uncommitted reader sees it.
    pub(super) fn log_ends(
        &self,
        partitions: &[TopicPartition],
        end: OffsetSpec,
    ) -> Result<BTreeMap<TopicPartition, Offset>, Error> {
        let config = &self.shared.config;
        let isolation = match mutation::removed(Guard::RestoreToHighWatermark) {
            true => Isolation::ReadCommitted,
            false => Isolation::ReadUncommitted,
        };
        let ends = retrying(
            &self.shared.world,
            config.task_timeout,
            "could not read the ends of the logs",
            |timeout| {
                let admin = &self.shared.admin;
                admin.list_offsets(partitions, end, isolation, timeout)
            },
        )?;
        Ok(ends.into_iter().collect())
    }

    /// Records between the committed offset and the start of the log are gone: never pass over
    /// them in silence.
    fn check_not_deleted(
        &self,
        partition: &TopicPartition,
        committed: Offset,
        earliest: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<(), Error> {
        let Some(start) = earliest.get(partition).filter(|start| **start > committed) else {
            return Ok(());
        };
        Err(Error::Position {
            partition: partition.clone(),
            problem: format!(
                "records {committed} to {start} were deleted before they were processed (retention \
                 is shorter than the backlog): to go on without them, stop the application and \
                 commit offset {start} for the group {}",
                self.shared.config.application_id,
            ),
        })
    }

    fn reset_position(
        &self,
        partition: &TopicPartition,
        earliest: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<Offset, Error> {
        let inputs = self.shared.plan.subs.iter().flat_map(|sub| &sub.inputs);
        let input = inputs.into_iter().find(|input| *input.name == *partition.topic);
        let own = input.and_then(|input| match input.reset {
            // nobody but the application itself writes there: nothing may be skipped
            _ if input.repartition => Some(AutoOffsetReset::Earliest),
            reset => reset.map(|reset| match reset {
                SourceReset::Earliest => AutoOffsetReset::Earliest,
                SourceReset::Latest => AutoOffsetReset::Latest,
                SourceReset::None => AutoOffsetReset::None,
                SourceReset::ByDuration(duration) => AutoOffsetReset::ByDuration(duration),
            }),
        });
        let one = std::slice::from_ref(partition);
        let latest = || {
            let latest = self.log_ends(one, OffsetSpec::Latest)?;
            Ok(latest.get(partition).copied().unwrap_or(Offset::ZERO))
        };
        match own.unwrap_or(self.shared.config.auto_offset_reset) {
            AutoOffsetReset::Earliest => {
                Ok(earliest.get(partition).copied().unwrap_or(Offset::ZERO))
            }
            AutoOffsetReset::Latest => latest(),
            AutoOffsetReset::ByDuration(duration) => {
                let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
                let from = self.shared.world.wall_clock().0.saturating_sub(millis).max(0);
                let found = self.log_ends(one, OffsetSpec::FromTimestamp(Timestamp(from)))?;
                match found.get(partition).copied().filter(|offset| *offset >= Offset::ZERO) {
                    Some(offset) => Ok(offset),
                    // no record is as young as that
                    None => latest(),
                }
            }
            AutoOffsetReset::None => Err(Error::Position {
                partition: partition.clone(),
                problem: format!(
                    "the group {} has no committed offset and the offset reset policy \
                     (auto.offset.reset, or Consumed::with_offset_reset_policy) is none: commit \
                     one, or set the policy to earliest, latest or by_duration",
                    self.shared.config.application_id,
                ),
            }),
        }
    }
}
