//! The truth is in the database: which price came after which. From it follows which mails there
//! must be; the rest is comparison.

use std::collections::{BTreeMap, BTreeSet};

use tidemill::BoxError;
use tidemill::client::Isolation;
use tidemill::record::RawRecord;
use tidemill_examples::cluster::Cluster;
use tidemill_examples::report;
use tokio_postgres::Row;

use crate::Arguments;
use crate::model::{ALERTS, Alert, PRICES, PriceUpdated, Watch, watches};
use crate::smtp::{Mail, MailServer};

/// The keys of mails that the mailer remembers.
pub(crate) const SENT: &str = "SELECT idempotency_key FROM mail_sent";
const EVENTS: &str = "SELECT thing, cents, revision, clock FROM price_event ORDER BY id";
const ROWS: &str = "SELECT thing, cents, revision FROM price WHERE revision IS NOT NULL";

/// How often, by Message-ID.
pub(crate) type Counts = BTreeMap<String, usize>;
/// A thing and its price.
type Priced = (String, PriceUpdated);

/// All that is left behind.
pub(crate) struct Found {
    /// In the order of the changes, with what the clock alone would have made of it.
    events: Vec<(Priced, i64)>,
    rows: Vec<Priced>,
    /// In the order of the log, thing by thing.
    told: Vec<Priced>,
    alerts: Vec<Alert>,
    mails: Vec<Mail>,
    refused: u32,
    sent: BTreeSet<String>,
}

pub(crate) fn sent(rows: &[Row]) -> BTreeSet<String> {
    rows.iter().map(|row| row.get(0)).collect()
}

pub(crate) fn counts(mails: &[Mail]) -> Counts {
    let mut counts = Counts::new();
    for mail in mails {
        *counts.entry(mail.message_id.clone()).or_default() += 1;
    }
    counts
}

/// The idempotency key in a Message-ID.
pub(crate) fn key(message_id: &str) -> &str {
    message_id.trim_start_matches('<').split('@').next().unwrap_or_default()
}

impl Found {
    pub(crate) fn collect(
        cluster: &Cluster,
        mail: &MailServer,
        rows: impl Fn(&str) -> Result<Vec<Row>, BoxError>,
    ) -> Result<Self, BoxError> {
        let priced =
            |row: &Row| (row.get(0), PriceUpdated { cents: row.get(1), revision: row.get(2) });
        let events = rows(EVENTS)?.iter().map(|row| (priced(row), row.get(3))).collect();
        let (mut told, mut alerts) = (Vec::new(), Vec::new());
        cluster.read_all(PRICES, Isolation::ReadCommitted, |_, record| {
            let thing = String::from_utf8(record.key().unwrap_or_default().to_vec())?;
            told.push((thing, serde_json::from_slice(record.value().unwrap_or_default())?));
            Ok(())
        })?;
        cluster.read_all(ALERTS, Isolation::ReadCommitted, |_, record| {
            alerts.push(serde_json::from_slice(record.value().unwrap_or_default())?);
            Ok(())
        })?;
        Ok(Self {
            events,
            rows: rows(ROWS)?.iter().map(priced).collect(),
            told,
            alerts,
            mails: mail.taken(),
            refused: mail.refused(),
            sent: sent(&rows(SENT)?),
        })
    }
}

/// The alerts that follow from prices that all count, in this order.
pub(crate) fn alerts<'a>(
    prices: impl IntoIterator<Item = &'a Priced>,
    watches: &[(String, Watch)],
) -> Vec<Alert> {
    let mut waiting: BTreeMap<&str, BTreeMap<&str, &Watch>> = BTreeMap::new();
    for (thing, watch) in watches {
        // who asks twice means the last
        waiting.entry(thing).or_default().insert(&watch.customer, watch);
    }
    let mut before: BTreeMap<&str, i64> = BTreeMap::new();
    let mut alerts = Vec::new();
    for (thing, PriceUpdated { cents, revision }) in prices {
        let before = before.insert(thing, *cents);
        for watch in waiting.get(&**thing).into_iter().flat_map(BTreeMap::values) {
            if watch.drops_below(before, *cents) {
                alerts.push(Alert {
                    customer: watch.customer.clone(),
                    thing: thing.clone(),
                    cents: *cents,
                    revision: *revision,
                });
            }
        }
    }
    alerts
}

/// What is wrong, mail by mail.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) lost: usize,
    pub(crate) duplicated: usize,
    pub(crate) problems: Vec<String>,
}

/// Compares. Those mails must have come that much more often than the others.
pub(crate) fn judge(found: &Found, expected: &[Alert], in_window: &Counts) -> Verdict {
    let mut verdict = Verdict::default();
    let mut problem = |text: String| verdict.problems.push(text);
    let mut last: BTreeMap<&str, &PriceUpdated> = BTreeMap::new();
    for ((thing, event), _) in &found.events {
        if let Some(before) = last.insert(thing, event)
            && before.revision >= event.revision
        {
            problem(format!("{thing}: revision {} after {}", event.revision, before.revision));
        }
    }
    for (thing, row) in &found.rows {
        if last.get(&**thing) != Some(&row) {
            problem(format!("{thing} has {row:?}, but its last change is another"));
        }
    }
    let mut commands = found.alerts.clone();
    let mut wanted = expected.to_vec();
    commands.sort();
    wanted.sort();
    if commands != wanted {
        problem(format!("{} alerts in the topic, not {}", commands.len(), wanted.len()));
    }
    let keys: BTreeSet<String> = expected.iter().map(Alert::idempotency_key).collect();
    if found.sent != keys {
        problem(format!("{} mails are remembered, not {}", found.sent.len(), keys.len()));
    }
    let mut wanted: BTreeMap<String, &Alert> =
        expected.iter().map(|alert| (alert.message_id(), alert)).collect();
    for Mail { to, message_id, subject } in &found.mails {
        let Some(alert) = wanted.get(message_id) else {
            verdict.duplicated += 1;
            problem(format!("nobody waits for mail {message_id} to {to}"));
            continue;
        };
        let says = format!("{} costs {} cents", alert.thing, alert.cents);
        if *to != alert.address() || *subject != says {
            problem(format!("mail {message_id} to {to}: {subject}"));
        }
    }
    for (message_id, count) in counts(&found.mails) {
        let allowed = 1 + in_window.get(&message_id).copied().unwrap_or(0);
        if wanted.remove(&message_id).is_some() && count != allowed {
            verdict.duplicated += count.abs_diff(allowed);
            problem(format!("mail {message_id} came {count} times, not {allowed}"));
        }
    }
    verdict.lost = wanted.len();
    for message_id in wanted.keys() {
        problem(format!("mail {message_id} is missing"));
    }
    verdict
}

/// Prints what was found. Returns true if all is right.
pub(crate) fn tell(
    found: &Found,
    arguments: &Arguments,
    killed: [u32; 3],
    in_window: &Counts,
) -> bool {
    let watches = watches(arguments.seed, arguments.customers, arguments.things);
    let expected = alerts(found.events.iter().map(|(event, _)| event), &watches);
    let verdict = judge(found, &expected, in_window);
    let in_window: usize = in_window.values().sum();
    let [of_prices, of_alerts, of_mailer] = killed;
    let (again, late) = repeated(&found.told);
    let behind = behind_the_clock(&found.events);
    let careless = alerts(&found.told, &watches).len();
    report::table(
        "price alerts",
        &[
            (
                "price service, alerts, mailer killed",
                format!("{of_prices}, {of_alerts}, {of_mailer}"),
            ),
            ("changes of prices", found.events.len().to_string()),
            ("events sent again, events that came late", format!("{again}, {late}")),
            ("changes that the clock alone would call old", behind.to_string()),
            ("mails if every event counted", careless.to_string()),
            ("mails there must be", expected.len().to_string()),
            ("mails the server refused for the moment", found.refused.to_string()),
            ("mails the server took", found.mails.len().to_string()),
            ("  once more, the mailer killed in its window", in_window.to_string()),
            ("mails by Message-ID", (found.mails.len() - in_window).to_string()),
        ],
    );
    report::problems(&verdict.problems);
    let Verdict { lost, duplicated, problems } = verdict;
    // a run without anything to do proves nothing
    let worked = !expected.is_empty() && again > 0 && late > 0 && careless > expected.len();
    if !worked {
        report::line("  nothing was sent again or late: the run was too short");
    }
    report::line(format_args!("VERDICT: lost={lost} duplicated={duplicated}"));
    problems.is_empty() && lost == 0 && duplicated == 0 && worked
}

/// Events that were there before, and events that were overtaken.
fn repeated(told: &[Priced]) -> (usize, usize) {
    let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
    let (mut again, mut late) = (0, 0);
    for (thing, PriceUpdated { revision, .. }) in told {
        let newest = newest.entry(thing).or_insert(i64::MIN);
        again += usize::from(revision == newest);
        late += usize::from(revision < newest);
        *newest = *revision.max(newest);
    }
    (again, late)
}

/// Changes whose revision would not be newer, had it been made of the clock alone.
fn behind_the_clock(events: &[(Priced, i64)]) -> usize {
    let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
    let mut behind = 0;
    for ((thing, _), clock) in events {
        let newest = newest.entry(thing).or_insert(i64::MIN);
        behind += usize::from(clock <= newest);
        *newest = *clock.max(newest);
    }
    behind
}

#[cfg(test)]
impl Found {
    /// What a run would leave behind that did all of this right.
    pub(crate) fn right(events: &[Priced], expected: &[Alert]) -> Self {
        let rows: BTreeMap<String, PriceUpdated> = events.iter().cloned().collect();
        let mail = |alert: &Alert| Mail {
            to: alert.address(),
            message_id: alert.message_id(),
            subject: format!("{} costs {} cents", alert.thing, alert.cents),
        };
        Self {
            events: events.iter().map(|event| (event.clone(), event.1.revision)).collect(),
            rows: rows.into_iter().collect(),
            told: events.to_vec(),
            alerts: expected.to_vec(),
            mails: expected.iter().map(mail).collect(),
            refused: 0,
            sent: expected.iter().map(Alert::idempotency_key).collect(),
        }
    }

    pub(crate) fn mails(&self) -> &[Mail] {
        &self.mails
    }

    pub(crate) fn mails_mut(&mut self) -> &mut Vec<Mail> {
        &mut self.mails
    }
}
