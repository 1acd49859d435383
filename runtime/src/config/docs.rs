//! The text of `docs/CONFIGURATION.md`, made from the table of options.

use std::fmt::Write;

use super::kafka::{OWNED, REFUSED};
use super::librdkafka::{Clients, Form, KNOWN};
use super::{Config, OPTIONS};

const INTRODUCTION: &str = "\
# Configuration

<!-- Generated from runtime/src/config: UPDATE_GOLDEN=1 cargo test -p tidemill config -->

Later sources win: code (`Config::new` and its `with_*` setters), then a TOML file, then the
environment. `Config::load(Some(path))` reads file and environment; `apply_toml_file` and
`apply_env` put them over a configuration made in code. Everything that is wrong is reported at
once by `Config::validate`, each with the option, the problem and the remedy; the value of an option
is never repeated in an error, and `Debug` shows `***` for secrets.

## Names

The names are those of Kafka Streams where it has the option.

| where | form | example |
| --- | --- | --- |
| TOML | the name, quoted or not; tables may be used | `commit.interval.ms = 200` |
| environment | `TIDEMILL_`, upper case, `_` for `.` | `TIDEMILL_COMMIT_INTERVAL_MS=200` |
| environment, a name with `_` | `__` for `_` | `TIDEMILL_KAFKA_LOG__LEVEL=7` |

All variables that begin with `TIDEMILL_` belong to the configuration, and an unknown one is an
error; `TIDEMILL_TEST_*`, `TIDEMILL_BENCH_*` and `TIDEMILL_CACHE` are for the project's own
scripts and tests.
In TOML `_` is taken for `.` too (`commit_interval_ms`). A list of texts is one text with commas
(`bootstrap.servers = [\"a:9092\", \"b:9092\"]`). Times are whole milliseconds; sizes are bytes,
or a text such as `\"64 MiB\"`.

```toml
application.id = \"balances\"
bootstrap.servers = \"broker-1:9093,broker-2:9093\"
state.dir = \"/var/lib/balances\"
num.stream.threads = 2

[kafka]
security.protocol = \"sasl_ssl\"
sasl.mechanism = \"SCRAM-SHA-512\"
sasl.username = \"balances\"
# The password comes from the environment: TIDEMILL_KAFKA_SASL_PASSWORD

[topic]
min.insync.replicas = 2
```

A file with secrets that others may read is reported by `Config::warnings`.

## Options
";

const PASS_THROUGH: &str = "
## Internal topics

`topic.<setting>` is a setting of the changelog and repartition topics that Tidemill creates, by the
broker's name for it. `topic.cleanup.policy` and `topic.message.timestamp.type` are refused: they
follow from the kind of the topic.

## Options for the Kafka client

An option of librdkafka is passed on under a prefix. The more specific prefix wins.

| prefix | clients |
| --- | --- |
| `kafka.` | all |
| `consumer.` | the workers' consumers, the restore consumer and the global one |
| `main.consumer.` | the workers' consumers |
| `restore.consumer.` | the restore consumer |
| `global.consumer.` | the consumer that fills the global stores |
| `producer.` | the workers' producers |
| `admin.` | the admin client |

Under `at_least_once`, `isolation.level` may be set too (default `read_uncommitted`). `debug` takes
only contexts that print neither credentials nor records. These are passed on:

| option | clients | value |
| --- | --- | --- |
";

impl Config {
    /// The reference of all options as Markdown, e.g. for an application's `--help`.
    #[must_use]
    pub fn reference() -> String {
        let mut text = INTRODUCTION.to_owned();
        options(&mut text);
        client_options(&mut text);
        refused(&mut text);
        text
    }
}

fn options(text: &mut String) {
    for option in OPTIONS {
        let meaning: Vec<&str> = option.meaning.lines().map(str::trim).collect();
        let (name, kind, shown) = (option.name, option.kind, option.shown);
        let meaning = meaning.join(" ");
        push(text, format_args!("\n### `{name}`\n\n{}\n\n", meaning.trim()));
        push(text, format_args!("Value: {kind}. Default: {shown}.\n"));
    }
}

fn client_options(text: &mut String) {
    text.push_str(PASS_THROUGH);
    for known in KNOWN {
        let clients = match known.clients {
            Clients::All => "all",
            Clients::Consumer => "consumers",
            Clients::Producer => "producer",
        };
        let form = match known.form {
            Form::Number(min, max) => format!("{min} to {max}"),
            Form::Decimal(min, max) => format!("{min} to {max}, with fraction"),
            Form::Switch => "`true`, `false`".to_owned(),
            Form::Word(words) => format!("`{}`", words.join("`, `")),
            Form::Words(words) => format!("some of `{}`", words.join("`, `")),
            Form::Text => "text".to_owned(),
        };
        if known.name != "isolation.level" {
            push(text, format_args!("| `{}` | {clients} | {form} |\n", known.name));
        }
    }
}

fn refused(text: &mut String) {
    text.push_str("\n## Client options that Tidemill sets itself\n\n| option | why | instead |\n");
    text.push_str("| --- | --- | --- |\n");
    for (name, why, instead) in OWNED {
        push(text, format_args!("| `{name}` | {why} | {instead} |\n"));
    }
    text.push_str("\n## Client options that are refused\n\n");
    text.push_str(
        "In librdkafka, code to run is an option like any other. These are not passed on:\n\n",
    );
    text.push_str("| option | why |\n| --- | --- |\n");
    for (name, what) in REFUSED {
        push(text, format_args!("| `{name}` | {what} |\n"));
    }
}

fn push(text: &mut String, part: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = text.write_fmt(part);
}
