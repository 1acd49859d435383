//! The closed set of processors that a scenario can name; `Processors.java` has the same ones.

use std::marker::PhantomData;
use std::time::Duration;

use tidemill_core::BoxError;
use tidemill_core::dsl::KStream;
use tidemill_core::processor::{
    FixedKeyProcessor, FixedKeyProcessorContext, FixedKeyRecord, Processor, ProcessorContext,
    Punctuation, PunctuationHandle, PunctuationType,
};
use tidemill_core::record::{Headers, Record, Timestamp};
use tidemill_core::store::KeyValueStore;
use tidemill_core::topology::{ConnectedStores, key_value_store};

use crate::data::{Datum, Nullable};
use crate::functions;
use crate::operator::Operator;

type Context<'c, 't> = ProcessorContext<'c, 't, Datum, Datum>;
type Store = KeyValueStore<Datum, Datum>;

/// What a scenario says about a processor.
#[derive(Clone)]
struct Kind {
    name: String,
    store: Option<String>,
    interval: Duration,
}

impl Kind {
    fn read(operator: &Operator<'_>) -> Result<(Self, Vec<String>), BoxError> {
        let mut stores: Vec<String> =
            operator.texts("stores").into_iter().map(str::to_owned).collect();
        let named = stores.clone();
        for store in operator.children("brings") {
            stores.push(store.text("name")?.to_owned());
        }
        let kind = Self {
            name: operator.text("processor")?.to_owned(),
            store: stores.first().cloned(),
            interval: Duration::from_millis(operator.number("interval").unwrap_or(1)),
        };
        Ok((kind, named))
    }
}

pub(crate) fn process<V: Nullable>(
    operator: &Operator<'_>,
    from: &KStream<Datum, V>,
) -> Result<KStream<Datum, Datum>, BoxError> {
    let (kind, stores) = Kind::read(operator)?;
    let stores: Vec<&str> = stores.iter().map(|store| &**store).collect();
    let supplier = move || Free {
        kind: kind.clone(),
        store: None,
        punctuation: None,
        punctuations: 0,
        values: PhantomData::<fn(V)>,
    };
    Ok(match brought(operator)? {
        Some(brought) => from.process_with_stores(supplier, brought),
        None => from.process(supplier, &stores),
    })
}

pub(crate) fn process_values<V: Nullable>(
    operator: &Operator<'_>,
    from: &KStream<Datum, V>,
) -> Result<KStream<Datum, Datum>, BoxError> {
    let (kind, stores) = Kind::read(operator)?;
    let stores: Vec<&str> = stores.iter().map(|store| &**store).collect();
    let supplier = move || Fixed { kind: kind.clone(), store: None };
    Ok(match brought(operator)? {
        Some(brought) => from.process_values_with_stores(supplier, brought),
        None => from.process_values(supplier, &stores),
    })
}

/// Reads the stores that a processor brings with it.
fn brought(operator: &Operator<'_>) -> Result<Option<ConnectedStores>, BoxError> {
    let mut brought = None;
    for store in operator.children("brings") {
        let (key, value) = (store.serde("key")?, store.serde("value")?);
        let builder = key_value_store::<Datum, Datum>(store.text("name")?, key, value);
        brought = Some(brought.unwrap_or_else(ConnectedStores::new).with_store(builder));
        store.check_all_read()?;
    }
    Ok(brought)
}

fn marked(mut headers: Headers) -> Headers {
    headers.add("seen", Some(b"1".to_vec()));
    headers
}

fn later(timestamp: Timestamp) -> Timestamp {
    Timestamp(timestamp.0 + 100)
}

/// Counts the records of a key.
fn counted(store: Option<&Store>, key: &Datum) -> Result<Datum, BoxError> {
    let store = store.ok_or("a store is missing")?;
    let count = Datum::Long(store.get(key)?.map_or(0, |before| before.measure()) + 1);
    store.put(key, count.clone())?;
    Ok(count)
}

struct Free<V> {
    kind: Kind,
    store: Option<Store>,
    punctuation: Option<PunctuationHandle>,
    punctuations: u32,
    values: PhantomData<fn(V)>,
}

impl<V> Free<V> {
    fn store(&self) -> Result<&Store, BoxError> {
        self.store.as_ref().ok_or_else(|| "a store is missing".into())
    }

    fn entries(&self) -> Result<Vec<(Datum, Datum)>, BoxError> {
        Ok(self.store()?.all()?.collect::<Result<_, _>>()?)
    }

    /// Forwards what the store holds under these keys.
    fn forward_all(
        context: &mut Context<'_, '_>,
        record: &Record<Datum, Datum>,
        entries: Vec<(Datum, Datum)>,
    ) -> Result<(), BoxError> {
        entries
            .into_iter()
            .try_for_each(|(k, v)| context.forward(record.clone().with_key(k).with_value(v)))
    }
}

impl<V: Nullable> Processor<Datum, V, Datum, Datum> for Free<V> {
    fn init(&mut self, context: &mut Context<'_, '_>) -> Result<(), BoxError> {
        if let Some(store) = &self.kind.store {
            self.store = Some(context.key_value_store(store)?);
        }
        let clock = if self.kind.name.ends_with("_stream_time") {
            PunctuationType::StreamTime
        } else if self.kind.name.ends_with("_wall_clock") {
            PunctuationType::WallClockTime
        } else {
            return Ok(());
        };
        self.punctuation = Some(context.schedule(self.kind.interval, clock));
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut Context<'_, '_>,
        record: Record<Datum, V>,
    ) -> Result<(), BoxError> {
        let value = record.value.datum();
        let record = record.with_value(value);
        match &*self.kind.name {
            "forward_twice" => {
                context.forward(record.clone())?;
                context.forward(record)
            }
            "drop_even" if record.value.is_even() => Ok(()),
            "swap" => {
                let Record { key, value, timestamp, headers } = record;
                context.forward(Record { key: value, value: key, timestamp, headers })
            }
            "mark" => {
                let headers = marked(record.headers.clone());
                context.forward(record.with_headers(headers))
            }
            "later" => {
                let timestamp = later(record.timestamp);
                context.forward(record.with_timestamp(timestamp))
            }
            "fail_on_bad" => {
                let value = functions::value("fail_on_bad")?(&record.key, record.value.clone())?;
                context.forward(record.with_value(value))
            }
            "count" => {
                let count = counted(self.store.as_ref(), &record.key)?;
                context.forward(record.with_value(count))
            }
            "before" => {
                let before = self.store()?.get(&record.key)?.unwrap_or(Datum::Null);
                self.store()?.put(&record.key, record.value.clone())?;
                context.forward(record.with_value(before))
            }
            "first" => {
                let before = self.store()?.put_if_absent(&record.key, record.value.clone())?;
                context.forward(record.with_value(before.unwrap_or(Datum::Null)))
            }
            "delete" => {
                let before = self.store()?.delete(&record.key)?.unwrap_or(Datum::Null);
                context.forward(record.with_value(before))
            }
            "scan" => {
                self.store()?.put(&record.key, record.value.clone())?;
                Self::forward_all(context, &record, self.entries()?)
            }
            "range_b_to_d" => {
                self.store()?.put(&record.key, record.value.clone())?;
                let bounds = Datum::Text("b".to_owned())..=Datum::Text("d".to_owned());
                let entries = self.store()?.range(bounds)?.collect::<Result<_, _>>()?;
                Self::forward_all(context, &record, entries)
            }
            "drain_stream_time" | "drain_wall_clock" => {
                Ok(self.store()?.put(&record.key, record.value)?)
            }
            "forward"
            | "drop_even"
            | "tick_stream_time"
            | "tick_wall_clock"
            | "two_ticks_stream_time"
            | "two_ticks_wall_clock" => context.forward(record),
            other => Err(format!("no processor is called {other}").into()),
        }
    }

    fn punctuate(
        &mut self,
        context: &mut Context<'_, '_>,
        punctuation: Punctuation,
    ) -> Result<(), BoxError> {
        let at = punctuation.timestamp;
        if self.kind.name.starts_with("drain_") {
            for (key, value) in self.entries()? {
                context.forward(Record::new(key.clone(), value, at))?;
                self.store()?.delete(&key)?;
            }
            return Ok(());
        }
        let value = Datum::Text(at.0.to_string());
        context.forward(Record::new(Datum::Text("tick".to_owned()), value, at))?;
        self.punctuations += 1;
        if self.kind.name.starts_with("two_ticks_") && self.punctuations == 2 {
            context.cancel(punctuation.handle);
        }
        Ok(())
    }
}

struct Fixed {
    kind: Kind,
    store: Option<Store>,
}

type FixedContext<'f, 'c, 't> = FixedKeyProcessorContext<'f, 'c, 't, Datum, Datum>;

impl<V: Nullable> FixedKeyProcessor<Datum, V, Datum> for Fixed {
    fn init(&mut self, context: &mut FixedContext<'_, '_, '_>) -> Result<(), BoxError> {
        if let Some(store) = &self.kind.store {
            self.store = Some(context.key_value_store(store)?);
        }
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut FixedContext<'_, '_, '_>,
        record: FixedKeyRecord<Datum, V>,
    ) -> Result<(), BoxError> {
        let value = record.value().datum();
        let record = record.with_value(value);
        match &*self.kind.name {
            "forward_twice" => {
                context.forward(record.clone())?;
                context.forward(record)
            }
            "drop_even" if record.value().is_even() => Ok(()),
            "mark" => {
                let headers = marked(record.headers().clone());
                context.forward(record.with_headers(headers))
            }
            "later" => {
                let timestamp = later(record.timestamp());
                context.forward(record.with_timestamp(timestamp))
            }
            "count" => {
                let count = counted(self.store.as_ref(), record.key())?;
                context.forward(record.with_value(count))
            }
            "forward" | "drop_even" => context.forward(record),
            other => Err(format!("no processor is called {other}").into()),
        }
    }
}
