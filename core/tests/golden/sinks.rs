//! Where streams end: the closed set of ways to choose topics and partitions, as in `Sinks.java`.

use std::borrow::Cow;

use tidemill_core::BoxError;
use tidemill_core::dsl::KStream;
use tidemill_core::record::Partition;
use tidemill_core::topology::{
    Partitions, Produced, RecordContext, StreamPartitioner, TopicNameExtractor,
};

use crate::data::{Datum, Nullable};
use crate::operator::Operator;

pub(crate) fn to<V: Nullable>(
    operator: &Operator<'_>,
    from: &KStream<Datum, V>,
) -> Result<(), BoxError> {
    let mut produced = Produced::with(operator.serde("key")?, operator.serde("value")?);
    if let Some(name) = operator.name()? {
        produced = produced.with_name(name);
    }
    if let Some(partitioner) = operator.text_or_none("partitioner")? {
        produced = produced.with_stream_partitioner(self::partitioner(partitioner)?);
    }
    match operator.text_or_none("extractor")? {
        Some(name) => from.to_with_extractor(Extractor(name.to_owned()), produced),
        None => from.to(operator.text("topic")?, produced),
    }
    Ok(())
}

struct Extractor(String);

impl<V: Nullable> TopicNameExtractor<Datum, V> for Extractor {
    fn extract<'r>(
        &'r self,
        key: &'r Datum,
        value: &'r V,
        context: &RecordContext<'_>,
    ) -> Result<Cow<'r, str>, BoxError> {
        let value = value.datum();
        let chosen = match &*self.0 {
            "by_key" if *key == Datum::Null || key.text().is_empty() => "none".to_owned(),
            "by_key" => key.text().into_owned(),
            "by_measure" => value.measure().to_string(),
            "by_source" => {
                let source = context.source.ok_or("no source record")?;
                format!("{}-{}-{}", source.topic, source.partition, source.offset)
            }
            "by_record" => format!("{}-{}", context.timestamp.0, context.headers.len()),
            "fail_on_bad" if value.text() == "bad" => return Err("a bad value".into()),
            "fail_on_bad" => value.text().len().to_string(),
            name => return Err(format!("no extractor {name}").into()),
        };
        Ok(format!("out-{chosen}").into())
    }

    fn name(&self) -> &str {
        &self.0
    }
}

pub(crate) fn partitioner<V: Nullable>(
    name: &str,
) -> Result<impl StreamPartitioner<Datum, V> + 'static, BoxError> {
    let choose: fn(&Datum, u32) -> Partitions = match name {
        "by_key" => |_, _| Partitions::ByKey,
        "last" => |_, partitions| Partitions::One(Partition(partitions as i32 - 1)),
        "nowhere" => |_, _| Partitions::Each(Vec::new()),
        "nowhere_if_large" => |value, _| match value.measure() > 3 {
            true => Partitions::Each(Vec::new()),
            false => Partitions::ByKey,
        },
        _ => return Err(format!("no partitioner {name}").into()),
    };
    Ok(move |_: &str, _: &Datum, value: &V, partitions| choose(&value.datum(), partitions))
}
