//! The rules for options of the Kafka client: each by itself, times against each other, and
//! protection that is configured and would not take effect.

use super::error::Violation;
use super::kafka::{Client, Scope, Verdict, judge};
use super::parse::suggestion;
use super::secret::shown_key;
use super::validate::Found;
use super::{Config, key, limits};

/// What is wrong with one librdkafka option.
pub(super) fn client_option(name: &str, value: &str, exactly_once: bool) -> Option<Violation> {
    let Some((scope, rest)) = Scope::split(name) else {
        let remedy = suggestion(name);
        return Some(Violation::new(shown_key(name), "there is no such option", remedy));
    };
    let violation =
        |problem: String, remedy: &str| Some(Violation::new(shown_key(name), problem, remedy));
    match judge(rest, exactly_once) {
        Verdict::Owned(why, instead) => violation(format!("Tidemill sets it: {why}"), instead),
        Verdict::Dangerous(what) => {
            violation(format!("it is not passed on to the client: {what}"), "remove it")
        }
        Verdict::Unknown => violation("there is no such option".to_owned(), &suggestion(name)),
        Verdict::Pass(known) if !scope.accepts(known.clients) => violation(
            "clients with this prefix do not have it".to_owned(),
            &format!("use kafka.{rest} or the prefix of the client that has it"),
        ),
        Verdict::Pass(known) => {
            if let Some(problem) = known.refuses(value) {
                violation(problem, "correct the value")
            } else if runs_in_shell(rest) && !value.chars().all(harmless_in_shell) {
                violation(
                    "it becomes part of a shell command and holds a special character".to_owned(),
                    "use letters, digits and . _ / @ - : only",
                )
            } else {
                None
            }
        }
    }
}

/// librdkafka puts these into the `kinit` command without quotes.
fn runs_in_shell(option: &str) -> bool {
    matches!(
        option,
        "sasl.kerberos.keytab" | "sasl.kerberos.principal" | "sasl.kerberos.service.name"
    )
}

fn harmless_in_shell(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | '@' | '-' | ':')
}

/// Times of the producer that librdkafka checks against each other when it is made.
pub(super) fn client_timeouts(config: &Config, found: &mut Found) {
    let options = config.client_options.of(Client::Producer);
    let number = |name| options.get(name).and_then(|v| v.expose().parse::<f64>().ok());
    let limit = config.transaction_timeout.as_secs_f64() * 1_000.0;
    let over = limits::SOCKET_OVER_TRANSACTION_MAX.as_secs_f64() * 1_000.0;
    if config.exactly_once() && number("socket.timeout.ms").is_some_and(|ms| ms > limit + over) {
        found.push(Violation::new(
            "socket.timeout.ms",
            "it is longer than transaction.timeout.ms: no request could be repeated in time",
            "shorten it, or set it for the other clients only (consumer., admin.)",
        ));
    }
    if config.exactly_once() && number("linger.ms").is_some_and(|ms| ms >= limit) {
        let remedy = "shorten it; 5 to 100 is usual";
        let problem = "it is not shorter than transaction.timeout.ms";
        found.push(Violation::new("linger.ms", problem, remedy));
    }
    for client in Client::ALL {
        let options = config.client_options.of(client);
        let number = |name, default: u64| {
            options.get(name).and_then(|v| v.expose().parse().ok()).unwrap_or(default)
        };
        let (first, last) =
            (number("reconnect.backoff.ms", 50), number("reconnect.backoff.max.ms", 1_000));
        if first > last {
            let problem = format!("it is shorter than reconnect.backoff.ms ({})", client.name());
            let remedy = format!("choose at least {first}");
            found.push(Violation::new("reconnect.backoff.max.ms", problem, remedy));
            break;
        }
    }
}

/// Protection that is configured and would not take effect.
pub(super) fn security(config: &Config, found: &mut Found) {
    let mut seen = Vec::new();
    for client in Client::ALL {
        let options = config.client_options.of(client);
        let get = |name| options.get(name).map(|v| v.expose().to_ascii_lowercase());
        let protocol = get("security.protocol").unwrap_or_else(|| "plaintext".to_owned());
        let tls = matches!(protocol.as_str(), "ssl" | "sasl_ssl");
        let sasl = matches!(protocol.as_str(), "sasl_plaintext" | "sasl_ssl");
        let unused = |prefix: &str| options.keys().find(|name| name.starts_with(prefix)).copied();
        if let Some(option) = unused("ssl.").filter(|_| !tls) {
            seen.push((option, "TLS", "ssl or sasl_ssl"));
        }
        if let Some(option) = unused("sasl.").filter(|_| !sasl) {
            seen.push((option, "SASL", "sasl_ssl"));
        }
        let plain = get("sasl.mechanisms").is_some_and(|mechanism| mechanism.trim() == "plain");
        if protocol == "sasl_plaintext" && plain && !config.allow_sasl_plain_without_tls {
            seen.push(("sasl.mechanism", "PLAIN", ""));
        }
    }
    seen.sort_unstable();
    seen.dedup();
    for (option, kind, protocols) in seen {
        found.push(if protocols.is_empty() {
            Violation::new(
                option,
                "PLAIN without TLS sends the password readable over the network",
                format!(
                    "set kafka.security.protocol to sasl_ssl, or {} to true",
                    key::allow_sasl_plain_without_tls
                ),
            )
        } else {
            Violation::new(
                option,
                format!("it is set, and security.protocol does not use {kind}"),
                format!("set kafka.security.protocol to {protocols}, or remove it"),
            )
        });
    }
}
