//! Tables, and what becomes one.

use std::time::Duration;

use tidemill_core::BoxError;
use tidemill_core::dsl::{
    Grouped, Joined, KGroupedStream, KGroupedTable, KStream, KTable, Materialized, StreamsBuilder,
};
use tidemill_core::topology::Consumed;

use crate::data::{Datum, Nullable};
use crate::operator::Operator;
use crate::topology::Built;
use crate::{cogroups, functions};

pub(crate) fn named<V: Nullable>(
    operator: &Operator<'_>,
    from: &KTable<Datum, V>,
) -> Result<KTable<Datum, V>, BoxError> {
    Ok(operator.name()?.map_or_else(|| from.clone(), |name| from.named(name)))
}

pub(crate) fn to_stream(operator: &Operator<'_>, from: Built) -> Result<Built, BoxError> {
    fn changes<V: Nullable>(
        operator: &Operator<'_>,
        from: &KTable<Datum, V>,
    ) -> Result<KStream<Datum, Option<V>>, BoxError>
    where
        Option<V>: Nullable,
    {
        let from = named(operator, from)?;
        let Some(name) = operator.text_or_none("fn")? else { return Ok(from.to_stream()) };
        let select = functions::key(name)?;
        let select = move |k: &Datum, v: &Option<V>| select(k, &v.datum()).unwrap_or(Datum::Null);
        Ok(from.to_stream_with_key(select))
    }
    match from {
        Built::Table(from) => Ok(Built::Changes(changes(operator, &from)?)),
        Built::Counts(from) => Ok(Built::CountChanges(changes(operator, &from)?)),
        _ => Err(operator.wrong("this takes a table")),
    }
}

/// Makes a table of a topic.
pub(crate) fn source(operator: &Operator<'_>, builder: &StreamsBuilder) -> Result<Built, BoxError> {
    let mut consumed = Consumed::with(operator.serde("key")?, operator.serde("value")?);
    if let Some(name) = operator.name()? {
        consumed = consumed.with_name(name);
    }
    Ok(Built::Table(builder.table(operator.text("topic")?, consumed, store(operator)?)))
}

pub(crate) fn to_table(operator: &Operator<'_>, from: Built) -> Result<Built, BoxError> {
    fn named<V: Nullable>(
        operator: &Operator<'_>,
        from: KStream<Datum, V>,
    ) -> Result<KStream<Datum, V>, BoxError> {
        Ok(operator.name()?.map_or_else(|| from.clone(), |name| from.named(name)))
    }
    Ok(match from {
        Built::Stream(from) => Built::Table(named(operator, from)?.to_table(store(operator)?)),
        Built::Changes(from) => Built::Table(named(operator, from)?.to_table(store(operator)?)),
        Built::CountChanges(from) => {
            Built::Counts(named(operator, from)?.to_table(store(operator)?))
        }
        _ => return Err(operator.wrong("this takes a stream")),
    })
}

/// Adds an operator on a table that gives a table, or a grouped one.
pub(crate) fn change(op: &str, operator: &Operator<'_>, from: Built) -> Result<Built, BoxError> {
    match from {
        Built::Table(from) => change_of(op, operator, &from, Built::Table),
        Built::Counts(from) => change_of(op, operator, &from, Built::Counts),
        _ => Err(operator.wrong("this takes a table")),
    }
}

fn change_of<V: Nullable>(
    op: &str,
    operator: &Operator<'_>,
    from: &KTable<Datum, V>,
    same: fn(KTable<Datum, V>) -> Built,
) -> Result<Built, BoxError> {
    let name = operator.text("fn")?;
    Ok(match op {
        "table_filter" => {
            let keep = functions::predicate(name)?;
            let keep = move |k: &Datum, v: &V| keep(k, &v.datum());
            same(named(operator, from)?.try_filter(keep, store(operator)?))
        }
        "table_filter_not" => {
            let drop = functions::predicate(name)?;
            let drop = move |k: &Datum, v: &V| drop(k, &v.datum()).unwrap_or(false);
            same(named(operator, from)?.filter_not(drop, store(operator)?))
        }
        "table_map_values" => {
            let map = functions::value(name)?;
            let map = move |k: &Datum, v: V| map(k, v.datum());
            Built::Table(named(operator, from)?.try_map_values_with_key(map, store(operator)?))
        }
        _ => {
            let pair = functions::pair(name)?;
            let pair = move |k: &Datum, v: V| pair(k.clone(), v.datum());
            let mut grouped = Grouped::with(operator.serde("key")?, operator.serde("value")?);
            if let Some(name) = operator.name()? {
                grouped = grouped.with_name(name);
            }
            Built::GroupedTable(from.try_group_by(pair, grouped))
        }
    })
}

/// Joins two tables.
pub(crate) fn join_tables(
    operator: &Operator<'_>,
    sides: (Built, Built),
) -> Result<Built, BoxError> {
    fn join<V: Nullable, O: Nullable>(
        operator: &Operator<'_>,
        from: &KTable<Datum, V>,
        with: &KTable<Datum, O>,
    ) -> Result<Built, BoxError> {
        fn datum<V: Nullable>(value: Option<&V>) -> Datum {
            value.map_or(Datum::Null, V::datum)
        }
        let (from, joiner) = (named(operator, from)?, functions::joiner(operator.text("fn")?)?);
        let options = store(operator)?;
        Ok(Built::Table(match operator.text("kind")? {
            "inner" => from.join(with, move |a: &V, b| joiner(&a.datum(), &b.datum()), options),
            "left" => from.left_join(with, move |a: &V, b| joiner(&a.datum(), &datum(b)), options),
            "outer" => {
                from.outer_join(with, move |a: Option<&V>, b| joiner(&datum(a), &datum(b)), options)
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

/// Joins a stream with a table.
pub(crate) fn join_table<V: Nullable>(
    operator: &Operator<'_>,
    from: &KStream<Datum, V>,
    with: &Built,
) -> Result<Built, BoxError> {
    fn join<V: Nullable, T: Nullable>(
        operator: &Operator<'_>,
        from: &KStream<Datum, V>,
        with: &KTable<Datum, T>,
    ) -> Result<Built, BoxError> {
        let joiner = functions::joiner(operator.text("fn")?)?;
        let mut joined = Joined::with(operator.serde("key")?, operator.serde("value")?);
        operator.serde("other_value")?;
        if let Some(name) = operator.name()? {
            joined = joined.with_name(name);
        }
        Ok(Built::Stream(match operator.text("kind")? {
            "inner" => {
                from.join_table(with, move |a: V, b: &T| joiner(&a.datum(), &b.datum()), joined)
            }
            "left" => {
                let found = |b: Option<&T>| b.map_or(Datum::Null, T::datum);
                let left = move |a: V, b: Option<&T>| joiner(&a.datum(), &found(b));
                from.left_join_table(with, left, joined)
            }
            kind => return Err(operator.wrong(&format!("there is no join {kind}"))),
        }))
    }
    match with {
        Built::Table(with) => join(operator, from, with),
        Built::Counts(with) => join(operator, from, with),
        _ => Err(operator.wrong("this takes a stream and a table")),
    }
}

/// Reads the options of a table's store.
pub(crate) fn store<V: Nullable>(
    operator: &Operator<'_>,
) -> Result<Materialized<Datum, V>, BoxError> {
    if let Some(name) = operator.text_or_none("versions")? {
        let history = operator.number("history").ok_or_else(|| operator.wrong("no history"))?;
        let history = std::time::Duration::from_millis(history);
        return Ok(Materialized::as_versioned(name, history));
    }
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
    if let Some(retention) = store.number("retention") {
        options = options.with_retention(Duration::from_millis(retention));
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
        (_, Built::GroupedTable(from)) => of_grouped_table(op, operator, from),
        ("aggregate", Built::Cogrouped(from)) => cogroups::aggregate(operator, from),
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

fn of_grouped_table(
    op: &str,
    operator: &Operator<'_>,
    from: KGroupedTable<Datum, Datum>,
) -> Result<Built, BoxError> {
    let from = operator.name()?.map_or_else(|| from.clone(), |name| from.named(name));
    if op == "count" {
        return Ok(Built::Counts(from.count(store(operator)?)));
    }
    let (add, subtract) = (operator.text("add")?, operator.text("subtract")?);
    if op == "reduce" {
        let (add, subtract) = (functions::reducer(add)?, functions::reducer(subtract)?);
        let add = move |a, b| add(a, b).unwrap_or_default();
        let subtract = move |a, b| subtract(a, b).unwrap_or_default();
        return Ok(Built::Table(from.reduce(add, subtract, store(operator)?)));
    }
    let (add, subtract) = (functions::aggregator(add)?, functions::aggregator(subtract)?);
    let initial = functions::initial(operator.text("init")?)?;
    let add = move |k: &Datum, v, total| add(k, v, total).unwrap_or_default();
    let subtract = move |k: &Datum, v, total| subtract(k, v, total).unwrap_or_default();
    let initializer = move || initial.clone();
    Ok(Built::Table(from.aggregate(initializer, add, subtract, store(operator)?)))
}
