//! Global tables, and the joins with them.

use tidemill_core::BoxError;
use tidemill_core::dsl::{GlobalKTable, Joined, KStream, StreamsBuilder};
use tidemill_core::topology::Consumed;

use crate::data::{Datum, Nullable};
use crate::functions;
use crate::operator::Operator;
use crate::tables::store;
use crate::topology::Built;

/// Makes a global table of a topic.
pub(crate) fn source(operator: &Operator<'_>, builder: &StreamsBuilder) -> Result<Built, BoxError> {
    let mut consumed = Consumed::with(operator.serde("key")?, operator.serde("value")?);
    if let Some(name) = operator.name()? {
        consumed = consumed.with_name(name);
    }
    let table = builder.global_table(operator.text("topic")?, consumed, store(operator)?);
    Ok(Built::GlobalTable(table))
}

/// Joins a stream with a global table.
pub(crate) fn join<V: Nullable>(
    operator: &Operator<'_>,
    from: &KStream<Datum, V>,
    with: &GlobalKTable<Datum, Datum>,
) -> Result<Built, BoxError> {
    let select = functions::key(operator.text("select")?)?;
    let select = move |k: &Datum, v: &V| select(k, &v.datum());
    let joiner = functions::joiner(operator.text("fn")?)?;
    let mut joined = Joined::with(operator.serde("key")?, operator.serde("value")?);
    if let Some(name) = operator.name()? {
        joined = joined.with_name(name);
    }
    Ok(Built::Stream(match operator.text("kind")? {
        "inner" => {
            let joiner = move |_: &Datum, a: V, b: &Datum| Ok(joiner(&a.datum(), b));
            from.try_join_global_table(with, select, joiner, joined)
        }
        "left" => {
            let joiner = move |_: &Datum, a: V, b: Option<&Datum>| {
                Ok(joiner(&a.datum(), b.unwrap_or(&Datum::Null)))
            };
            from.try_left_join_global_table(with, select, joiner, joined)
        }
        kind => return Err(operator.wrong(&format!("there is no join {kind}"))),
    }))
}
