//! A broker with a data directory is killed while clients write, and has all that it acknowledged.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kafka_protocol::messages::{ApiKey, InitProducerIdRequest, ResponseKind};

use super::client::{Client, Numbered, batch, code, produce};

const WRITERS: usize = 3;
const ROUNDS: usize = 4;

/// The real program.
struct Broker {
    child: Child,
    address: SocketAddr,
}

impl Broker {
    fn start(data: &Path, listen: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidemill-broker"))
            .args(["--listen", listen, "--data-dir"])
            .arg(data)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().parse().expect("it prints its address when it is ready");
        Self { child, address }
    }

    /// SIGKILL.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // one that a test has ended already is not there any more
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn topic(writer: usize) -> String {
    format!("written-by-{writer}")
}

/// An idempotent producer's id.
fn numbered(client: &mut Client) -> Numbered {
    let answer = client.call(ApiKey::InitProducerId, 1, InitProducerIdRequest::default());
    let ResponseKind::InitProducerId(made) = answer else { panic!("not the answer") };
    let (id, epoch) = (made.producer_id.0, made.producer_epoch);
    Numbered { id, epoch, sequence: 0, transactional: false }
}

/// Sends numbers until the connection breaks, several at a time; returns those acknowledged.
fn write(address: SocketAddr, writer: usize, first: usize, count: &AtomicUsize) -> Vec<usize> {
    const IN_FLIGHT: usize = 4;
    let mut client = Client::to(address);
    let mut producer = numbered(&mut client);
    let (mut sent, mut acknowledged) = (first, Vec::new());
    loop {
        while sent < first + acknowledged.len() + IN_FLIGHT {
            let records = batch(&sent.to_string(), Some(producer));
            let request = produce(&topic(writer), records).into();
            if client.try_send(ApiKey::Produce, 7, &request).is_err() {
                return acknowledged;
            }
            producer.sequence += 1;
            sent += 1;
        }
        let Ok((_, answer)) = client.receive(ApiKey::Produce, 7) else { return acknowledged };
        assert_eq!(code(&answer), 0);
        acknowledged.push(first + acknowledged.len());
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn what_was_acknowledged_survives_sigkill() {
    let data = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(data.path(), "127.0.0.1:0");
    let address = broker.address;
    (0..WRITERS).for_each(|writer| Client::to(address).create(&topic(writer)));
    let all: Vec<_> = (0..WRITERS).map(|_| Arc::new(Mutex::new(Vec::new()))).collect();
    for round in 0..ROUNDS {
        let count = Arc::new(AtomicUsize::new(0));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (mine, count) = (Arc::clone(&all[writer]), Arc::clone(&count));
                let first = round * 1_000_000;
                std::thread::spawn(move || {
                    mine.lock().unwrap().extend(write(address, writer, first, &count));
                })
            })
            .collect();
        let deadline = Instant::now() + Duration::from_secs(30);
        while count.load(Ordering::Relaxed) < 500 {
            assert!(Instant::now() < deadline, "nothing is acknowledged");
            std::thread::yield_now();
        }
        broker.kill();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        broker = Broker::start(data.path(), &address.to_string());
        assert_eq!(broker.address, address);
    }
    for (writer, acknowledged) in all.iter().enumerate() {
        let acknowledged = acknowledged.lock().unwrap();
        let read = Client::to(address).values(&topic(writer));
        let read: Vec<usize> = read.iter().map(|value| value.parse().unwrap()).collect();
        assert!(read.is_sorted_by(|a, b| a < b), "out of order or twice: {read:?}");
        let lost = acknowledged.iter().find(|number| read.binary_search(number).is_err());
        assert_eq!(lost, None, "writer {writer} has lost an acknowledged record");
        assert!(acknowledged.len() > ROUNDS, "the test has tested nothing");
    }
}

#[test]
fn sigterm_ends_the_program_with_success() {
    let data = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(data.path(), "127.0.0.1:0");
    Client::to(broker.address).create("t");
    let pid = rustix::process::Pid::from_child(&broker.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(broker.child.wait().unwrap().success());
    let again = Broker::start(data.path(), "127.0.0.1:0");
    let mut client = Client::to(again.address);
    assert_eq!(client.produce("t", "v"), 0);
    assert_eq!(client.values("t"), ["v"]);
}
