//! Defining a saga: the compiler sees to it that every step can be undone, or needs not be.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::call::{Attempts, Call, Forward, Undo};
use super::error::{SagaError, check_name};
use super::metrics::Metrics;

/// A saga: a name, and steps that are all done in the end or all undone. Made by [`Saga::define`].
///
/// `D` is what a saga knows: it comes with the request that starts it, each command is made of it,
/// and replies may add to it.
pub struct Saga<D> {
    pub(super) definition: Arc<Definition<D>>,
}

impl<D> Clone for Saga<D> {
    fn clone(&self) -> Self {
        Self { definition: Arc::clone(&self.definition) }
    }
}

impl<D> fmt::Debug for Saga<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<&str> = self.definition.steps.iter().map(|step| &*step.name).collect();
        f.debug_struct("Saga").field("name", &self.definition.name).field("steps", &steps).finish()
    }
}

impl<D> Saga<D> {
    /// Begins a definition. The name is part of command ids, stores and internal topics.
    pub fn define(name: impl Into<String>) -> SagaBuilder<D, BeforePivot> {
        SagaBuilder {
            definition: Definition {
                name: name.into(),
                steps: Vec::new(),
                remember: Duration::from_hours(7 * 24),
                metrics: Arc::default(),
            },
            state: PhantomData,
        }
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// Returns the counters of all orchestrators of this value in this process.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.definition.metrics
    }
}

/// What was defined.
pub(super) struct Definition<D> {
    pub(super) name: String,
    pub(super) steps: Vec<Step<D>>,
    /// How long the end of a saga is remembered.
    pub(super) remember: Duration,
    pub(super) metrics: Arc<Metrics>,
}

pub(super) struct Step<D> {
    pub(super) name: String,
    pub(super) forward: Forward<D>,
    pub(super) kind: Kind<D>,
}

pub(super) enum Kind<D> {
    /// Can be undone.
    Compensable(Undo<D>),
    /// Before the pivot, and leaves nothing to undo.
    ReadOnly,
    /// When it is done there is no way back.
    Pivot,
    /// After the pivot: done again and again until it succeeds.
    Retriable,
}

impl<D> Kind<D> {
    /// Whether the step can still be given up; otherwise it has to succeed.
    pub(super) fn may_fail(&self) -> bool {
        !matches!(self, Self::Retriable)
    }
}

impl<D> Definition<D> {
    pub(super) fn position(&self, step: &str) -> Option<usize> {
        self.steps.iter().position(|one| one.name == step)
    }
}

/// A definition in the making; the second parameter says what may come next.
///
/// A step that was given no compensation is no definition, and neither has further steps:
///
/// ```compile_fail,E0599
/// # use tidemill_connect::saga::{Call, Saga};
/// # let reserve = || Call::to("points", |order: &String| order.clone());
/// let saga = Saga::<String>::define("order").step("reserve", reserve()).build();
/// ```
///
/// ```compile_fail,E0599
/// # use tidemill_connect::saga::{Call, Saga};
/// # let reserve = || Call::to("points", |order: &String| order.clone());
/// let saga = Saga::<String>::define("order")
///     .step("reserve", reserve())
///     .pivot("confirm", reserve())
///     .build();
/// ```
///
/// There is one point of no return, not two:
///
/// ```compile_fail,E0599
/// # use tidemill_connect::saga::{Call, Saga};
/// # let confirm = || Call::to("orders", |order: &String| order.clone());
/// let saga = Saga::<String>::define("order")
///     .pivot("confirm", confirm())
///     .pivot("confirm-again", confirm())
///     .build();
/// ```
///
/// After it steps go forward only. They say how often they are tried, and can't be undone:
///
/// ```compile_fail,E0599
/// # use tidemill_connect::saga::{Call, Saga};
/// # let confirm = || Call::to("orders", |order: &String| order.clone());
/// let saga = Saga::<String>::define("order")
///     .pivot("confirm", confirm())
///     .step("notify", confirm())
///     .build();
/// ```
///
/// ```compile_fail,E0599
/// # use tidemill_connect::saga::{Call, Saga, Undo};
/// # let confirm = || Call::to("orders", |order: &String| order.clone());
/// let saga = Saga::<String>::define("order")
///     .pivot("confirm", confirm())
///     .step("notify", confirm())
///     .compensate(Undo::with(|order: &String| order.clone()))
///     .build();
/// ```
///
/// This is one that can be run:
///
/// ```
/// # use tidemill_connect::saga::{Call, Saga, Undo};
/// # let call = || Call::to("orders", |order: &String| order.clone());
/// let saga = Saga::<String>::define("order")
///     .read_only("check", call())
///     .step("reserve", call())
///     .compensate(Undo::with(|order: &String| order.clone()))
///     .pivot("confirm", call())
///     .step("notify", call())
///     .retry_forever()
///     .build()?;
/// assert_eq!(saga.name(), "order");
/// # Ok::<(), tidemill_connect::saga::SagaError>(())
/// ```
#[must_use = "a definition is made by build()"]
pub struct SagaBuilder<D, S> {
    definition: Definition<D>,
    state: PhantomData<fn() -> S>,
}

impl<D, S> fmt::Debug for SagaBuilder<D, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SagaBuilder").field("name", &self.definition.name).finish_non_exhaustive()
    }
}

/// There is no pivot yet: everything so far can be undone.
#[derive(Debug)]
pub enum BeforePivot {}
/// There was a pivot: from here on it only goes forward.
#[derive(Debug)]
pub enum AfterPivot {}
/// A step waits for its compensation.
#[derive(Debug)]
pub struct NeedsCompensation<D> {
    name: String,
    call: Call<D>,
}
/// A step after the pivot waits to be told how often it is tried.
#[derive(Debug)]
pub struct NeedsRetry<D> {
    name: String,
    call: Call<D>,
}

/// A definition whose last step is not complete.
#[must_use = "the step is added by what follows"]
pub struct Unfinished<D, S, N> {
    builder: SagaBuilder<D, S>,
    step: N,
}

impl<D, S, N> fmt::Debug for Unfinished<D, S, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.builder.fmt(f)
    }
}

impl<D, S> SagaBuilder<D, S> {
    fn add<S2>(mut self, name: String, call: Call<D>, kind: Kind<D>) -> SagaBuilder<D, S2> {
        let attempts = match kind {
            Kind::Compensable(_) | Kind::ReadOnly => Attempts::AtMost(3),
            Kind::Pivot | Kind::Retriable => Attempts::Forever,
        };
        let forward = call.or_default(attempts).forward;
        self.definition.steps.push(Step { name, forward, kind });
        SagaBuilder { definition: self.definition, state: PhantomData }
    }

    /// Sets how long a saga that ended is remembered, so that late replies and repeated requests
    /// find it. Default: 7 days. Take more than the retention of the topics.
    pub fn remember_ended(mut self, time: Duration) -> Self {
        self.definition.remember = time;
        self
    }
}

impl<D> SagaBuilder<D, BeforePivot> {
    /// Adds a step that changes nothing, so that there is nothing to undo.
    pub fn read_only(self, name: impl Into<String>, call: Call<D>) -> Self {
        self.add(name.into(), call, Kind::ReadOnly)
    }

    /// Adds a step. [`Unfinished::compensate`] has to follow.
    pub fn step(
        self,
        name: impl Into<String>,
        call: Call<D>,
    ) -> Unfinished<D, BeforePivot, NeedsCompensation<D>> {
        Unfinished { builder: self, step: NeedsCompensation { name: name.into(), call } }
    }

    /// Adds the step after which there is no way back. Until it is answered it is tried again: not
    /// to know whether it was done leaves no other way.
    pub fn pivot(self, name: impl Into<String>, call: Call<D>) -> SagaBuilder<D, AfterPivot> {
        self.add(name.into(), call, Kind::Pivot)
    }

    /// Checks the definition.
    ///
    /// # Errors
    /// See [`SagaError`].
    pub fn build(self) -> Result<Saga<D>, SagaError> {
        checked(self.definition)
    }
}

impl<D> SagaBuilder<D, AfterPivot> {
    /// Adds a step that only goes forward, also one that changes nothing.
    /// [`Unfinished::retry_forever`] or [`Unfinished::retry_at_most`] has to follow.
    pub fn step(
        self,
        name: impl Into<String>,
        call: Call<D>,
    ) -> Unfinished<D, AfterPivot, NeedsRetry<D>> {
        Unfinished { builder: self, step: NeedsRetry { name: name.into(), call } }
    }

    /// Checks the definition.
    ///
    /// # Errors
    /// See [`SagaError`].
    pub fn build(self) -> Result<Saga<D>, SagaError> {
        checked(self.definition)
    }
}

impl<D> Unfinished<D, BeforePivot, NeedsCompensation<D>> {
    /// Says how the step is undone: by the same participant, under the same key.
    pub fn compensate(self, undo: Undo<D>) -> SagaBuilder<D, BeforePivot> {
        let NeedsCompensation { name, call } = self.step;
        let undo = undo.or_default(Attempts::AtMost(10));
        self.builder.add(name, call, Kind::Compensable(undo))
    }
}

impl<D> Unfinished<D, AfterPivot, NeedsRetry<D>> {
    /// Tries until it succeeds.
    pub fn retry_forever(self) -> SagaBuilder<D, AfterPivot> {
        let NeedsRetry { name, call } = self.step;
        self.builder.add(name, call.forever(), Kind::Retriable)
    }

    /// Tries so often; then the saga is stuck and waits for an operator.
    pub fn retry_at_most(self, attempts: u32) -> SagaBuilder<D, AfterPivot> {
        let NeedsRetry { name, call } = self.step;
        self.builder.add(name, call.attempts(attempts), Kind::Retriable)
    }
}

fn checked<D>(definition: Definition<D>) -> Result<Saga<D>, SagaError> {
    check_name(&definition.name)?;
    if definition.steps.is_empty() {
        return Err(SagaError::Empty(definition.name));
    }
    let mut names = BTreeSet::new();
    for step in &definition.steps {
        check_name(&step.name)?;
        let saga = || definition.name.clone();
        if !names.insert(&step.name) {
            return Err(SagaError::DuplicateStep { saga: saga(), step: step.name.clone() });
        }
        let undo = match &step.kind {
            Kind::Compensable(undo) => Some(&undo.patience),
            Kind::ReadOnly | Kind::Pivot | Kind::Retriable => None,
        };
        for patience in undo.into_iter().chain([&step.forward.patience]) {
            if let Err(what) = patience.check() {
                return Err(SagaError::Setting { saga: saga(), step: step.name.clone(), what });
            }
        }
    }
    Ok(Saga { definition: Arc::new(definition) })
}
