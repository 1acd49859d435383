//! What an application promises while nothing goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tidemill::client::{Isolation, OffsetSpec};
use tidemill::processor::{Processor, ProcessorContext, Punctuation, PunctuationType};
use tidemill::record::{Headers, Record};
use tidemill::serdes::{bytes, optional, string};
use tidemill::topology::{Consumed, Produced, Topology};
use tidemill::{BoxError, Config, State, Tidemill};

use super::support::kafka::{Kafka, Rec};
use super::support::ledger::{Balance, Bank, expected};
use super::support::process::Process;
use super::support::running::Running;
use super::support::{PATIENCE, unique, until};

/// A small application: one processor between two topics.
struct Small {
    kafka: Kafka,
    input: String,
    output: String,
    dir: TempDir,
}

impl Small {
    fn new(name: &str) -> Self {
        let kafka = Kafka::shared();
        let (input, output) = (kafka.topic(name, 1), kafka.topic(name, 1));
        Self { kafka, input, output, dir: TempDir::new().unwrap() }
    }

    fn config(&self) -> Config {
        Config::new(unique("small"), &self.kafka.bootstrap)
            .with_state_dir(self.dir.path())
            .with_session_timeout(Duration::from_secs(10))
    }

    fn topology<P>(&self, supplier: impl Fn() -> P + Send + Sync + 'static) -> Topology
    where
        P: Processor<Nullable, Nullable, Nullable, Nullable> + 'static,
    {
        let mut topology = Topology::new();
        let (key, value) = (optional(bytes()), optional(bytes()));
        topology.add_source("source", Consumed::with(key, value), &[&self.input]).unwrap();
        topology.add_processor("processor", supplier, &["source"]).unwrap();
        let produced = Produced::with(key, value);
        topology.add_sink("sink", &self.output, produced, &["processor"]).unwrap();
        topology
    }

    fn send(&self, value: &str) {
        let mut sender = self.kafka.producer();
        sender.send(&self.input, None, Some(value.as_bytes()));
        sender.flush();
    }

    fn until_output(&self, count: usize) -> Vec<Rec> {
        until(&format!("{count} outputs"), || {
            let records = self.kafka.read(&self.output);
            (records.len() >= count).then_some(records)
        })
    }
}

type Nullable = Option<Vec<u8>>;
type Bytes<'a> = Option<&'a [u8]>;
type Context<'a, 'b, 'c> = &'c mut ProcessorContext<'a, 'b, Nullable, Nullable>;

/// Forwards every record; asks for a commit if the function says so.
struct Pass<F>(F);

impl<F: FnMut() -> bool> Processor<Nullable, Nullable, Nullable, Nullable> for Pass<F> {
    fn process(
        &mut self,
        context: Context<'_, '_, '_>,
        record: Record<Nullable, Nullable>,
    ) -> Result<(), BoxError> {
        if (self.0)() {
            context.commit();
        }
        context.forward(record)
    }
}

#[test]
fn headers_timestamps_and_nulls_travel() {
    let small = Small::new("travel");
    let mut headers = Headers::new();
    headers.add("null", None);
    headers.add("empty", Some(Vec::new()));
    headers.add("text", Some(b"x".to_vec()));
    headers.add("text", Some(b"y".to_vec()));
    let mut sender = small.kafka.producer();
    let pairs: [(Bytes<'_>, Bytes<'_>); 4] =
        [(None, None), (Some(b""), Some(b"")), (Some(b"k"), None), (None, Some(b"v"))];
    for (key, value) in pairs {
        sender.send_to(&small.input, Some(0), key, value, &headers);
        sender.send_to(&small.input, Some(0), key, value, &Headers::new());
    }
    sender.flush();
    let app = Running::run(small.topology(|| Pass(|| false)), small.config(), |app| app).unwrap();
    let outputs = small.until_output(8);
    app.close();
    assert_eq!(outputs, small.kafka.read(&small.input));
}

#[test]
fn a_processor_can_ask_for_a_commit_before_the_interval_is_over() {
    let small = Small::new("commit");
    let config = small
        .config()
        .with_commit_interval(Duration::from_secs(100))
        .with_transaction_timeout(Duration::from_secs(200));
    let topology = small.topology(|| Pass(|| true));
    let app = Running::run(topology, config, |app| app).unwrap();
    // the first commit comes at once; the interval runs from there
    for number in 1..=3 {
        small.send("record");
        small.until_output(number);
    }
    assert!(app.metrics().commits >= 3);
    app.close();
}

struct Ticker;

impl Processor<Nullable, Nullable, Nullable, Nullable> for Ticker {
    fn init(&mut self, context: Context<'_, '_, '_>) -> Result<(), BoxError> {
        context.schedule(Duration::from_millis(100), PunctuationType::WallClockTime);
        Ok(())
    }

    fn process(
        &mut self,
        _: Context<'_, '_, '_>,
        _: Record<Nullable, Nullable>,
    ) -> Result<(), BoxError> {
        Ok(())
    }

    fn punctuate(
        &mut self,
        context: Context<'_, '_, '_>,
        punctuation: Punctuation,
    ) -> Result<(), BoxError> {
        assert!(context.record_metadata().is_none());
        context.forward(Record::new(None, Some(b"tick".to_vec()), punctuation.timestamp))
    }
}

#[test]
fn punctuations_by_the_wall_clock_commit_their_output_without_any_input() {
    let small = Small::new("ticker");
    let app = Running::run(small.topology(|| Ticker), small.config(), |app| app).unwrap();
    let ticks = small.until_output(3);
    app.close();
    let times: Vec<i64> = ticks.iter().map(|tick| tick.timestamp).collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
}

#[test]
fn inv_8_the_control_records_at_the_end_of_a_transactional_input_are_committed() {
    let mut bank = Bank::new("transactional", 1);
    let input = bank.spec.input.clone();
    let mut sender = bank.kafka.transactional(&unique("writer"));
    for round in 0..6 {
        sender.producer.begin_transaction().unwrap();
        for _ in 0..20 {
            bank.feed_one(&mut sender);
        }
        if round % 2 == 0 {
            sender.producer.commit_transaction(PATIENCE).unwrap();
        } else {
            sender.flush();
            sender.producer.abort_transaction(PATIENCE).unwrap();
        }
    }
    let app = Running::start(&bank.spec);
    // the tail is 20 aborted records and a control record
    bank.until_consumed();
    app.close();
    let records = bank.kafka.read(&input);
    assert_eq!(records.len(), 60);
    bank.verify();
    bank.audit_current();
    // and the same again from there
    let app = Running::start(&bank.spec);
    bank.feed(20);
    bank.until_consumed();
    assert_eq!(app.close().resumes, 1);
    bank.verify();
}

#[test]
fn at_least_once_loses_nothing_when_it_is_killed() {
    let mut bank = Bank::new("at-least-once", 2);
    bank.spec.set("processing.guarantee", "at_least_once");
    bank.spec.set("commit.interval.ms", "200");
    let mut process = Process::start(&bank.spec, None);
    process.until_logged(" running task=");
    let written = |bank: &Bank| -> i64 {
        let end = OffsetSpec::Latest;
        let ends = bank.kafka.ends(&bank.spec.output, end, Isolation::ReadUncommitted);
        ends.values().map(|end| end.0).sum()
    };
    for _ in 0..3 {
        let before = written(&bank);
        bank.feed(500);
        until("some outputs", || (written(&bank) > before).then_some(()));
        process.kill();
        process = Process::start(&bank.spec, None);
    }
    bank.until_consumed();
    // it may have had nothing left to do, and not yet be listening to signals
    process.until_logged(" running task=");
    process.stop();
    // what was processed twice may count twice, but nothing is missing
    let expected = expected(&bank.kafka.read(&bank.spec.input), |_| true);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for record in bank.kafka.read(&bank.spec.output) {
        let balance: Balance = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
        let count = counts.entry(record.key_text()).or_default();
        *count = (*count).max(usize::try_from(balance.count).unwrap());
    }
    for (account, balances) in expected {
        let counted = counts.get(&account).copied().unwrap_or(0);
        assert!(counted >= balances.len(), "{account}: {counted} of {}", balances.len());
    }
}

#[test]
fn close_says_whether_all_stopped_in_time() {
    let small = Small::new("close");
    let (busy, release) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (entered, released) = (Arc::clone(&busy), Arc::clone(&release));
    let supplier = move || {
        let (entered, released) = (Arc::clone(&entered), Arc::clone(&released));
        Pass(move || {
            entered.store(true, Ordering::SeqCst);
            until("the release", || released.load(Ordering::SeqCst).then_some(()));
            false
        })
    };
    let mut app = Tidemill::new(small.topology(supplier), small.config()).unwrap();
    app.start().unwrap();
    small.send("record");
    until("the record", || busy.load(Ordering::SeqCst).then_some(()));
    assert!(!app.close(Duration::from_millis(100)));
    assert_eq!(app.state(), State::PendingShutdown);
    release.store(true, Ordering::SeqCst);
    assert!(app.close(PATIENCE));
    assert_eq!(app.state(), State::NotRunning);
    assert_eq!(small.kafka.read(&small.output).len(), 1, "what was processed is committed");
}

#[test]
fn run_until_ends_well_when_it_is_told_to() {
    let mut bank = Bank::new("run-until", 1);
    bank.feed(100);
    let app = Tidemill::new(bank.spec.topology(), bank.spec.config()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            bank.until_consumed();
            stop.send(()).unwrap();
        });
        let run = app.run_until(async { drop(stopped.await) });
        runtime.block_on(run).unwrap();
    });
    bank.verify();
    bank.audit_current();
}

#[test]
fn run_until_returns_the_error_of_a_worker() {
    let mut bank = Bank::new("run-fails", 1);
    bank.feed(10);
    let mut sender = bank.kafka.producer();
    sender.send(&bank.spec.input, Some(b"account-1"), Some(b"bad"));
    sender.flush();
    let app = Tidemill::new(bank.spec.topology(), bank.spec.config()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(app.run_until(std::future::pending())).unwrap_err();
    assert!(error.to_string().contains(&format!("record 10 of {}-0", bank.spec.input)), "{error}");
}

#[test]
fn repartition_topics_are_purged_up_to_the_committed_offset_and_no_further() {
    let mut bank = Bank::new("purge", 2);
    bank.spec.repartition = true;
    bank.spec.set("repartition.purge.interval.ms", "100");
    let app = Running::start(&bank.spec);
    let topic = bank.spec.repartition_topic();
    let (group, mut purged) = (bank.spec.application_id.clone(), BTreeSet::new());
    until("a purge of both partitions", || {
        bank.feed(100);
        let starts = bank.kafka.ends(&topic, OffsetSpec::Earliest, Isolation::ReadUncommitted);
        // read after it, so that it can only be larger
        let committed = bank.kafka.committed_so_far(&group, &topic);
        for (partition, start) in starts {
            let committed = committed.get(&partition).map_or(0, |(offset, _)| offset.0);
            assert!(start.0 <= committed, "{partition} begins at {start}, committed {committed}");
            if start.0 > 0 {
                purged.insert(partition);
            }
        }
        (purged.len() == 2).then_some(())
    });
    bank.until_consumed();
    app.close();
    bank.verify();
    // a restart finds its way without what was deleted
    let app = Running::start(&bank.spec);
    bank.feed(100);
    bank.until_consumed();
    app.close();
    bank.verify();
}

#[test]
fn a_string_serde_refuses_what_is_no_text() {
    let small = Small::new("text");
    let mut topology = Topology::new();
    topology
        .add_source("source", Consumed::with(optional(string()), string()), &[&small.input])
        .unwrap();
    let error = {
        let mut sender = small.kafka.producer();
        sender.send(&small.input, None, Some(b"\xff"));
        sender.flush();
        Running::run(topology, small.config(), |app| app).unwrap().until_failed().to_string()
    };
    assert!(error.contains(&format!("record 0 of {}-0", small.input)), "{error}");
}
