//! Several instances and many clients: nothing twice, in a global order, over few connections.

use std::sync::Arc;

use tidemill_connect::revision::service::RevisionServiceConfig;
use tidemill_connect::revision::{RevisionSource, RevisionedTable};
use tokio_postgres::Config;

use crate::support::{Drawn, client, connected, database, price, shop, start};

const CLIENTS: u32 = 20;
const DRAWS: u32 = 60;

/// Connections of the services, and how often the counter was moved.
async fn cost(database: &Config) -> (i64, i64) {
    let looking = connected(database).await;
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'tidemill-revisions'";
    let connections = looking.query_one(sql, &[]).await.unwrap().get(0);
    let sql = "SELECT (last - $1) FROM revision_counter";
    let moved = looking.query_one(sql, &[&0_i64]).await.unwrap().get(0);
    (connections, moved)
}

#[tokio::test(flavor = "multi_thread")]
async fn rv5_two_services_and_many_clients_draw_all_distinct_in_a_global_order() {
    let database = database("rv5");
    let config = RevisionServiceConfig::new(database.clone(), "prices");
    let services = [start(&config).await, start(&config).await];
    let (_, before) = cost(&database).await;
    let drawn = Arc::new(Drawn::default());
    let mut drawing = Vec::new();
    for number in 0..CLIENTS {
        let client = client(&services[number as usize % 2]);
        for caller in 0..3 {
            let (client, drawn) = (client.clone(), Arc::clone(&drawn));
            drawing.push(tokio::spawn(async move {
                for draw in 0..DRAWS {
                    drawn.draw(&client, 1 + (draw + caller) % 4).await;
                }
            }));
        }
    }
    for drawing in drawing {
        drawing.await.unwrap();
    }
    let (connections, after) = cost(&database).await;
    assert!((2..=4).contains(&connections), "two pools of two have {connections} connections");
    let count = i64::try_from(drawn.count()).unwrap();
    assert_eq!(count, i64::from(CLIENTS * 3 * DRAWS) * 5 / 2);
    assert_eq!((after - before, drawn.gaps()), (count, 0), "nothing was lost, so there is no gap");
    assert_eq!(drawn.largest(), after);
}

#[tokio::test(flavor = "multi_thread")]
async fn rv5_with_blocks_all_are_distinct_and_each_instance_keeps_its_order() {
    let database = database("rv5");
    let config = RevisionServiceConfig::new(database.clone(), "prices").with_block(1_000);
    let services = [start(&config).await, start(&config).await];
    let (_, before) = cost(&database).await;
    let all = Arc::new(Drawn::default());
    let mut drawing = Vec::new();
    for service in &services {
        let own = Arc::new(Drawn::default());
        for _ in 0..CLIENTS {
            let (client, own, all) = (client(service), Arc::clone(&own), Arc::clone(&all));
            drawing.push(tokio::spawn(async move {
                for _ in 0..DRAWS {
                    own.draw(&client, 1).await;
                    let number = client.next_revision().await.unwrap();
                    all.keep(number..=number);
                }
            }));
        }
    }
    for drawing in drawing {
        drawing.await.unwrap();
    }
    let (_, after) = cost(&database).await;
    let drawn = i64::from(4 * CLIENTS * DRAWS);
    let taken = after - before;
    assert!(taken % 1_000 == 0 && taken >= drawn, "{taken} taken for {drawn}");
    // an instance that starts again leaves the rest of its block behind
    let [first, second] = services;
    let last = client(&second).next_revision().await.unwrap();
    second.stop().await;
    let again = start(&config).await;
    assert!(client(&again).next_revision().await.unwrap() > last);
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rv6_the_service_asked_under_the_lock_grows_with_the_row_over_all_its_clients() {
    let (database, table) = shop("rv6").await;
    let config = RevisionServiceConfig::new(database.clone(), "prices");
    let services = [start(&config).await, start(&config).await];
    let mut writing = Vec::new();
    for number in 0..6_i64 {
        let client = client(&services[usize::try_from(number).unwrap() % 2]);
        let (database, table) = (database.clone(), table.clone());
        writing.push(tokio::spawn(async move { write(&database, &table, &client, number).await }));
    }
    for writing in writing {
        writing.await.unwrap();
    }
    let looking = connected(&database).await;
    let sql = "SELECT cents, revision FROM event ORDER BY revision DESC";
    let events = looking.query(sql, &[]).await.unwrap();
    assert_eq!(events.len(), 180);
    let newest = (events[0].get(0), events[0].get(1));
    assert_eq!(price(&looking, "hat").await, newest, "the last writer has the largest revision");
}

async fn write(
    database: &Config,
    table: &RevisionedTable,
    source: &impl RevisionSource,
    number: i64,
) {
    let mut client = connected(database).await;
    for change in 0..30 {
        let cents = number * 1_000 + change;
        let transaction = client.transaction().await.unwrap();
        let revision = table.draw(&transaction, &"hat", source).await.unwrap().unwrap();
        let sql = "UPDATE price SET cents = $1, revision = $2 WHERE sku = 'hat'";
        transaction.execute(sql, &[&cents, &revision]).await.unwrap();
        let sql = "INSERT INTO event VALUES ('hat', $1, $2)";
        transaction.execute(sql, &[&cents, &revision]).await.unwrap();
        transaction.commit().await.unwrap();
    }
}
