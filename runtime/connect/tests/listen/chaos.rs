//! The client and both services, killed at random, all at once.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use tidemill_connect::testing::PATIENCE;

use super::shop::Shop;

/// Places at which a part is killed beside random times.
const PLACES: [&str; 6] = ["LY1A", "LY1B", "SK1A", "SK1B", "SK1C", ""];

#[tokio::test(flavor = "multi_thread")]
async fn chaos_listen() {
    let kills = std::env::var("TIDEMILL_TEST_KILLS").ok().and_then(|text| text.parse().ok());
    let kills: u64 = kills.unwrap_or(8);
    let shop = Shop::open().await;
    let count = 40 * (kills + 1);
    let armed = || {
        let place = PLACES[fastrand::usize(..PLACES.len())];
        let passes = if place.starts_with("LY") { 40 } else { 5 };
        format!("{place}:{}:kill", fastrand::u32(1..=passes))
    };
    let parts = ["client", "orders", "rewards"];
    let mut running = parts.map(|part| shop.process(part, &armed(), count));
    let mut killed = 0;
    while killed < kills {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(20..200))).await;
        let chosen = fastrand::usize(..parts.len());
        for (index, part) in parts.iter().enumerate() {
            match running[index].ended().unwrap() {
                None if index == chosen => running[index].kill().unwrap(),
                None => continue,
                // the client is through
                Some(status) if status.success() => continue,
                Some(status) => assert_eq!(status.signal(), Some(9), "{part} ended with {status}"),
            }
            killed += 1;
            running[index] = shop.process(part, &armed(), count);
        }
    }
    drop(running);
    let [mut client, _orders, _rewards] = parts.map(|part| shop.process(part, "", count));
    // most of the orders may be left to it
    let patience = PATIENCE + Duration::from_millis(100 * count);
    assert!(client.wait(patience).unwrap().success());
    shop.verify(count).await;
}
