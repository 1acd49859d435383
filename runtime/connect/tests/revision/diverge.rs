//! RV6 shown: two writers, the earlier revision is written last. Without lock or guard source and
//! consumers end with different prices, whatever is sent again.

use tidemill::driver::{DriverConfig, TopologyTestDriver};
use tidemill::dsl::{Deduplicated, Materialized, StreamsBuilder};
use tidemill::serdes;
use tidemill::topology::{Consumed, Produced};
use tidemill_connect::revision::{GuardedWrite, Parameter, SequenceRevision};

use crate::support::{connected, nextval, price, shop, until_locked_out};

/// Cents and revision.
type Price = (i64, i64);

/// How the two writers write.
#[derive(Clone, Copy, PartialEq)]
enum Write {
    /// Draw, then update.
    Plain,
    /// Draw, then update if it is newer.
    Guarded,
    /// Lock, draw, then update.
    UnderTheLock,
}

/// A second writer holds the row's lock while the first one, which came earlier, waits for it.
/// Returns the row, and the events in the order of the commits.
async fn race(how: Write) -> (Price, Vec<Price>) {
    let (config, table) = shop("rv6").await;
    let table = &table;
    let (mut first, mut second) = (connected(&config).await, connected(&config).await);
    let looking = connected(&config).await;
    let drawn = SequenceRevision::open(&*looking, "drawn".parse().unwrap()).await.unwrap();
    let drawn = &drawn;
    // the first writer draws before it has the lock, unless it does it right
    let early = if how == Write::UnderTheLock { 0 } else { nextval(&looking).await };
    let holder = second.transaction().await.unwrap();
    let later = drawn.draw(&holder, table, &"umbrella").await.unwrap().unwrap();
    let change: (&str, Parameter<'_>) = ("cents", &200_i64);
    let written = table.write_if_newer(&holder, &"umbrella", later, &[change]).await.unwrap();
    assert_eq!(written, GuardedWrite::Written);
    let waiter = async {
        let writer = first.transaction().await.unwrap();
        let plain = "UPDATE price SET cents = 100, revision = $1 WHERE sku = 'umbrella'";
        let event = match how {
            Write::Plain => {
                writer.execute(plain, &[&early]).await.unwrap();
                Some((100, early))
            }
            Write::Guarded => {
                let change: (&str, Parameter<'_>) = ("cents", &100_i64);
                let guarded = table.write_if_newer(&writer, &"umbrella", early, &[change]).await;
                assert_eq!(guarded.unwrap(), GuardedWrite::Lost { newest: later });
                None
            }
            Write::UnderTheLock => {
                let revision = drawn.draw(&writer, table, &"umbrella").await.unwrap().unwrap();
                writer.execute(plain, &[&revision]).await.unwrap();
                Some((100, revision))
            }
        };
        writer.commit().await.unwrap();
        event
    };
    let holding = async {
        until_locked_out(&looking).await;
        holder.commit().await.unwrap();
        (200, later)
    };
    let (event, before) = tokio::join!(waiter, holding);
    let events = [Some(before), event].into_iter().flatten().collect();
    (price(&looking, "umbrella").await, events)
}

/// What a consumer ends with that keeps the newest revision, if all is sent twice.
fn consumed(events: &[Price]) -> i64 {
    let builder = StreamsBuilder::new();
    let (texts, numbers) = (serdes::string, serdes::i64);
    builder
        .stream("prices", Consumed::with(texts(), serdes::string()))
        .try_deduplicate_by_revision(
            |record| Ok(record.value.split(' ').next_back().map(str::parse).transpose()?),
            Deduplicated::with(texts(), texts()),
            Materialized::as_("revisions"),
        )
        .map_values(|price: String| {
            price.split(' ').next().and_then(|cents| cents.parse().ok()).unwrap_or(0)
        })
        .to("shown", Produced::with(texts(), numbers()));
    let topology = builder.build().unwrap();
    let driver = TopologyTestDriver::new(topology, DriverConfig::new("consumer")).unwrap();
    let mut prices = driver.create_input_topic("prices", texts(), texts()).unwrap();
    for (cents, revision) in events.iter().chain(events) {
        prices.pipe_input("umbrella".to_owned(), format!("{cents} {revision}")).unwrap();
    }
    let mut shown = driver.create_output_topic("shown", texts(), numbers()).unwrap();
    shown.read_key_values_to_map().unwrap()["umbrella"]
}

#[tokio::test]
async fn rv6_drawn_before_the_lock_and_written_plainly_source_and_consumer_part_for_good() {
    let ((cents, revision), events) = race(Write::Plain).await;
    assert_eq!(events, [(200, 2), (100, 1)]);
    assert_eq!((cents, revision), (100, 1), "the source went back to the earlier revision");
    assert_eq!(consumed(&events), 200, "the consumer keeps the later one, also when told again");
}

#[tokio::test]
async fn rv6_drawn_before_the_lock_the_guarded_write_rejects_the_older_one() {
    let ((cents, revision), events) = race(Write::Guarded).await;
    assert_eq!(events, [(200, 2)], "the loser has nothing to tell");
    assert_eq!((cents, revision), (200, 2));
    assert_eq!(consumed(&events), cents);
}

#[tokio::test]
async fn rv6_drawn_under_the_lock_the_last_writer_has_the_larger_revision() {
    let ((cents, revision), events) = race(Write::UnderTheLock).await;
    assert_eq!(events, [(200, 1), (100, 2)]);
    assert_eq!((cents, revision), (100, 2));
    assert_eq!(consumed(&events), cents);
}

#[tokio::test]
async fn rv6_a_sequence_inside_the_update_itself_is_drawn_again_after_the_wait() {
    let (config, _) = shop("rv6").await;
    let (mut holding, waiting) = (connected(&config).await, connected(&config).await);
    let looking = connected(&config).await;
    let sql = "UPDATE price SET cents = $1, revision = nextval('drawn') WHERE sku = 'hat'";
    let holder = holding.transaction().await.unwrap();
    holder.execute(sql, &[&1_i64]).await.unwrap();
    let waiter = waiting.execute(sql, &[&100_i64]);
    let holder = async {
        until_locked_out(&looking).await;
        // the one that waits has drawn 2 already
        holder.execute(sql, &[&200_i64]).await.unwrap();
        holder.commit().await.unwrap();
    };
    let (written, ()) = tokio::join!(waiter, holder);
    assert_eq!(written.unwrap(), 1);
    assert_eq!(price(&looking, "hat").await, (100, 4), "the holder's last was 3");
}
