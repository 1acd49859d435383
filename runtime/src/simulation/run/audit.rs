//! Compares what is on the disks with what is committed.

use std::collections::BTreeMap;

use tidemill_core::record::{OwnedRecord, TaskId};
use tidemill_core::store::{StoreSpec, StoredWrite};
use tidemill_core::topology::SubTopology;

use crate::simulation::observe::Observer;
use crate::storage::audit::{StoreDump, TaskDump};

/// Checks one task's database (INV-2, INV-3).
///
/// `consistent` says whether the broker's offsets are of the same moment as its records.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn check(
    observer: &Observer,
    application_id: &str,
    sub: &SubTopology,
    task: TaskId,
    dump: &TaskDump,
    consistent: bool,
) -> Result<(), String> {
    let partition = task.partition.0;
    for store in sub.stores.iter().filter(|store| store.logging) {
        let changelog = store.changelog_topic(application_id);
        let position = dump.checkpoint.changelogs.get(&store.name).map_or(0, |offset| offset.0);
        let records = observer.changelog((&changelog, partition), position);
        let committed = replay(store, &records)?;
        let empty = BTreeMap::new();
        let stored = dump.stores.get(&store.name).unwrap_or(&empty);
        if *stored != committed {
            return Err(format!(
                "INV-2: store {} of task {task} at position {position} of {changelog}-{partition} \
                 is not its changelog: {}",
                store.name,
                difference(stored, &committed)
            ));
        }
    }
    for (input, position) in dump.checkpoint.inputs.iter().filter(|_| consistent) {
        let committed = observer.offset(&input.topic, input.partition.0).unwrap_or(0);
        // a source that starts elsewhere than at 0 stores that before anything is committed
        if position.offset.0 > committed && dump.checkpoint.commit_number > 0 {
            return Err(format!(
                "INV-2: task {task} has stored position {} of {input}, the group has committed \
                 {committed}",
                position.offset.0
            ));
        }
    }
    Ok(())
}

/// What a store holds after these changelog records.
fn replay(store: &StoreSpec, records: &[&OwnedRecord]) -> Result<StoreDump, String> {
    let mut contents = StoreDump::new();
    let keyed = records.iter().filter_map(|record| {
        Some((record.key.as_deref()?, record.value.as_deref(), record.timestamp.0))
    });
    let replayed = store.replay(&StoreDump::new(), keyed, &mut |write| match write {
        StoredWrite::Put(key, value) => drop(contents.insert(key.to_vec(), value.to_vec())),
        StoredWrite::Delete(key) => drop(contents.remove(key)),
        StoredWrite::DeleteRange(from, to) => {
            contents.retain(|key, _| **key < *from || **key >= *to)
        }
    });
    replayed.map_err(|error| error.to_string())?;
    Ok(contents)
}

/// The first keys that differ.
fn difference(
    stored: &BTreeMap<Vec<u8>, Vec<u8>>,
    committed: &BTreeMap<Vec<u8>, Vec<u8>>,
) -> String {
    let keys = stored.keys().chain(committed.keys().filter(|key| !stored.contains_key(*key)));
    let differing = keys.filter(|key| stored.get(*key) != committed.get(*key));
    let text = |bytes: Option<&Vec<u8>>| {
        bytes.map_or("nothing".to_owned(), |bytes| bytes.escape_ascii().to_string())
    };
    let some = differing.take(3).map(|key| {
        let (stored, committed) = (text(stored.get(key)), text(committed.get(key)));
        format!("{}: stored {stored}, committed {committed}", key.escape_ascii())
    });
    some.collect::<Vec<_>>().join("; ")
}
