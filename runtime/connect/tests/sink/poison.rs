//! Records that can't be applied: halt at them, or put them aside in the same transaction.

use std::time::Duration;

use tidemill_connect::sink::OnPoison;
use tidemill_connect::testing::PATIENCE;

use super::support::{Stage, failure, options, send};

/// Two that the constraint refuses (1000 and more) and one that is no number, among others.
fn amounts() -> Vec<String> {
    let mut amounts: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    amounts[41] = "5000".to_owned();
    amounts[42] = "no number".to_owned();
    amounts[97] = "5001".to_owned();
    amounts
}

#[tokio::test(flavor = "multi_thread")]
async fn sk5_the_sink_halts_at_the_record_with_everything_before_it_applied() {
    let stage = Stage::new(1).await;
    send(&stage.broker, &stage.topic, amounts().into_iter().map(|amount| (None, amount)));
    let told = failure(stage.sink(&[]).spawn().unwrap()).await;
    assert!(told.contains(&format!("{}-0 at offset 41", stage.topic)), "{told}");
    assert!(told.contains("ledger_amount_check"), "{told}");
    assert_eq!(stage.count("SELECT count(*) FROM ledger").await, 41);
    assert_eq!(stage.count("SELECT next_offset FROM sink_offset").await, 41);
    // the cause is mended: it goes on, to the next one
    let mend = "ALTER TABLE ledger DROP CONSTRAINT ledger_amount_check";
    stage.client().await.batch_execute(mend).await.unwrap();
    let told = failure(stage.sink(&[]).spawn().unwrap()).await;
    assert!(told.contains(&format!("{}-0 at offset 42", stage.topic)), "{told}");
    assert!(told.contains("JSON"), "{told}");
    assert_eq!(stage.count("SELECT count(*) FROM ledger").await, 42);
}

#[tokio::test(flavor = "multi_thread")]
async fn sk5_a_dead_letter_is_written_once_and_the_others_are_applied() {
    let stage = Stage::new(1).await;
    let amounts = amounts();
    send(&stage.broker, &stage.topic, amounts.iter().map(|amount| (None, amount.clone())));
    let sink = stage.sink(&[]).on_poison(OnPoison::DeadLetter);
    let handle = sink.spawn().unwrap();
    stage.drained().await;
    let sql = "SELECT record_offset, convert_from(record_value, 'UTF8'), reason
                 FROM sink_dead_letter ORDER BY created_at";
    let rows = stage.client().await.query(sql, &[]).await.unwrap();
    let letters: Vec<(i64, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let expected = [41, 42, 97].map(|at: i64| (at, amounts[at as usize].clone()));
    assert_eq!(letters, expected);
    assert!(rows[0].get::<_, &str>(2).contains("ledger_amount_check"));
    assert_eq!(stage.count("SELECT count(*) FROM ledger").await, 97);
    assert_eq!(stage.count("SELECT count(DISTINCT record_offset) FROM ledger").await, 97);
    stage.told(&handle).await;
    let metrics = handle.metrics();
    assert_eq!((metrics.records_applied, metrics.dead_letters), (97, 3));
    handle.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sk5_killed_while_putting_records_aside() {
    let stage = Stage::new(2).await;
    send(&stage.broker, &stage.topic, amounts().into_iter().map(|amount| (None, amount)));
    let aside = [("SINK_DEAD_LETTERS", "yes")];
    let mut first = stage.process("SK1B:2:kill", &aside);
    assert!(!first.wait(PATIENCE).unwrap().success(), "it was not killed");
    // how many transactions there are to come depends on how the records were batched
    for place in ["SK1C:3:kill", "SK1B:4:kill"] {
        let mut process = stage.process(place, &aside);
        if process.wait(Duration::from_secs(3)).is_err() {
            process.kill().unwrap();
        }
    }
    let _last = stage.process("", &[("SINK_DEAD_LETTERS", "yes")]);
    stage.drained().await;
    assert_eq!(stage.count("SELECT count(*) FROM ledger").await, 97);
    assert_eq!(stage.count("SELECT count(*) FROM sink_dead_letter").await, 3);
    let sql = "SELECT count(DISTINCT (partition, record_offset)) FROM ledger";
    assert_eq!(stage.count(sql).await, 97);
}

#[tokio::test(flavor = "multi_thread")]
async fn sk5_a_constraint_that_speaks_at_the_commit_is_no_exception() {
    let stage = Stage::new(1).await;
    let deferred = "CREATE TABLE account (id bigint PRIMARY KEY);
        INSERT INTO account SELECT generate_series(0, 60);
        ALTER TABLE ledger ADD FOREIGN KEY (amount) REFERENCES account
            DEFERRABLE INITIALLY DEFERRED";
    stage.client().await.batch_execute(deferred).await.unwrap();
    stage.send((0..50).chain([77]).chain(51..60));
    let sink = stage.sink(&[]).on_poison(OnPoison::DeadLetter);
    let handle = sink.spawn().unwrap();
    stage.drained().await;
    assert_eq!(stage.verify_without(|amount| amount == 77).await, 59);
    stage.told(&handle).await;
    assert_eq!(handle.metrics().dead_letters, 1);
    handle.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sk5_what_is_no_record_s_fault_is_no_dead_letter() {
    let stage = Stage::new(1).await;
    stage.send(0..10);
    let sink = stage.postgres(&[]).with(|tx, _| {
        Box::pin(async move {
            tx.execute("INSERT INTO no_such_table VALUES (1)", &[]).await?;
            Ok(())
        })
    });
    let sink = sink.options(options()).on_poison(OnPoison::DeadLetter);
    let told = failure(sink.spawn().unwrap()).await;
    assert!(told.contains("apply offsets 0 to"), "{told}");
    assert!(told.contains("no_such_table"), "{told}");
    assert_eq!(stage.count("SELECT count(*) FROM sink_dead_letter").await, 0);
    assert_eq!(stage.count("SELECT next_offset FROM sink_offset").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sk5_a_failure_that_the_writer_hides_is_no_commit() {
    let stage = Stage::new(1).await;
    stage.send((0..20).chain([5000]).chain(20..30));
    let sink = stage.postgres(&[]).with(|tx, records| {
        Box::pin(async move {
            for record in records {
                let sql =
                    "INSERT INTO ledger (partition, record_offset, amount) VALUES (0, $1, $2)";
                // as if nothing had happened
                let _ = tx.execute(sql, &[&record.offset.0, &record.json::<i64>()?]).await;
            }
            Ok(())
        })
    });
    let told = failure(sink.options(options()).spawn().unwrap()).await;
    assert!(told.contains(&format!("{}-0 at offset 20", stage.topic)), "{told}");
    assert!(told.contains("transaction is aborted"), "{told}");
    assert_eq!(stage.count("SELECT count(*) FROM ledger").await, 20);
}
