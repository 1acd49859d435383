//! Streams without repetitions: by revision, strictly in the order of revisions, or by event id.
//!
//! | operator | passes | for events that carry |
//! |---|---|---|
//! | [`KStream::deduplicate_by_revision`] | what is newer than all before | the whole state |
//! | [`KStream::in_revision_order`] | each revision once and in order | a change |
//! | [`KStream::deduplicate_by_id`] | the first record of an id | no revision |
//!
//! What they remember is part of the task's transaction: a record passes if and only if the fact
//! that it did is committed with everything it gave rise to.

mod by_id;
mod expiry;
mod latest;
mod options;
mod ordered;
mod parked;

use std::sync::Arc;

pub use self::options::{
    Deduplicated, DeduplicationWindow, LateRecords, ParkingFull, RevisionOrder,
};
use super::graph::GraphId;
use super::{KStream, Repartitioned, repartition};
use crate::BoxError;
use crate::record::Record;
use crate::revision::Revisioned;
use crate::serdes::SharedSerde;

const DEDUPLICATE: &str = "KSTREAM-DEDUPLICATE-";

/// Finds the revision of a record.
type Extract<K, V> = Arc<dyn Fn(&Record<K, V>) -> Result<Option<i64>, BoxError> + Send + Sync>;

impl<K: Clone + 'static, V: Clone + 'static> KStream<K, V> {
    /// Names a store and its operator, in the order in which aggregations do.
    fn name_with_store(&self, given: Option<String>, prefix: &str) -> (String, String) {
        let store = match given {
            Some(name) => name,
            None => {
                let prefix = format!("{prefix}STATE-STORE-");
                self.graph().borrow_mut().name_or_generate(None, &prefix)
            }
        };
        (store, self.name_operator(None, prefix))
    }

    /// Returns the parent of an operator that needs the records of a key in one task: the stream
    /// itself, or a repartition topic.
    fn together(
        &self,
        base: &str,
        key_serde: &SharedSerde<K>,
        value_serde: &SharedSerde<V>,
    ) -> GraphId {
        if !self.repartition_required {
            return self.id;
        }
        let options = Repartitioned::from_serdes(Arc::clone(key_serde), Arc::clone(value_serde));
        repartition::add(&mut self.graph().borrow_mut(), self.id, base, options)
    }
}

fn revision_of_value<K, V: Revisioned>(record: &Record<K, V>) -> Result<Option<i64>, BoxError> {
    Ok(record.value.revision())
}
