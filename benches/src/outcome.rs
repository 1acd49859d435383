//! The output topic: read as read_committed shows it, folded into balances.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tidemill::BoxError;
use tidemill::client::{Consumer, Fetched, PartitionReader, Waker};
use tidemill::record::{Offset, RawRecord};

use crate::cluster::Cluster;
use crate::interrupt;
use crate::transactions::{Ledger, account_number};

const READ_TIMEOUT: Duration = Duration::from_secs(120);
const BATCH: usize = 1_000;

/// What an output record says about its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Where it stands.
    Balance,
    /// What was added to it; the records of an account are to be summed up.
    Change,
}

/// The value of an output record.
#[derive(Deserialize)]
struct Published<'a> {
    balance: &'a str,
    transactions: u64,
}

/// A read_committed reader of an output topic, from its start.
#[derive(Debug)]
pub(crate) struct OutputReader {
    readers: Vec<PartitionReader>,
    ends: Vec<i64>,
    waker: Arc<Waker>,
    meaning: Meaning,
    /// What was read so far comes to this.
    pub(crate) ledger: Ledger,
    /// Output records read.
    pub(crate) records: u64,
    // dropped after the readers
    _consumer: Consumer,
}

impl OutputReader {
    pub(crate) fn new(
        cluster: &Cluster,
        topic: &str,
        meaning: Meaning,
        accounts: u32,
    ) -> Result<Self, BoxError> {
        let mut config = cluster.client();
        config.set("isolation.level", "read_committed");
        config.set("auto.offset.reset", "error");
        config.set("fetch.queue.backoff.ms", "5");
        config.set("fetch.wait.max.ms", "50");
        let waker = Arc::new(Waker::new());
        let mut consumer = Consumer::new(&config, Arc::clone(&waker))?;
        let from_start: Vec<_> =
            cluster.partitions_of(topic).into_iter().map(|one| (one, Offset::ZERO)).collect();
        let readers = consumer.assign(&from_start)?;
        Ok(Self {
            ends: vec![0; readers.len()],
            readers,
            waker,
            meaning,
            ledger: Ledger::new(accounts),
            records: 0,
            _consumer: consumer,
        })
    }

    /// Reads what is there, waiting for the first record at most that long. Tells of each record
    /// its account and how many transactions of it are visible now: before, and after.
    pub(crate) fn read(
        &mut self,
        wait: Duration,
        tell: &mut impl FnMut(u32, u64, u64),
    ) -> Result<(), BoxError> {
        self.waker.wait(wait);
        let mut failed = None;
        for (place, reader) in self.readers.iter_mut().enumerate() {
            let (ledger, records, meaning) = (&mut self.ledger, &mut self.records, self.meaning);
            let ends = &mut self.ends;
            let mut take = |fetched: Fetched| match fetched {
                Fetched::Record(record) => {
                    *records += 1;
                    ends[place] = record.offset().next().0;
                    match apply(ledger, meaning, &record) {
                        Ok((account, before, after)) => tell(account, before, after),
                        Err(error) => failed = Some(error),
                    }
                }
                Fetched::EndOfPartition(end) => ends[place] = end.0,
                Fetched::Failed(error) => failed = Some(error.into()),
            };
            while reader.read(BATCH, &mut take) == BATCH {}
        }
        failed.map_or(Ok(()), Err)
    }

    /// Reads up to these ends.
    pub(crate) fn read_to(&mut self, ends: &[i64]) -> Result<(), BoxError> {
        let begun = Instant::now();
        while self.ends.iter().zip(ends).any(|(read, end)| read < end) {
            interrupt::check()?;
            if begun.elapsed() > READ_TIMEOUT {
                return Err(format!("the output was not read within {READ_TIMEOUT:?}").into());
            }
            self.read(Duration::from_millis(50), &mut |_, _, _| {})?;
        }
        Ok(())
    }
}

/// Returns the account and its transactions before and after.
fn apply(
    ledger: &mut Ledger,
    meaning: Meaning,
    record: &impl RawRecord,
) -> Result<(u32, u64, u64), BoxError> {
    let account = record.key().and_then(account_number).ok_or("an output without an account")?;
    let value = record.value().ok_or("an output without a value")?;
    let published: Published<'_> = serde_json::from_slice(value)?;
    let cents = cents(published.balance).ok_or("an output with a balance that is no number")?;
    let entry = ledger
        .accounts
        .get_mut(account as usize)
        .ok_or("an output of an account that was never used")?;
    let before = entry.1;
    *entry = match meaning {
        Meaning::Balance => (cents, published.transactions),
        Meaning::Change => (entry.0 + cents, entry.1 + published.transactions),
    };
    Ok((account, before, entry.1))
}

/// Minor units of decimal text with two fraction digits.
fn cents(text: &str) -> Option<i64> {
    let (units, fraction) = text.split_once('.')?;
    let sign = if units.starts_with('-') { -1 } else { 1 };
    let (units, fraction): (i64, i64) = (units.parse().ok()?, fraction.parse().ok()?);
    Some(units * 100 + sign * fraction)
}
