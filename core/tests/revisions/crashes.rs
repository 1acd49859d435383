//! Tasks that die between records and commits: what is committed is what a task that never died
//! commits.

use proptest::prelude::*;
use tidemill_core::dsl::{DeduplicationWindow, Materialized, ParkingFull, StreamsBuilder};
use tidemill_core::errors::{Handlers, LogAndContinue};
use tidemill_core::record::{OwnedRecord, Partition};
use tidemill_core::store::TaskStorage;
use tidemill_core::task::TaskIdle;
use tidemill_core::topology::{Consumed, Produced, Topology};

use crate::common::{Text, deduplicated, from_one, millis, revision, texts};
use crate::fixture::{Fixture, record, start, storage};

/// All three operators on one topic.
fn all() -> Topology {
    let builder = StreamsBuilder::new();
    let stream = builder.stream::<Text, Text>("in", Consumed::with(texts(), texts()));
    let produced = || Produced::with(texts(), texts());
    stream
        .try_deduplicate_by_revision(
            revision,
            deduplicated().forget_after(millis(20)),
            Materialized::as_("last"),
        )
        .to("latest", produced());
    stream
        .try_in_revision_order(
            revision,
            from_one().park_up_to(2, ParkingFull::SkipGap),
            Materialized::as_("progress"),
        )
        .to("ordered", produced());
    stream
        .deduplicate_by_id(
            |value| value.clone(),
            DeduplicationWindow::of(millis(15)),
            Materialized::as_("ids").with_key_serde(texts()),
        )
        .to("by-id", produced());
    builder.build().unwrap()
}

fn handlers() -> Handlers {
    Handlers { processing: std::sync::Arc::new(LogAndContinue), ..Handlers::default() }
}

type Output = (String, Option<Vec<u8>>, Option<Vec<u8>>, i64);

/// Processes all records. After each, `fate` says whether to commit (1), to die (2), or neither.
fn committed(topology: &Topology, records: &[OwnedRecord], fate: &[u8]) -> Vec<Output> {
    let storage = storage();
    let mut fates = fate.iter().copied().chain(std::iter::repeat(1));
    let mut out = Vec::new();
    loop {
        let handlers = handlers();
        let mut fixture = Fixture::on(topology, storage.clone(), TaskIdle::Never, handlers);
        let inputs = storage.borrow().checkpoint().inputs.clone();
        let at = inputs.values().next().copied().unwrap_or(start(0, -1));
        fixture.task.resume(0, at);
        for record in &records[at.offset.0 as usize..] {
            fixture.task.enqueue(0, record.clone());
        }
        let mut sent = 0;
        let died = loop {
            if !fixture.process(0) {
                fixture.commit();
                break false;
            }
            match fates.next() {
                Some(1) => {
                    fixture.commit();
                    sent = fixture.sent.sent.len();
                }
                Some(2) => break true,
                _ => {}
            }
        };
        let upto = if died { sent } else { fixture.sent.sent.len() };
        let made = fixture.sent.sent.drain(..upto);
        out.extend(made.map(|(topic, _, r): (String, Option<Partition>, OwnedRecord)| {
            (topic, r.key, r.value, r.timestamp.0)
        }));
        if !died {
            return out;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn rv3_whatever_dies_before_a_commit_every_record_passes_once(
        steps in prop::collection::vec((0..3_u8, 0..6_i64, -6..9_i64), 1..60),
        fates in prop::collection::vec(0..3_u8, 0..80),
    ) {
        let topology = all();
        let mut at = 1_000;
        let records: Vec<_> = (0..).zip(&steps).map(|(offset, (key, number, advance))| {
            at += advance;
            record(offset, at, &format!("k{key}"), &number.to_string())
        }).collect();
        let without = committed(&topology, &records, &[]);
        prop_assert!(!without.is_empty());
        let with = committed(&topology, &records, &fates);
        prop_assert_eq!(with, without);
    }
}
