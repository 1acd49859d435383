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
    let into_state = matches!(scope, Scope::RestoreConsumer | Scope::GlobalConsumer);
    if !exactly_once && rest == "isolation.level" && into_state {
        let problem = "Tidemill sets it: aborted records never become state";
        return violation(problem.to_owned(), "remove it");
    }
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

/// Options that librdkafka checks against each other when a client is made, the first failure only.
pub(super) fn client_relations(config: &Config, found: &mut Found) {
    producer_times(config, found);
    let mut seen = Vec::new();
    for client in Client::ALL {
        let options = config.client_options.of(client);
        let number = |name| options.get(name).and_then(|v| v.expose().parse::<u64>().ok());
        // What is not set librdkafka adjusts itself; only the back-off has a default of ours.
        let mut at_least = |name, unset: u64, wanted: u64, than: &'static str| {
            if number(name).unwrap_or(unset) < wanted {
                seen.push((name, wanted, than));
            }
        };
        let backoff = number("reconnect.backoff.ms").unwrap_or(50);
        at_least("reconnect.backoff.max.ms", 1_000, backoff, "reconnect.backoff.ms");
        let message = number("message.max.bytes").unwrap_or(1_000_000);
        at_least("fetch.max.bytes", u64::MAX, message, "message.max.bytes");
        if let Some(fetch) = number("fetch.max.bytes") {
            let frame = fetch.saturating_add(512);
            at_least("receive.message.max.bytes", u64::MAX, frame, "fetch.max.bytes and 512");
        }
    }
    seen.sort_unstable();
    seen.dedup();
    for (name, wanted, than) in seen {
        let problem = format!("it is less than {than}");
        found.push(Violation::new(name, problem, format!("choose at least {wanted}")));
    }
}

fn producer_times(config: &Config, found: &mut Found) {
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
        if sasl && get("sasl.mechanisms").is_none() {
            seen.push(("sasl.mechanism", "", ""));
        }
        let plain = get("sasl.mechanisms").is_some_and(|mechanism| mechanism.trim() == "plain");
        if protocol == "sasl_plaintext" && plain && !config.allow_sasl_plain_without_tls {
            seen.push(("sasl.mechanism", "PLAIN", ""));
        }
    }
    seen.sort_unstable();
    seen.dedup();
    for (option, kind, protocols) in seen {
        found.push(match kind {
            "" => Violation::new(
                option,
                "security.protocol uses SASL, and no mechanism is chosen",
                "set kafka.sasl.mechanism, e.g. to SCRAM-SHA-512",
            ),
            "PLAIN" => Violation::new(
                option,
                "PLAIN without TLS sends the password readable over the network",
                format!(
                    "set kafka.security.protocol to sasl_ssl, or {} to true",
                    key::allow_sasl_plain_without_tls
                ),
            ),
            _ => Violation::new(
                option,
                format!("it is set, and security.protocol does not use {kind}"),
                format!("set kafka.security.protocol to {protocols}, or remove it"),
            ),
        });
    }
}

/// Files that the clients will read: librdkafka names none of them in its errors.
pub(super) fn files(config: &Config, found: &mut Found) {
    const FILES: [&str; 5] = [
        "ssl.ca.location",
        "ssl.certificate.location",
        "ssl.crl.location",
        "ssl.key.location",
        "ssl.keystore.location",
    ];
    for (name, value) in config.client_options.iter() {
        let Some((_, rest)) = Scope::split(name).filter(|(_, rest)| FILES.contains(rest)) else {
            continue;
        };
        // librdkafka's word for "look where the system keeps them".
        let probe = rest == "ssl.ca.location" && value.expose() == "probe";
        if let Err(error) = std::fs::File::open(value.expose())
            && !probe
        {
            let problem = format!("the file cannot be read: {}", error.kind());
            found.push(Violation::new(shown_key(name), problem, "correct the path or the rights"));
        }
    }
}
