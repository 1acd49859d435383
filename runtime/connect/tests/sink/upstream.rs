//! An exactly-once application upstream and the sinks below it, both killed at random.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidemill::dsl::{Grouped, Materialized, StreamsBuilder};
use tidemill::serdes::{json, optional, string};
use tidemill::topology::{Consumed, Produced};
use tidemill::{Config, Tidemill};
use tidemill_connect::sink::postgres::Upsert;
use tidemill_connect::testing::{Broker, Child, unique};

use super::support::{Stage, kills, ledger_sink, options, send, until};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Balance {
    account: String,
    cents: i64,
    /// How many entries it is made of: what guards the row.
    revision: i64,
}

/// Entries -> payments, one each; entries -> balances by account.
async fn application(broker: &str, application_id: &str, folder: &str) {
    let topic = |name: &str| format!("{application_id}-{name}");
    let builder = StreamsBuilder::new();
    let entries = builder.stream(&topic("entries"), Consumed::with(string(), json::<i64>()));
    entries.to(&topic("payments"), Produced::with(string(), json::<i64>()));
    entries
        .group_by_key(Grouped::with(string(), json::<i64>()))
        .aggregate(
            Balance::default,
            |account: &String, cents, before: Balance| Balance {
                account: account.clone(),
                cents: before.cents + cents,
                revision: before.revision + 1,
            },
            Materialized::as_("balances").with_value_serde(json::<Balance>()),
        )
        .to_stream()
        .to(&topic("balances"), Produced::with(string(), optional(json())));
    let config = Config::new(application_id, broker)
        .with_state_dir(folder)
        .with_commit_interval(Duration::from_millis(50));
    let topology = builder.build().unwrap();
    Tidemill::new(topology, config).unwrap().run().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the body of a process that other tests start"]
async fn upstream_process() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    application(&variable("UP_KAFKA"), &variable("UP_ID"), &variable("UP_FOLDER")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the body of a process that other tests start"]
async fn sinks_process() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let id = variable("UP_ID");
    let stage = Stage {
        broker: Broker::at(&variable("UP_KAFKA")),
        database: variable("UP_DATABASE"),
        topic: format!("{id}-payments"),
        sink: format!("{id}-ledger"),
    };
    let balances = Stage {
        broker: stage.broker.clone(),
        database: stage.database.clone(),
        topic: format!("{id}-balances"),
        sink: format!("{id}-balances"),
    };
    let kafka = [("group.instance.id", "one"), ("session.timeout.ms", "6000")];
    let ledger = ledger_sink(stage.postgres(&kafka)).run();
    let upsert = Upsert::revision_guarded("revision");
    let table = balances.postgres(&kafka).upsert::<Balance>("balance", upsert).unwrap();
    let table = table.options(options()).run();
    let (ledger, table) = tokio::join!(ledger, table);
    ledger.unwrap();
    table.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sk9_chaos_of_the_application_and_its_sinks_leaves_the_right_sum() {
    let stage = Stage::new(1).await;
    let table =
        "CREATE TABLE balance (account text PRIMARY KEY, cents bigint, revision bigint NOT NULL)";
    stage.client().await.batch_execute(table).await.unwrap();
    let id = unique("bank");
    let entries = format!("{id}-entries");
    for topic in ["entries", "payments", "balances"] {
        stage.broker.create(&format!("{id}-{topic}"), 2, &[]).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let variables = [
        ("UP_KAFKA", stage.broker.address()),
        ("UP_DATABASE", &*stage.database),
        ("UP_ID", &*id),
        ("UP_FOLDER", folder.path().to_str().unwrap()),
    ];
    let start = |test: &str, failpoint: String| {
        let armed = [("TIDEMILL_TEST_FAILPOINT", &*failpoint)];
        Child::start(test, &[&variables[..], &armed[..]].concat()).unwrap()
    };
    let (upstream, sinks) = ("upstream::upstream_process", "upstream::sinks_process");
    let places = ["S3", "S5", "S7", ""];
    let (mut sum, mut count) = (0, 0);
    let mut running = [start(upstream, String::new()), start(sinks, String::new())];
    for kill in 0..kills() {
        let more: Vec<_> = (0..fastrand::usize(50..150))
            .map(|_| (format!("account-{}", fastrand::u8(0..20)), fastrand::i64(1..100)))
            .collect();
        count += more.len() as i64;
        sum += more.iter().map(|(_, cents)| cents).sum::<i64>();
        let records = more.into_iter().map(|(key, cents)| (Some(key), cents.to_string()));
        send(&stage.broker, &entries, records);
        tokio::time::sleep(Duration::from_millis(fastrand::u64(100..900))).await;
        let pass = fastrand::u32(1..5);
        let sink = ["SK1A", "SK1B", "SK1C", ""][kill as usize % 4];
        for (child, test, place) in
            [(0, upstream, places[kill as usize % places.len()]), (1, sinks, sink)]
        {
            running[child].kill().unwrap();
            running[child] = start(test, format!("{place}:{pass}:kill"));
        }
    }
    for child in &mut running {
        child.kill().unwrap();
    }
    let _running = [start(upstream, String::new()), start(sinks, String::new())];
    until("everything went through", || async {
        stage.count("SELECT COALESCE(sum(revision), 0)::bigint FROM balance").await >= count
            && stage.count("SELECT count(*) FROM ledger").await >= count
    })
    .await;
    let of_ledger = stage.count("SELECT sum(amount)::bigint FROM ledger").await;
    let of_balances = stage.count("SELECT sum(cents)::bigint FROM balance").await;
    assert_eq!((of_ledger, of_balances), (sum, sum));
    assert_eq!(stage.count("SELECT count(*) FROM ledger").await, count);
    let payments = Stage {
        broker: stage.broker.clone(),
        database: stage.database.clone(),
        topic: format!("{id}-payments"),
        sink: format!("{id}-ledger"),
    };
    assert_eq!(payments.verify().await as i64, count);
}
