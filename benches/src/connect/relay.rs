//! The relays that are measured, with their defaults apart from the size of a batch.

use tidemill::BoxError;
use tidemill::client::ClientConfig;
use tidemill_connect::cdc::CdcSource;
use tidemill_connect::outbox::{
    LogTailingOutbox, MessageRelay, Outbox, OutboxSource, PollingOutbox,
};
use tidemill_connect::source::{BatchLimits, SourceRunner, Stop};

use crate::options::WorkerOptions;

/// The publication of the business table.
pub(crate) const PUBLICATION: &str = "bench_publication";

/// The outbox, all events of which go to one topic.
pub(crate) fn outbox(options: &WorkerOptions) -> Result<Outbox, BoxError> {
    Ok(Outbox::new("outbox")?.topic_by_aggregate_type(&options.topic)?)
}

fn clients(options: &WorkerOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &*options.bootstrap_servers);
    config
}

fn limits(options: &WorkerOptions) -> Result<BatchLimits, BoxError> {
    Ok(BatchLimits { records: usize::try_from(options.batch)?, ..BatchLimits::default() })
}

/// Where the positions of a relay are kept.
pub(crate) fn positions_topic(options: &WorkerOptions) -> String {
    format!("{}-positions", options.topic)
}

/// Publishes an outbox by polling until the process is killed.
pub(crate) fn polling(options: &WorkerOptions) -> Result<(), BoxError> {
    publish(options, PollingOutbox::new(options.database.parse()?, outbox(options)?))
}

/// Publishes an outbox from PostgreSQL's log until the process is killed.
pub(crate) fn tailing(options: &WorkerOptions) -> Result<(), BoxError> {
    let (database, slot) = (options.database.parse()?, slot(options));
    publish(options, LogTailingOutbox::new(database, outbox(options)?, &slot, PUBLICATION)?)
}

fn publish(options: &WorkerOptions, source: impl OutboxSource) -> Result<(), BoxError> {
    let relay = MessageRelay::builder(&options.topic)
        .source(source)
        .kafka(clients(options))
        .positions_topic(&positions_topic(options))
        .batch(limits(options)?)
        .build()?;
    Ok(relay.run_until(&Stop::new())?)
}

fn slot(options: &WorkerOptions) -> String {
    options.topic.replace('-', "_")
}

/// Publishes the changes of the business table until the process is killed.
pub(crate) fn cdc(options: &WorkerOptions) -> Result<(), BoxError> {
    let source = CdcSource::new(options.database.parse()?, &slot(options), PUBLICATION)?
        .topics(&options.topic)?;
    let positions = positions_topic(options);
    let relay = SourceRunner::new(&options.topic, source, clients(options), &positions)
        .batch(limits(options)?);
    Ok(relay.run_until(&Stop::new())?)
}
