//! Streams that are aggregated together.

use tidemill_core::BoxError;
use tidemill_core::dsl::{CogroupedKStream, KGroupedStream};

use crate::data::{Datum, Nullable};
use crate::functions;
use crate::operator::Operator;
use crate::tables::store;
use crate::topology::Built;

type Cogrouped = CogroupedKStream<Datum, Datum>;

pub(crate) fn add(
    operator: &Operator<'_>,
    from: impl Fn(&Operator<'_>) -> Result<Built, BoxError>,
) -> Result<Built, BoxError> {
    let mut cogrouped = None;
    for stream in operator.children("streams") {
        cogrouped = Some(match from(&stream)? {
            Built::Grouped(grouped) => joined(&stream, cogrouped, &grouped)?,
            Built::GroupedChanges(grouped) => joined(&stream, cogrouped, &grouped)?,
            Built::GroupedCountChanges(grouped) => joined(&stream, cogrouped, &grouped)?,
            _ => return Err(stream.wrong("this takes a grouped stream")),
        });
        stream.check_all_read()?;
    }
    Ok(Built::Cogrouped(cogrouped.ok_or("a cogroup has streams")?))
}

fn joined<V: Nullable>(
    stream: &Operator<'_>,
    before: Option<Cogrouped>,
    grouped: &KGroupedStream<Datum, V>,
) -> Result<Cogrouped, BoxError> {
    let name = stream.text("fn")?;
    let aggregator = functions::aggregator(name)?;
    if name == "fail_on_bad" {
        let aggregator = move |k: &Datum, v: V, so_far| aggregator(k, v.datum(), so_far);
        return Ok(match before {
            Some(before) => before.try_cogroup(grouped, aggregator),
            None => grouped.try_cogroup(aggregator),
        });
    }
    let aggregator =
        move |k: &Datum, v: V, so_far| aggregator(k, v.datum(), so_far).unwrap_or_default();
    Ok(match before {
        Some(before) => before.cogroup(grouped, aggregator),
        None => grouped.cogroup(aggregator),
    })
}

pub(crate) fn aggregate(operator: &Operator<'_>, from: Cogrouped) -> Result<Built, BoxError> {
    let from = operator.name()?.map_or_else(|| from.clone(), |name| from.named(name));
    let initial = functions::initial(operator.text("init")?)?;
    Ok(Built::Table(from.aggregate(move || initial.clone(), store(operator)?)))
}
