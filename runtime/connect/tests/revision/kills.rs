//! SIGKILL: services at named places and at any time, and PostgreSQL under them. Whoever draws sees
//! no number twice, and none that is smaller than one that was answered before.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidemill_connect::revision::service::{
    RevisionClient, RevisionClientConfig, RevisionService, RevisionServiceConfig,
};
use tidemill_connect::testing::{Child, PgOptions, PgServer, Port, Shutdown, until as until_found};

use crate::support::{Drawn, until};

/// The body of a service's process.
#[test]
#[ignore = "a service that other tests run as a process of its own"]
fn service_process() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let database = variable("REVISION_DATABASE").parse().unwrap();
    let address = variable("REVISION_ADDRESS").parse().unwrap();
    let block = variable("REVISION_BLOCK").parse().unwrap();
    let config = RevisionServiceConfig::new(database, "prices")
        .with_listen(address)
        .with_block(block)
        .with_timeout(Duration::from_secs(2));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        // PostgreSQL may be down at the moment
        loop {
            match RevisionService::start(&config).await {
                Ok(service) => {
                    std::future::pending::<()>().await;
                    drop(service);
                }
                Err(error) => assert!(error.is_retriable(), "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

struct Instance {
    database: String,
    port: Port,
    block: u32,
    process: Child,
}

impl Instance {
    fn start(database: &str, block: u32, failpoint: &str) -> Self {
        let port = Port::reserve().unwrap();
        let process = Self::launch(database, port.address(), block, failpoint);
        Self { database: database.to_owned(), port, block, process }
    }

    fn launch(database: &str, address: SocketAddr, block: u32, failpoint: &str) -> Child {
        let (address, block) = (address.to_string(), block.to_string());
        let variables = [
            ("REVISION_DATABASE", database),
            ("REVISION_ADDRESS", &*address),
            ("REVISION_BLOCK", &*block),
            ("TIDEMILL_TEST_FAILPOINT", failpoint),
        ];
        Child::start("kills::service_process", &variables).unwrap()
    }

    fn restart(&mut self) {
        self.process.kill().unwrap();
        self.process = Self::launch(&self.database, self.port.address(), self.block, "");
    }

    fn client(&self) -> RevisionClient {
        let config = RevisionClientConfig::new(&format!("http://{}", self.port.address()))
            .with_request_timeout(Duration::from_secs(4))
            .with_timeout(Duration::from_secs(60));
        RevisionClient::new(&config).unwrap()
    }
}

/// Kills a service at a place, in the middle of what its clients draw.
async fn killed_at(place: &str, block: u32) -> i64 {
    let server = PgServer::start(PgOptions::default()).unwrap();
    let database = server.new_database("killed").unwrap();
    let mut instance = Instance::start(&database, block, &format!("{place}:5:kill"));
    let drawn = Arc::new(Drawn::default());
    let client = instance.client();
    let drawing: Vec<_> = (0..4)
        .map(|_| {
            let (client, drawn) = (client.clone(), Arc::clone(&drawn));
            tokio::spawn(async move {
                for _ in 0..50 {
                    drawn.draw(&client, 7).await;
                }
            })
        })
        .collect();
    let ended = tokio::task::spawn_blocking(move || {
        let ended = until_found("the kill", || instance.process.ended().unwrap());
        instance.restart();
        (ended, instance)
    });
    let (ended, _instance) = ended.await.unwrap();
    assert_eq!(ended.signal(), Some(9));
    for drawing in drawing {
        drawing.await.unwrap();
    }
    assert_eq!(drawn.count(), 4 * 50 * 7);
    drawn.gaps()
}

#[tokio::test(flavor = "multi_thread")]
async fn rv4_killed_before_the_counter_is_moved_nothing_is_lost() {
    assert_eq!(killed_at("RS1", 0).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rv4_killed_after_the_commit_before_the_answer_the_numbers_are_never_given_out() {
    let gaps = killed_at("RS2", 0).await;
    assert!(gaps >= 7 && gaps % 7 == 0, "{gaps}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rv4_killed_with_a_block_in_hand_its_rest_is_never_given_out() {
    let gaps = killed_at("RS2", 50).await;
    assert!(gaps >= 50, "{gaps}");
}

/// Draws until it is told to stop.
fn keep_drawing(
    client: RevisionClient,
    drawn: &Arc<Drawn>,
    stop: &Arc<AtomicBool>,
) -> tokio::task::JoinHandle<()> {
    let (drawn, stop) = (Arc::clone(drawn), Arc::clone(stop));
    tokio::spawn(async move {
        while !stop.load(Ordering::SeqCst) {
            drawn.draw(&client, 1 + fastrand::u32(0..5)).await;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..3))).await;
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_revision_service() {
    let kills = std::env::var("TIDEMILL_TEST_KILLS");
    let kills: u32 = kills.map_or(8, |kills| kills.parse().unwrap());
    let mut server = PgServer::start(PgOptions::default()).unwrap();
    let database = server.new_database("chaos").unwrap();
    let mut instances = [0, 0].map(|block| Instance::start(&database, block, ""));
    let (drawn, stop) = (Arc::new(Drawn::default()), Arc::new(AtomicBool::new(false)));
    let drawing: Vec<_> =
        (0..6).map(|number| keep_drawing(instances[number % 2].client(), &drawn, &stop)).collect();
    for kill in 0..kills {
        let enough = drawn.count() + 100;
        until(async || drawn.count() >= enough).await;
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..30))).await;
        match kill % 4 {
            0 | 2 => instances[kill as usize / 2 % 2].restart(),
            1 => {
                server.stop(Shutdown::Kill).unwrap();
                server.start_again().unwrap();
            }
            _ => {
                instances.iter_mut().for_each(Instance::restart);
                server.stop(Shutdown::Immediate).unwrap();
                server.start_again().unwrap();
            }
        }
    }
    let enough = drawn.count() + 100;
    until(async || drawn.count() >= enough).await;
    stop.store(true, Ordering::SeqCst);
    for drawing in drawing {
        drawing.await.unwrap();
    }
    eprintln!("{kills} kills: {} numbers, {} skipped", drawn.count(), drawn.gaps());
}
