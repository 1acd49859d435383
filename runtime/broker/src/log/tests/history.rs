//! Random histories: produce, commit, abort, delete, compact, recover.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::model::{Fate, Model};
use super::support::{Lab, NOBODY, NOW, Sender, batch_of, recovered, transactional};
use crate::journal;
use crate::log::{Marker, Record};

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<(u8, Option<u16>)>),
    WriteIn(u8, Vec<(u8, Option<u16>)>),
    Again(u8),
    End(u8, bool),
    DeleteTo(u8),
    Clean,
    Check,
}

fn step() -> impl Strategy<Value = Step> {
    let pairs = || prop::collection::vec((0u8..5, prop::option::weighted(0.8, any::<u16>())), 1..4);
    prop_oneof![
        4 => pairs().prop_map(Step::Write),
        6 => (0u8..3, pairs()).prop_map(|(producer, pairs)| Step::WriteIn(producer, pairs)),
        1 => (0u8..3).prop_map(Step::Again),
        4 => (0u8..3, any::<bool>()).prop_map(|(producer, commits)| Step::End(producer, commits)),
        1 => any::<u8>().prop_map(Step::DeleteTo),
        2 => Just(Step::Clean),
        2 => Just(Step::Check),
    ]
}

/// Keys and values as they are sent.
type Pairs = Vec<(String, Option<String>)>;

struct History {
    lab: Lab,
    model: Model,
    sequences: BTreeMap<i64, i32>,
    /// The last batch of each producer with its offset.
    last: BTreeMap<i64, (Sender, Pairs, i64)>,
}

fn refs(pairs: &[(String, Option<String>)]) -> Vec<(Option<&str>, Option<&str>)> {
    pairs.iter().map(|(key, value)| (Some(key.as_str()), value.as_deref())).collect()
}

fn texts(pairs: &[(u8, Option<u16>)]) -> Pairs {
    pairs.iter().map(|(key, value)| (key.to_string(), value.map(|v| v.to_string()))).collect()
}

impl History {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Write(pairs) => {
                let pairs = texts(pairs);
                let offset = self.lab.append(batch_of(NOBODY, NOW, &refs(&pairs))).unwrap();
                assert_eq!(offset, self.model.end);
                self.model.write(Fate::Committed, &pairs);
            }
            Step::WriteIn(producer, pairs) => {
                let (id, pairs) = (i64::from(*producer), texts(pairs));
                let sequence = self.sequences.entry(id).or_default();
                let sender = transactional(id, 0, *sequence);
                *sequence += pairs.len() as i32;
                let offset = self.lab.append(batch_of(sender, NOW, &refs(&pairs))).unwrap();
                assert_eq!(offset, self.model.end);
                self.model.write(Fate::Open(id), &pairs);
                self.last.insert(id, (sender, pairs, offset));
            }
            Step::Again(producer) => {
                let Some((sender, pairs, first)) = self.last.get(&i64::from(*producer)) else {
                    return;
                };
                let offset = self.lab.append(batch_of(*sender, NOW, &refs(pairs))).unwrap();
                assert_eq!(offset, *first, "a repetition is answered with the first offset");
            }
            Step::End(producer, commits) => {
                let id = i64::from(*producer);
                let (marker, fate) = match commits {
                    true => (Marker::Commit, Fate::Committed),
                    false => (Marker::Abort, Fate::Aborted),
                };
                self.lab.end(id, 0, marker);
                self.model.finish(id, fate);
            }
            Step::DeleteTo(part) => {
                let whole = self.model.end - self.model.start;
                let to = self.model.start + whole * i64::from(*part) / 512;
                self.lab.on(|log, context| log.start_at(context, to));
                self.model.start = to;
            }
            Step::Clean => self.lab.clean(),
            Step::Check => self.check(),
        }
    }

    fn check(&self) {
        let log = self.lab.log();
        assert_eq!((log.log_start(), log.high_watermark()), (self.model.start, self.model.end));
        assert_eq!(log.last_stable_offset(), self.model.stable());
        for step in [1, 150, 1 << 20] {
            self.compare(&self.lab.consumed(false, step), false);
            self.compare(&self.lab.consumed(true, step), true);
        }
    }

    fn compare(&self, found: &[Record], committed: bool) {
        let by_offset: BTreeMap<i64, &Record> = found.iter().map(|r| (r.offset, r)).collect();
        assert_eq!(by_offset.len(), found.len(), "no offset comes twice");
        assert!(found.is_sorted_by_key(|record| record.offset), "offsets only grow");
        let cleaned_to = self.lab.log().cleaned_to();
        for offset in self.model.slots.keys() {
            let expected = self.model.visible(*offset, cleaned_to, committed);
            let there = by_offset.contains_key(offset);
            assert!(
                expected.is_none_or(|expected| expected == there),
                "offset {offset} is there: {there}, committed only: {committed}, {:?}, clean to \
                 {cleaned_to}",
                self.model.slots[offset]
            );
        }
        for record in found {
            let slot = &self.model.slots[&record.offset];
            assert_eq!(record.key.as_deref(), Some(slot.key.as_bytes()));
            assert_eq!(record.value.as_deref(), slot.value.as_deref().map(str::as_bytes));
            assert_eq!(record.timestamp, NOW);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn consumers_see_what_a_naive_log_shows_and_recovery_changes_nothing(
        steps in prop::collection::vec(step(), 1..80),
        delete_retention in prop_oneof![Just("0"), Just("1000")],
        segment in prop_oneof![Just("120"), Just("300"), Just("1000")],
        compression in prop_oneof![Just("producer"), Just("lz4")],
    ) {
        let lab = Lab::new(&[
            ("cleanup.policy", "compact,delete"),
            ("internal.segment.bytes", segment),
            ("min.cleanable.dirty.ratio", "0"),
            ("delete.retention.ms", delete_retention),
            ("compression.type", compression),
        ]);
        let (model, sequences, last) = (Model::default(), BTreeMap::new(), BTreeMap::new());
        let mut history = History { lab, model, sequences, last };
        for step in &steps {
            history.apply(step);
            if matches!(step, Step::Check) {
                // go on with what a restart would have
                history.lab.topics = history.lab.rewritten();
            }
        }
        history.check();
        prop_assert_eq!(&history.lab.replayed(), &history.lab.topics);
        prop_assert_eq!(&history.lab.rewritten(), &history.lab.topics);
        let through_bytes = history.lab.journal.iter().map(|entry| {
            let mut frame = Vec::new();
            journal::encode(entry, &mut frame).unwrap();
            journal::decode(&frame[12..]).unwrap()
        });
        prop_assert_eq!(&recovered(through_bytes), &history.lab.topics);
    }
}
