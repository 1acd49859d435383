//! The upper limit: the same records in, parsed by the same parser, and outputs of the same form in
//! transactions, on librdkafka and nothing else. No state: an output says what was added.
//!
//! It is written on the raw bindings instead of `tidemill::client`, so that it can use what is
//! fastest and Tidemill's needs rule out: one queue for all partitions, `rd_kafka_produce_batch`
//! (no timestamps and no headers of their own), no delivery reports.
//!
//! With a repartition topic it does what two sub-topologies of one worker do: account and change go
//! out, come back in through the broker, and only then become an output.

#![expect(unsafe_code, reason = "the raw loop is written on librdkafka's C interface")]

mod client;

use std::time::{Duration, Instant};

use hashbrown::HashMap;
use tidemill::BoxError;
use tidemill::client::{Admin, ClientConfig};
use tidemill::serdes::Serde;
use tidemill::topology::partition_for_key;
use tidemill_examples::balances::{AccountBalance, Transaction, TransactionJson};

use crate::interrupt;
use crate::measure::between;
use crate::options::WorkerOptions;
use crate::reporter::Reporter;

use client::{Consumer, Fetched, Outgoing, Producer};

pub(crate) use client::librdkafka_version;

/// Records that are taken and produced at a time.
const BATCH: usize = 1_000;
const WAIT_MAX: Duration = Duration::from_millis(100);

/// What goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    EachRecord,
    EachAccountAndCommit,
}

/// What was added to one account, and where its records go.
struct Added {
    change: i64,
    transactions: u64,
    partition: i32,
}

struct Loop<'a> {
    options: &'a WorkerOptions,
    output: Output,
    between: String,
    partitions: u32,
    /// Next offsets, by topic (input, between) and partition; `None` if nothing new was read.
    next: [Vec<Option<i64>>; 2],
    /// To the output topic.
    results: Outgoing,
    /// To the repartition topic.
    rekeyed: Outgoing,
    added: HashMap<Vec<u8>, Added>,
    records: u64,
}

/// Runs the loop until SIGTERM.
pub(crate) fn run(options: &WorkerOptions, output: Output) -> Result<(), BoxError> {
    interrupt::listen()?;
    let reporter = Reporter::new();
    reporter.event("start", &[("mode", format!("{output:?}").into())]);
    let partitions = partitions(options)?;
    let producer = Producer::new(options)?;
    let between = between(&options.application_id);
    let mut topics = vec![options.input.as_str()];
    if options.repartition {
        topics.push(&between);
    }
    let consumer = Consumer::new(options, &topics)?;
    let mut raw = Loop {
        options,
        output,
        partitions,
        next: [vec![None; partitions as usize], vec![None; partitions as usize]],
        results: producer.outgoing(&options.output)?,
        rekeyed: producer.outgoing(&between)?,
        between: between.clone(),
        added: HashMap::new(),
        records: 0,
    };
    let ended = raw.work(&consumer, &producer);
    reporter.event("closed", &[("processed", raw.records.into()), ("clean", ended.is_ok().into())]);
    ended
}

impl Loop<'_> {
    fn work(&mut self, consumer: &Consumer, producer: &Producer) -> Result<(), BoxError> {
        let interval = Duration::from_millis(self.options.commit_interval_ms);
        let mut began = Instant::now();
        let mut open = false;
        while !interrupt::is_asked() {
            let wait = if open { interval.saturating_sub(began.elapsed()) } else { WAIT_MAX };
            let batch = consumer.read(BATCH, wait);
            if !batch.is_empty() && !open {
                producer.begin()?;
                open = true;
            }
            for record in batch.records() {
                self.take(&record?)?;
            }
            self.results.send(producer)?;
            self.rekeyed.send(producer)?;
            drop(batch);
            if open && began.elapsed() >= interval {
                self.commit(consumer, producer)?;
                open = false;
                began = Instant::now();
            }
        }
        if open { self.commit(consumer, producer) } else { Ok(()) }
    }

    fn take(&mut self, record: &Fetched<'_>) -> Result<(), BoxError> {
        self.records += 1;
        let again = self.options.repartition && record.topic == self.between.as_bytes();
        let next = &mut self.next[usize::from(again)][usize::try_from(record.partition)?];
        *next = Some(record.offset + 1);
        let value = record.value.ok_or("a record without a value")?;
        if again {
            let account = record.key.ok_or("a re-keyed record without a key")?;
            let change = i64::from_be_bytes(value.try_into()?);
            return self.publish(std::str::from_utf8(account)?, change, record.partition);
        }
        let transaction: Transaction = TransactionJson.deserialize("", Some(value))?;
        let change = transaction.change();
        if self.options.repartition {
            let account = transaction.account_id.as_bytes();
            let partition = partition_for_key(account, self.partitions).0;
            self.rekeyed.push(partition, account, |out| {
                out.extend_from_slice(&change.to_be_bytes());
                Ok(())
            })
        } else {
            let key = record.key.ok_or("a record without a key")?;
            self.publish(std::str::from_utf8(key)?, change, record.partition)
        }
    }

    /// The key is the same in and out, so the partition is too.
    fn publish(&mut self, account: &str, change: i64, partition: i32) -> Result<(), BoxError> {
        if self.output == Output::EachRecord {
            return publish(&mut self.results, account, change, 1, partition);
        }
        let added = self.added.entry_ref(account.as_bytes()).or_insert(Added {
            change: 0,
            transactions: 0,
            partition,
        });
        added.change += change;
        added.transactions += 1;
        Ok(())
    }

    fn commit(&mut self, consumer: &Consumer, producer: &Producer) -> Result<(), BoxError> {
        for (account, added) in self.added.drain() {
            let account = std::str::from_utf8(&account)?;
            let Added { change, transactions, partition } = added;
            publish(&mut self.results, account, change, transactions, partition)?;
        }
        self.results.send(producer)?;
        let topics = [self.options.input.as_str(), self.between.as_str()];
        let offsets = topics.into_iter().zip(&mut self.next).flat_map(|(topic, partitions)| {
            let moved = partitions.iter_mut().enumerate();
            moved.filter_map(move |(partition, next)| Some((topic, partition, next.take()?)))
        });
        producer.commit(consumer, offsets)
    }
}

fn publish(
    results: &mut Outgoing,
    account: &str,
    change: i64,
    transactions: u64,
    partition: i32,
) -> Result<(), BoxError> {
    let (sign, cents) = (if change < 0 { "-" } else { "" }, change.unsigned_abs());
    let balance = AccountBalance {
        account_id: account.to_owned(),
        balance: format!("{sign}{}.{:02}", cents / 100, cents % 100),
        transactions,
    };
    results.push(partition, account.as_bytes(), |out| Ok(serde_json::to_writer(out, &balance)?))
}

fn partitions(options: &WorkerOptions) -> Result<u32, BoxError> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &options.bootstrap_servers);
    let topics = Admin::new(&config)?.topics(&[&options.input], Duration::from_secs(20))?;
    let partitions = topics.first().and_then(|topic| topic.partitions);
    Ok(u32::try_from(partitions.ok_or("the input topic does not exist")?)?)
}
