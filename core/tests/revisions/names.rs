//! The names of operators, stores and topics.

use tidemill_core::dsl::{DeduplicationWindow, Materialized, ParkingFull, StreamsBuilder};
use tidemill_core::revision::{LastRevision, RevisionProgress};
use tidemill_core::store::StoreKind;
use tidemill_core::topology::Consumed;

use crate::common::{Stream, deduplicated, from_one, millis, revision, texts};

/// The description's lines, without indentation.
fn describe(build: impl FnOnce(&Stream)) -> Vec<String> {
    let builder = StreamsBuilder::new();
    build(&builder.stream("in", Consumed::with(texts(), texts())));
    let text = builder.build().unwrap().describe().to_string();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

fn ids() -> Materialized<crate::common::Text, ()> {
    Materialized::default().with_key_serde(texts())
}

#[test]
fn generated_names_take_a_number_for_the_store_and_one_for_the_operator() {
    let forgetful = deduplicated().forget_after(millis(1));
    let lines = describe(|stream| {
        stream
            .try_deduplicate_by_revision(revision, forgetful, Materialized::default())
            .deduplicate_by_id(|v| v.clone(), DeduplicationWindow::of(millis(1)), ids())
            .try_in_revision_order(revision, from_one(), Materialized::default());
    });
    let processors: Vec<_> = lines.iter().filter(|line| line.starts_with("Processor")).collect();
    assert_eq!(
        processors,
        [
            "Processor: KSTREAM-DEDUPLICATE-0000000002 (stores: \
         [KSTREAM-DEDUPLICATE-STATE-STORE-0000000001, \
         KSTREAM-DEDUPLICATE-STATE-STORE-0000000001-expiry])",
            "Processor: KSTREAM-DEDUPLICATE-0000000004 (stores: \
         [KSTREAM-DEDUPLICATE-STATE-STORE-0000000003-expiry, \
         KSTREAM-DEDUPLICATE-STATE-STORE-0000000003])",
            "Processor: KSTREAM-REVISION-ORDER-0000000006 (stores: \
         [KSTREAM-REVISION-ORDER-STATE-STORE-0000000005-parked, \
         KSTREAM-REVISION-ORDER-STATE-STORE-0000000005])",
        ]
    );
}

#[test]
fn given_names_are_those_of_the_operator_and_of_the_store() {
    let lines = describe(|stream| {
        stream.named("newest").try_deduplicate_by_revision(
            revision,
            deduplicated(),
            Materialized::as_("last"),
        );
    });
    assert!(lines.contains(&"Processor: newest (stores: [last])".to_owned()), "{lines:?}");
}

#[test]
fn a_repartition_topic_is_named_after_the_option_or_the_store() {
    for (options, topic) in
        [(deduplicated(), "last-repartition"), (deduplicated().with_name("by"), "by-repartition")]
    {
        let lines = describe(|stream| {
            let keyed = stream.select_key(|key, _| key.clone());
            let last = Materialized::as_("last");
            keyed.try_deduplicate_by_revision(revision, options, last);
        });
        assert!(lines.iter().any(|line| line.contains(&format!("(topic: {topic})"))), "{lines:?}");
    }
}

#[test]
fn the_stores_are_logged_as_materialized_says_and_do_not_cache() {
    let stores = |last: Materialized<_, LastRevision>, order: Materialized<_, RevisionProgress>| {
        let builder = StreamsBuilder::new();
        let stream: Stream = builder.stream("in", Consumed::with(texts(), texts()));
        let forgetful = deduplicated().forget_after(millis(1));
        let parking = from_one().park_up_to(1, ParkingFull::Reject);
        stream
            .try_deduplicate_by_revision(revision, forgetful, last)
            .try_in_revision_order(revision, parking, order);
        builder.build().unwrap().sub_topologies()[0].stores.clone()
    };
    let config = [("min.compaction.lag.ms".to_owned(), "1".to_owned())];
    let logged = stores(
        Materialized::as_("last").with_logging_enabled(config.clone().into()),
        Materialized::as_("order").with_logging_disabled(),
    );
    let seen: Vec<_> =
        logged.iter().map(|spec| (&*spec.name, spec.logging, spec.caching)).collect();
    assert_eq!(
        seen,
        [
            ("last", true, false),
            ("last-expiry", true, false),
            ("order", false, false),
            ("order-parked", false, false),
        ]
    );
    assert_eq!(logged[1].changelog_config, config.into(), "the index follows its store");
    assert_eq!(logged[0].kind, StoreKind::TimestampedKeyValue);
    assert_eq!(logged[1].kind, StoreKind::KeyValue);
}
