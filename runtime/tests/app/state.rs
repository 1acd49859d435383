//! Local state, changelogs and offsets that do not belong together: what can be mended is mended
//! exactly, what can't is refused, and nothing is thrown away that somebody may still need.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tidemill::client::{Isolation, OffsetSpec};
use tidemill::record::Offset;

use super::support::kafka::at;
use super::support::ledger::{BALANCES, Bank, COMMITS};
use super::support::running::{Running, copy_dir};
use super::support::until;

const TIMEOUT: Duration = Duration::from_secs(10);

/// A bank with one partition that ran and was closed.
fn closed(name: &str) -> Bank {
    let mut bank = Bank::new(name, 1);
    run(&mut bank);
    bank
}

fn run(bank: &mut Bank) {
    bank.feed(300);
    let app = Running::start(&bank.spec);
    bank.until_consumed();
    app.close();
    bank.audit_current();
}

fn failure(bank: &Bank) -> String {
    Running::start(&bank.spec).until_failed().to_string()
}

/// Deletes every record of the changelogs. The broker does so only where records may be deleted at
/// all, so somebody must have changed the policy meanwhile.
fn truncate_changelogs(bank: &Bank) {
    for store in [BALANCES, COMMITS] {
        let topic = bank.spec.changelog(store);
        bank.kafka.alter(&topic, "cleanup.policy", "compact,delete");
        let ends = bank.kafka.ends(&topic, OffsetSpec::Latest, Isolation::ReadUncommitted);
        let ends: Vec<_> = ends.into_iter().collect();
        let admin = bank.kafka.admin();
        until("the deletion of records", || {
            let starts = admin.delete_records(&ends, TIMEOUT).ok()?;
            (starts == ends).then_some(())
        });
        bank.kafka.alter(&topic, "cleanup.policy", "compact");
    }
}

fn delete_topics(bank: &Bank, topics: &[&str]) {
    let admin = bank.kafka.admin();
    admin.delete_topics(topics, TIMEOUT).unwrap();
    until("the deletion", || {
        let left = admin.topics(topics, TIMEOUT).unwrap();
        left.iter().all(|topic| topic.partitions.is_none()).then_some(())
    });
}

fn files_of(path: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

#[test]
fn a_truncated_changelog_is_not_missed_while_the_local_state_is_current() {
    let mut bank = closed("cut-current");
    truncate_changelogs(&bank);
    bank.feed(100);
    let app = Running::start(&bank.spec);
    bank.until_consumed();
    let metrics = app.close();
    assert_eq!((metrics.resumes, metrics.restores), (1, 0));
    bank.verify_outputs(&bank.expected());
}

#[test]
fn a_truncated_changelog_is_refused_when_the_local_state_is_gone() {
    let bank = closed("cut-gone");
    truncate_changelogs(&bank);
    std::fs::remove_dir_all(&bank.spec.state_dir).unwrap();
    let error = failure(&bank);
    let changelog = at(&bank.spec.changelog(BALANCES), 0).to_string();
    assert!(error.contains(&format!("changelog {changelog} begins at offset")), "{error}");
    assert!(error.contains("reset the application"), "{error}");
}

#[test]
fn a_truncated_changelog_is_refused_when_the_local_state_is_older_and_the_state_is_kept() {
    let mut bank = closed("cut-older");
    let older = bank.spec.state_dir.with_file_name("older");
    copy_dir(&bank.spec.state_dir, &older);
    run(&mut bank);
    truncate_changelogs(&bank);
    bank.spec.state_dir = older;
    let before = bank.dump(0).unwrap();
    for _ in 0..2 {
        let error = failure(&bank);
        let changelog = at(&bank.spec.changelog(BALANCES), 0).to_string();
        assert!(error.contains(&format!("changelog {changelog} begins at offset")), "{error}");
        assert_eq!(bank.dump(0).unwrap(), before);
    }
}

#[test]
fn a_changelog_that_was_made_anew_is_refused_and_the_state_is_kept() {
    let bank = closed("anew");
    let changelog = bank.spec.changelog(BALANCES);
    delete_topics(&bank, &[&changelog]);
    let before = bank.dump(0).unwrap();
    for _ in 0..2 {
        let error = failure(&bank);
        assert!(error.contains(&format!("changelog {} ends at 0", at(&changelog, 0))), "{error}");
        assert!(error.contains("reset the application"), "{error}");
        assert_eq!(bank.dump(0).unwrap(), before);
    }
}

#[test]
fn an_application_that_was_reset_begins_anew_whatever_its_local_state() {
    let mut bank = closed("reset");
    bank.kafka.delete_group(&bank.spec.application_id);
    delete_topics(&bank, &[&bank.spec.changelog(BALANCES), &bank.spec.changelog(COMMITS)]);
    delete_topics(&bank, &[&bank.spec.output, &bank.spec.manifests]);
    for topic in [&bank.spec.output, &bank.spec.manifests] {
        bank.kafka.create(topic, 1, &[]);
    }
    run(&mut bank);
    bank.verify();
}

#[test]
fn inv_4_state_without_committed_offsets_is_refused() {
    let bank = closed("expired");
    bank.kafka.delete_group(&bank.spec.application_id);
    for _ in 0..2 {
        let error = failure(&bank);
        let group = format!("the group {} has no committed offset", bank.spec.application_id);
        assert!(error.contains(&group), "{error}");
        assert!(error.contains("restore the offsets, or reset the application"), "{error}");
    }
    // the same if only the changelogs are left
    std::fs::remove_dir_all(&bank.spec.state_dir).unwrap();
    let error = failure(&bank);
    assert!(error.contains("has no committed offset"), "{error}");
    // nothing was processed a second time
    bank.verify_outputs(&bank.expected());
}

#[test]
fn inv_2_state_ahead_of_the_committed_offsets_is_refused() {
    let bank = closed("ahead");
    let input = at(&bank.spec.input, 0);
    bank.kafka.commit_by_hand(&bank.spec.application_id, input.clone(), Offset(10));
    let error = failure(&bank);
    assert!(error.contains(&format!("position 300 of {input} is stored, 10 committed")), "{error}");
    assert!(error.contains("offsets were reset"), "{error}");
    bank.verify_outputs(&bank.expected());
}

#[test]
fn an_older_copy_of_the_state_catches_up_from_where_it_is() {
    let mut bank = closed("backup");
    let older = bank.spec.state_dir.with_file_name("older");
    copy_dir(&bank.spec.state_dir, &older);
    let position = bank.dump(0).unwrap().checkpoint.changelogs[BALANCES];
    run(&mut bank);
    bank.spec.state_dir = older;
    let app = Running::start(&bank.spec);
    app.until_running();
    let start = app.restores().into_iter().find_map(|event| match event {
        super::support::running::Restored::Start(store, start, _) if store == BALANCES => {
            Some(start)
        }
        _ => None,
    });
    assert_eq!(start, Some(position), "restoring begins where the copy ends");
    bank.feed(100);
    bank.until_consumed();
    app.close();
    bank.verify();
    bank.audit_current();
}

#[test]
fn inv_10_a_state_directory_without_current_is_rebuilt_exactly() {
    let mut bank = closed("no-current");
    let before = bank.dump(0).unwrap();
    std::fs::remove_file(bank.spec.task_path("0_0").join("CURRENT")).unwrap();
    let app = Running::start(&bank.spec);
    app.until_running();
    assert_eq!((app.metrics().restores, app.metrics().resumes), (1, 0));
    app.close();
    assert_eq!(bank.dump(0).unwrap().stores, before.stores);
    run(&mut bank);
    bank.verify();
}

#[test]
fn inv_10_a_flipped_bit_in_a_table_file_is_found_and_the_state_rebuilt_exactly() {
    let mut bank = closed("bit-flip");
    let tables = files_of(&bank.spec.task_path("0_0"), "sst");
    assert!(!tables.is_empty(), "a clean stop flushes");
    for table in tables {
        let mut bytes = std::fs::read(&table).unwrap();
        // the data blocks come first
        bytes[20] ^= 1;
        std::fs::write(&table, bytes).unwrap();
    }
    bank.feed(300);
    let app = Running::start(&bank.spec);
    bank.until_consumed();
    assert_eq!(app.close().restores, 1);
    bank.audit_current();
    bank.verify();
}
