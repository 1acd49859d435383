//! Tables, and what becomes one.

use tidemill_core::BoxError;
use tidemill_core::dsl::{KGroupedStream, KTable, Materialized};

use crate::data::{Datum, Nullable};
use crate::functions;
use crate::operator::Operator;
use crate::topology::Built;

pub(crate) fn to_stream(operator: &Operator<'_>, from: Built) -> Result<Built, BoxError> {
    fn named<V: Clone + 'static>(
        operator: &Operator<'_>,
        from: KTable<Datum, V>,
    ) -> Result<KTable<Datum, V>, BoxError> {
        Ok(operator.name()?.map_or(from.clone(), |name| from.named(name)))
    }
    match from {
        Built::Table(from) => Ok(Built::Changes(named(operator, from)?.to_stream())),
        Built::Counts(from) => Ok(Built::CountChanges(named(operator, from)?.to_stream())),
        _ => Err(operator.wrong("this takes a table")),
    }
}

/// Reads the options of a table's store.
fn store<V: Nullable>(operator: &Operator<'_>) -> Result<Materialized<Datum, V>, BoxError> {
    let Some(store) = operator.child("store") else { return Ok(Materialized::default()) };
    let mut options = match store.name()? {
        Some(name) => Materialized::as_(name),
        None => Materialized::default().with_logging_enabled([].into()),
    };
    if store.get("key").is_some() {
        options = options.with_key_serde(store.serde("key")?);
    }
    if store.get("value").is_some() {
        options = options.with_value_serde(store.serde("value")?);
    }
    if let Some(caching) = store.flag("caching") {
        options =
            if caching { options.with_caching_enabled() } else { options.with_caching_disabled() };
    }
    if store.flag("logging") == Some(false) {
        options = options.with_logging_disabled();
    }
    store.check_all_read()?;
    Ok(options)
}

pub(crate) fn aggregation(
    op: &str,
    operator: &Operator<'_>,
    from: Built,
) -> Result<Built, BoxError> {
    match (op, from) {
        ("reduce", Built::Grouped(from)) => Ok(Built::Table(reduce(operator, from)?)),
        (_, Built::Grouped(from)) => count_or_aggregate(op, operator, from),
        (_, Built::GroupedChanges(from)) => count_or_aggregate(op, operator, from),
        (_, Built::GroupedCountChanges(from)) => count_or_aggregate(op, operator, from),
        _ => Err(operator.wrong("this takes a grouped stream")),
    }
}

fn reduce(
    operator: &Operator<'_>,
    from: KGroupedStream<Datum, Datum>,
) -> Result<KTable<Datum, Datum>, BoxError> {
    let from = operator.name()?.map_or(from.clone(), |name| from.named(name));
    let name = operator.text("fn")?;
    let (reducer, store) = (functions::reducer(name)?, store(operator)?);
    if name == "fail_on_bad" {
        return Ok(from.try_reduce(reducer, store));
    }
    Ok(from.reduce(move |a, b| reducer(a, b).unwrap_or_default(), store))
}

fn count_or_aggregate<V: Nullable>(
    op: &str,
    operator: &Operator<'_>,
    from: KGroupedStream<Datum, V>,
) -> Result<Built, BoxError> {
    let from = operator.name()?.map_or(from.clone(), |name| from.named(name));
    if op == "count" {
        return Ok(Built::Counts(from.count(store(operator)?)));
    }
    let name = operator.text("fn")?;
    let (aggregator, store) = (functions::aggregator(name)?, store(operator)?);
    let initial = functions::initial(operator.text("init")?)?;
    let initializer = move || initial.clone();
    if name == "fail_on_bad" {
        let aggregator = move |k: &Datum, v: V, total| aggregator(k, v.datum(), total);
        return Ok(Built::Table(from.try_aggregate(initializer, aggregator, store)));
    }
    let aggregator =
        move |k: &Datum, v: V, total| aggregator(k, v.datum(), total).unwrap_or_default();
    Ok(Built::Table(from.aggregate(initializer, aggregator, store)))
}
