//! Joins that have more than one topic, or stores, of their own.

use tidemill_core::BoxError;
use tidemill_core::dsl::{KTable, TableJoined};

use crate::data::{Datum, Nullable};
use crate::functions;
use crate::operator::Operator;
use crate::tables::store;
use crate::topology::Built;

/// Joins two tables by a foreign key.
pub(crate) fn on_foreign_key(
    operator: &Operator<'_>,
    sides: (Built, Built),
) -> Result<Built, BoxError> {
    fn join<V: Nullable, O: Nullable>(
        operator: &Operator<'_>,
        from: &KTable<Datum, V>,
        with: &KTable<Datum, O>,
    ) -> Result<Built, BoxError> {
        let extract = functions::key(operator.text("extract")?)?;
        let joiner = functions::joiner(operator.text("fn")?)?;
        let extract =
            move |k: &Datum, v: &V| Ok(Some(extract(k, &v.datum())?).filter(|k| *k != Datum::Null));
        let joined = operator.name()?.map_or_else(TableJoined::default, TableJoined::as_);
        let options = store(operator)?;
        Ok(Built::Table(match operator.text("kind")? {
            "inner" => {
                let inner = move |_: &Datum, a: &V, b: &O| Ok(joiner(&a.datum(), &b.datum()));
                from.try_join_on_foreign_key(with, extract, inner, joined, options)
            }
            "left" => {
                let found = |b: Option<&O>| b.map_or(Datum::Null, O::datum);
                let left = move |_: &Datum, a: &V, b: Option<&O>| Ok(joiner(&a.datum(), &found(b)));
                from.try_left_join_on_foreign_key(with, extract, left, joined, options)
            }
            kind => return Err(operator.wrong(&format!("there is no join {kind}"))),
        }))
    }
    match sides {
        (Built::Table(from), Built::Table(with)) => join(operator, &from, &with),
        (Built::Table(from), Built::Counts(with)) => join(operator, &from, &with),
        (Built::Counts(from), Built::Table(with)) => join(operator, &from, &with),
        (Built::Counts(from), Built::Counts(with)) => join(operator, &from, &with),
        _ => Err(operator.wrong("this takes two tables")),
    }
}
