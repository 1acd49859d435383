//! Reading the configuration from TOML and from the environment: the way from names and texts to
//! fields. The names are those of `OPTIONS`.
//!
//! Names. The documented form is Kafka's dotted name. In TOML `commit.interval.ms = 200`,
//! `"commit.interval.ms" = 200`, a table `[commit]` with `interval.ms` and `commit_interval_ms` are
//! the same option. In the environment it is `TIDEMILL_COMMIT_INTERVAL_MS`: upper case, `_` for
//! `.`, and `__` for the `_` that a few librdkafka options have (`TIDEMILL_KAFKA_LOG__LEVEL`).
//!
//! A text is never repeated in a problem, only what was expected.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use toml::{Table, Value};

use super::error::{ConfigError, Violation};
use super::kafka::Scope;
use super::librdkafka;
use super::secret::{Secret, is_sensitive, shown_key};
use super::table::OptionSpec;
use super::{Config, OPTIONS};

/// What every environment variable of the configuration begins with.
const ENV_PREFIX: &str = "TIDEMILL_";
/// Variables that begin so are for the project's own scripts and tests.
const ENV_TOOLS: [&str; 3] = ["TIDEMILL_TEST_", "TIDEMILL_BENCH_", "TIDEMILL_CACHE"];
/// The prefix of internal topics' settings.
const TOPIC_PREFIX: &str = "topic.";
/// No configuration is longer; a file that is has been named by mistake.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

impl Config {
    /// Reads a complete configuration from a file, where there is one, and then from the
    /// environment of the process.
    ///
    /// # Errors
    /// [`ConfigError`] with every violation of both.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut config = Self::unset();
        if let Some(path) = file {
            config = config.apply_toml_file(path);
        }
        config.apply_os_env(std::env::vars_os()).checked()
    }

    /// Reads a complete configuration from TOML text.
    ///
    /// # Errors
    /// [`ConfigError`] with every violation.
    pub fn from_toml_str(text: &str) -> Result<Self, ConfigError> {
        Self::unset().apply_toml_str(text).checked()
    }

    /// Reads a complete configuration from a TOML file.
    ///
    /// # Errors
    /// [`ConfigError`] with every violation; a file that cannot be read is one.
    pub fn from_toml_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Self::unset().apply_toml_file(path).checked()
    }

    /// Reads a complete configuration from the environment of the process.
    ///
    /// # Errors
    /// [`ConfigError`] with every violation.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::unset().apply_os_env(std::env::vars_os()).checked()
    }

    /// Sets what the TOML text names. What is wrong with it, `validate` reports.
    #[must_use]
    pub fn apply_toml_str(self, text: &str) -> Self {
        self.apply_toml(text, "TOML")
    }

    /// Sets what the TOML file names. What is wrong with it, `validate` reports; a file that can
    /// be read by everybody and holds a secret, `warnings`.
    #[must_use]
    pub fn apply_toml_file(mut self, path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let source = path.display().to_string();
        match read_file(path) {
            Err(problem) => {
                self.problems.push(Violation::new(source, problem, "correct the file or its path"));
                self
            }
            Ok(text) => {
                let secrets = self.secrets();
                let mut config = self.apply_toml(&text, &source);
                // Counted after reading: a file without secrets may be read by everybody.
                if config.secrets() > secrets && readable_by_others(path) {
                    config.notes.push(format!(
                        "{source} holds secrets and others may read or change it: chmod 600 it"
                    ));
                }
                config
            }
        }
    }

    /// Sets what the environment variables name; those without the prefix `TIDEMILL_` are left
    /// alone. What is wrong with them, `validate` reports.
    #[must_use]
    pub fn apply_env<N, V>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        // Sorted, so that the report does not depend on the order of the environment.
        let mut ours = BTreeMap::new();
        for (name, value) in variables {
            let name = name.as_ref();
            if let Some(rest) = name.strip_prefix(ENV_PREFIX)
                && !ENV_TOOLS.iter().any(|tool| name.starts_with(tool))
            {
                ours.insert(rest.to_owned(), value.as_ref().to_owned());
            }
        }
        for (rest, value) in ours {
            let source = format!("environment variable {ENV_PREFIX}{}", shown_key(&rest));
            self.set(&env_to_option(&rest), &value, &source);
        }
        self
    }

    /// As `apply_env`; a value that is not UTF-8 is a violation, not a panic.
    pub(super) fn apply_os_env(
        mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let text = |text: OsString| text.into_string().ok();
        let mut readable = Vec::new();
        for (name, value) in variables {
            match (text(name), text(value)) {
                (Some(name), Some(value)) => readable.push((name, value)),
                (Some(name), None) if name.starts_with(ENV_PREFIX) => {
                    let problem = "its value is not UTF-8";
                    let violation = Violation::new(shown_key(&name), problem, "correct the value");
                    self.problems.push(violation);
                }
                _ => {}
            }
        }
        self.apply_env(readable)
    }

    fn checked(self) -> Result<Self, ConfigError> {
        self.validate().map(|()| self)
    }

    fn apply_toml(mut self, text: &str, source: &str) -> Self {
        match text.parse::<Table>() {
            Err(error) => {
                // Neither its text, which quotes the line, nor its message, which may name the
                // token: a line of a broken file may be a password.
                let at = error.span().map_or(0, |span| span.start.min(text.len()));
                let line = text.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
                let problem = format!("line {line} is not valid TOML");
                let remedy = "correct it: texts stand in quotes, a key stands once";
                self.problems.push(Violation::new(source, problem, remedy));
            }
            Ok(table) => {
                let mut flat = Vec::new();
                flatten("", &table, &mut flat);
                let mut seen = Vec::new();
                for (name, value) in flat {
                    let name = canonical(&name);
                    if seen.contains(&name) {
                        let problem = "it is set twice";
                        let key = format!("{} ({source})", shown_key(&name));
                        self.problems.push(Violation::new(key, problem, "remove one of them"));
                    }
                    match scalar(value) {
                        Some(text) => self.set(&name, &text, source),
                        None => {
                            let problem = "it must be a text, a number, true or false";
                            let key = format!("{} ({source})", shown_key(&name));
                            self.problems.push(Violation::new(key, problem, "correct the value"));
                        }
                    }
                    seen.push(name);
                }
            }
        }
        self
    }

    /// Sets the option of this name, or remembers why not.
    fn set(&mut self, name: &str, text: &str, source: &str) {
        if let Some(option) = option(name) {
            if let Err(expected) = (option.write)(self, text) {
                let key = format!("{} ({source})", option.name);
                self.problems.push(Violation::new(key, expected, "correct the value"));
            }
        } else if let Some(setting) = name.strip_prefix(TOPIC_PREFIX) {
            self.topic_options.insert(setting.to_owned(), text.to_owned());
        } else if Scope::split(name).is_some() {
            self.client_options.set(name, Secret::new(text));
        } else {
            let key = format!("{} ({source})", shown_key(name));
            self.problems.push(Violation::new(key, "there is no such option", suggestion(name)));
        }
    }

    fn secrets(&self) -> usize {
        self.client_options.iter().filter(|(name, _)| is_sensitive(name)).count()
    }
}

fn option(name: &str) -> Option<&'static OptionSpec> {
    OPTIONS.iter().find(|option| option.name == name)
}

/// `SASL_PASSWORD` to `sasl.password`; `__` stands for `_`.
fn env_to_option(rest: &str) -> String {
    rest.split("__")
        .map(|part| part.replace('_', ".").to_ascii_lowercase())
        .collect::<Vec<_>>()
        .join("_")
}

/// The dotted form of a name that may have been written with underscores.
fn canonical(name: &str) -> String {
    let exists = |name: &str| {
        let client = Scope::split(name).is_some_and(|(_, rest)| librdkafka::find(rest).is_some());
        option(name).is_some() || client
    };
    let dotted = name.replace('_', ".");
    let taken = dotted.starts_with(TOPIC_PREFIX) || Scope::split(&dotted).is_some();
    if !exists(name) && (exists(&dotted) || taken && Scope::split(name).is_none()) {
        dotted
    } else {
        name.to_owned()
    }
}

fn flatten<'t>(prefix: &str, table: &'t Table, flat: &mut Vec<(String, &'t Value)>) {
    for (name, value) in table {
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) if !inner.is_empty() => flatten(&name, inner, flat),
            _ => flat.push((name, value)),
        }
    }
}

/// The text of a value; a list of texts is one text with commas.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(switch) => Some(switch.to_string()),
        Value::Array(parts) => {
            let texts: Option<Vec<_>> = parts.iter().map(Value::as_str).collect();
            texts.map(|texts| texts.join(","))
        }
        Value::Datetime(_) | Value::Table(_) => None,
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("the file cannot be read: {}", error.kind());
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > FILE_BYTES_MAX {
        return Err("the file is longer than 1 MiB".to_owned());
    }
    std::fs::read_to_string(path).map_err(failed)
}

#[cfg(unix)]
fn readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    // More than rw-r-----.
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o137 != 0)
}

#[cfg(not(unix))]
fn readable_by_others(_path: &Path) -> bool {
    false
}

/// What to do about a name that does not exist: the nearest one that does.
pub(super) fn suggestion(name: &str) -> String {
    let scope = Scope::PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix));
    let candidates: Vec<String> = match scope {
        Some((prefix, _)) => {
            librdkafka::KNOWN.iter().map(|known| format!("{prefix}{}", known.name)).collect()
        }
        None => OPTIONS
            .iter()
            .map(|option| option.name.to_owned())
            .chain(librdkafka::KNOWN.iter().map(|known| format!("kafka.{}", known.name)))
            .collect(),
    };
    // An option of librdkafka whose prefix was left out is near at hand.
    let bare = format!("kafka.{name}");
    let nearest = candidates
        .iter()
        .map(|candidate| (distance(name, candidate).min(distance(&bare, candidate)), candidate))
        .min();
    match nearest {
        // Farther than a third of the name, and it would be guessing.
        Some((steps, candidate)) if steps <= 2.max(name.chars().count() / 3) => {
            format!("did you mean {candidate}?")
        }
        _ => "see docs/CONFIGURATION.md for the options there are".to_owned(),
    }
}

/// Levenshtein's distance: letters to insert, remove or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(100).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
