//! One side of a join of two tables: its own change with what the other table has.

use std::sync::Arc;

use super::{Change, ReadTable, View};
use crate::BoxError;
use crate::processor::{Processor, ProcessorContext};
use crate::record::{Record, Timestamp};

/// What a side does when one of the values is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JoinRole {
    /// Either side of an inner join: nothing without the other value.
    Inner,
    /// The side of a left join that has a result of its own.
    LeftOfLeft,
    /// The side of a left join that only adds to the other.
    RightOfLeft,
    /// Either side of an outer join.
    Outer,
}

impl JoinRole {
    pub(super) fn of_the_other(self) -> Self {
        match self {
            Self::LeftOfLeft => Self::RightOfLeft,
            Self::RightOfLeft => Self::LeftOfLeft,
            same => same,
        }
    }

    /// Returns whether a change is passed over where the other table has no value.
    fn passes_over<V>(self, change: &Change<V>) -> bool {
        match self {
            Self::Inner | Self::RightOfLeft => true,
            Self::LeftOfLeft | Self::Outer => change.new.is_none() && change.old.is_none(),
        }
    }
}

/// What the instances of a side share.
pub(super) struct SideRules<F> {
    pub(super) role: JoinRole,
    pub(super) send_old: bool,
    /// Makes the result of own and other value; `None` where there is none.
    pub(super) joiner: F,
}

/// Joins the changes of one table with the values of the other.
pub(super) struct JoinSide<K, VO, F> {
    rules: Arc<SideRules<F>>,
    view: View<K, VO>,
    other: Option<Box<dyn ReadTable<K, VO>>>,
}

impl<K, VO, F> JoinSide<K, VO, F> {
    pub(super) fn new(rules: Arc<SideRules<F>>, view: View<K, VO>) -> Self {
        Self { rules, view, other: None }
    }
}

impl<K, V, VO, R, F> Processor<K, Change<V>, K, Change<R>> for JoinSide<K, VO, F>
where
    K: Clone + 'static,
    VO: Clone + 'static,
    R: Clone + 'static,
    F: Fn(&K, Option<&V>, Option<&VO>) -> Result<Option<R>, BoxError>,
{
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, Change<R>>,
    ) -> Result<(), BoxError> {
        self.other = Some((self.view.open)(context)?);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, Change<R>>,
        record: Record<K, Change<V>>,
    ) -> Result<(), BoxError> {
        if context.is_out_of_order() {
            context.note_dropped();
            return Ok(());
        }
        let SideRules { role, send_old, joiner } = &*self.rules;
        let Record { key, value: change, timestamp, headers } = record;
        let other = self.other.as_ref().expect("a processor is initialised first");
        let mut joined = None;
        other.read(&key, &mut |found| {
            if found.is_none() && role.passes_over(&change) {
                return Ok(());
            }
            let value = found.map(|(value, _)| value);
            let new = joiner(&key, change.new.as_ref(), value)?;
            let old = if *send_old { joiner(&key, change.old.as_ref(), value)? } else { None };
            let at = found.map_or(Timestamp(-1), |(_, other)| other).max(timestamp);
            joined = Some((Change { new, old }, at));
            Ok(())
        })?;
        match joined {
            Some((value, timestamp)) => context.forward(Record { key, value, timestamp, headers }),
            None => Ok(()),
        }
    }
}
