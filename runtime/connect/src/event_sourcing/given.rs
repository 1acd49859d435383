//! Given these events, when this command comes, then those events follow: tests of deciders.

use std::fmt;

use super::{Decider, Fingerprint};

/// What happened before.
///
/// Each fold is done twice, from the events' JSON the second time. If the results differ, `evolve`
/// looks at something besides its arguments (a clock, a random number, the order of a hash map), or
/// the JSON does not hold all of the event or the state: both would make a replay differ.
pub struct Given<D: Decider> {
    state: D::State,
    events: Vec<D::Event>,
}

impl<D: Decider> fmt::Debug for Given<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, events) = (&self.state, &self.events);
        f.debug_struct("Given").field("state", state).field("events", events).finish()
    }
}

impl<D: Decider> Given<D> {
    /// Nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self { state: D::initial(), events: Vec::new() }
    }

    /// These events.
    ///
    /// # Panics
    /// If folding them twice gives two results.
    #[must_use]
    pub fn events(events: impl IntoIterator<Item = D::Event>) -> Self {
        let events: Vec<D::Event> = events.into_iter().collect();
        Self { state: fold_twice::<D>(&events), events }
    }

    /// Returns the state after the events.
    pub fn state(&self) -> &D::State {
        &self.state
    }

    /// Lets a command come.
    ///
    /// # Panics
    /// If deciding twice gives two answers, or folding the answer does.
    #[must_use]
    pub fn when(self, command: &D::Command) -> Then<D> {
        let answer = D::decide(command, &self.state);
        let again = D::decide(command, &self.state);
        assert_eq!(answer, again, "{command:?} was decided twice: decide is not deterministic");
        let Self { state, mut events } = self;
        let state = match &answer {
            Ok(new) => {
                events.extend(new.iter().cloned());
                fold_twice::<D>(&events)
            }
            Err(_) => state,
        };
        Then { answer, state, events }
    }
}

/// What a command gave rise to.
pub struct Then<D: Decider> {
    answer: Result<Vec<D::Event>, D::Rejection>,
    state: D::State,
    events: Vec<D::Event>,
}

impl<D: Decider> fmt::Debug for Then<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (answer, state) = (&self.answer, &self.state);
        f.debug_struct("Then").field("answer", answer).field("state", state).finish()
    }
}

impl<D: Decider> Then<D> {
    /// It must be these events.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    pub fn then(self, events: impl IntoIterator<Item = D::Event>) -> Self {
        let expected: Result<Vec<D::Event>, D::Rejection> = Ok(events.into_iter().collect());
        assert_eq!(self.answer, expected);
        self
    }

    /// It must be nothing at all.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    pub fn then_nothing(self) -> Self {
        self.then([])
    }

    /// It must be refused for this reason.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    pub fn then_rejected(self, rejection: &D::Rejection) -> Self {
        assert_eq!(self.answer.as_ref(), Err(rejection));
        self
    }

    /// The state must be this one afterwards.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    pub fn then_state(self, state: &D::State) -> Self {
        assert_eq!(self.state, *state);
        self
    }

    /// Lets the next command come.
    #[must_use]
    pub fn and(self) -> Given<D> {
        Given { state: self.state, events: self.events }
    }
}

fn fold_twice<D: Decider>(events: &[D::Event]) -> D::State {
    let fold = |events: &[D::Event]| events.iter().fold(D::initial(), D::evolve);
    let first = fold(events);
    let stored: Vec<D::Event> = events.iter().map(through_json).collect();
    assert_eq!(stored, events, "the JSON of an event does not hold all of it");
    let second = fold(&stored);
    let fingerprint = |state| Fingerprint::of(state).expect("a state has a JSON form");
    assert!(
        first == second && fingerprint(&first) == fingerprint(&second),
        "two folds of the same events differ: evolve is not deterministic\n{first:?}\n{second:?}"
    );
    assert_eq!(through_json(&first), first, "the JSON of the state does not hold all of it");
    first
}

fn through_json<T: super::Data>(value: &T) -> T {
    let json = serde_json::to_string(value).expect("it has a JSON form");
    serde_json::from_str(&json).expect("its JSON form can be read")
}
