//! Where the global stores are, and how far they have to go.

use std::collections::BTreeMap;

use tidemill_core::record::{Offset, Partition, StreamTime, TaskId, TopicPartition};
use tidemill_core::store::{Checkpoint, InputPosition};
use tidemill_core::topology::SubTopology;

use crate::Error;
use crate::client::seam::Administer;
use crate::client::{Isolation, OffsetSpec};
use crate::storage::seam::{Database, Directory, OwnTask};
use crate::topics::retrying;
use crate::worker::{Shared, open_owned};
use crate::world::{DbOf, World};

/// The database, with the place of each partition in it and the high watermark to reach (INV-4).
pub(super) struct Opened<W: World> {
    pub(super) db: DbOf<W>,
    pub(super) starts: BTreeMap<TopicPartition, InputPosition>,
    pub(super) targets: BTreeMap<TopicPartition, Offset>,
}

/// First and last offset of each partition.
type Ends = BTreeMap<TopicPartition, (Offset, Offset)>;

/// Opens the stores. Contents that are not known to be a part of the topics are thrown away.
pub(super) fn open<W: World>(
    shared: &Shared<W>,
    globals: &SubTopology,
    partitions: &BTreeMap<String, u32>,
) -> Result<Opened<W>, Error> {
    let ends = ends(shared, partitions)?;
    let open = || {
        let lock = shared.directory.acquire_task(TaskId::GLOBAL)?;
        open_owned(&shared.world, lock, &globals.stores)
    };
    let mut db = open()?;
    let starts = match starts(&db.read_checkpoint()?, globals, &ends) {
        Ok(starts) => starts,
        Err(problem) => {
            tracing::warn!(problem, "building the global stores anew from their topics");
            drop(db);
            shared.directory.acquire_task(TaskId::GLOBAL)?.wipe()?;
            db = open()?;
            from_the_beginning(&ends)
        }
    };
    let targets = ends.into_iter().map(|(partition, (_, last))| (partition, last)).collect();
    Ok(Opened { db, starts, targets })
}

fn ends<W: World>(shared: &Shared<W>, partitions: &BTreeMap<String, u32>) -> Result<Ends, Error> {
    let all: Vec<TopicPartition> = partitions
        .iter()
        .flat_map(|(topic, count)| {
            let numbers = 0..count.cast_signed();
            numbers.map(|number| TopicPartition::new(&**topic, Partition(number)))
        })
        .collect();
    let read = |spec| -> Result<BTreeMap<TopicPartition, Offset>, Error> {
        let doing = "could not read the ends of the topics of global stores";
        let isolation = Isolation::ReadUncommitted;
        let found = retrying(&shared.world, shared.config.task_timeout, doing, |timeout| {
            shared.admin.list_offsets(&all, spec, isolation, timeout)
        })?;
        Ok(found.into_iter().collect())
    };
    let (latest, earliest) = (read(OffsetSpec::Latest)?, read(OffsetSpec::Earliest)?);
    let both = |partition: TopicPartition| match (earliest.get(&partition), latest.get(&partition))
    {
        (Some(first), Some(last)) => Ok((partition, (*first, *last))),
        _ => Err(Error::Position {
            partition,
            problem: "the broker does not say where it begins and ends".to_owned(),
        }),
    };
    all.into_iter().map(both).collect()
}

fn at(offset: Offset) -> InputPosition {
    InputPosition { offset, partition_time: StreamTime::UNKNOWN }
}

fn from_the_beginning(ends: &Ends) -> BTreeMap<TopicPartition, InputPosition> {
    ends.iter().map(|(partition, (first, _))| (partition.clone(), at(*first))).collect()
}

/// Returns where each partition goes on, or why what is stored can't be used.
fn starts(
    checkpoint: &Checkpoint,
    globals: &SubTopology,
    ends: &Ends,
) -> Result<BTreeMap<TopicPartition, InputPosition>, String> {
    let mut starts = from_the_beginning(ends);
    for ((topic, _), store) in globals.source_topics.iter().zip(&globals.stores) {
        let (topic, store) = (topic.name(), &store.name);
        let mut known = checkpoint.inputs.iter().filter(|(input, _)| *input.topic == *topic);
        match (checkpoint.changelogs.contains_key(store), known.next()) {
            (false, None) => continue,
            (true, None) => return Err(format!("{store} was filled from another topic")),
            (false, Some(_)) => {
                return Err(format!("{store} does not hold what was read from {topic}"));
            }
            (true, Some(_)) => {}
        }
        let known = checkpoint.inputs.iter().filter(|(input, _)| *input.topic == *topic);
        for (input, position) in known {
            let place = position.offset;
            let Some((first, last)) = ends.get(input) else {
                return Err(format!("{input} is not there any more"));
            };
            if place > *last {
                return Err(format!("{store} is at {place} of {input}, which ends at {last}"));
            }
            if place < *first {
                return Err(format!("{store} is at {place} of {input}, which begins at {first}"));
            }
            starts.insert(input.clone(), *position);
        }
    }
    Ok(starts)
}

#[cfg(test)]
mod tests {
    use tidemill_core::dsl::{Materialized, StreamsBuilder};
    use tidemill_core::serdes::string;
    use tidemill_core::topology::Consumed;

    use super::*;

    fn globals() -> SubTopology {
        let builder = StreamsBuilder::new();
        let strings = || Consumed::with(string(), string());
        builder.global_table("t", strings(), Materialized::as_("table"));
        builder.global_table("u", strings(), Materialized::as_("other"));
        let topology = builder.build().expect("the topology is right");
        topology.global_topology().expect("it has two")
    }

    fn partition(name: &str) -> TopicPartition {
        let (topic, number) = name.split_once('-').expect("a name and a number");
        TopicPartition::new(topic, Partition(number.parse().expect("a number")))
    }

    fn stored(stores: &[&str], inputs: &[(&str, i64)]) -> Checkpoint {
        Checkpoint {
            commit_number: 3,
            changelogs: stores.iter().map(|store| ((*store).to_owned(), Offset(3))).collect(),
            inputs: inputs.iter().map(|(name, o)| (partition(name), at(Offset(*o)))).collect(),
        }
    }

    fn resumed(checkpoint: &Checkpoint) -> Result<Vec<i64>, String> {
        let of = |name, first, last| (partition(name), (Offset(first), Offset(last)));
        let ends = [of("t-0", 0, 10), of("t-1", 5, 9), of("u-0", 0, 4)].into_iter().collect();
        let starts = starts(checkpoint, &globals(), &ends)?;
        Ok(starts.values().map(|position| position.offset.0).collect())
    }

    #[test]
    fn what_is_stored_goes_on_where_it_is_and_the_rest_at_the_beginning() {
        assert_eq!(resumed(&Checkpoint::default()), Ok(vec![0, 5, 0]));
        let both = ["table", "other"];
        assert_eq!(
            resumed(&stored(&both, &[("t-0", 10), ("t-1", 5), ("u-0", 4)])),
            Ok(vec![10, 5, 4])
        );
        // partition t-1 was added, and so was the other table
        assert_eq!(resumed(&stored(&["table"], &[("t-0", 3)])), Ok(vec![3, 5, 0]));
        // a table that the topology has no more is of no interest
        let more = stored(&["table", "gone"], &[("t-0", 3), ("t-1", 9), ("w-0", 99)]);
        assert_eq!(resumed(&more), Ok(vec![3, 9, 0]));
    }

    #[test]
    fn what_is_not_a_part_of_the_topic_is_refused_with_the_reason() {
        let refused = |stores: &[&str], inputs: &[(&str, i64)]| {
            resumed(&stored(stores, inputs)).expect_err("this must not be used")
        };
        let both = ["table", "other"];
        assert_eq!(
            refused(&both, &[("t-0", 11), ("u-0", 0)]),
            "table is at 11 of t-0, which ends at 10"
        );
        assert_eq!(
            refused(&both, &[("t-1", 4), ("u-0", 0)]),
            "table is at 4 of t-1, which begins at 5"
        );
        assert_eq!(refused(&both, &[("t-0", 0)]), "other was filled from another topic");
        assert_eq!(
            refused(&["table"], &[("t-0", 0), ("u-0", 1)]),
            "other does not hold what was read from u"
        );
        assert_eq!(refused(&both, &[("t-7", 0), ("u-0", 1)]), "t-7 is not there any more");
    }
}
