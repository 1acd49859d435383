//! Everything at once: an application upstream and the sink, both killed at random.

use std::time::Duration;

use tidemill_connect::testing::Child;

use super::support::{Stage, kills};

/// Places at which a sink is killed beside random times.
const PLACES: [&str; 4] = ["SK1A", "SK1B", "SK1C", ""];

#[tokio::test(flavor = "multi_thread")]
async fn chaos_sink() {
    let stage = Stage::new(3).await;
    let mut sent = 0;
    for kill in 0..kills() {
        let more = fastrand::i64(50..250);
        stage.send((sent..sent + more).map(|n| n % 1000));
        sent += more;
        let place = PLACES[kill as usize % PLACES.len()];
        let pass = fastrand::u32(1..6);
        let mut sink: Child = stage.process(&format!("{place}:{pass}:kill"), &[]);
        let longest = Duration::from_millis(fastrand::u64(50..900));
        if sink.wait(longest).is_err() {
            sink.kill().unwrap();
        }
    }
    let _last = stage.process("", &[]);
    stage.drained().await;
    let applied = stage.verify().await;
    assert_eq!(applied as i64, sent);
}
