//! The run: starts everything, kills the services in turn, waits for the end, and has it verified.

use std::time::{Duration, Instant};

use tidemill::BoxError;
use tidemill::client::{Consumer, Isolation, OffsetSpec, Outgoing, Severity};
use tidemill::record::{Headers, Timestamp, TopicPartition};
use tidemill_connect::postgres::{Connection, connect};
use tidemill_examples::cluster::Cluster;
use tidemill_examples::report;
use tidemill_examples::stage::{Part, Setting, Stage};
use tokio::runtime::Runtime;

use crate::model::{ALERTS, APPLICATION, PRICES, WATCHES, thing, watches};
use crate::smtp::MailServer;
use crate::verdict::{self, Counts, Found};
use crate::{Arguments, mailer, prices};

const PARTITIONS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(10);
const AN_HOUR_MS: i64 = 3_600_000;

/// The database, asked from a program that is not asynchronous.
struct Database {
    runtime: Runtime,
    client: Connection,
}

impl Database {
    fn open(setting: &Setting, things: u32) -> Result<Self, BoxError> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = runtime.block_on(connect(&setting.database.parse()?))?;
        runtime.block_on(async {
            client.batch_execute(prices::SCHEMA).await?;
            client.batch_execute(mailer::SCHEMA).await?;
            for number in 0..u64::from(things) {
                let sql = "INSERT INTO price (thing) VALUES ($1)";
                client.execute(sql, &[&thing(number)]).await?;
            }
            Ok::<_, BoxError>(())
        })?;
        Ok(Self { runtime, client })
    }

    fn number(&self, sql: &str) -> Result<i64, BoxError> {
        Ok(self.runtime.block_on(self.client.query_one(sql, &[]))?.get(0))
    }

    fn rows(&self, sql: &str) -> Result<Vec<tokio_postgres::Row>, BoxError> {
        Ok(self.runtime.block_on(self.client.query(sql, &[]))?)
    }
}

/// The services, and what was done to them.
struct Services<'a> {
    stage: &'a Stage,
    database: &'a Database,
    mail: &'a MailServer,
    setting: Setting,
    prices: Part,
    alerts: Part,
    mailer: Part,
    killed: [u32; 3],
    /// How often the server had taken a mail when the mailer was killed before it remembered it.
    in_window: Counts,
}

impl Services<'_> {
    fn check(&mut self) -> Result<(), BoxError> {
        self.alerts.check_running()?;
        self.mailer.check_running()
    }

    fn kill(&mut self, number: u32) -> Result<(), BoxError> {
        match number % 4 {
            0 => {
                self.killed[0] += 1;
                self.prices.kill()?;
                // from the second time on, its clock is an hour behind
                if number > 0 {
                    self.setting = self.setting.clone().with("clock-back-ms", AN_HOUR_MS);
                }
                self.prices = self.stage.part("prices", "prices", &self.setting)?;
            }
            1 => {
                self.killed[1] += 1;
                self.alerts.kill_and_restart()?;
            }
            2 => self.kill_mailer()?,
            _ => {
                self.mail.hold_next()?;
                self.kill_mailer()?;
            }
        }
        Ok(())
    }

    /// Kills the mailer, and looks whether it was in the window.
    fn kill_mailer(&mut self) -> Result<(), BoxError> {
        self.killed[2] += 1;
        self.mailer.kill()?;
        self.mail.let_go();
        // what it had begun ends first, at the mail server and in the database
        let database = self.database;
        let name = mailer::APPLICATION_NAME;
        let sql =
            format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'");
        until("the end of the mailer's connections", || {
            Ok(self.mail.is_silent() && database.number(&sql)? == 0)
        })?;
        let sent = verdict::sent(&database.rows(verdict::SENT)?);
        for (message_id, taken) in verdict::counts(&self.mail.taken()) {
            if !sent.contains(verdict::key(&message_id)) {
                self.in_window.insert(message_id, taken);
            }
        }
        self.mailer = self.stage.part("mailer", "mailer", &self.setting)?;
        Ok(())
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<bool, BoxError> {
    let begin = Instant::now();
    let stage = Stage::set()?;
    let cluster = stage.cluster()?;
    cluster.create_topics(&[PRICES, WATCHES, ALERTS], PARTITIONS)?;
    let mail = MailServer::start()?;
    let setting = stage.setting().clone();
    let setting = setting
        .with("changes", arguments.changes)
        .with("things", arguments.things)
        .with("seed", arguments.seed)
        .with("clock-back-ms", 0)
        .with("smtp-port", mail.port());
    let database = Database::open(&setting, arguments.things)?;
    let alerts = stage.part("alerts", "alerts", &setting)?;
    send_watches(&cluster, arguments)?;
    let mut services = Services {
        prices: stage.part("prices", "prices", &setting)?,
        mailer: stage.part("mailer", "mailer", &setting)?,
        stage: &stage,
        database: &database,
        mail: &mail,
        setting,
        alerts,
        killed: [0; 3],
        in_window: Counts::new(),
    };
    // the kills come in the first four fifths
    for number in 0..arguments.kills {
        let at = u64::from(arguments.changes) * 4 / 5 * u64::from(number + 1)
            / u64::from(arguments.kills + 1);
        until("changes of prices", || {
            services.prices.check_running()?;
            services.check()?;
            Ok(database.number("SELECT count(*) FROM price_event")? >= i64::try_from(at)?)
        })?;
        services.kill(number)?;
    }
    let ended = services.prices.wait(PATIENCE)?;
    if !ended.success() {
        return Err(format!("the price service ended with {ended}").into());
    }
    until_consumed(&cluster, &mut services)?;
    let found = Found::collect(&cluster, &mail, |sql| database.rows(sql))?;
    let Services { killed, in_window, .. } = services;
    let right = verdict::tell(&found, arguments, killed, &in_window);
    report::line(format_args!("  took {:.1} s", begin.elapsed().as_secs_f64()));
    Ok(right)
}

/// Sends who watches what. An hour old, so that every price comes after it.
fn send_watches(cluster: &Cluster, arguments: &Arguments) -> Result<(), BoxError> {
    let mut producer = cluster.producer()?;
    let topic = producer.topic(WATCHES)?;
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_millis())?;
    for (thing, watch) in watches(arguments.seed, arguments.customers, arguments.things) {
        let (value, headers) = (serde_json::to_vec(&watch)?, Headers::new());
        producer.send(&Outgoing {
            topic,
            partition: None,
            key: Some(thing.as_bytes()),
            value: Some(&value),
            timestamp: Timestamp(now - AN_HOUR_MS),
            headers: &headers,
            position: None,
        })?;
    }
    producer.flush(PATIENCE)?;
    drop(producer);
    let (mut group, watched) = (cluster.group_watcher(APPLICATION)?, cluster.partitions(WATCHES)?);
    until("the watches", || consumed(cluster, &mut group, &watched))
}

/// Waits until the alerts of all prices are made, and all of them are mailed.
fn until_consumed(cluster: &Cluster, services: &mut Services<'_>) -> Result<(), BoxError> {
    let (mut group, told) = (cluster.group_watcher(APPLICATION)?, cluster.partitions(PRICES)?);
    until("the alerts", || {
        services.check()?;
        consumed(cluster, &mut group, &told)
    })?;
    let mut ends = vec![0; PARTITIONS as usize];
    cluster.read_all(ALERTS, Isolation::ReadCommitted, |partition, record| {
        use tidemill::record::RawRecord;
        ends[usize::try_from(partition.0)?] = record.offset().next().0;
        Ok(())
    })?;
    until("the mails", || {
        services.check()?;
        let mut at = vec![0; ends.len()];
        for row in services.database.rows("SELECT * FROM mail_position")? {
            at[usize::try_from(row.get::<_, i32>(0))?] = row.get::<_, i64>(1);
        }
        Ok(at == ends)
    })
}

/// Returns true if the group has committed everything of these partitions.
fn consumed(
    cluster: &Cluster,
    group: &mut Consumer,
    partitions: &[TopicPartition],
) -> Result<bool, BoxError> {
    let committed = match group.committed(partitions, PATIENCE) {
        Err(error) if error.severity == Severity::Retry => return Ok(false),
        committed => committed?,
    };
    let ends = cluster.log_ends(partitions, OffsetSpec::Latest, Isolation::ReadUncommitted)?;
    let at = |(committed, end): (&tidemill::client::Committed, &tidemill::record::Offset)| {
        end.0 == 0 || committed.offset == Some(*end)
    };
    Ok(committed.iter().zip(&ends).all(at))
}

fn until(
    what: &str,
    mut condition: impl FnMut() -> Result<bool, BoxError>,
) -> Result<(), BoxError> {
    let deadline = Instant::now() + PATIENCE;
    while !condition()? {
        if Instant::now() > deadline {
            return Err(format!("waited in vain for {what}").into());
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}
