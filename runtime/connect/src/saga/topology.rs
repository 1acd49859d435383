//! The orchestrator in a topology: which topics it reads and writes, and its stores.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tidemill::dsl::{KStream, StreamsBuilder};
use tidemill::serdes::{json, optional, string};
use tidemill::topology::{Consumed, Produced, key_value_store};

use super::deadline;
use super::define::Saga;
use super::instance::Instance;
use super::message::{Command, Outcome, Reply, Status, Transition};
use super::orchestrator::{Input, Orchestrator, Output};

/// The topics of an orchestrator. Those of the commands are named by the steps.
///
/// The topics of requests and replies need the same number of partitions. All but the requests and
/// the replies are optional; all keys are the sagas' ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SagaTopics {
    requests: String,
    replies: String,
    outcomes: Option<String>,
    transitions: Option<String>,
    states: Option<String>,
    dead_letters: Option<String>,
}

impl SagaTopics {
    /// A record of `requests` starts a saga: the key is its id, the value the data as JSON. A
    /// further one with the same id is ignored. Participants answer to `replies`.
    #[must_use]
    pub fn new(requests: impl Into<String>, replies: impl Into<String>) -> Self {
        Self {
            requests: requests.into(),
            replies: replies.into(),
            outcomes: None,
            transitions: None,
            states: None,
            dead_letters: None,
        }
    }

    /// Writes an [`Outcome`] for each saga that ends.
    #[must_use]
    pub fn outcomes(mut self, topic: impl Into<String>) -> Self {
        self.outcomes = Some(topic.into());
        self
    }

    /// Writes a [`Transition`] for each change of a saga.
    #[must_use]
    pub fn transitions(mut self, topic: impl Into<String>) -> Self {
        self.transitions = Some(topic.into());
        self
    }

    /// Writes the whole [`Instance`] after each change, and a tombstone when it is forgotten: for a
    /// compacted topic.
    #[must_use]
    pub fn states(mut self, topic: impl Into<String>) -> Self {
        self.states = Some(topic.into());
        self
    }

    /// Writes the [`Outcome`] of each saga that is stuck.
    #[must_use]
    pub fn dead_letters(mut self, topic: impl Into<String>) -> Self {
        self.dead_letters = Some(topic.into());
        self
    }
}

/// What sagas tell, for the same topology to use.
pub struct SagaStreams<D> {
    /// The end of each saga, by its id. One that is stuck and was settled ends once more.
    pub outcomes: KStream<String, Outcome<D>>,
    /// Each change of a saga, by its id.
    pub transitions: KStream<String, Transition>,
}

impl<D> fmt::Debug for SagaStreams<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SagaStreams").finish_non_exhaustive()
    }
}

/// Puts sagas into topologies.
pub trait OrchestrateSagas {
    /// Adds the orchestrator of a saga. Its stores are `<name>-sagas` and `<name>-deadlines`.
    ///
    /// Mistakes are told by [`StreamsBuilder::build`].
    fn saga<D>(&self, saga: &Saga<D>, topics: &SagaTopics) -> SagaStreams<D>
    where
        D: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;
}

impl OrchestrateSagas for StreamsBuilder {
    fn saga<D>(&self, saga: &Saga<D>, topics: &SagaTopics) -> SagaStreams<D>
    where
        D: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    {
        let name = saga.name();
        let names = (format!("{name}-sagas"), format!("{name}-deadlines"));
        self.add_state_store(key_value_store(&*names.0, string(), json::<Instance<D>>()));
        self.add_state_store(deadline::store(names.1.clone()));
        let requests = self
            .stream(&topics.requests, Consumed::with(string(), json::<D>()))
            .map_values(Input::Start);
        let replies = self
            .stream(&topics.replies, Consumed::with(string(), json::<Reply>()))
            .map_values(Input::Reply);
        let reply_to: Arc<str> = topics.replies.as_str().into();
        let (definition, stores) = (Arc::clone(&saga.definition), names.clone());
        let supplier = move || {
            Orchestrator::new(Arc::clone(&definition), Arc::clone(&reply_to), stores.clone())
        };
        let output: KStream<String, Output<D>> = requests
            .merge(&replies)
            .named(format!("{name}-orchestrator"))
            .process(supplier, &[&names.0, &names.1]);
        write_commands(saga, &output);
        write_news(topics, &output)
    }
}

/// A sink for each topic of commands.
fn write_commands<D: Clone + 'static>(saga: &Saga<D>, output: &KStream<String, Output<D>>) {
    let steps = saga.definition.steps.iter();
    let topics: BTreeSet<Arc<str>> = steps.map(|step| Arc::clone(&step.forward.topic)).collect();
    for topic in topics {
        let name = topic.to_string();
        output
            .flat_map_values(move |output| match output {
                Output::Command(to, command) if to == topic => Some(command),
                _ => None,
            })
            .to(&name, Produced::with(string(), json::<Command>()));
    }
}

fn write_news<D>(topics: &SagaTopics, output: &KStream<String, Output<D>>) -> SagaStreams<D>
where
    D: Serialize + DeserializeOwned + Clone + 'static,
{
    let outcomes = output.flat_map_values(|output| match output {
        Output::Outcome(outcome) => Some(outcome),
        _ => None,
    });
    let transitions = output.flat_map_values(|output| match output {
        Output::Transition(transition) => Some(transition),
        _ => None,
    });
    if let Some(topic) = &topics.outcomes {
        outcomes.to(topic, Produced::with(string(), json::<Outcome<D>>()));
    }
    if let Some(topic) = &topics.dead_letters {
        outcomes
            .filter(|_, outcome| outcome.status == Status::Stuck)
            .to(topic, Produced::with(string(), json::<Outcome<D>>()));
    }
    if let Some(topic) = &topics.transitions {
        transitions.to(topic, Produced::with(string(), json::<Transition>()));
    }
    if let Some(topic) = &topics.states {
        output
            .flat_map_values(|output| match output {
                Output::State(state) => Some(state),
                _ => None,
            })
            .to(topic, Produced::with(string(), optional(json::<Instance<D>>())));
    }
    SagaStreams { outcomes, transitions }
}
