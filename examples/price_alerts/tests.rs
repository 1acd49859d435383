//! The topology by itself, what a mail looks like on the wire, and a verdict that can fail.

use tidemill::driver::{DriverConfig, TopologyTestDriver};
use tidemill::serdes::{json, string};

use crate::model::{ALERTS, Alert, PRICES, PriceUpdated, WATCHES, Watch};
use crate::verdict::{self, Counts, Found};
use crate::{alerts, smtp};

fn price(cents: i64, revision: i64) -> (String, PriceUpdated) {
    ("tea".to_owned(), PriceUpdated { cents, revision })
}

fn watch() -> (String, Watch) {
    ("tea".to_owned(), Watch { customer: "ann".to_owned(), below_cents: 100 })
}

/// The revisions of which the customer is told.
fn alerted(prices: &[(i64, i64)]) -> Vec<i64> {
    let topology = alerts::topology().unwrap();
    let driver = TopologyTestDriver::new(&topology, DriverConfig::default()).unwrap();
    let mut watches = driver.create_input_topic(WATCHES, string(), json()).unwrap();
    let mut told = driver.create_input_topic(PRICES, string(), json()).unwrap();
    let (thing, watch) = watch();
    watches.pipe_input(thing.clone(), watch).unwrap();
    for (cents, revision) in prices {
        let price = PriceUpdated { cents: *cents, revision: *revision };
        told.pipe_input(thing.clone(), price).unwrap();
    }
    let mut alerts = driver.create_output_topic(ALERTS, string(), json::<Alert>()).unwrap();
    let read = alerts.read_key_values_to_list().unwrap();
    read.into_iter().map(|(_, alert)| alert.revision).collect()
}

#[test]
fn rv1_rv2_a_price_that_is_sent_again_or_late_alerts_nobody() {
    // the seed's example: 2, 1, 1 again; and the late one makes no second drop
    assert_eq!(alerted(&[(200, 2), (99, 3), (99, 3), (200, 2), (99, 3), (98, 4)]), [3]);
    assert_eq!(alerted(&[(50, 1), (150, 2), (50, 3), (150, 2), (50, 3), (50, 1)]), [1, 3]);
    assert_eq!(alerted(&[(100, 1)]), [0; 0]);
}

#[test]
fn the_expected_alerts_are_those_of_the_topology() {
    let prices = [price(200, 1), price(90, 2), price(80, 3), price(100, 4), price(99, 5)];
    let expected = verdict::alerts(&prices, &[watch()]);
    let revisions: Vec<i64> = expected.iter().map(|alert| alert.revision).collect();
    assert_eq!(revisions, [2, 5]);
    let prices: Vec<_> = prices.iter().map(|(_, p)| (p.cents, p.revision)).collect();
    assert_eq!(alerted(&prices), revisions);
    assert_eq!(expected[0].message_id(), "<ann.tea.2@shop.example>");
}

#[test]
fn the_verdict_sees_a_lost_mail_and_one_too_many() {
    let prices = [price(200, 1), price(90, 2), price(200, 3), price(80, 4)];
    let expected = verdict::alerts(&prices, &[watch()]);
    let judge = |found: &Found, in_window: usize| {
        let message_id = found.mails().first().map(|mail| mail.message_id.clone());
        let in_window: Counts = message_id.map(|id| (id, in_window)).into_iter().collect();
        let verdict = verdict::judge(found, &expected, &in_window);
        (verdict.lost, verdict.duplicated, verdict.problems.len())
    };
    let right = || Found::right(&prices, &expected);
    assert_eq!(judge(&right(), 0), (0, 0, 0));
    let mut lost = right();
    lost.mails_mut().pop();
    assert_eq!(judge(&lost, 0), (1, 0, 1));
    let mut twice = right();
    let again = twice.mails()[0].clone();
    twice.mails_mut().push(again.clone());
    assert_eq!(judge(&twice, 0), (0, 1, 1));
    assert_eq!(judge(&twice, 1), (0, 0, 0), "the mailer was killed in its window");
    let mut old = right();
    old.mails_mut().push(smtp::Mail { message_id: "<ann.tea.1@shop.example>".to_owned(), ..again });
    assert_eq!(judge(&old, 0), (0, 1, 1));
}

#[test]
fn a_mail_ends_with_its_dot_and_its_header_with_an_empty_line() {
    let text = "Message-ID: <1@x>\r\nSubject: tea\r\n\r\nSubject: body\r\n..\r\n.\r\nNOOP\r\n";
    let mail = smtp::mail(&mut text.as_bytes(), "ann@x").unwrap();
    let (to, message_id) = ("ann@x".to_owned(), "<1@x>".to_owned());
    assert_eq!(mail, smtp::Mail { to, message_id, subject: "tea".to_owned() });
    assert!(smtp::mail(&mut &b"Subject: cut"[..], "ann@x").is_err());
}
