//! Values that must never be printed, and which keys hold such values.

use std::fmt;

/// A value whose `Debug` and `Display` print `***`. Read it with [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself; never log what this returns.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self::new(value)
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Whether a client option's value is to be kept secret.
///
/// By pattern, not by list: librdkafka's own list of sensitive keys misses aliases
/// (`sasl.oauthbearer.client.credentials.client.secret`) and rust-rdkafka's holds five keys.
#[must_use]
pub(crate) fn is_sensitive(key: &str) -> bool {
    const PARTS: [&str; 11] = [
        "password",
        "passphrase",
        "passwd",
        "secret",
        "token",
        "credential",
        "jaas",
        "assertion",
        "private",
        "oauthbearer.config",
        "sasl.username",
    ];
    // Also what librdkafka itself marks: where a key lies tells an intruder what to fetch.
    let key = key.to_ascii_lowercase();
    PARTS.iter().any(|part| key.contains(part))
        || key.ends_with(".pem")
        || key.starts_with("ssl.key.")
        || key.starts_with("ssl_")
}

/// A key as it may be shown: a secret in the place of a key, or a control character in it, must
/// not reach a log.
pub(crate) fn shown_key(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !key.is_empty() && key.len() <= 100 && key.chars().all(plain) {
        key.to_owned()
    } else {
        format!("(a key of {} characters that is no option name)", key.chars().count())
    }
}
