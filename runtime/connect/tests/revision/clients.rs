//! The client against a network that fails: answers that are lost, connections that hang, and
//! whoever answers instead of the service.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tidemill_connect::revision::service::{
    RevisionClient, RevisionClientConfig, RevisionClientError, RevisionServiceConfig,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Drawn, connected, database, start};

/// What the network does to an answer of the service.
#[derive(Clone, Copy)]
enum Fault {
    /// It is lost with its connection.
    Cut,
    /// It never arrives.
    Stall,
    /// Half of it arrives.
    Half,
}

/// Stands between client and service. The first `left` answers meet the fault.
async fn network(service: SocketAddr, fault: Fault, left: u32) -> (SocketAddr, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let counter = Arc::new(AtomicU32::new(left));
    let left = Arc::clone(&counter);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let service = TcpStream::connect(service).await.unwrap();
            tokio::spawn(carry(client, service, fault, Arc::clone(&left)));
        }
    });
    (address, counter)
}

/// Carries small questions and answers, each in one piece.
async fn carry(mut client: TcpStream, mut service: TcpStream, fault: Fault, left: Arc<AtomicU32>) {
    let mut buffer = [0; 8_192];
    loop {
        let Ok(count @ 1..) = client.read(&mut buffer).await else { return };
        service.write_all(&buffer[..count]).await.unwrap();
        // the service has committed when it answers
        let Ok(count @ 1..) = service.read(&mut buffer).await else { return };
        let faulty = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        let passed = match (faulty, fault) {
            (Err(_), _) => count,
            (Ok(_), Fault::Half) => count / 2,
            (Ok(_), Fault::Cut) => 0,
            (Ok(_), Fault::Stall) => {
                // until the client gives up
                let _ = client.read(&mut buffer).await;
                0
            }
        };
        if client.write_all(&buffer[..passed]).await.is_err() || passed < count {
            return;
        }
    }
}

fn quick(address: SocketAddr) -> RevisionClientConfig {
    RevisionClientConfig::new(&format!("http://{address}"))
        .with_request_timeout(Duration::from_millis(300))
}

#[tokio::test(flavor = "multi_thread")]
async fn rv4_answers_lost_on_the_way_are_never_given_out_again() {
    let database = database("rv4");
    let service = start(&RevisionServiceConfig::new(database.clone(), "prices")).await;
    let sql = "SELECT last FROM revision_counter";
    let looking = connected(&database).await;
    let last = async || looking.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
    for fault in [Fault::Cut, Fault::Stall, Fault::Half] {
        let before = last().await;
        let (address, left) = network(service.address(), fault, 4).await;
        let client = RevisionClient::new(&quick(address)).unwrap();
        let drawn = Drawn::default();
        for count in [3, 1, 2, 5, 1, 1] {
            drawn.draw(&client, count).await;
        }
        assert_eq!(left.load(Ordering::SeqCst), 0, "all faults happened");
        assert_eq!(drawn.count(), 13);
        // the first call asked five times for 3
        assert_eq!(drawn.largest(), before + 4 * 3 + 13, "what was lost is skipped");
        assert_eq!((last().await, drawn.gaps()), (drawn.largest(), 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_come_together_share_requests() {
    let service = start(&RevisionServiceConfig::new(database("shared"), "prices")).await;
    let (address, answers) = network(service.address(), Fault::Cut, 0).await;
    assert_eq!(answers.load(Ordering::SeqCst), 0);
    let client = RevisionClient::new(&quick(address).with_count_max(50)).unwrap();
    let drawn = Arc::new(Drawn::default());
    let calling: Vec<_> = (0..200)
        .map(|_| {
            let (client, drawn) = (client.clone(), Arc::clone(&drawn));
            tokio::spawn(async move { drawn.draw(&client, 1).await })
        })
        .collect();
    for calling in calling {
        calling.await.unwrap();
    }
    assert_eq!((drawn.count(), drawn.gaps()), (200, 0));
    let error = client.next_revisions(51).await.unwrap_err();
    assert_eq!(error, RevisionClientError::Count { count: 51, count_max: 50 });
    assert!(client.next_revisions(0).await.is_err());
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_an_error_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let config = quick(address).with_timeout(Duration::from_millis(700));
    let client = RevisionClient::new(&config).unwrap();
    let begin = Instant::now();
    let (one, two) = tokio::join!(client.next_revisions(1), client.next_revisions(2));
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    for error in [one.unwrap_err(), two.unwrap_err()] {
        assert!(matches!(error, RevisionClientError::Unavailable { .. }), "{error}");
        assert!(error.to_string().contains("no answer in time"), "{error}");
    }
    drop(silent);
    let error = client.next_revisions(1).await.unwrap_err();
    assert!(error.to_string().contains("the connection failed"), "{error}");
}

#[tokio::test]
async fn whoever_is_not_the_service_is_not_believed() {
    let service = start(&RevisionServiceConfig::new(database("other"), "prices")).await;
    let other = quick(service.address()).with_name("orders");
    let error = RevisionClient::new(&other).unwrap().next_revisions(1).await.unwrap_err();
    assert!(matches!(error, RevisionClientError::Refused { status: 409, .. }), "{error}");
    let granted = |text: &str| format!("200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len());
    for (answer, expected) in [
        (granted("hello"), "not what a revision service says"),
        (granted(r#"{"name":"prices","first":"1","last":"3"}"#), "1 to 3 for a count of 2"),
        (granted(r#"{"name":"prices","first":"3","last":"2"}"#), "3 to 2 for a count of 2"),
        (granted(r#"{"name":"orders","first":"1","last":"2"}"#), "numbers of the counter"),
        (granted(&" ".repeat(10_000)), "the answer is too long"),
        (granted(r#"{"name":"prices","first":"0","last":"1"}"#), "went back"),
        (
            "302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".into(),
            "refuses (302)",
        ),
        ("418 I'm a teapot\r\ncontent-length: 0\r\n\r\n".into(), "refuses (418)"),
    ] {
        let error = answered_by(&answer).await;
        assert!(error.to_string().contains(expected), "{answer}: {error}");
    }
}

/// Draws two from somebody who always answers this.
async fn answered_by(answer: &str) -> RevisionClientError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = quick(listener.local_addr().unwrap()).with_name("prices");
    let client = RevisionClient::new(&client).unwrap();
    let answer = format!("HTTP/1.1 {answer}");
    let answering = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4_096]).await;
        // the client may have seen enough
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.read(&mut [0; 1]).await;
    };
    tokio::select! {
        error = client.next_revisions(2) => error.unwrap_err(),
        () = answering => client.next_revisions(2).await.unwrap_err(),
    }
}
