//! An orchestrator alone, with participants played by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use tidemill::driver::{DriverConfig, TestInputTopic, TestOutputTopic, TopologyTestDriver};
use tidemill::dsl::StreamsBuilder;
use tidemill::record::Timestamp;
use tidemill::serdes::{json, string};
use tidemill_connect::saga::{
    Answer, Command, Direction, OrchestrateSagas, Outcome, Reply, Saga, Status, Transition, What,
};

use crate::order::{ALL, DEAD, OUTCOMES, Order, REPLIES, REQUESTS, TRANSITIONS, topics};

pub(crate) struct Hand {
    pub(crate) saga: Saga<Order>,
    pub(crate) driver: TopologyTestDriver,
    requests: TestInputTopic<String, Order>,
    replies: TestInputTopic<String, Reply>,
    commands: BTreeMap<&'static str, TestOutputTopic<String, Command>>,
    outcomes: TestOutputTopic<String, Outcome<Order>>,
    dead: TestOutputTopic<String, Outcome<Order>>,
    transitions: TestOutputTopic<String, Transition>,
    /// Everything that was sent, in order.
    pub(crate) sent: Vec<Command>,
}

impl Hand {
    pub(crate) fn new(saga: Saga<Order>) -> Self {
        let builder = StreamsBuilder::new();
        let _ = builder.saga(&saga, &topics());
        let config = DriverConfig::new("shop").with_initial_wall_clock_time(Timestamp(1_000_000));
        let driver = TopologyTestDriver::new(builder.build().unwrap(), config).unwrap();
        let output = |topic| driver.create_output_topic(topic, string(), json()).unwrap();
        let commands = ALL.into_iter().map(|topic| {
            (topic, driver.create_output_topic(topic, string(), json::<Command>()).unwrap())
        });
        Self {
            requests: driver.create_input_topic(REQUESTS, string(), json()).unwrap(),
            replies: driver.create_input_topic(REPLIES, string(), json()).unwrap(),
            commands: commands.collect(),
            outcomes: output(OUTCOMES),
            dead: output(DEAD),
            transitions: driver.create_output_topic(TRANSITIONS, string(), json()).unwrap(),
            sent: Vec::new(),
            saga,
            driver,
        }
    }

    pub(crate) fn start(&mut self, id: &str, order: Order) {
        self.requests.pipe_input(id.to_owned(), order).unwrap();
    }

    /// The one command that was sent since.
    pub(crate) fn command(&mut self) -> Command {
        self.next_command().expect("a command")
    }

    /// The command that was sent since, if one was.
    pub(crate) fn next_command(&mut self) -> Option<Command> {
        let mut found = Vec::new();
        for topic in self.commands.values_mut() {
            found.extend(topic.read_key_values_to_list().unwrap());
        }
        assert!(found.len() < 2, "a saga sends one command at a time: {found:?}");
        let (_, command) = found.pop()?;
        self.sent.push(command.clone());
        Some(command)
    }

    pub(crate) fn answer(&mut self, command: &Command, answer: Answer) {
        self.reply(command.reply(answer));
    }

    pub(crate) fn reply(&mut self, reply: Reply) {
        self.replies.pipe_input(reply.saga_id.clone(), reply).unwrap();
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.driver.advance_wall_clock_time(time).unwrap();
    }

    /// Answers each command until none comes.
    pub(crate) fn play(&mut self, answer: impl Fn(&Command) -> Answer) {
        while let Some(command) = self.next_command() {
            self.answer(&command, answer(&command));
        }
    }

    pub(crate) fn outcomes(&mut self) -> Vec<Outcome<Order>> {
        let outcomes = self.outcomes.read_key_values_to_list().unwrap();
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    pub(crate) fn status(&mut self) -> Option<Status> {
        let mut outcomes = self.outcomes();
        assert!(outcomes.len() < 2, "one saga has one end: {outcomes:?}");
        outcomes.pop().map(|outcome| outcome.status)
    }

    pub(crate) fn dead_letters(&mut self) -> usize {
        self.dead.read_key_values_to_list().unwrap().len()
    }

    pub(crate) fn transitions(&mut self) -> Vec<Transition> {
        let transitions = self.transitions.read_key_values_to_list().unwrap();
        transitions.into_iter().map(|(_, transition)| transition).collect()
    }

    /// Steps and directions of the commands so far, first attempts only.
    pub(crate) fn steps(&self) -> Vec<(&str, Direction)> {
        let first = self.sent.iter().filter(|command| command.attempt == 1);
        first.map(|command| (&*command.step, command.direction)).collect()
    }
}

/// What is done or undone, in the order of the transitions.
pub(crate) fn accomplished(transitions: &[Transition]) -> Vec<(&str, Direction)> {
    let done = transitions.iter().filter(|transition| transition.what == What::Done);
    done.map(|transition| (&*transition.step, transition.direction)).collect()
}
