//! The plan: rules in order, what they did, and what they hold back.

use std::collections::{BTreeMap, VecDeque};

use kafka_protocol::messages::RequestKind;

use super::builder::RuleBuilder;
use super::decision::{Decision, Fate, Hook};
use super::random::Random;
use super::refuse::refuse;
use super::rule::{Action, Rule, When};
use super::subject::Subject;
use super::{Api, Intensity, seeded};
use crate::engine::{Call, CoordinatorKey, MarkerTarget, Millis};
use crate::log::Topics;

/// So many of the last faults are remembered one by one; the counts are complete.
const REMEMBERED: usize = 10_000;

/// A plan of faults.
#[derive(Debug, Clone)]
pub struct Faults {
    rules: Vec<Counted>,
    random: Random,
    fired: VecDeque<Fired>,
    /// By transactional id: ends that wait for the next begin.
    held: BTreeMap<String, Vec<Call>>,
}

#[derive(Debug, Clone)]
struct Counted {
    rule: Rule,
    matched: u64,
    fired: u64,
}

/// A fault that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fired {
    /// When.
    pub at: Millis,
    /// Which rule, by its place in the plan.
    pub rule: usize,
    /// To which API, if it is one that the plan knows by name.
    pub api: Option<Api>,
    /// On which connection.
    pub connection: u64,
    /// What happened.
    pub action: Action,
}

impl Default for Faults {
    fn default() -> Self {
        Self::plan()
    }
}

impl Faults {
    /// Returns a plan without a fault.
    #[must_use]
    pub fn plan() -> Self {
        Self {
            rules: Vec::new(),
            random: Random::new(0),
            fired: VecDeque::new(),
            held: BTreeMap::new(),
        }
    }

    /// Returns the plan of a seed: faults of every kind, more of them the higher the intensity.
    #[must_use]
    pub fn seeded(seed: u64, intensity: Intensity) -> Self {
        let mut random = Random::new(seed);
        let rules = seeded::rules(&mut random, intensity);
        let mut faults = Self { random, ..Self::plan() };
        rules.into_iter().for_each(|rule| faults.add(rule));
        faults
    }

    /// Starts a rule about calls of one API.
    pub fn on(self, api: Api) -> RuleBuilder {
        let mut builder = self.on_any();
        builder.rule.api = Some(api);
        builder
    }

    /// Starts a rule about calls of every API.
    pub fn on_any(self) -> RuleBuilder {
        RuleBuilder { faults: self, rule: Rule::new(Action::DropReply) }
    }

    /// Appends a rule.
    pub fn add(&mut self, rule: Rule) {
        self.rules.push(Counted { rule, matched: 0, fired: 0 });
    }

    /// Draws with this seed from now on.
    pub fn reseed(&mut self, seed: u64) {
        self.random = Random::new(seed);
    }

    /// Drops all rules and all that is held. What they did stays listed in [`Faults::fired`].
    pub fn clear(&mut self) {
        self.rules.clear();
        self.held.clear();
    }

    /// Whether there is nothing that could go wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.held.is_empty()
    }

    /// Iterates over rules, how many calls each one matched, and at how many it fired.
    pub fn rules(&self) -> impl Iterator<Item = (&Rule, u64, u64)> {
        self.rules.iter().map(|one| (&one.rule, one.matched, one.fired))
    }

    /// Returns the rules that never fired: a test that relies on them has tested nothing.
    #[must_use]
    pub fn unfired(&self) -> Vec<&Rule> {
        let silent = self.rules.iter().filter(|one| one.fired == 0);
        silent.map(|one| &one.rule).collect()
    }

    /// Iterates over the faults that happened, the oldest first: the last 10,000.
    pub fn fired(&self) -> impl Iterator<Item = &Fired> {
        self.fired.iter()
    }

    /// Says what happens to a call. A door asks once for each, in the order in which they come.
    /// `topics` are the engine's, to name the topics that a call has by their ids.
    pub fn decide(&mut self, now: Millis, call: &Call, topics: &Topics) -> Decision {
        let mut decision = Decision::default();
        if self.is_empty() {
            return decision;
        }
        let subject = Subject::of(call, topics);
        let begins = matches!(subject.api, Some(Api::AddPartitionsToTxn | Api::AddOffsetsToTxn));
        let mut decided = false;
        for index in 0..self.rules.len() {
            // one fate a call: later rules about it don't count this call
            let is_fate = !self.rules[index].rule.action.is_hook();
            if (is_fate && decided) || !self.draw(index, &subject) {
                continue;
            }
            let action = self.rules[index].rule.action;
            self.remember(now, index, call, &subject);
            match action.fate(now, call) {
                Some(fate) => {
                    decided = true;
                    decision.fate = fate;
                    if action == Action::HoldUntilNextBegin {
                        let id = subject.transactional_id.unwrap_or_default().to_owned();
                        self.held.entry(id).or_default().push(call.clone());
                    }
                }
                None => hooks(&self.rules[index].rule, now, &subject, &mut decision.hooks),
            }
        }
        let begun = matches!(decision.fate, Fate::Perform | Fate::PerformUntold)
            || matches!(decision.fate, Fate::HoldReply(_) | Fate::PerformAndReset);
        if begins && begun {
            let id = subject.transactional_id.unwrap_or_default();
            decision.deliver = self.held.remove(id).unwrap_or_default();
        }
        decision
    }

    /// Counts a call for a rule and says whether it fires.
    fn draw(&mut self, index: usize, subject: &Subject<'_>) -> bool {
        let one = &mut self.rules[index];
        if !one.rule.matches(subject) {
            return false;
        }
        one.matched += 1;
        let fires = match one.rule.when {
            When::Always => true,
            When::Nth(n) => one.matched == n,
            When::From(n) => one.matched >= n,
            When::First(n) => one.matched <= n,
            When::OneIn(n) => self.random.below(n) == 0,
        };
        one.fired += u64::from(fires);
        fires
    }

    fn remember(&mut self, now: Millis, index: usize, call: &Call, subject: &Subject<'_>) {
        if self.fired.len() == REMEMBERED {
            self.fired.pop_front();
        }
        let rule = &self.rules[index].rule;
        tracing::debug!(%rule, client = call.client_id, "a fault");
        let (action, connection) = (rule.action, call.connection);
        let fired = Fired { at: now, rule: index, api: subject.api, connection, action };
        self.fired.push_back(fired);
    }
}

impl Action {
    fn is_hook(self) -> bool {
        use Action::{FailWrites, HoldMarkers, KickMember, MoveCoordinator, TimeOutTransaction};
        matches!(self, HoldMarkers(_) | MoveCoordinator(_) | FailWrites(_))
            || matches!(self, TimeOutTransaction | KickMember)
    }

    fn fate(self, now: Millis, call: &Call) -> Option<Fate> {
        Some(match self {
            Self::Refuse(error) => {
                // a producer that wants no answer learns of an error by the end of the connection
                let silent = matches!(&call.request, RequestKind::Produce(one) if one.acks == 0);
                match refuse(&call.request, call.version, error) {
                    Some(answer) if !silent => Fate::Answer(Box::new(answer)),
                    _ => Fate::Reset,
                }
            }
            Self::DelayRequest(by) => Fate::Delay(now.saturating_add(by)),
            Self::DropRequest | Self::HoldUntilNextBegin => Fate::Lose,
            Self::DropReply => Fate::PerformUntold,
            Self::HoldReply(by) => Fate::HoldReply(now.saturating_add(by)),
            Self::Reset => Fate::Reset,
            Self::ResetAfter => Fate::PerformAndReset,
            _ => return None,
        })
    }
}

/// What a rule that acts on the engine does there.
fn hooks(rule: &Rule, now: Millis, subject: &Subject<'_>, hooks: &mut Vec<Hook>) {
    let own = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let covered = subject.partitions.iter().filter(|(topic, index)| rule.covers(topic, *index));
    let covered = covered.map(|(topic, index)| ((*topic).to_owned(), *index));
    match rule.action {
        Action::HoldMarkers(by) => {
            let until = now.saturating_add(by);
            let hold = |target| Hook::HoldMarkers { target, until };
            if let Some(group) = subject.group {
                hooks.push(hold(MarkerTarget::Group(group.to_owned())));
            } else {
                let target = |(topic, partition)| MarkerTarget::Partition { topic, partition };
                hooks.extend(covered.map(target).map(hold));
            }
        }
        Action::MoveCoordinator(by) => {
            let key = match (subject.transactional_id, subject.group) {
                (Some(id), _) => CoordinatorKey::Transaction(id.to_owned()),
                (None, group) => CoordinatorKey::Group(own(group)),
            };
            hooks.push(Hook::MoveCoordinator { key, until: now.saturating_add(by) });
        }
        Action::TimeOutTransaction => {
            let transactional_id = own(subject.transactional_id);
            hooks.push(Hook::TimeOutTransaction { transactional_id });
        }
        Action::KickMember => {
            let (group, member_id) = (own(subject.group), own(subject.member));
            hooks.push(Hook::KickMember { group, member_id });
        }
        Action::FailWrites(by) => {
            let until = now.saturating_add(by);
            let fail = |(topic, partition)| Hook::FailWrites { topic, partition, until };
            hooks.extend(covered.map(fail));
        }
        _ => {}
    }
}
