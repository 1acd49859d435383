//! Deciders: what may happen, and what follows from what happened.

use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Version;

/// What commands, events, states and rejections are: values with a JSON form.
///
/// The JSON must not depend on anything but the value.
pub trait Data:
    Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
}

impl<T> Data for T where
    T: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
}

/// The name under which an event is stored, and which shape its data has.
pub trait EventType {
    /// Returns the name: what happened, in the past tense (`StockReserved`).
    fn event_type(&self) -> &'static str;

    /// Returns the version of the data's shape, from 1. Raise it with a change that old data does
    /// not fit, and say how to get there from the version before:
    /// [`Upcasters`](super::Upcasters).
    fn schema_version(&self) -> u32 {
        1
    }
}

/// The rules of one kind of stream.
///
/// All three functions are pure: the same arguments give the same result, on every machine and in
/// ten years. No clock, no random number, no look-up. What a decision needs of the world is part of
/// the command. [`Given`](super::Given) tests a decider, and finds a fold that is not pure.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidemill_connect::event_sourcing::{Decider, EventType, Given};
///
/// #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
/// enum Command { Deposit(i64), Withdraw(i64) }
/// #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
/// enum Event { Deposited(i64), Withdrawn(i64) }
/// #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
/// struct Insufficient { balance: i64 }
///
/// impl EventType for Event {
///     fn event_type(&self) -> &'static str {
///         match self {
///             Event::Deposited(_) => "Deposited",
///             Event::Withdrawn(_) => "Withdrawn",
///         }
///     }
/// }
///
/// struct Account;
///
/// impl Decider for Account {
///     type Command = Command;
///     type Event = Event;
///     type State = i64;
///     type Rejection = Insufficient;
///
///     fn initial() -> i64 { 0 }
///
///     fn decide(command: &Command, balance: &i64) -> Result<Vec<Event>, Insufficient> {
///         match command {
///             Command::Deposit(cents) => Ok(vec![Event::Deposited(*cents)]),
///             Command::Withdraw(cents) if cents <= balance => Ok(vec![Event::Withdrawn(*cents)]),
///             Command::Withdraw(_) => Err(Insufficient { balance: *balance }),
///         }
///     }
///
///     fn evolve(balance: i64, event: &Event) -> i64 {
///         match event {
///             Event::Deposited(cents) => balance + cents,
///             Event::Withdrawn(cents) => balance - cents,
///         }
///     }
/// }
///
/// Given::<Account>::events([Event::Deposited(70)])
///     .when(&Command::Withdraw(50))
///     .then([Event::Withdrawn(50)])
///     .then_state(&20);
/// Given::<Account>::nothing()
///     .when(&Command::Withdraw(50))
///     .then_rejected(&Insufficient { balance: 0 });
/// ```
pub trait Decider: 'static {
    /// What somebody wants.
    type Command: Data;
    /// What happened.
    type Event: Data + EventType;
    /// What a decision depends on.
    type State: Data;
    /// Why something is not done.
    type Rejection: Data;

    /// Which shape [`Decider::State`] has, and how [`Decider::evolve`] makes it. Raise it when one
    /// of them changes: stored states of another number are not used.
    const STATE_SCHEMA: u32 = 1;

    /// Returns the state before anything happened.
    fn initial() -> Self::State;

    /// Decides: what happens, perhaps nothing, or why not.
    ///
    /// # Errors
    /// The rejection: an answer like any other, no fault.
    fn decide(
        command: &Self::Command,
        state: &Self::State,
    ) -> Result<Vec<Self::Event>, Self::Rejection>;

    /// Returns the state after an event. It can't refuse: the event has happened.
    fn evolve(state: Self::State, event: &Self::Event) -> Self::State;
}

/// A stream as its events made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stream<S> {
    /// How many events it has.
    pub version: Version,
    /// Their fold.
    pub state: S,
}

impl<S> Stream<S> {
    /// A stream of a decider, before anything happened.
    #[must_use]
    pub fn new<D: Decider<State = S>>() -> Self {
        Self { version: Version::NONE, state: D::initial() }
    }

    /// Folds one more event.
    #[must_use]
    pub fn evolve<D: Decider<State = S>>(self, event: &D::Event) -> Self {
        Self { version: self.version.next(), state: D::evolve(self.state, event) }
    }
}
