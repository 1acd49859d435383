//! Kafka Streams and Tidemill take each other's place in one application: what one of them has
//! built and committed, the other one restores from the changelogs and goes on with.
//!
//! `kafka_streams/Takeover.java` is the same topology. It needs a JDK and Maven (for the class path
//! of `benches/java`) and an Apache Kafka; without them the tests say so and pass.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tidemill::Config;
use tidemill::dsl::{Grouped, Joined, Materialized, StreamsBuilder};
use tidemill::serdes;
use tidemill::topology::{Consumed, Produced, Topology};

use super::support::kafka::{Kafka, Sender};
use super::support::running::Running;
use super::support::{unique, until};

/// The topics that are read: words by line, and two tables.
const INPUTS: [&str; 3] = ["words", "left", "right"];
const OUTPUTS: [&str; 4] = ["counts", "reduced", "joined", "enriched"];

fn topology(prefix: &str) -> Topology {
    let strings = || Consumed::with(serdes::string(), serdes::string());
    let by = || Grouped::with(serdes::string(), serdes::string());
    let topic = |name: &str| format!("{prefix}{name}");
    let changes = || Produced::with(serdes::string(), serdes::optional(serdes::string()));
    let builder = StreamsBuilder::new();
    let words = builder.stream(&topic("words"), strings());
    words
        .group_by(|_, word: &String| word.clone(), by())
        .count(Materialized::as_("counts"))
        .to_stream()
        .to(&topic("counts"), Produced::with(serdes::string(), serdes::optional(serdes::i64())));
    words
        .group_by_key(by())
        .reduce(|all, word| format!("{all} {word}"), Materialized::as_("reduced"))
        .to_stream()
        .to(&topic("reduced"), changes());
    let left = builder.table(&topic("left"), strings(), Materialized::as_("left"));
    let right = builder.table(&topic("right"), strings(), Materialized::as_("right"));
    let kept = Materialized::as_("joined")
        .with_key_serde(serdes::string())
        .with_value_serde(serdes::string());
    left.outer_join(&right, |a, b| format!("{}+{}", text(a), text(b)), kept)
        .to_stream()
        .to(&topic("joined"), changes());
    words
        .left_join_table(&left, |word, a| format!("{word}/{}", text(a)), Joined::default())
        .to(&topic("enriched"), Produced::with(serdes::string(), serdes::string()));
    builder.build().unwrap()
}

/// A missing value as Java writes it.
fn text(value: Option<&String>) -> &str {
    value.map_or("null", String::as_str)
}

/// An application and all that has to come of its input.
struct Shared {
    kafka: Kafka,
    application_id: String,
    prefix: String,
    dir: TempDir,
    sender: Sender,
    rounds: usize,
    left: BTreeMap<String, String>,
    right: BTreeMap<String, String>,
    counts: BTreeMap<String, i64>,
    reduced: BTreeMap<String, String>,
    joined: BTreeMap<String, String>,
    enriched: BTreeMap<String, Vec<String>>,
}

impl Shared {
    fn new(name: &str) -> Self {
        let kafka = Kafka::shared();
        let prefix = unique(name) + "-";
        for topic in INPUTS.iter().chain(&OUTPUTS) {
            kafka.create(&format!("{prefix}{topic}"), 2, &[]);
        }
        let sender = kafka.producer();
        Self {
            kafka,
            application_id: unique(name),
            prefix,
            dir: TempDir::new().unwrap(),
            sender,
            rounds: 0,
            left: BTreeMap::new(),
            right: BTreeMap::new(),
            counts: BTreeMap::new(),
            reduced: BTreeMap::new(),
            joined: BTreeMap::new(),
            enriched: BTreeMap::new(),
        }
    }

    fn send(&mut self, topic: &str, key: &str, value: Option<&str>) {
        let topic = format!("{}{topic}", self.prefix);
        self.sender.send(&topic, Some(key.as_bytes()), value.map(str::as_bytes));
    }

    fn until_consumed(&mut self, topics: &[&str]) {
        self.sender.flush();
        for topic in topics {
            self.kafka.until_consumed(&self.application_id, &format!("{}{topic}", self.prefix));
        }
    }

    /// Feeds whoever runs: the tables first, so that what a word finds in them is certain.
    fn feed(&mut self) {
        self.rounds += 1;
        let round = self.rounds;
        for number in 0..10 {
            let (key, value) = (format!("k{number}"), format!("l{round}"));
            if number == round {
                self.send("left", &key, None);
                self.left.remove(&key);
            } else {
                self.send("left", &key, Some(&value));
                self.left.insert(key, value);
            }
        }
        for number in 5..15 {
            let (key, value) = (format!("k{number}"), format!("r{round}"));
            self.send("right", &key, Some(&value));
            self.right.insert(key, value);
        }
        for key in self.left.keys().chain(self.right.keys()) {
            let (a, b) = (self.left.get(key), self.right.get(key));
            self.joined.insert(key.clone(), format!("{}+{}", text(a), text(b)));
        }
        // neither side has it any more: a tombstone
        self.joined.retain(|key, _| self.left.contains_key(key) || self.right.contains_key(key));
        self.until_consumed(&["left", "right"]);
        for number in 0..60 {
            let (key, word) = (format!("k{}", number % 12), format!("w{}", number % 7));
            self.send("words", &key, Some(&word));
            *self.counts.entry(word.clone()).or_default() += 1;
            let found = format!("{word}/{}", text(self.left.get(&key)));
            self.enriched.entry(key.clone()).or_default().push(found);
            let reduced = self.reduced.entry(key).or_default();
            *reduced = format!("{reduced} {word}").trim_start().to_owned();
        }
        self.until_consumed(&INPUTS);
    }

    fn all(&self, topic: &str) -> BTreeMap<String, Vec<Option<Vec<u8>>>> {
        let mut all: BTreeMap<String, Vec<Option<Vec<u8>>>> = BTreeMap::new();
        for record in self.kafka.read(&format!("{}{topic}", self.prefix)) {
            all.entry(record.key_text()).or_default().push(record.value);
        }
        all
    }

    /// The last value of each key.
    fn last(&self, topic: &str) -> BTreeMap<String, Vec<u8>> {
        let all = self.all(topic).into_iter();
        all.filter_map(|(key, mut values)| Some((key, values.pop()??))).collect()
    }

    /// Waits for the counts, which come by a repartition topic, and compares everything.
    fn verify(&self) {
        let counts: BTreeMap<_, _> =
            self.counts.iter().map(|(k, n)| (k.clone(), n.to_be_bytes().to_vec())).collect();
        until("all counts", || (self.last("counts") == counts).then_some(()));
        for (word, values) in self.all("counts") {
            let grows = values.windows(2).all(|pair| pair[0] < pair[1]);
            assert!(grows, "counts of {word} in order, each once: {values:?}");
        }
        let bytes = |of: &BTreeMap<String, String>| -> BTreeMap<String, Vec<u8>> {
            of.iter().map(|(key, value)| (key.clone(), value.clone().into_bytes())).collect()
        };
        assert_eq!(self.last("reduced"), bytes(&self.reduced));
        assert_eq!(self.last("joined"), bytes(&self.joined));
        let enriched: BTreeMap<String, Vec<String>> = self
            .all("enriched")
            .into_iter()
            .map(|(key, values)| {
                let text = |value: Option<Vec<u8>>| String::from_utf8(value.unwrap()).unwrap();
                (key, values.into_iter().map(text).collect())
            })
            .collect();
        assert_eq!(enriched, self.enriched, "each word once, in order");
    }

    /// One round with Tidemill.
    fn tidemill(&mut self) {
        let config = Config::new(&self.application_id, &self.kafka.bootstrap)
            .with_state_dir(self.dir.path().join("tidemill"))
            .with_commit_interval(std::time::Duration::from_millis(50));
        let app = Running::run(topology(&self.prefix), config, |app| app).unwrap();
        self.feed();
        self.verify();
        let metrics = app.close();
        if self.rounds > 1 {
            assert!(metrics.restored_records > 0, "nothing was restored: {metrics:?}");
        }
        self.verify();
    }

    /// One round with Kafka Streams.
    fn kafka_streams(&mut self, class_path: &str) {
        let mut java = Java::start(class_path, self);
        let described = topology(&self.prefix).describe().to_string();
        java.until_logged("state RUNNING");
        assert!(java.log().starts_with(&described), "{}\n{described}", java.log());
        self.feed();
        self.verify();
        java.stop();
        self.verify();
    }
}

/// Kafka Streams in a process of its own.
struct Java {
    child: Child,
    log: PathBuf,
}

impl Java {
    fn start(class_path: &str, shared: &Shared) -> Self {
        let program =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/app/kafka_streams/Takeover.java");
        let log = shared.dir.path().join(format!("java-{}.log", shared.rounds));
        let child = Command::new("java")
            .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", class_path])
            .arg(program)
            .args([&*shared.kafka.bootstrap, &*shared.application_id])
            .arg(shared.dir.path().join("java"))
            .arg(&shared.prefix)
            .stdin(Stdio::piped())
            .stdout(File::create(&log).unwrap())
            .stderr(File::create(log.with_extension("err")).unwrap())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    fn until_logged(&mut self, text: &str) {
        until(&format!("'{text}' of Kafka Streams"), || {
            let ended = self.child.try_wait().unwrap();
            assert_eq!(ended, None, "it ended before it said '{text}'");
            self.log().contains(text).then_some(())
        });
    }

    /// Ends it in order, by the end of its input.
    fn stop(&mut self) {
        drop(self.child.stdin.take());
        let status = until("the end of Kafka Streams", || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Java {
    #[expect(clippy::print_stderr, reason = "shown by the test harness when the test fails")]
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let errors = std::fs::read_to_string(self.log.with_extension("err"));
            eprintln!("--- Kafka Streams:\n{}{}", self.log(), errors.unwrap_or_default());
        }
    }
}

/// Returns the class path of Kafka Streams, or why there is none to test with.
fn class_path() -> Result<String, String> {
    let script = std::env::var("TIDEMILL_TEST_BROKER").unwrap_or_default();
    if !script.ends_with("kafka/kafka") {
        return Err("the broker is not Apache Kafka".to_owned());
    }
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/java/build");
    let built = Command::new(build).output().map_err(|error| error.to_string())?;
    if !built.status.success() {
        return Err(String::from_utf8_lossy(&built.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&built.stdout).trim().to_owned())
}

#[expect(clippy::print_stderr, reason = "who runs the tests has to know what was not tested")]
fn alternate(name: &str, tidemill_first: bool) {
    let class_path = match class_path() {
        Ok(class_path) => class_path,
        Err(why) => return eprintln!("SKIPPED: {name}: {why}"),
    };
    let mut shared = Shared::new(name);
    for round in 0..4 {
        if (round % 2 == 0) == tidemill_first {
            shared.tidemill();
        } else {
            shared.kafka_streams(&class_path);
        }
    }
}

#[test]
fn inv_1_tidemill_takes_an_application_of_kafka_streams_over_and_gives_it_back() {
    alternate("java-first", false);
}

#[test]
fn inv_1_kafka_streams_takes_an_application_of_tidemill_over_and_gives_it_back() {
    alternate("tidemill-first", true);
}
