//! Load: transactions, a few of them invalid, the same ones for the same seed.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidemill::BoxError;
use tidemill::client::{Outgoing, Producer, SendError};
use tidemill::record::{Headers, Partition, Timestamp};

use crate::cluster::Cluster;

/// One record in so many is invalid.
const INVALID_EVERY: u64 = 1000;
const FLUSH_TIMEOUT: Duration = Duration::from_secs(120);

/// What to generate.
#[derive(Debug, Clone)]
pub struct Load {
    /// The topic to write to.
    pub topic: String,
    /// Its partitions; records go round.
    pub partitions: u32,
    /// How many records at most.
    pub transactions: u64,
    /// Over how many accounts, each equally likely.
    pub accounts: u64,
    /// Same seed, same records.
    pub seed: u64,
    /// Records per second at most; `None`: as fast as the cluster takes them.
    pub rate: Option<u64>,
}

/// A load that is being written in a thread of its own.
#[derive(Debug)]
pub struct Generator {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), BoxError>>>,
}

impl Generator {
    /// Starts writing.
    ///
    /// # Errors
    /// If producer or thread can't be made.
    pub fn start(cluster: &Cluster, load: Load) -> Result<Self, BoxError> {
        let producer = cluster.producer()?;
        let (sent, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (counter, stopping) = (Arc::clone(&sent), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || generate(producer, &load, &counter, &stopping))?;
        Ok(Self { sent, stop, thread: Some(thread) })
    }

    /// Returns how many records were handed to the client.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Returns true once every record is delivered, or it failed.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until every record that was sent is delivered. Returns how many.
    ///
    /// # Errors
    /// If not all were delivered.
    pub fn finish(&mut self) -> Result<u64, BoxError> {
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| "the load thread panicked")??;
        }
        Ok(self.sent())
    }

    /// Sends no more, and waits as [`Generator::finish`].
    ///
    /// # Errors
    /// As there.
    pub fn stop(&mut self) -> Result<u64, BoxError> {
        self.stop.store(true, Ordering::Release);
        self.finish()
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // its owner failed, perhaps because there is no broker: nobody waits for deliveries
        self.stop.store(true, Ordering::Release);
    }
}

fn generate(
    mut producer: Producer,
    load: &Load,
    sent: &AtomicU64,
    stop: &AtomicBool,
) -> Result<(), BoxError> {
    let topic = producer.topic(&load.topic)?;
    let mut records = Records::new(load);
    let began = Instant::now();
    for number in 0..load.transactions {
        if stop.load(Ordering::Acquire) {
            break;
        }
        if let Some(rate) = load.rate {
            let due = began + Duration::from_secs_f64(number as f64 / rate as f64);
            while let Some(early) = due.checked_duration_since(Instant::now()) {
                producer.poll(early.min(Duration::from_millis(20)));
            }
        }
        let record = records.next(number)?;
        let partition = i32::try_from(number % u64::from(load.partitions))?;
        let outgoing = Outgoing {
            topic,
            partition: Some(Partition(partition)),
            key: record.key,
            value: record.value,
            timestamp: now(),
            headers: record.headers,
            position: None,
        };
        loop {
            match producer.send(&outgoing) {
                Ok(()) => break,
                Err(SendError::QueueFull) => producer.poll(Duration::from_millis(100)),
                Err(error) => return Err(error.into()),
            }
        }
        sent.fetch_add(1, Ordering::Relaxed);
    }
    producer.flush(FLUSH_TIMEOUT)?;
    producer.delivery_error().map_or(Ok(()), |error| Err(error.into()))
}

fn now() -> Timestamp {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
    Timestamp(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// A record to send; the bytes are those of the generator's buffers.
struct Generated<'a> {
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: &'a Headers,
}

/// Makes records, one after the other, in buffers that are used again.
struct Records {
    random: fastrand::Rng,
    accounts: u64,
    /// The number of the next invalid record.
    invalid: u64,
    key: Vec<u8>,
    value: Vec<u8>,
    none: Headers,
    traced: Headers,
}

impl Records {
    fn new(load: &Load) -> Self {
        let mut random = fastrand::Rng::with_seed(load.seed);
        let mut traced = Headers::new();
        traced.add("trace", Some(b"kept".to_vec()));
        traced.add("empty", None);
        Self {
            invalid: random.u64(..INVALID_EVERY.min(load.transactions.max(1))),
            random,
            accounts: load.accounts.max(1),
            key: Vec::new(),
            value: Vec::new(),
            none: Headers::new(),
            traced,
        }
    }

    fn next(&mut self, number: u64) -> Result<Generated<'_>, BoxError> {
        self.key.clear();
        self.value.clear();
        write!(self.key, "k{}", number % 7)?;
        let (mut has_value, mut headers) = (true, &self.none);
        if number == self.invalid {
            let block = number / INVALID_EVERY;
            self.invalid = (block + 1) * INVALID_EVERY + self.random.u64(..INVALID_EVERY);
            has_value = write_invalid(&mut self.value, block)?;
            if block.is_multiple_of(2) {
                headers = &self.traced;
            }
        } else {
            let account = self.random.u64(..self.accounts);
            let kind = if self.random.bool() { "deposit" } else { "withdrawal" };
            let (units, cents) = (self.random.u32(..1000), self.random.u32(..100));
            write!(self.value, r#"{{"id":"t{number}","account_id":"account-{account:05}","#)?;
            write!(self.value, r#""type":"{kind}","amount":"{units}"#)?;
            match cents {
                0 => {}
                tenths if tenths % 10 == 0 => write!(self.value, ".{}", tenths / 10)?,
                cents => write!(self.value, ".{cents:02}")?,
            }
            self.value.extend_from_slice(br#""}"#);
        }
        // the key means nothing: some records have none
        let key = (!number.is_multiple_of(3)).then_some(&*self.key);
        Ok(Generated { key, value: has_value.then_some(&*self.value), headers })
    }
}

/// Writes one of ten kinds of values that are no transactions; false: the value is null.
fn write_invalid(value: &mut Vec<u8>, kind: u64) -> Result<bool, BoxError> {
    let (account, kind, amount) = match kind % 10 {
        0 => {
            value.extend_from_slice(b"not json");
            return Ok(true);
        }
        1 => return Ok(true),
        2 => return Ok(false),
        3 => {
            value.extend_from_slice(&[0xff, 0xfe, 0x00]);
            return Ok(true);
        }
        4 => (r#""account-00001""#, "refund", r#""1.00""#),
        5 => (r#""account-00001""#, "deposit", r#""1.005""#),
        6 => (r#""account-00001""#, "deposit", r#""-1.00""#),
        7 => (r#""account-00001""#, "deposit", r#""92233720368547758.08""#),
        8 => (r#""account-00001""#, "deposit", "1.00"),
        _ => ("17", "deposit", r#""1.00""#),
    };
    write!(value, r#"{{"id":"x","account_id":{account},"type":"{kind}","amount":{amount}}}"#)?;
    Ok(true)
}
