//! The librdkafka options that may be passed on, with the range of each, so that a wrong one is
//! found before a client is made: librdkafka stops at the first, and repeats its value.
//!
//! From CONFIGURATION.md of the pinned release; a test compares the table with the library.

use super::secret::is_sensitive;

/// The clients that have an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clients {
    All,
    Consumer,
    Producer,
}

impl Clients {
    /// Whether clients of this kind have such an option; `All` stands for a client that is neither.
    pub(super) fn include(self, kind: Self) -> bool {
        self == Self::All || self == kind
    }
}

/// The form of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    /// A whole number from the first to the second.
    Number(i64, i64),
    /// A number with a fraction from the first to the second.
    Decimal(i64, i64),
    /// `true` or `false`.
    Switch,
    /// One of these.
    Word(&'static [&'static str]),
    /// Some of these, separated by commas.
    Words(&'static [&'static str]),
    /// Any text.
    Text,
}

/// An option of librdkafka that may be passed on.
#[derive(Debug, PartialEq)]
pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) clients: Clients,
    pub(super) form: Form,
    alias_of: Option<&'static str>,
}

impl Known {
    /// The one name under which an option with two names is set, so that one value wins.
    pub(super) fn canonical(&self) -> &'static str {
        self.alias_of.unwrap_or(self.name)
    }

    /// Whether the value may be shown. Free text may be anything, and so may a value that is
    /// wrong here.
    pub(super) fn is_harmless(&self, value: &str) -> bool {
        self.form != Text && !is_sensitive(self.name) && self.refuses(value).is_none()
    }

    /// What the value must be, where it is not that.
    pub(super) fn refuses(&self, value: &str) -> Option<String> {
        let one_of = |words: &[&str], word: &str| {
            words.iter().any(|known| known.eq_ignore_ascii_case(word.trim()))
        };
        match self.form {
            Number(min, max) => (!value.parse().is_ok_and(|n: i64| (min..=max).contains(&n)))
                .then(|| format!("it must be a whole number from {min} to {max}")),
            Decimal(min, max) => {
                (!value.parse().is_ok_and(|n: f64| (min as f64..=max as f64).contains(&n)))
                    .then(|| format!("it must be a number from {min} to {max}"))
            }
            Switch => {
                (!matches!(value, "true" | "false")).then(|| "it must be true or false".to_owned())
            }
            Word(words) => {
                (!one_of(words, value)).then(|| format!("it must be one of {}", words.join(", ")))
            }
            Words(words) => (!value.split(',').all(|word| one_of(words, word)))
                .then(|| format!("it may name only {}", words.join(", "))),
            Text => value.contains('\0').then(|| "it must not hold a NUL byte".to_owned()),
        }
    }
}

/// The option of this name.
pub(super) fn find(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}

const fn known(name: &'static str, clients: Clients, form: Form) -> Known {
    Known { name, clients, form, alias_of: None }
}

const fn alias(name: &'static str, clients: Clients, form: Form, of: &'static str) -> Known {
    Known { name, clients, form, alias_of: Some(of) }
}

use Clients::{All, Consumer, Producer};
use Form::{Decimal, Number, Switch, Text, Word, Words};

const CODEC: Form = Word(&["none", "gzip", "snappy", "lz4", "zstd"]);
/// Without OAUTHBEARER: its options send HTTP requests or make tokens that anybody can forge.
const MECHANISM: Form = Word(&["GSSAPI", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]);

/// Every option that may be passed on, in alphabetical order. `debug` lacks the contexts that
/// print credentials or record contents: `security`, `protocol`, `conf`, `all`.
pub(super) static KNOWN: &[Known] = &[
    known("api.version.request.timeout.ms", All, Number(1, 300_000)),
    known("batch.num.messages", Producer, Number(1, 1_000_000)),
    known("batch.size", Producer, Number(1, 2_147_483_647)),
    known("broker.address.family", All, Word(&["any", "v4", "v6"])),
    known("broker.address.ttl", All, Number(0, 86_400_000)),
    known("check.crcs", Consumer, Switch),
    known(
        "client.dns.lookup",
        All,
        Word(&["use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"]),
    ),
    known("client.rack", All, Text),
    known("compression.codec", Producer, CODEC),
    known("compression.level", Producer, Number(-1, 12)),
    alias("compression.type", Producer, CODEC, "compression.codec"),
    known("connections.max.idle.ms", All, Number(0, 2_147_483_647)),
    known("coordinator.query.interval.ms", Consumer, Number(1, 3_600_000)),
    known(
        "debug",
        All,
        Words(&[
            "generic",
            "broker",
            "topic",
            "metadata",
            "feature",
            "queue",
            "msg",
            "cgrp",
            "fetch",
            "consumer",
            "admin",
            "eos",
            "mock",
            "assignor",
            "telemetry",
        ]),
    ),
    known("enable.metrics.push", All, Switch),
    known("enable.ssl.certificate.verification", All, Switch),
    known("fetch.error.backoff.ms", Consumer, Number(0, 300_000)),
    known("fetch.max.bytes", Consumer, Number(0, 2_147_483_135)),
    known("fetch.message.max.bytes", Consumer, Number(1, 1_000_000_000)),
    known("fetch.min.bytes", Consumer, Number(1, 100_000_000)),
    known("fetch.queue.backoff.ms", Consumer, Number(0, 300_000)),
    known("fetch.wait.max.ms", Consumer, Number(0, 300_000)),
    known("isolation.level", Consumer, Word(&["read_uncommitted", "read_committed"])),
    known("linger.ms", Producer, Decimal(0, 900_000)),
    known("log.connection.close", All, Switch),
    known("log_level", All, Number(0, 7)),
    alias(
        "max.partition.fetch.bytes",
        Consumer,
        Number(1, 1_000_000_000),
        "fetch.message.max.bytes",
    ),
    known("message.copy.max.bytes", All, Number(0, 1_000_000_000)),
    known("message.max.bytes", All, Number(1_000, 1_000_000_000)),
    known("metadata.max.age.ms", All, Number(1, 86_400_000)),
    known("metadata.recovery.rebootstrap.trigger.ms", All, Number(0, 2_147_483_647)),
    known("metadata.recovery.strategy", All, Word(&["none", "rebootstrap"])),
    known("queue.buffering.max.kbytes", Producer, Number(1, 2_147_483_647)),
    known("queue.buffering.max.messages", Producer, Number(0, 2_147_483_647)),
    alias("queue.buffering.max.ms", Producer, Decimal(0, 900_000), "linger.ms"),
    known("queued.min.messages", Consumer, Number(1, 10_000_000)),
    known("receive.message.max.bytes", All, Number(1_000, 2_147_483_647)),
    known("reconnect.backoff.max.ms", All, Number(0, 3_600_000)),
    known("reconnect.backoff.ms", All, Number(0, 3_600_000)),
    known("request.timeout.ms", Producer, Number(1, 900_000)),
    known("retry.backoff.max.ms", All, Number(1, 300_000)),
    known("retry.backoff.ms", All, Number(1, 300_000)),
    known("sasl.kerberos.keytab", All, Text),
    known("sasl.kerberos.min.time.before.relogin", All, Number(0, 86_400_000)),
    known("sasl.kerberos.principal", All, Text),
    known("sasl.kerberos.service.name", All, Text),
    alias("sasl.mechanism", All, MECHANISM, "sasl.mechanisms"),
    known("sasl.mechanisms", All, MECHANISM),
    known("sasl.password", All, Text),
    known("sasl.username", All, Text),
    known("security.protocol", All, Word(&["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"])),
    known("socket.connection.setup.timeout.ms", All, Number(1_000, 2_147_483_647)),
    known("socket.keepalive.enable", All, Switch),
    known("socket.max.fails", All, Number(0, 1_000_000)),
    known("socket.nagle.disable", All, Switch),
    known("socket.receive.buffer.bytes", All, Number(0, 100_000_000)),
    known("socket.send.buffer.bytes", All, Number(0, 100_000_000)),
    known("socket.timeout.ms", All, Number(10, 300_000)),
    known("ssl.ca.location", All, Text),
    known("ssl.ca.pem", All, Text),
    known("ssl.certificate.location", All, Text),
    known("ssl.certificate.pem", All, Text),
    known("ssl.cipher.suites", All, Text),
    known("ssl.crl.location", All, Text),
    known("ssl.curves.list", All, Text),
    known("ssl.endpoint.identification.algorithm", All, Word(&["none", "https"])),
    known("ssl.key.location", All, Text),
    known("ssl.key.password", All, Text),
    known("ssl.key.pem", All, Text),
    known("ssl.keystore.location", All, Text),
    known("ssl.keystore.password", All, Text),
    known("ssl.sigalgs.list", All, Text),
    known("statistics.interval.ms", All, Number(0, 86_400_000)),
    known("sticky.partitioning.linger.ms", Producer, Number(0, 900_000)),
    known("topic.metadata.propagation.max.ms", All, Number(0, 3_600_000)),
    known("topic.metadata.refresh.fast.interval.ms", All, Number(1, 60_000)),
    known("topic.metadata.refresh.interval.ms", All, Number(-1, 3_600_000)),
    known("topic.metadata.refresh.sparse", All, Switch),
];
