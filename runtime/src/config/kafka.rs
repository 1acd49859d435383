//! Options for librdkafka: which may be passed on, to which clients, and which are refused and why.
//!
//! Only options of the table in `librdkafka.rs` are passed on. Of the rest, those that Tidemill
//! itself decides and those that would run code or reach out of the process are refused with the
//! reason; what remains is unknown. (In librdkafka's configuration a shell command, libraries to
//! load and URLs to call are options like any other.)

use std::collections::BTreeMap;

use super::librdkafka::{self, Clients, Known};
use super::secret::Secret;

/// Options for librdkafka, by prefix. The more specific prefix wins.
#[derive(Clone, Default, PartialEq)]
pub struct ClientOptions {
    /// Full name with prefix to value. A name without one of the prefixes is kept too, so that
    /// `validate` can report it.
    entries: BTreeMap<String, Secret>,
}

impl ClientOptions {
    /// Sets an option by its full name, e.g. `consumer.fetch.min.bytes`.
    pub fn set(&mut self, name: &str, value: Secret) {
        self.entries.insert(name.to_owned(), value);
    }

    /// Every option with its full name, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// What is set for this client: option name without prefix to value.
    pub(super) fn of(&self, client: Client) -> BTreeMap<&'static str, &Secret> {
        let mut options = BTreeMap::new();
        for scope in client.scopes() {
            for (name, value) in &self.entries {
                if let Some((found, rest)) = Scope::split(name)
                    && found == *scope
                    && let Some(known) = librdkafka::find(rest)
                    && known.clients.include(client.kind())
                {
                    options.insert(known.canonical(), value);
                }
            }
        }
        options
    }
}

/// A client that Tidemill makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    MainConsumer,
    RestoreConsumer,
    GlobalConsumer,
    Producer,
    Admin,
}

impl Client {
    pub(super) const ALL: [Self; 5] = [
        Self::MainConsumer,
        Self::RestoreConsumer,
        Self::GlobalConsumer,
        Self::Producer,
        Self::Admin,
    ];

    /// The prefixes that reach it, the most specific last.
    fn scopes(self) -> &'static [Scope] {
        match self {
            Self::MainConsumer => &[Scope::All, Scope::Consumer, Scope::MainConsumer],
            Self::RestoreConsumer => &[Scope::All, Scope::Consumer, Scope::RestoreConsumer],
            Self::GlobalConsumer => &[Scope::All, Scope::Consumer, Scope::GlobalConsumer],
            Self::Producer => &[Scope::All, Scope::Producer],
            Self::Admin => &[Scope::All, Scope::Admin],
        }
    }

    /// Which options librdkafka has for it; an admin client takes only those common to all.
    fn kind(self) -> Clients {
        match self {
            Self::MainConsumer | Self::RestoreConsumer | Self::GlobalConsumer => Clients::Consumer,
            Self::Producer => Clients::Producer,
            Self::Admin => Clients::All,
        }
    }
}

/// A prefix of option names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    Consumer,
    MainConsumer,
    RestoreConsumer,
    GlobalConsumer,
    Producer,
    Admin,
}

impl Scope {
    /// Every prefix. None is the beginning of another, nor of an option of Tidemill's own.
    pub(super) const PREFIXES: [(&'static str, Self); 7] = [
        ("kafka.", Self::All),
        ("consumer.", Self::Consumer),
        ("main.consumer.", Self::MainConsumer),
        ("restore.consumer.", Self::RestoreConsumer),
        ("global.consumer.", Self::GlobalConsumer),
        ("producer.", Self::Producer),
        ("admin.", Self::Admin),
    ];

    /// Splits a full name into prefix and librdkafka's name.
    pub(super) fn split(name: &str) -> Option<(Self, &str)> {
        Self::PREFIXES
            .iter()
            .find_map(|(prefix, scope)| name.strip_prefix(prefix).map(|rest| (*scope, rest)))
    }

    /// Whether an option of such clients may stand under this prefix.
    pub(super) fn accepts(self, clients: Clients) -> bool {
        match self {
            Self::All => true,
            Self::Consumer | Self::MainConsumer | Self::RestoreConsumer | Self::GlobalConsumer => {
                clients.include(Clients::Consumer)
            }
            Self::Producer => clients.include(Clients::Producer),
            Self::Admin => clients == Clients::All,
        }
    }
}

/// What becomes of an option.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// It is passed on.
    Pass(&'static Known),
    /// Tidemill sets it: why, and what to do instead.
    Owned(&'static str, &'static str),
    /// It would run code or reach out of the process: what it does.
    Dangerous(&'static str),
    /// Neither Tidemill nor its table of librdkafka options has it.
    Unknown,
}

/// Decides about an option by librdkafka's name. `exactly_once`: whether commits are transactions.
pub(super) fn judge(name: &str, exactly_once: bool) -> Verdict {
    if name == "isolation.level" && !exactly_once {
        // Without transactions of our own it is a choice of the application.
        return librdkafka::find(name).map_or(Verdict::Unknown, Verdict::Pass);
    }
    if let Some((_, why, instead)) = OWNED.iter().find(|(owned, ..)| *owned == name) {
        return Verdict::Owned(why, instead);
    }
    if let Some(what) = dangerous(name) {
        return Verdict::Dangerous(what);
    }
    librdkafka::find(name).map_or(Verdict::Unknown, Verdict::Pass)
}

fn dangerous(name: &str) -> Option<&'static str> {
    let matches = |pattern: &str| match pattern.split_once('*') {
        None => pattern == name,
        Some((start, end)) => name.starts_with(start) && name.ends_with(end),
    };
    REFUSED.iter().find(|(pattern, _)| matches(pattern)).map(|(_, what)| *what)
}

/// Options that run code or reach out of the process: name, in which `*` stands for any text, and
/// what it does.
pub(super) const REFUSED: &[(&str, &str)] = &[
    ("plugin.library.paths", "it loads native code into the process"),
    ("ssl.engine*", "it loads native code into OpenSSL"),
    ("ssl_engine*", "it loads native code into OpenSSL"),
    ("ssl.providers", "it loads native code into OpenSSL"),
    ("sasl.kerberos.kinit.cmd", "it runs a shell command"),
    ("sasl.oauthbearer.*", "it makes the process send HTTP requests and read files"),
    ("enable.sasl.oauthbearer.unsecure.jwt", "it makes tokens that anybody can forge"),
    ("offset.store.*", "it writes files"),
    ("*_cb", "it is a callback, not a setting"),
    ("interceptors", "it is a callback, not a setting"),
    ("enabled_events", "it is a hook into the process, not a setting"),
    ("opaque", "it is a hook into the process, not a setting"),
    ("default_topic_conf", "it is a hook into the process, not a setting"),
];

/// Options that Tidemill sets itself: name, why, what to do instead.
pub(super) const OWNED: &[(&str, &str, &str)] = &[
    ("bootstrap.servers", "it is an option of its own", "set bootstrap.servers"),
    ("metadata.broker.list", "it is an option of its own", "set bootstrap.servers"),
    ("client.id", "each client has a name of its own", "set client.id"),
    ("group.id", "the group is the application", "set application.id"),
    ("group.instance.id", "each worker has one of its own", "set group.instance.id"),
    ("session.timeout.ms", "it is an option of its own", "set session.timeout.ms"),
    ("heartbeat.interval.ms", "it is an option of its own", "set heartbeat.interval.ms"),
    ("max.poll.interval.ms", "it is an option of its own", "set max.poll.interval.ms"),
    ("auto.offset.reset", "it is an option of its own", "set auto.offset.reset"),
    ("transaction.timeout.ms", "it is an option of its own", "set transaction.timeout.ms"),
    ("transactional.id", "it names the worker that may commit", REMOVE),
    ("enable.idempotence", "without it a retry may write a record twice", REMOVE),
    ("enable.gapless.guarantee", "it turns errors that a transaction heals fatal", REMOVE),
    ("acks", "the idempotent producer needs acks=all", REMOVE),
    ("request.required.acks", "the idempotent producer needs acks=all", REMOVE),
    ("retries", "a record is retried until its time is over", SET_TIMEOUT),
    ("message.send.max.retries", "a record is retried until its time is over", SET_TIMEOUT),
    ("max.in.flight", "the idempotent producer allows at most 5", REMOVE),
    ("max.in.flight.requests.per.connection", "the idempotent producer allows at most 5", REMOVE),
    ("message.timeout.ms", "it follows from the transaction's time-out", SET_TIMEOUT),
    ("delivery.timeout.ms", "it follows from the transaction's time-out", SET_TIMEOUT),
    ("queuing.strategy", "records keep their order", REMOVE),
    ("queue.buffering.backpressure.threshold", "the idempotent producer needs 1", REMOVE),
    ("delivery.report.only.error", "changelog positions come from delivery reports", REMOVE),
    ("partitioner", "partitions are computed as the Java client does", REMOVE),
    ("isolation.level", "exactly-once reads committed records only", REMOVE),
    ("enable.auto.commit", "offsets are committed with the outputs", REMOVE),
    ("auto.commit.enable", "offsets are committed with the outputs", REMOVE),
    ("auto.commit.interval.ms", "offsets are committed with the outputs", SET_COMMIT),
    ("enable.auto.offset.store", "offsets are those of processed records", REMOVE),
    ("enable.partition.eof", "the end of a partition decides when state is restored", REMOVE),
    ("partition.assignment.strategy", "co-partitioned topics need range", REMOVE),
    ("group.protocol", "the group protocol decides who owns a task", REMOVE),
    ("group.protocol.type", "the group protocol decides who owns a task", REMOVE),
    ("group.remote.assignor", "co-partitioned topics need range", REMOVE),
    ("allow.auto.create.topics", "a topic made by accident has the wrong partitions", REMOVE),
    ("topic.blacklist", "it would hide topics of the topology", REMOVE),
    ("queued.max.messages.kbytes", "it follows from a bound of its own", SET_BUFFER),
    ("consume.callback.max.messages", "records are taken in batches", REMOVE),
    ("log.queue", "the client's log goes to tracing", REMOVE),
    ("internal.termination.signal", "signals belong to the application", REMOVE),
];

const REMOVE: &str = "remove it";
const SET_TIMEOUT: &str = "set transaction.timeout.ms, or task.timeout.ms with at_least_once";
const SET_COMMIT: &str = "set commit.interval.ms";
const SET_BUFFER: &str = "set input.buffer.max.bytes or restore.buffer.max.bytes";
