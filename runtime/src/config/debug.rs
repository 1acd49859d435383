//! `Debug` of the configuration: what is certain to be harmless, `***` for the rest. A value that
//! is wrong where it stands is not harmless: it may belong somewhere else.

use std::fmt::{self, DebugMap};

use super::kafka::{ClientOptions, Scope, Verdict, judge};
use super::properties::ClientProperties;
use super::secret::shown_key;
use super::validate::{bootstrap_problem, name_problem};
use super::{Config, OPTIONS, key, librdkafka};

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_map();
        for option in OPTIONS {
            if let Some(value) = (option.read)(self) {
                let harmless = match option.kind {
                    "text" => is_harmless(option.name, &value),
                    _ => !value.chars().any(char::is_control),
                };
                out.entry(&option.name, &shown(&value, harmless));
            }
        }
        client_options(&mut out, &self.client_options);
        for (setting, value) in &self.topic_options {
            let harmless = name_problem(setting).is_none() && name_problem(value).is_none();
            out.entry(&format!("topic.{}", shown_key(setting)), &shown(value, harmless));
        }
        out.finish()
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_map();
        client_options(&mut out, self);
        out.finish()
    }
}

impl fmt::Debug for ClientProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_map();
        for (name, value) in self.iter() {
            let harmless = librdkafka::find(name)
                .map_or_else(|| is_harmless(name, value), |known| known.is_harmless(value));
            out.entry(&name, &shown(value, harmless));
        }
        out.finish()
    }
}

/// Shows an option only where librdkafka has it, it holds no secret and the value has the right
/// form: an option that is misspelt may hold anything.
fn client_options(out: &mut DebugMap<'_, '_>, options: &ClientOptions) {
    for (name, value) in options.iter() {
        let value = value.expose();
        let harmless = match Scope::split(name).map(|(_, rest)| judge(rest, false)) {
            Some(Verdict::Pass(known)) => known.is_harmless(value),
            _ => false,
        };
        out.entry(&shown_key(name), &shown(value, harmless));
    }
}

/// Whether a text of Tidemill's own options may be shown.
fn is_harmless(option: &str, value: &str) -> bool {
    match option {
        key::bootstrap_servers => bootstrap_problem(value).is_none(),
        _ => name_problem(value).is_none(),
    }
}

fn shown(value: &str, harmless: bool) -> &str {
    if harmless { value } else { "***" }
}
