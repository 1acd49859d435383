//! The program: services, commands, kills, and the comparison of everything with everything.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidemill::BoxError;
use tidemill::client::Isolation;
use tidemill::record::RawRecord;
use tidemill_connect::event_sourcing::{EventLog, LogAudit, Outcome, Stream, Until, Version};
use tidemill_connect::postgres::connect;
use tidemill_examples::cluster::Cluster;
use tidemill_examples::report::{self, grouped};
use tidemill_examples::stage::{Part, Stage};
use uuid::Uuid;

use crate::Arguments;
use crate::clerk::Clerk;
use crate::stock::{Answer, COMMANDS, EVENTS, Item, REPLIES, Stock, changelog};
use crate::view::{self, Level, level};

const PARTITIONS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(200);

/// The first answer to each command, and what is wrong with the others.
struct Answers {
    first: BTreeMap<Uuid, Answer>,
    records: u64,
    duplicated: u64,
}

/// Runs it all, and returns whether everything fits.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, BoxError> {
    let stage = Stage::set()?;
    let cluster = stage.cluster()?;
    cluster.create_topics(&[COMMANDS, EVENTS, REPLIES], PARTITIONS)?;
    let setting = stage.setting().clone();
    let (runtime, database) = (view::runtime()?, setting.database.parse()?);
    let client = runtime.block_on(connect(&database))?;
    runtime.block_on(view::prepare(&client))?;

    let mut clerk = Clerk::new(&cluster, PARTITIONS, arguments.items, arguments.seed)?;
    let mut parts = vec![
        stage.part("inventory", "inventory", &setting)?,
        stage.part("view", "view", &setting)?,
    ];
    work(arguments, &cluster, &mut clerk, &mut parts)?;

    let log = EventLog::new(setting.clients(), EVENTS);
    wait(&mut parts, "the table to have all events", || {
        let levels = runtime.block_on(view::levels(&client))?;
        let applied: i64 = levels.values().map(|level| level.0).sum();
        Ok(applied >= events(&cluster)?)
    })?;
    drop(parts);

    let answers = answers(&cluster)?;
    let lost =
        (1..=clerk.commands).filter(|number| !answers.first.contains_key(&Clerk::id(*number)));
    let lost = lost.count() as u64;
    let audit = log.audit::<Item>(&changelog())?;
    let streams = log.replay::<Item>(Until::End)?;
    let table = runtime.block_on(view::levels(&client))?;
    let found = Findings { lost, answers, audit, streams, table };
    found.show(arguments, &clerk, &log)
}

/// Sends the commands in portions and kills a service after each, in turn.
fn work(
    arguments: &Arguments,
    cluster: &Cluster,
    clerk: &mut Clerk,
    parts: &mut [Part],
) -> Result<(), BoxError> {
    let portions = u64::from(arguments.kills) + 1;
    let all = u64::from(arguments.commands);
    for portion in 0..portions {
        let upto = all * (portion + 1) / portions;
        clerk.send(upto - clerk.commands)?;
        if portion < u64::from(arguments.kills) {
            // in the middle of the work: some is answered and some is not
            let goal = clerk.records - (clerk.records / (portion + 1)) / 2;
            wait(parts, "answers", || Ok(answers(cluster)?.records >= goal))?;
            let victim = usize::try_from(portion)? % parts.len();
            parts[victim].kill_and_restart()?;
        }
    }
    let goal = clerk.records;
    wait(parts, "an answer to each command", || Ok(answers(cluster)?.records >= goal))
}

fn wait(
    parts: &mut [Part],
    what: &str,
    mut come: impl FnMut() -> Result<bool, BoxError>,
) -> Result<(), BoxError> {
    let deadline = Instant::now() + PATIENCE;
    while !come()? {
        parts.iter_mut().try_for_each(Part::check_running)?;
        if Instant::now() > deadline {
            return Err(format!("waited for {what} for {PATIENCE:?}").into());
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

fn answers(cluster: &Cluster) -> Result<Answers, BoxError> {
    let mut answers = Answers { first: BTreeMap::new(), records: 0, duplicated: 0 };
    cluster.read_all(REPLIES, Isolation::ReadCommitted, |_, record| {
        let answer: Answer = serde_json::from_slice(record.value().unwrap_or_default())?;
        answers.records += 1;
        match answers.first.get(&answer.command_id) {
            // a command that was sent twice is answered twice, with the same
            Some(before) if answer.repeated && before.outcome == answer.outcome => {}
            Some(_) => answers.duplicated += 1,
            None => drop(answers.first.insert(answer.command_id, answer)),
        }
        Ok(())
    })?;
    Ok(answers)
}

fn events(cluster: &Cluster) -> Result<i64, BoxError> {
    let mut count = 0;
    cluster.read_all(EVENTS, Isolation::ReadCommitted, |_, _| {
        count += 1;
        Ok(())
    })?;
    Ok(count)
}

/// What there is in the end.
struct Findings {
    lost: u64,
    answers: Answers,
    audit: LogAudit,
    streams: BTreeMap<String, Stream<Stock>>,
    table: BTreeMap<String, Level>,
}

impl Findings {
    fn show(&self, arguments: &Arguments, clerk: &Clerk, log: &EventLog) -> Result<bool, BoxError> {
        let Self { lost, answers, audit, streams, table } = self;
        let (mut accepted, mut told) = (0_u64, 0_u64);
        for answer in answers.first.values() {
            if let Outcome::Accepted { events, .. } = &answer.outcome {
                accepted += 1;
                told += events.len() as u64;
            }
        }
        let oversold = streams.values().filter(|stream| stream.state.free < 0).count();
        let levels: BTreeMap<String, Level> =
            streams.iter().map(|(item, stream)| (item.clone(), level(stream))).collect();
        let differ = levels.iter().filter(|(item, level)| table.get(*item) != Some(level)).count()
            + table.keys().filter(|item| !levels.contains_key(*item)).count();
        let refused = answers.first.len() as u64 - accepted;
        let (duplicated, commands) = (answers.duplicated, grouped(clerk.commands));
        let kills = arguments.kills;
        report::table(
            &format!("{commands} commands, {kills} services killed"),
            &[
                ("carried out", grouped(accepted)),
                ("refused: not enough, or no such order", grouped(refused)),
                ("sent twice", grouped(clerk.records - clerk.commands)),
                ("answers", format!("lost={lost} duplicated={duplicated}")),
                ("events, by topic and by answers", format!("{} and {told}", audit.events)),
                ("states that are the fold of their events", audit.compared.to_string()),
                ("states that are not", audit.wrong.to_string()),
                ("items that were oversold", oversold.to_string()),
                ("rows of the table that differ from the fold", differ.to_string()),
            ],
        );
        report::problems(&audit.findings);
        let replayed = self.show_past(log)?;
        let right = *lost == 0
            && duplicated == 0
            && audit.passed()
            && (audit.events, audit.events_beyond) == (told, 0)
            && oversold == 0
            && differ == 0
            && replayed;
        let verdict = if right { "every state is the fold of its events" } else { "WRONG" };
        report::line(format_args!(
            "\nVERDICT: {verdict}: lost={lost} duplicated={duplicated} oversold={oversold}"
        ));
        Ok(right)
    }

    /// Shows the item with the longest history as it was at some versions.
    fn show_past(&self, log: &EventLog) -> Result<bool, BoxError> {
        let longest = self.streams.iter().max_by_key(|(_, stream)| stream.version);
        let Some((item, now)) = longest else { return Ok(false) };
        report::line(format_args!("\n{item}, replayed"));
        let mut right = true;
        for part in 1..=4 {
            let version = Version(now.version.0 * part / 4);
            let then = log.replay_stream::<Item>(item, Until::Version(version))?;
            let (_, free, reserved, shipped) = level(&then);
            report::line(format_args!(
                "  version {version:>4}: free {free:>3}, reserved {reserved:>3}, shipped \
                 {shipped:>4}"
            ));
            right &= then.version == version && (part < 4 || then == *now);
        }
        Ok(right)
    }
}
