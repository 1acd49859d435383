//! Writes a scripted plan, rule by rule.

use super::plan::Faults;
use super::rule::{Action, Rule, When};

/// A rule that is being written; [`RuleBuilder::then`] ends it.
#[derive(Debug)]
#[must_use = "a rule without an action is not part of the plan"]
pub struct RuleBuilder {
    pub(super) faults: Faults,
    pub(super) rule: Rule,
}

impl RuleBuilder {
    /// Only calls about this topic.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.rule.topic = Some(topic.into());
        self
    }

    /// Only calls about this partition.
    pub fn partition(mut self, partition: i32) -> Self {
        self.rule.partition = Some(partition);
        self
    }

    /// Only calls of this transactional id.
    pub fn transactional_id(mut self, id: impl Into<String>) -> Self {
        self.rule.transactional_id = Some(id.into());
        self
    }

    /// Only calls about this group.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.rule.group = Some(group.into());
        self
    }

    /// Only calls of this `client.id`.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.rule.client_id = Some(id.into());
        self
    }

    /// Only the n-th call, from 1.
    pub fn nth(self, n: u64) -> Self {
        self.when(When::Nth(n))
    }

    /// Only the first n calls.
    pub fn first(self, n: u64) -> Self {
        self.when(When::First(n))
    }

    /// The n-th call, from 1, and each after it.
    pub fn from(self, n: u64) -> Self {
        self.when(When::From(n))
    }

    /// One call in n, drawn with the plan's random numbers.
    pub fn one_in(self, n: u64) -> Self {
        self.when(When::OneIn(n))
    }

    fn when(mut self, when: When) -> Self {
        self.rule.when = when;
        self
    }

    /// Says what happens, and returns the plan with this rule as its last.
    #[must_use]
    pub fn then(mut self, action: Action) -> Faults {
        self.rule.action = action;
        self.faults.add(self.rule);
        self.faults
    }
}
