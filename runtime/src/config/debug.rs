//! `Debug` of the configuration: what is certain to be harmless, `***` for the rest.

use std::fmt;

use super::kafka::{Scope, Verdict, judge};
use super::secret::shown_key;
use super::validate::{bootstrap_problem, name_problem};
use super::{Config, OPTIONS, key};

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_map();
        for option in OPTIONS {
            if let Some(value) = (option.read)(self) {
                let harmless = match option.name {
                    key::bootstrap_servers => bootstrap_problem(&value).is_none(),
                    // A path is shown as it is; it is used as it is.
                    key::state_dir => !value.chars().any(char::is_control),
                    _ if option.kind == "text" => name_problem(&value).is_none(),
                    _ => true,
                };
                out.entry(&option.name, &if harmless { value.as_str() } else { "***" });
            }
        }
        for (name, value) in self.client_options.iter() {
            // Shown only where librdkafka knows the key, the key holds no secret and the value has
            // the right form: a misspelt key may hold anything.
            let harmless = match Scope::split(name).map(|(_, rest)| judge(rest, true)) {
                Some(Verdict::Pass(known)) => {
                    known.is_printable() && known.refuses(value.expose()).is_none()
                }
                _ => false,
            };
            let shown = if harmless { value.expose() } else { "***" };
            out.entry(&shown_key(name), &shown);
        }
        for (setting, value) in &self.topic_options {
            let harmless = name_problem(setting).is_none() && name_problem(value).is_none();
            let shown = if harmless { value.as_str() } else { "***" };
            out.entry(&format!("topic.{}", shown_key(setting)), &shown);
        }
        out.finish()
    }
}
