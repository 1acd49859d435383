//! Administrative requests.

use std::collections::BTreeMap;
use std::time::Duration;

use tidemill::client::{
    Admin, Isolation, NewTopic, OffsetSpec, Severity, TopicCreation, TopicDescription,
};
use tidemill_core::record::Offset;

use crate::support::{PATIENCE, admin, at, config, patiently, topic, unique};

#[test]
fn topics_are_created_once_and_each_refusal_names_its_topic() {
    let (name, refused) = (unique("create"), unique("refused"));
    let new = |name: &str, replication_factor| NewTopic {
        name: name.to_owned(),
        partitions: 3,
        replication_factor,
        configs: BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]),
    };
    let wanted = [new(&refused, 99), new(&name, -1)];
    let outcomes = admin().create_topics(&wanted, PATIENCE).expect("the broker answers");
    match &outcomes[0] {
        (about, TopicCreation::Failed(error)) => {
            assert_eq!(about, &refused);
            assert_eq!(error.severity, Severity::Fatal);
            assert!(error.message.contains(&refused), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(outcomes[1], (name.clone(), TopicCreation::Created));
    let again = admin().create_topics(&wanted[1..], PATIENCE).expect("the broker answers");
    assert_eq!(again, [(name.clone(), TopicCreation::AlreadyExists)]);

    let configs = admin().topic_configs(&[&name], PATIENCE).expect("the topic exists");
    assert_eq!(configs[0].name, name);
    assert_eq!(configs[0].entries.get("cleanup.policy").map(String::as_str), Some("compact"));
    assert!(configs[0].entries.contains_key("retention.ms"), "defaults are included");
}

#[test]
fn asking_for_a_topic_does_not_create_it() {
    let (there, not_there) = (topic("there", 2), unique("not-there"));
    for _ in 0..3 {
        let found = admin().topics(&[&not_there, &there], PATIENCE).expect("the broker answers");
        let expected = [(not_there.clone(), None), (there.clone(), Some(2))];
        let expected = expected.map(|(name, partitions)| TopicDescription { name, partitions });
        assert_eq!(found, expected);
    }
    let error = admin().topic_configs(&[&not_there], PATIENCE).expect_err("it does not exist");
    assert!(error.is_unknown_topic_or_partition(), "{error:?}");
    assert!(error.message.contains(&not_there), "{error}");
    assert_eq!(admin().topics(&[], PATIENCE), Ok(Vec::new()));
}

#[test]
fn a_deleted_topic_is_gone_and_may_be_deleted_again() {
    let name = topic("delete", 1);
    admin().delete_topics(&[&name], PATIENCE).expect("it exists");
    let found = admin().topics(&[&name], PATIENCE).expect("the broker answers");
    assert_eq!(found[0].partitions, None);
    admin().delete_topics(&[&name], PATIENCE).expect("gone is gone");
}

#[test]
fn partitions_are_added_and_never_taken_away() {
    let name = topic("grown", 1);
    let count = || {
        let found = admin().topics(&[&name], PATIENCE).expect("the broker answers");
        found[0].partitions
    };
    admin().create_partitions(&name, 3, PATIENCE).expect("the topic exists");
    assert_eq!(count(), Some(3));
    let error = admin().create_partitions(&name, 2, PATIENCE).expect_err("it has three");
    assert_eq!(error.severity, Severity::Fatal, "{error}");
    assert!(error.message.contains(&name), "{error}");
    let missing = format!("{name}-missing");
    let error = admin().create_partitions(&missing, 2, PATIENCE).expect_err("it does not exist");
    assert!(error.is_unknown_topic_or_partition(), "{error}");
    assert_eq!(count(), Some(3));
}

#[test]
fn a_topic_made_again_has_another_id() {
    let (name, other) = (topic("again", 1), topic("other", 1));
    let ids = || admin().topic_ids(&[&other, &name], PATIENCE).expect("the broker answers");
    let before = ids();
    assert!(before[0].is_some() && before[0] != before[1], "{before:?}");
    admin().delete_topics(&[&name], PATIENCE).expect("it exists");
    assert_eq!(ids(), [before[0].clone(), None]);
    let new = NewTopic {
        name: name.clone(),
        partitions: 1,
        replication_factor: -1,
        configs: BTreeMap::new(),
    };
    let outcome = admin().create_topics(&[new], PATIENCE).expect("the broker answers");
    assert_eq!(outcome, [(name.clone(), TopicCreation::Created)]);
    let after = ids();
    assert_eq!(after[0], before[0]);
    assert!(after[1].is_some() && after[1] != before[1], "{after:?}");
}

#[test]
fn offsets_are_listed_in_the_order_of_the_question() {
    let name = topic("listed", 3);
    let asked = [at(&name, 2), at(&name, 0), at(&name, 1)];
    for isolation in [Isolation::ReadCommitted, Isolation::ReadUncommitted] {
        for spec in [OffsetSpec::Earliest, OffsetSpec::Latest] {
            let listed = patiently(|| admin().list_offsets(&asked, spec, isolation, PATIENCE));
            let expected: Vec<_> = asked.iter().map(|one| (one.clone(), Offset(0))).collect();
            assert_eq!(listed, expected);
        }
    }
}

#[test]
fn a_partition_that_does_not_exist_is_told_by_name_when_its_offsets_are_asked_for() {
    let there = topic("one-partition", 1);
    for missing in [at(&unique("not-there"), 0), at(&there, 1)] {
        let asked = [missing.clone()];
        let list =
            admin().list_offsets(&asked, OffsetSpec::Latest, Isolation::ReadCommitted, PATIENCE);
        let delete = admin().delete_records(&[(missing.clone(), Offset(1))], PATIENCE);
        for error in [list.expect_err("it does not exist"), delete.expect_err("neither")] {
            assert_eq!(error.severity, Severity::Fatal, "{error}");
            assert!(error.is_unknown_topic_or_partition(), "{error:?}");
            assert!(error.message.contains(&missing.to_string()), "{error}");
        }
    }
}

#[test]
fn the_cluster_has_an_id() {
    let id = admin().cluster_id(PATIENCE).expect("the broker answers");
    assert!(!id.is_empty());
}

#[test]
fn a_broker_that_is_not_there_is_a_reason_to_retry() {
    let options = config(&[("bootstrap.servers", "127.0.0.1:1")]);
    let admin = Admin::new(&options).expect("the options are valid");
    let timeout = Duration::from_millis(300);
    for error in [
        admin.cluster_id(timeout).expect_err("nobody is there"),
        admin.topics(&["any"], timeout).expect_err("nobody is there"),
    ] {
        assert_eq!((error.severity, error.timed_out), (Severity::Retry, true), "{error:?}");
    }
}
