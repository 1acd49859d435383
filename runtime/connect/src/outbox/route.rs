//! From the type of an aggregate to its topic.

use std::collections::HashMap;
use std::sync::Arc;

use super::OutboxError;

const PLACE: &str = "{aggregatetype}";
const TOPIC_BYTES_MAX: usize = 249;
/// Topics remembered at a time.
const KNOWN_MAX: usize = 10_000;

/// A topic's name with a place for the aggregate's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    before: String,
    after: Option<String>,
}

impl Route {
    pub(crate) fn new(template: &str) -> Result<Self, OutboxError> {
        let route = match template.split_once(PLACE) {
            Some((before, after)) => {
                Self { before: before.to_owned(), after: Some(after.to_owned()) }
            }
            None => Self { before: template.to_owned(), after: None },
        };
        let example = route.render("a");
        check(&example).map_err(|why| {
            OutboxError::Configuration(format!("topic template {template:?}: {why}"))
        })?;
        Ok(route)
    }

    fn render(&self, aggregate_type: &str) -> String {
        match &self.after {
            Some(after) => format!("{}{aggregate_type}{after}", self.before),
            None => self.before.clone(),
        }
    }

    /// Returns the topic for this type.
    pub(crate) fn topic(&self, aggregate_type: &str) -> Result<String, String> {
        let topic = self.render(aggregate_type);
        match check(&topic) {
            Ok(()) => Ok(topic),
            Err(why) => Err(format!("aggregate type {aggregate_type:?} makes no topic: {why}")),
        }
    }
}

/// Topics that were made once.
#[derive(Debug)]
pub(crate) struct Topics {
    route: Route,
    known: HashMap<String, Arc<str>>,
}

impl Topics {
    pub(crate) fn new(route: Route) -> Self {
        Self { route, known: HashMap::new() }
    }

    /// Returns true if the topic for this type was made before.
    #[cfg(feature = "postgres-cdc")]
    pub(crate) fn knows(&self, aggregate_type: &str) -> bool {
        self.known.contains_key(aggregate_type)
    }

    /// Returns the topic for this type, also if it is none that Kafka would take: it is told then.
    pub(crate) fn topic(&mut self, aggregate_type: &str) -> Arc<str> {
        if let Some(topic) = self.known.get(aggregate_type) {
            return Arc::clone(topic);
        }
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        let topic: Arc<str> = self.route.render(aggregate_type).into();
        self.known.insert(aggregate_type.to_owned(), Arc::clone(&topic));
        topic
    }
}

fn check(topic: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.is_empty() || matches!(topic, "." | "..") {
        return Err(format!("{topic:?} is no name of a topic"));
    }
    if topic.len() > TOPIC_BYTES_MAX {
        return Err("it is longer than 249 characters".to_owned());
    }
    match topic.chars().find(|c| !legal(*c)) {
        Some(c) => Err(format!("{c:?} may not be in a topic's name")),
        None => Ok(()),
    }
}
