//! The saga of these tests: an order reserves points and stock, is paid, confirmed and told of.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidemill_connect::saga::{Call, Saga, SagaTopics, Undo};

pub(crate) const SAGA: &str = "place-order";
pub(crate) const REQUESTS: &str = "orders";
pub(crate) const REPLIES: &str = "order-replies";
pub(crate) const OUTCOMES: &str = "order-outcomes";
pub(crate) const TRANSITIONS: &str = "order-transitions";
pub(crate) const STATES: &str = "order-states";
pub(crate) const DEAD: &str = "order-dead-letters";
/// The topics of the commands.
pub(crate) const POINTS: &str = "points";
pub(crate) const STOCK: &str = "stock";
pub(crate) const PAYMENTS: &str = "payments";
pub(crate) const SHOP: &str = "shop";
pub(crate) const ALL: [&str; 4] = [POINTS, STOCK, PAYMENTS, SHOP];

/// The steps in their order, each with the topic of its commands.
pub(crate) const STEPS: [(&str, &str); 5] = [
    ("reserve-points", POINTS),
    ("reserve-stock", STOCK),
    ("charge", PAYMENTS),
    ("confirm", SHOP),
    ("notify", SHOP),
];
/// What comes after it is not undone.
pub(crate) const PIVOT: usize = 3;

/// What the saga knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) customer: String,
    pub(crate) sku: String,
    pub(crate) quantity: i64,
    pub(crate) cents: i64,
    /// The step that a test wants refused.
    pub(crate) refuse: Option<String>,
    /// Told by the payment service.
    pub(crate) payment: Option<String>,
}

impl Order {
    pub(crate) fn new(number: usize) -> Self {
        Self {
            customer: format!("customer-{}", number % 5),
            sku: format!("sku-{}", number % 3),
            quantity: 1 + i64::try_from(number % 4).unwrap(),
            cents: 100 + i64::try_from(number % 7).unwrap(),
            refuse: None,
            payment: None,
        }
    }

    pub(crate) fn refused_at(mut self, step: &str) -> Self {
        self.refuse = Some(step.to_owned());
        self
    }
}

/// What a participant is told: an amount of something that somebody has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Amount {
    pub(crate) whose: String,
    pub(crate) amount: i64,
    pub(crate) refuse: bool,
}

/// How patient the saga is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) timeout: Duration,
    pub(crate) pause: Duration,
    pub(crate) attempts: u32,
    pub(crate) undo_attempts: u32,
}

impl Pace {
    /// Of a second, for tests that turn the clock themselves.
    pub(crate) const SECOND: Self = Self {
        timeout: Duration::from_secs(1),
        pause: Duration::from_secs(1),
        attempts: 3,
        undo_attempts: 4,
    };

    /// The longest pause between two attempts.
    pub(crate) fn pause_max(self) -> Duration {
        self.pause * 4
    }
}

pub(crate) fn topics() -> SagaTopics {
    SagaTopics::new(REQUESTS, REPLIES)
        .outcomes(OUTCOMES)
        .transitions(TRANSITIONS)
        .states(STATES)
        .dead_letters(DEAD)
}

fn points(order: &Order) -> Amount {
    amount(order, 0, &order.customer, order.quantity)
}

fn stock(order: &Order) -> Amount {
    amount(order, 1, &order.sku, order.quantity)
}

fn money(order: &Order) -> Amount {
    amount(order, 2, &order.customer, order.cents)
}

fn amount(order: &Order, step: usize, whose: &str, amount: i64) -> Amount {
    let refuse = order.refuse.as_deref() == Some(STEPS[step].0);
    Amount { whose: whose.to_owned(), amount, refuse }
}

pub(crate) fn saga(pace: Pace) -> Saga<Order> {
    let call = |step: usize, payload: fn(&Order) -> Amount, key: fn(&Order) -> String| {
        Call::to(STEPS[step].1, payload)
            .keyed_by(key)
            .timeout(pace.timeout)
            .attempts(pace.attempts)
            .back_off(pace.pause, pace.pause_max())
    };
    let last = |step: usize| {
        let payload = move |order: &Order| amount(order, step, &order.customer, 0);
        Call::to(STEPS[step].1, payload)
            .timeout(pace.timeout)
            .back_off(pace.pause, pace.pause_max())
    };
    let undo = |payload: fn(&Order) -> Amount| {
        Undo::with(payload)
            .timeout(pace.timeout)
            .attempts(pace.undo_attempts)
            .back_off(pace.pause, pace.pause_max())
    };
    let paid = |order: &mut Order, payment: Option<String>| {
        order.payment = payment;
        Ok(())
    };
    Saga::define(SAGA)
        .step(STEPS[0].0, call(0, points, |order| order.customer.clone()))
        .compensate(undo(points))
        .step(STEPS[1].0, call(1, stock, |order| order.sku.clone()))
        .compensate(undo(stock))
        .step(STEPS[2].0, call(2, money, |order| order.customer.clone()).on_reply(paid))
        .compensate(undo(money))
        .pivot(STEPS[3].0, last(3))
        .step(STEPS[4].0, last(4))
        .retry_forever()
        .build()
        .unwrap()
}
