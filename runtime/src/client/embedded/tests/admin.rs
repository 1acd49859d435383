//! Administrative requests.

use std::collections::BTreeMap;
use std::time::Duration;

use tidemill_core::record::Offset;

use super::support::{PATIENCE, at, simulate_some};
use crate::client::Severity;
use crate::client::seam::Administer;
use crate::client::types::{Isolation, NewTopic, OffsetSpec, TopicCreation, TopicDescription};

#[test]
fn topics_are_created_once_and_each_refusal_names_its_topic() {
    simulate_some(|world| {
        let new = |name: &str, replication_factor| NewTopic {
            name: name.to_owned(),
            partitions: 3,
            replication_factor,
            configs: BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]),
        };
        let wanted = [new("refused", 99), new("create", -1)];
        let admin = world.admin();
        let outcomes = admin.create_topics(&wanted, PATIENCE).expect("the broker answers");
        match &outcomes[0] {
            (about, TopicCreation::Failed(error)) => {
                assert_eq!(about, "refused");
                assert_eq!(error.severity, Severity::Fatal);
                assert!(error.message.contains("refused"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(outcomes[1], ("create".to_owned(), TopicCreation::Created));
        let again = admin.create_topics(&wanted[1..], PATIENCE).expect("the broker answers");
        assert_eq!(again, [("create".to_owned(), TopicCreation::AlreadyExists)]);

        let configs = admin.topic_configs(&["create"], PATIENCE).expect("the topic exists");
        assert_eq!(configs[0].name, "create");
        let policy = configs[0].entries.get("cleanup.policy").map(String::as_str);
        assert_eq!(policy, Some("compact"));
        assert!(configs[0].entries.contains_key("retention.ms"), "defaults are included");
    });
}

#[test]
fn asking_for_a_topic_does_not_create_it() {
    simulate_some(|world| {
        let there = world.topic("there", 2);
        let admin = world.admin();
        for _ in 0..3 {
            let found = admin.topics(&["not-there", &there], PATIENCE).expect("it answers");
            let expected = [("not-there".to_owned(), None), (there.clone(), Some(2))];
            let expected = expected.map(|(name, partitions)| TopicDescription { name, partitions });
            assert_eq!(found, expected);
        }
        let error = admin.topic_configs(&["not-there"], PATIENCE).expect_err("not there");
        assert!(error.is_unknown_topic_or_partition(), "{error:?}");
        assert!(error.message.contains("not-there"), "{error}");
        assert_eq!(admin.topics(&[], PATIENCE), Ok(Vec::new()));
    });
}

#[test]
fn a_deleted_topic_is_gone_and_may_be_deleted_again() {
    simulate_some(|world| {
        let name = world.topic("delete", 1);
        let admin = world.admin();
        admin.delete_topics(&[&name], PATIENCE).expect("it exists");
        let found = admin.topics(&[&name], PATIENCE).expect("the broker answers");
        assert_eq!(found[0].partitions, None);
        admin.delete_topics(&[&name], PATIENCE).expect("gone is gone");
    });
}

#[test]
fn offsets_are_listed_in_the_order_of_the_question() {
    simulate_some(|world| {
        let name = world.topic("listed", 3);
        let asked = [at(&name, 2), at(&name, 0), at(&name, 1)];
        let admin = world.admin();
        for isolation in [Isolation::ReadCommitted, Isolation::ReadUncommitted] {
            for spec in [OffsetSpec::Earliest, OffsetSpec::Latest] {
                let list = || admin.list_offsets(&asked, spec, isolation, PATIENCE);
                let expected: Vec<_> = asked.iter().map(|one| (one.clone(), Offset(0))).collect();
                assert_eq!(world.patiently(list), expected);
            }
        }
    });
}

#[test]
fn a_partition_that_does_not_exist_is_told_by_name_when_its_offsets_are_asked_for() {
    simulate_some(|world| {
        let there = world.topic("one-partition", 1);
        let admin = world.admin();
        for missing in [at("not-there", 0), at(&there, 1)] {
            let asked = [missing.clone()];
            let isolation = Isolation::ReadCommitted;
            let list = admin.list_offsets(&asked, OffsetSpec::Latest, isolation, PATIENCE);
            let delete = admin.delete_records(&[(missing.clone(), Offset(1))], PATIENCE);
            for error in [list.expect_err("not there"), delete.expect_err("neither")] {
                assert_eq!(error.severity, Severity::Fatal, "{error}");
                assert!(error.is_unknown_topic_or_partition(), "{error:?}");
                assert!(error.message.contains(&missing.to_string()), "{error}");
            }
        }
    });
}

#[test]
fn a_broker_that_is_not_there_is_a_reason_to_retry() {
    simulate_some(|world| {
        world.network.crash();
        let timeout = Duration::from_millis(300);
        let error = world.admin().topics(&["any"], timeout).expect_err("nobody is there");
        assert_eq!((error.severity, error.timed_out), (Severity::Retry, true), "{error:?}");
    });
}
