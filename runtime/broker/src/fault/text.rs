//! Rules as text: `api=EndTxn txn=bank nth=2 then=drop-reply`.
//!
//! What a control connection says, and what a failed run prints to be replayed.

use std::fmt;
use std::str::FromStr;

use kafka_protocol::ResponseError;
use thiserror::Error;

use super::Api;
use super::rule::{Action, Rule, When};

/// Why a text is not a rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RuleError {
    /// A word without `=`.
    #[error("'{0}' is not of the form name=value")]
    NoValue(String),
    /// A name that no rule has.
    #[error(
        "'{0}' is not part of a rule: api, topic, partition, txn, group, client, nth, from, first, \
         one-in and then are"
    )]
    Name(String),
    /// A value that does not fit its name.
    #[error("'{value}' is not a value of {name}: {expected}")]
    Value {
        /// The name.
        name: String,
        /// The value.
        value: String,
        /// What it can be.
        expected: &'static str,
    },
    /// A rule without `then=`.
    #[error("the rule does not say what happens: add then=ACTION")]
    NoAction,
}

const ACTIONS: &str = "refuse:ERROR (as NotCoordinator), delay-request:MS, drop-request, \
    drop-reply, hold-reply:MS, reset, reset-after, hold-until-next-begin, hold-markers:MS, \
    move-coordinator:MS, time-out-transaction, kick-member, fail-writes:MS";

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let mut rule = Rule::new(Action::Reset);
        let mut has_action = false;
        for word in text.split_whitespace() {
            let no_value = || RuleError::NoValue(word.to_owned());
            let (name, value) = word.split_once('=').ok_or_else(no_value)?;
            let own = || Some(value.to_owned());
            match name {
                "api" => rule.api = Some(api(value)?),
                "topic" => rule.topic = own(),
                "partition" => rule.partition = Some(number(name, value)?),
                "txn" => rule.transactional_id = own(),
                "group" => rule.group = own(),
                "client" => rule.client_id = own(),
                "nth" => rule.when = When::Nth(number(name, value)?),
                "from" => rule.when = When::From(number(name, value)?),
                "first" => rule.when = When::First(number(name, value)?),
                "one-in" => rule.when = When::OneIn(number(name, value)?),
                "then" => {
                    rule.action = action(value)?;
                    has_action = true;
                }
                _ => return Err(RuleError::Name(name.to_owned())),
            }
        }
        if has_action { Ok(rule) } else { Err(RuleError::NoAction) }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(api) = self.api {
            write!(f, "api={api:?} ")?;
        }
        if let Some(partition) = self.partition {
            write!(f, "partition={partition} ")?;
        }
        let texts = [
            ("topic", &self.topic),
            ("txn", &self.transactional_id),
            ("group", &self.group),
            ("client", &self.client_id),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                write!(f, "{name}={value} ")?;
            }
        }
        match self.when {
            When::Always => {}
            When::Nth(n) => write!(f, "nth={n} ")?,
            When::From(n) => write!(f, "from={n} ")?,
            When::First(n) => write!(f, "first={n} ")?,
            When::OneIn(n) => write!(f, "one-in={n} ")?,
        }
        write!(f, "then={}", self.action)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refuse(ResponseError::Unknown(code)) => write!(f, "refuse:{code}"),
            Self::Refuse(error) => write!(f, "refuse:{error}"),
            Self::DelayRequest(by) => write!(f, "delay-request:{by}"),
            Self::DropRequest => f.write_str("drop-request"),
            Self::DropReply => f.write_str("drop-reply"),
            Self::HoldReply(by) => write!(f, "hold-reply:{by}"),
            Self::Reset => f.write_str("reset"),
            Self::ResetAfter => f.write_str("reset-after"),
            Self::HoldUntilNextBegin => f.write_str("hold-until-next-begin"),
            Self::HoldMarkers(by) => write!(f, "hold-markers:{by}"),
            Self::MoveCoordinator(by) => write!(f, "move-coordinator:{by}"),
            Self::TimeOutTransaction => f.write_str("time-out-transaction"),
            Self::KickMember => f.write_str("kick-member"),
            Self::FailWrites(by) => write!(f, "fail-writes:{by}"),
        }
    }
}

fn api(value: &str) -> Result<Api, RuleError> {
    let known = (0..=i16::from(u8::MAX)).filter_map(|key| Api::try_from(key).ok());
    let mut known = known.filter(|api| format!("{api:?}").eq_ignore_ascii_case(value));
    let wrong = || bad("api", value, "the name of one of Kafka's APIs, as EndTxn");
    known.next().ok_or_else(wrong)
}

fn action(text: &str) -> Result<Action, RuleError> {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    Ok(match name {
        "refuse" => Action::Refuse(error(value)?),
        "delay-request" => Action::DelayRequest(number(name, value)?),
        "drop-request" => Action::DropRequest,
        "drop-reply" => Action::DropReply,
        "hold-reply" => Action::HoldReply(number(name, value)?),
        "reset" => Action::Reset,
        "reset-after" => Action::ResetAfter,
        "hold-until-next-begin" => Action::HoldUntilNextBegin,
        "hold-markers" => Action::HoldMarkers(number(name, value)?),
        "move-coordinator" => Action::MoveCoordinator(number(name, value)?),
        "time-out-transaction" => Action::TimeOutTransaction,
        "kick-member" => Action::KickMember,
        "fail-writes" => Action::FailWrites(number(name, value)?),
        _ => return Err(bad("then", text, ACTIONS)),
    })
}

/// An error by its name, as `NotCoordinator` or `NOT_COORDINATOR`, or by its code.
fn error(value: &str) -> Result<ResponseError, RuleError> {
    let plain = |text: &str| text.replace('_', "").to_ascii_lowercase();
    let codes = (-1..=i16::from(u8::MAX)).filter_map(ResponseError::try_from_code);
    let mut named = codes.filter(|error| plain(&error.to_string()) == plain(value));
    let by_code = || value.parse().ok().and_then(ResponseError::try_from_code);
    let wrong = || bad("refuse", value, "the name of one of Kafka's errors, as NotCoordinator");
    named.next().or_else(by_code).ok_or_else(wrong)
}

fn number<N: FromStr>(name: &str, value: &str) -> Result<N, RuleError> {
    value.parse().map_err(|_| bad(name, value, "a number"))
}

fn bad(name: &str, value: &str, expected: &'static str) -> RuleError {
    RuleError::Value { name: name.to_owned(), value: value.to_owned(), expected }
}
