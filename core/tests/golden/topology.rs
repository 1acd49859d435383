//! From a scenario to a topology, by the calls of the DSL.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tidemill_core::BoxError;
use tidemill_core::dsl::{
    Branched, CogroupedKStream, GlobalKTable, Grouped, KGroupedStream, KGroupedTable, KStream,
    KTable, Repartitioned, StreamsBuilder, TopologyConfig,
};
use tidemill_core::topology::{Consumed, Topology, key_value_store};

use crate::data::{Datum, DatumSerde, Nullable};
use crate::operator::Operator;
use crate::{
    cogroups, functions, globals, joins, processors, sinks, suppressions, tables, windows,
};

/// What an operator gives. Counts and changes of tables have types of their own.
#[derive(Clone)]
pub(crate) enum Built {
    Stream(KStream<Datum, Datum>),
    Changes(KStream<Datum, Option<Datum>>),
    CountChanges(KStream<Datum, Option<i64>>),
    Grouped(KGroupedStream<Datum, Datum>),
    GroupedChanges(KGroupedStream<Datum, Option<Datum>>),
    GroupedCountChanges(KGroupedStream<Datum, Option<i64>>),
    Table(KTable<Datum, Datum>),
    Counts(KTable<Datum, i64>),
    GroupedTable(KGroupedTable<Datum, Datum>),
    GlobalTable(GlobalKTable<Datum, Datum>),
    Cogrouped(CogroupedKStream<Datum, Datum>),
    Windowing(windows::Windowing),
}

/// Fields that Tidemill has nothing for yet.
const FIELDS: &[&str] = &["grace"];

/// Why a scenario gives no topology.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// Tidemill has no such operator, or this test does not know it.
    #[error("{0} is not built yet")]
    NotBuilt(String),
    #[error("{0}")]
    Wrong(#[from] BoxError),
}

/// A topology, and what its input topics hold.
pub(crate) struct Ready {
    pub(crate) topology: Topology,
    /// For each topic that is read: the types of key and value.
    pub(crate) types: BTreeMap<String, (DatumSerde, DatumSerde)>,
}

#[derive(Default)]
struct Maker {
    builder: StreamsBuilder,
    made: BTreeMap<String, Built>,
    types: BTreeMap<String, (DatumSerde, DatumSerde)>,
}

pub(crate) fn build(
    operators: &[Map<String, Value>],
    config: TopologyConfig,
) -> Result<Ready, BuildError> {
    let mut maker = Maker { builder: StreamsBuilder::with_config(config), ..Maker::default() };
    for fields in operators {
        let operator = Operator::new(fields);
        let id = operator.text_or_none("id")?;
        if let (Some(built), Some(id)) = (maker.add(&operator)?, id) {
            maker.made.insert(id.to_owned(), built);
        }
        if let Some(field) = operator.unread().iter().find(|field| FIELDS.contains(field)) {
            return Err(BuildError::NotBuilt((*field).to_owned()));
        }
        operator.check_all_read()?;
    }
    let topology = maker.builder.build().map_err(BoxError::from)?;
    Ok(Ready { topology, types: maker.types })
}

impl Maker {
    fn get(&self, operator: &Operator<'_>, field: &str) -> Result<Built, BoxError> {
        let id = operator.text(field)?;
        let found = self.made.get(id);
        found.cloned().ok_or_else(|| operator.wrong(&format!("nothing has the id {id}")))
    }

    fn add(&mut self, operator: &Operator<'_>) -> Result<Option<Built>, BuildError> {
        let op = operator.text("op")?;
        let from = operator.text_or_none("from")?.and_then(|from| self.made.get(from));
        if let Some(from) = from.filter(|from| windows::takes(op, from)) {
            return windows::add(op, operator, from.clone());
        }
        match op {
            "stream" => return Ok(Some(self.source(operator)?)),
            "state_store" => self.state_store(operator)?,
            "filter"
            | "filter_not"
            | "peek"
            | "for_each"
            | "merge"
            | "map"
            | "map_values"
            | "map_values_with_key"
            | "flat_map"
            | "flat_map_values"
            | "flat_map_values_with_key"
            | "select_key"
            | "split"
            | "process"
            | "process_values"
            | "repartition"
            | "group_by"
            | "group_by_key"
            | "join_table"
            | "join_global_table"
            | "join_stream"
            | "to" => {
                return match self.get(operator, "from")? {
                    Built::Stream(from) => self.of_stream(op, operator, &from, Built::Stream),
                    Built::Changes(from) => self.of_stream(op, operator, &from, Built::Changes),
                    Built::CountChanges(from) => {
                        self.of_stream(op, operator, &from, Built::CountChanges)
                    }
                    _ => Err(operator.wrong("this takes a stream").into()),
                };
            }
            "table" | "global_table" => {
                self.note_types(operator)?;
                let source = if op == "table" { tables::source } else { globals::source };
                return Ok(Some(source(operator, &self.builder)?));
            }
            "to_stream" | "to_table" => {
                let made = if op == "to_stream" { tables::to_stream } else { tables::to_table };
                return Ok(Some(made(operator, self.get(operator, "from")?)?));
            }
            "table_filter" | "table_filter_not" | "table_map_values" | "group_table" => {
                let from = self.get(operator, "from")?;
                return Ok(Some(tables::change(op, operator, from)?));
            }
            "cogroup" => return Ok(Some(cogroups::add(operator, |from| self.get(from, "from"))?)),
            "suppress" => {
                return Ok(Some(suppressions::add(operator, self.get(operator, "from")?)?));
            }
            "join_tables" | "foreign_key_join" => {
                let sides = (self.get(operator, "from")?, self.get(operator, "with")?);
                let by_key = op == "join_tables";
                let join = if by_key { tables::join_tables } else { joins::on_foreign_key };
                return Ok(Some(join(operator, sides)?));
            }
            "count" | "reduce" | "aggregate" => {
                let from = self.get(operator, "from")?;
                return Ok(Some(tables::aggregation(op, operator, from)?));
            }
            _ => return Err(BuildError::NotBuilt(op.to_owned())),
        }
        Ok(None)
    }

    /// Notes what the topic of a table holds.
    fn note_types(&mut self, operator: &Operator<'_>) -> Result<(), BoxError> {
        let types = (operator.serde("key")?, operator.serde("value")?);
        self.types.insert(operator.text("topic")?.to_owned(), types);
        Ok(())
    }

    fn source(&mut self, operator: &Operator<'_>) -> Result<Built, BoxError> {
        let mut topics = operator.texts("topics");
        topics.extend(operator.text_or_none("topic")?);
        let types = (operator.serde("key")?, operator.serde("value")?);
        self.types.extend(topics.iter().map(|topic| ((*topic).to_owned(), types)));
        let mut consumed = Consumed::with(types.0, types.1);
        if let Some(name) = operator.name()? {
            consumed = consumed.with_name(name);
        }
        Ok(Built::Stream(self.builder.stream_topics(&topics, consumed)))
    }

    fn state_store(&self, operator: &Operator<'_>) -> Result<(), BoxError> {
        let (key, value) = (operator.serde("key")?, operator.serde("value")?);
        let store = key_value_store::<Datum, Datum>(operator.text("name")?, key, value);
        let logging = operator.flag("logging").unwrap_or(true);
        self.builder.add_state_store(if logging { store } else { store.with_logging_disabled() });
        Ok(())
    }

    /// Adds an operator on a stream; `same` wraps a stream of the same type.
    fn of_stream<V: Nullable>(
        &mut self,
        op: &str,
        operator: &Operator<'_>,
        from: &KStream<Datum, V>,
        same: fn(KStream<Datum, V>) -> Built,
    ) -> Result<Option<Built>, BuildError>
    where
        Self: Other<V>,
    {
        let from = &match operator.name()? {
            // the options of these take the name
            Some(name)
                if !matches!(
                    op,
                    "to" | "repartition"
                        | "group_by"
                        | "group_by_key"
                        | "join_table"
                        | "join_global_table"
                        | "join_stream"
                ) =>
            {
                from.named(name)
            }
            _ => from.clone(),
        };
        Ok(Some(match op {
            "join_table" => tables::join_table(operator, from, &self.get(operator, "with")?)?,
            "join_global_table" => match self.get(operator, "with")? {
                Built::GlobalTable(with) => globals::join(operator, from, &with)?,
                _ => return Err(operator.wrong("this takes a stream and a global table").into()),
            },
            "join_stream" => joins::streams(operator, from, &self.get(operator, "with")?)?,
            "merge" => same(from.merge(&self.other(operator)?)),
            "split" => {
                self.split(operator, from, same)?;
                return Ok(None);
            }
            "process" => Built::Stream(processors::process(operator, from)?),
            "process_values" => Built::Stream(processors::process_values(operator, from)?),
            "repartition" => same(from.repartition(repartitioned(operator)?)),
            "group_by" | "group_by_key" => Self::group(op, operator, from)?,
            "for_each" => {
                from.for_each(|_, _| {});
                return Ok(None);
            }
            "to" => {
                sinks::to(operator, from)?;
                return Ok(None);
            }
            _ => stateless(op, operator, from, same)?,
        }))
    }

    fn split<V: Nullable>(
        &mut self,
        operator: &Operator<'_>,
        from: &KStream<Datum, V>,
        same: fn(KStream<Datum, V>) -> Built,
    ) -> Result<(), BoxError> {
        let branched = |branch: &Operator<'_>| {
            Ok::<_, BoxError>(branch.name()?.map_or_else(Branched::numbered, Branched::as_))
        };
        let mut ids = Vec::new();
        let mut split = from.split();
        for (position, branch) in (1..).zip(operator.children("branches")) {
            let predicate = functions::predicate(branch.text("fn")?)?;
            split = split.try_branch(move |k, v: &V| predicate(k, &v.datum()), branched(&branch)?);
            let suffix = branch.name()?.map_or_else(|| position.to_string(), str::to_owned);
            ids.push((branch.text("id")?, suffix));
            branch.check_all_read()?;
        }
        let branches = match operator.child("default") {
            Some(other) => {
                let suffix = other.name()?.unwrap_or("0").to_owned();
                ids.push((other.text("id")?, suffix));
                other.check_all_read()?;
                split.default_branch(branched(&other)?)
            }
            None => split.no_default_branch(),
        };
        let generated = "KSTREAM-BRANCH-0000000000".len();
        for (name, stream) in branches {
            let prefix = operator.name()?.map_or(generated, str::len);
            let (id, _) = ids.iter().find(|(_, suffix)| *suffix == name[prefix..]).ok_or("?")?;
            self.made.insert((*id).to_owned(), same(stream));
        }
        Ok(())
    }

    fn group<V: Nullable>(
        op: &str,
        operator: &Operator<'_>,
        from: &KStream<Datum, V>,
    ) -> Result<Built, BoxError>
    where
        Self: Other<V>,
    {
        let mut grouped = Grouped::with(operator.serde("key")?, operator.serde("value")?);
        if let Some(name) = operator.name()? {
            grouped = grouped.with_name(name);
        }
        if op == "group_by_key" {
            return Ok(Self::grouped(from.group_by_key(grouped)));
        }
        let select = functions::key(operator.text("fn")?)?;
        Ok(Self::grouped(from.try_group_by(move |k, v: &V| select(k, &v.datum()), grouped)))
    }
}

/// What differs between the kinds of streams.
trait Other<V> {
    /// Returns the stream that the field `with` names.
    fn other(&self, operator: &Operator<'_>) -> Result<KStream<Datum, V>, BoxError>;
    fn grouped(grouped: KGroupedStream<Datum, V>) -> Built;
}

macro_rules! other {
    ($value:ty, $stream:ident, $grouped:ident) => {
        impl Other<$value> for Maker {
            fn other(&self, operator: &Operator<'_>) -> Result<KStream<Datum, $value>, BoxError> {
                match self.get(operator, "with")? {
                    Built::$stream(other) => Ok(other),
                    _ => Err(operator.wrong("both sides must be streams of one type")),
                }
            }

            fn grouped(grouped: KGroupedStream<Datum, $value>) -> Built {
                Built::$grouped(grouped)
            }
        }
    };
}

other!(Datum, Stream, Grouped);
other!(Option<Datum>, Changes, GroupedChanges);
other!(Option<i64>, CountChanges, GroupedCountChanges);

fn repartitioned<V: Nullable>(
    operator: &Operator<'_>,
) -> Result<Repartitioned<Datum, V>, BoxError> {
    let mut options = Repartitioned::with(operator.serde("key")?, operator.serde("value")?);
    if let Some(name) = operator.name()? {
        options = options.with_name(name);
    }
    if let Some(partitions) = operator.number("partitions") {
        options = options.with_number_of_partitions(u32::try_from(partitions)?);
    }
    if let Some(partitioner) = operator.text_or_none("partitioner")? {
        options = options.with_stream_partitioner(sinks::partitioner(partitioner)?);
    }
    Ok(options)
}

fn stateless<V: Nullable>(
    op: &str,
    operator: &Operator<'_>,
    from: &KStream<Datum, V>,
    same: fn(KStream<Datum, V>) -> Built,
) -> Result<Built, BoxError> {
    if op == "peek" {
        return Ok(same(from.peek(|_, _| {})));
    }
    let name = operator.text("fn")?;
    Ok(match op {
        "filter" => {
            let keep = functions::predicate(name)?;
            same(from.try_filter(move |k, v| keep(k, &v.datum())))
        }
        "filter_not" => {
            let drop = functions::predicate(name)?;
            same(from.filter_not(move |k, v| drop(k, &v.datum()).unwrap_or(false)))
        }
        "map" => {
            let map = functions::pair(name)?;
            Built::Stream(from.try_map(move |k, v| map(k, v.datum())))
        }
        "map_values" => {
            let map = functions::value(name)?;
            Built::Stream(from.try_map_values(move |v| map(&Datum::Null, v.datum())))
        }
        "map_values_with_key" => {
            let map = functions::value(name)?;
            Built::Stream(from.try_map_values_with_key(move |k, v| map(k, v.datum())))
        }
        "flat_map" => {
            let map = functions::pairs(name)?;
            Built::Stream(from.flat_map(move |k, v| map(k, v.datum())))
        }
        "flat_map_values" => {
            let map = functions::values(name)?;
            Built::Stream(from.flat_map_values(move |v| map(&Datum::Null, v.datum())))
        }
        "flat_map_values_with_key" => {
            let map = functions::values(name)?;
            Built::Stream(from.flat_map_values_with_key(move |k, v| map(k, v.datum())))
        }
        "select_key" => {
            let select = functions::key(name)?;
            same(from.try_select_key(move |k, v: &V| select(k, &v.datum())))
        }
        _ => return Err(operator.wrong("no such operator")),
    })
}
