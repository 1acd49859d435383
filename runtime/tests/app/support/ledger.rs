//! The application under test: an account's balance after each of its transactions.
//!
//! ```text
//!   input --> [ repartition --> ] ledger --> output     account, {sum, count}, header txn=task/n
//!                                   |  +---> manifests  one record per task and transaction
//!                                   +-- balances, commits (stores)
//! ```
//!
//! Every result is a function of the input: the k-th output of an account is the sum of its first k
//! amounts. `commits` counts the task's transactions; the manifest of transaction n says how many
//! outputs it has, and is written in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tidemill::processor::{Processor, ProcessorContext};
use tidemill::record::{Record, Timestamp};
use tidemill::serdes;
use tidemill::store::{KeyValueStore, TimestampedKeyValueStore, ValueAndTimestamp};
use tidemill::topology::{
    Consumed, Produced, Topology, key_value_store, timestamped_key_value_store,
};
use tidemill::{BoxError, Config};
use tidemill_core::dsl::{Repartitioned, StreamsBuilder};

use super::kafka::{Kafka, Rec, at};
use super::unique;

/// The amount that makes the processor fail, as often as [`Spec::failures`] says.
pub(crate) const FAILING: i64 = 666_666;
/// The amount whose output is larger than any client sends.
pub(crate) const OVERSIZED: i64 = 777_777;
pub(crate) const BALANCES: &str = "balances";
pub(crate) const COMMITS: &str = "commits";

/// All that a process has to know to run the application.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) bootstrap: String,
    pub(crate) application_id: String,
    pub(crate) state_dir: std::path::PathBuf,
    pub(crate) input: String,
    pub(crate) output: String,
    pub(crate) manifests: String,
    /// Read the input through a repartition topic, so that there are two sub-topologies.
    pub(crate) repartition: bool,
    /// How often the processor refuses [`FAILING`] in one process; after that it takes it.
    pub(crate) failures: u32,
    /// Whether a failed worker is replaced.
    pub(crate) replace: bool,
    /// Options of the configuration.
    pub(crate) options: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub(crate) struct Balance {
    pub(crate) sum: i64,
    pub(crate) count: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    outputs: u64,
}

impl Spec {
    pub(crate) fn config(&self) -> Config {
        let mut text = String::new();
        for (name, value) in &self.options {
            text += &format!("\"{name}\" = \"{value}\"\n");
        }
        Config::new(&self.application_id, &self.bootstrap)
            .with_state_dir(&self.state_dir)
            .apply_toml_str(&text)
    }

    pub(crate) fn set(&mut self, option: &str, value: &str) -> &mut Self {
        self.options.insert(option.to_owned(), value.to_owned());
        self
    }

    /// The transactional id of the first worker; it is kept in the state directory.
    pub(crate) fn transactional_id(&self) -> String {
        let path = self.task_path("tidemill.json");
        let manifest: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        format!("{}-{}-1", self.application_id, manifest["process_id"].as_str().unwrap())
    }

    /// Where a task keeps its state.
    pub(crate) fn task_path(&self, task: &str) -> std::path::PathBuf {
        self.state_dir.join(&self.application_id).join(task)
    }

    pub(crate) fn changelog(&self, store: &str) -> String {
        format!("{}-{store}-changelog", self.application_id)
    }

    pub(crate) fn repartition_topic(&self) -> String {
        format!("{}-by-account-repartition", self.application_id)
    }

    /// The topics that the group commits offsets of.
    pub(crate) fn sources(&self) -> Vec<String> {
        let repartition = self.repartition.then(|| self.repartition_topic());
        [self.input.clone()].into_iter().chain(repartition).collect()
    }

    pub(crate) fn topology(&self) -> Topology {
        let consumed = || Consumed::with(serdes::string(), serdes::i64()).with_name("transactions");
        let (mut topology, parent) = if self.repartition {
            let builder = StreamsBuilder::new();
            let repartitioned = Repartitioned::with(serdes::string(), serdes::i64());
            let _ = builder
                .stream(&self.input, consumed())
                .select_key(|account, _| account.clone())
                .repartition(repartitioned.with_name("by-account"));
            (builder.build().unwrap(), "by-account-repartition-source")
        } else {
            let mut topology = Topology::new();
            topology.add_source("transactions", consumed(), &[&self.input]).unwrap();
            (topology, "transactions")
        };
        let failures = Arc::new(AtomicU32::new(self.failures));
        let supplier = move || Ledger { failures: Arc::clone(&failures), ..Ledger::default() };
        topology.add_processor("ledger", supplier, &[parent]).unwrap();
        let text = || Produced::with(serdes::string(), serdes::string());
        topology.add_sink("output", &self.output, text(), &["ledger"]).unwrap();
        let by_task = text().with_stream_partitioner(|_: &str, key: &String, _: &String, _| {
            Some(tidemill::record::Partition(key.parse().ok()?))
        });
        topology.add_sink("manifests", &self.manifests, by_task, &["ledger"]).unwrap();
        let balances = serdes::json::<Balance>();
        let balances = timestamped_key_value_store(BALANCES, serdes::string(), balances);
        let commits = key_value_store(COMMITS, serdes::string(), serdes::i64());
        topology.add_state_store(balances, &["ledger"]).unwrap();
        topology.add_state_store(commits, &["ledger"]).unwrap();
        topology
    }
}

#[derive(Default)]
struct Ledger {
    failures: Arc<AtomicU32>,
    balances: Option<TimestampedKeyValueStore<String, Balance>>,
    commits: Option<KeyValueStore<String, i64>>,
    /// Of the transaction that is open.
    number: i64,
    outputs: u64,
}

impl Ledger {
    fn fail_as_often_as_asked(&self) -> Result<(), BoxError> {
        let less = |left: u32| left.checked_sub(1);
        match self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
            Ok(_) => Err("this transaction was made to fail".into()),
            Err(_) => Ok(()),
        }
    }
}

impl Processor<String, i64, String, String> for Ledger {
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, String>,
    ) -> Result<(), BoxError> {
        let commits = context.key_value_store::<String, i64>(COMMITS)?;
        let task = context.task_id().partition.to_string();
        self.number = commits.get(&task)?.unwrap_or(0) + 1;
        self.commits = Some(commits);
        self.balances = Some(context.timestamped_key_value_store(BALANCES)?);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, String>,
        record: Record<String, i64>,
    ) -> Result<(), BoxError> {
        let Record { key, value: amount, timestamp, mut headers } = record;
        if amount == FAILING {
            self.fail_as_often_as_asked()?;
        }
        let balances = self.balances.as_ref().unwrap();
        let mut balance = balances.get(&key)?.map(|found| found.value).unwrap_or_default();
        balance.sum += amount;
        balance.count += 1;
        balances.put(&key, ValueAndTimestamp { value: balance, timestamp })?;
        let txn = format!("{}/{}", context.task_id().partition, self.number);
        headers.add("txn", Some(txn.into_bytes()));
        let mut text = serde_json::to_string(&balance)?;
        if amount == OVERSIZED {
            text += &" ".repeat(2_000_000);
        } else {
            self.outputs += 1;
        }
        let record = Record::new(key, text, timestamp).with_headers(headers);
        context.forward_to("output", record)
    }

    fn flush(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, String>,
    ) -> Result<(), BoxError> {
        let task = context.task_id().partition.to_string();
        self.commits.as_ref().unwrap().put(&task, self.number)?;
        let manifest = serde_json::to_string(&Manifest { outputs: self.outputs })?;
        let mut record = Record::new(task.clone(), manifest, Timestamp(1));
        record.headers.add("txn", Some(format!("{task}/{}", self.number).into_bytes()));
        context.forward_to("manifests", record)?;
        self.number += 1;
        self.outputs = 0;
        Ok(())
    }
}

/// The topics of one test, its folder, and what has to come of its input.
pub(crate) struct Bank {
    pub(crate) kafka: Kafka,
    pub(crate) spec: Spec,
    _dir: TempDir,
    next: u64,
}

impl Bank {
    pub(crate) fn new(name: &str, partitions: i32) -> Self {
        Self::on(Kafka::shared(), name, partitions)
    }

    pub(crate) fn on(kafka: Kafka, name: &str, partitions: i32) -> Self {
        let dir = TempDir::new().unwrap();
        let options = [
            ("commit.interval.ms", "30"),
            ("transaction.timeout.ms", "10000"),
            ("session.timeout.ms", "10000"),
            ("heartbeat.interval.ms", "300"),
            ("task.timeout.ms", "60000"),
            ("poll.ms", "20"),
        ];
        let spec = Spec {
            bootstrap: kafka.bootstrap.clone(),
            application_id: unique(name),
            state_dir: dir.path().join("state"),
            input: kafka.topic(&format!("{name}-input"), partitions),
            output: kafka.topic(&format!("{name}-output"), partitions),
            manifests: kafka.topic(&format!("{name}-manifests"), partitions),
            repartition: false,
            failures: 0,
            replace: false,
            options: options.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        };
        Self { kafka, spec, _dir: dir, next: 0 }
    }

    /// Sends so many transactions over 50 accounts.
    pub(crate) fn feed(&mut self, count: u64) {
        let mut sender = self.kafka.producer();
        for _ in 0..count {
            self.feed_one(&mut sender);
        }
        sender.flush();
    }

    pub(crate) fn feed_one(&mut self, sender: &mut super::kafka::Sender) {
        let number = self.next;
        self.next += 1;
        let account = format!("account-{}", number % 50);
        let amount = i64::try_from(number % 1_000).unwrap() - 300;
        let amount = amount.to_be_bytes();
        sender.send(&self.spec.input, Some(account.as_bytes()), Some(&amount));
    }

    /// Sends one transaction to an account.
    pub(crate) fn feed_amount(&self, account: &str, amount: i64) {
        let mut sender = self.kafka.producer();
        sender.send(&self.spec.input, Some(account.as_bytes()), Some(&amount.to_be_bytes()));
        sender.flush();
    }

    /// Waits until everything that was sent is processed and committed.
    pub(crate) fn until_consumed(&self) {
        for topic in self.spec.sources() {
            self.kafka.until_consumed(&self.spec.application_id, &topic);
        }
    }

    /// Computes what the outputs of each account have to be, from the input topic.
    pub(crate) fn expected(&self) -> BTreeMap<String, Vec<Balance>> {
        expected(&self.kafka.read(&self.spec.input), |_| true)
    }

    /// Checks every output and manifest against the input (INV-1): nothing lost, nothing twice, no
    /// transaction torn, and the group's commit numbers are the manifests'.
    pub(crate) fn verify(&self) {
        self.verify_outputs(&self.expected());
        self.verify_transactions();
    }

    pub(crate) fn verify_outputs(&self, expected: &BTreeMap<String, Vec<Balance>>) {
        let mut outputs: BTreeMap<String, Vec<Balance>> = BTreeMap::new();
        for record in self.kafka.read(&self.spec.output) {
            let balance = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
            outputs.entry(record.key_text()).or_default().push(balance);
        }
        let accounts = |of: &BTreeMap<String, Vec<Balance>>| of.keys().cloned().collect::<Vec<_>>();
        assert_eq!(accounts(&outputs), accounts(expected), "accounts are missing or too many");
        for (account, balances) in &outputs {
            assert_eq!(balances, &expected[account], "outputs of {account}, in order");
        }
    }

    /// INV-1, from outside: see [`Bank::verify`].
    pub(crate) fn verify_transactions(&self) {
        let outputs = self.kafka.read(&self.spec.output);
        let manifests = self.kafka.read(&self.spec.manifests);
        verify_transactions(&outputs, &manifests);
        let source = self.spec.sources().pop().unwrap();
        let committed = self.kafka.committed(&self.spec.application_id, &source);
        let changelog = self.kafka.read(&self.spec.changelog(COMMITS));
        for (partition, (_, number)) in committed {
            let partition = partition.partition.0;
            let of_partition = |record: &&Rec| record.partition == partition;
            let written = manifests.iter().filter(of_partition).count() as u64;
            assert_eq!(number, Some(written), "commit number of {}", at(&source, partition));
            let logged: Vec<i64> = changelog
                .iter()
                .filter(of_partition)
                .map(|record| i64::from_be_bytes(record.value.clone().unwrap().try_into().unwrap()))
                .collect();
            let all: Vec<i64> = (1..=i64::try_from(written).unwrap()).collect();
            assert_eq!(logged, all, "changelog of {COMMITS}, partition {partition}");
        }
    }
}

/// The outputs of each account as far as the input goes; what can't be read counts for nothing.
pub(crate) fn expected(
    input: &[Rec],
    take: impl Fn(&Rec) -> bool,
) -> BTreeMap<String, Vec<Balance>> {
    let mut balances: BTreeMap<String, Vec<Balance>> = BTreeMap::new();
    for record in input.iter().filter(|record| take(record)) {
        let value: Option<[u8; 8]> =
            record.value.as_deref().and_then(|value| value.try_into().ok());
        let Some(amount) = value.map(i64::from_be_bytes) else { continue };
        let of_account = balances.entry(record.key_text()).or_default();
        let mut balance = of_account.last().copied().unwrap_or_default();
        balance.sum += amount;
        balance.count += 1;
        of_account.push(balance);
    }
    balances
}

/// Every transaction whole: its outputs stand together, are as many as its manifest says, and the
/// manifests of a task are numbered 1, 2, 3, ..
pub(crate) fn verify_transactions(outputs: &[Rec], manifests: &[Rec]) {
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    let mut last: BTreeMap<i32, String> = BTreeMap::new();
    for record in outputs {
        let txn = record.header("txn").unwrap();
        let before = last.insert(record.partition, txn.clone());
        let counted = counted.entry(txn.clone()).or_default();
        let follows = *counted == 0 || before.as_ref() == Some(&txn);
        assert!(follows, "transaction {txn} is not in one piece");
        *counted += 1;
    }
    let mut numbers: BTreeMap<i32, u64> = BTreeMap::new();
    for record in manifests {
        let number = numbers.entry(record.partition).or_default();
        *number += 1;
        let txn = record.header("txn").unwrap();
        let expected = format!("{}/{number}", record.partition);
        assert_eq!(txn, expected, "the order of the manifests: {manifests:?}");
        let manifest: Manifest = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
        let found = counted.remove(&txn).unwrap_or(0);
        assert_eq!(found, manifest.outputs, "transaction {txn} is torn");
    }
    assert!(counted.is_empty(), "outputs without a manifest: {counted:?}");
}
