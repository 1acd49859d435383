//! Who handles what, and what follows from it for requests that wait.

use kafka_protocol::messages::RequestKind;

use super::versions::{self, api_versions};
use super::{Call, Context, Engine, Handled, Millis};
use crate::group::Groups;
use crate::journal;
use crate::log::{self, PartitionKey, Topics};
use crate::transaction::Transactions;

impl Engine {
    /// Handles one request.
    pub fn handle(&mut self, now: Millis, call: Call) -> Handled {
        self.start_timers(now);
        let handled = match versions::check(&call) {
            Ok(()) => self.dispatch(now, call),
            Err(refused) => refused,
        };
        self.wake();
        handled
    }

    fn dispatch(&mut self, now: Millis, call: Call) -> Handled {
        let version = call.version;
        match call.request {
            RequestKind::ApiVersions(_) => Handled::answer(api_versions()),
            RequestKind::Produce(request) => self.produce(now, version, request),
            RequestKind::Fetch(request) => self.fetch(now, version, request),
            RequestKind::ListOffsets(request) => self.list_offsets(version, &request),
            RequestKind::OffsetForLeaderEpoch(request) => self.epoch_end(&request),
            RequestKind::DeleteRecords(request) => self.delete_records(now, request),
            RequestKind::Metadata(request) => self.metadata(now, version, &request),
            RequestKind::DescribeCluster(request) => self.describe_cluster(&request),
            RequestKind::CreateTopics(request) => self.create_topics(now, request),
            RequestKind::DeleteTopics(request) => self.delete_topics(now, version, request),
            RequestKind::CreatePartitions(request) => self.create_partitions(now, request),
            RequestKind::DescribeConfigs(request) => self.describe_configs(&request),
            RequestKind::AlterConfigs(request) => self.alter_configs(now, request),
            RequestKind::IncrementalAlterConfigs(request) => {
                self.incremental_alter_configs(now, request)
            }
            request => self.coordinate(now, Call { request, ..call }),
        }
    }

    /// Does what is due by `now`: sessions, transactions, waiting fetches, retention, compaction.
    pub fn advance(&mut self, now: Millis) {
        self.start_timers(now);
        let (mut context, topics, groups, transactions) = self.parts(now);
        groups.advance(&mut context);
        transactions.advance(&mut context, topics, groups);
        self.clean_up(now);
        self.wake();
        self.expire_fetches(now);
    }

    /// Returns when [`Engine::advance`] has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Millis> {
        let coordinators =
            [self.groups.next_deadline(), self.transactions.next_deadline(&self.config)];
        // without topics there is nothing to clean up
        let some_topic = self.topics.names().next();
        let timers = [self.retention_at, self.compaction_at].map(|at| some_topic.and(at));
        let fetches = self.fetches.next_deadline();
        coordinators.into_iter().chain(timers).flatten().chain(fetches).min()
    }

    /// The parts of the engine beside what they share.
    pub(super) fn parts(
        &mut self,
        now: Millis,
    ) -> (Context<'_>, &mut Topics, &mut Groups, &mut Transactions) {
        let context = Context {
            now,
            config: &self.config,
            answers: &mut self.answers,
            journal: &mut self.journal,
        };
        (context, &mut self.topics, &mut self.groups, &mut self.transactions)
    }

    fn start_timers(&mut self, now: Millis) {
        let Self { config, retention_at, compaction_at, .. } = self;
        retention_at.get_or_insert(now.saturating_add(config.retention_interval_ms));
        compaction_at.get_or_insert(now.saturating_add(config.compaction_interval_ms));
    }

    fn clean_up(&mut self, now: Millis) {
        let due = |at: Option<Millis>| at.is_some_and(|at| at <= now);
        let (retains, compacts) = (due(self.retention_at), due(self.compaction_at));
        let idle = now.saturating_sub(self.config.producer_id_expiration_ms);
        let (mut context, topics, _, _) = self.parts(now);
        for log in topics.partitions_mut() {
            if retains {
                log.retain(&mut context);
                log.expire_producers(&mut context, idle);
            }
            if compacts {
                log.clean_if_due(&mut context);
            }
        }
        if retains {
            self.retention_at = None;
        }
        if compacts {
            self.compaction_at = None;
        }
        self.start_timers(now);
    }

    /// Answers the fetches for which something has changed. What has changed is in the journal.
    pub(super) fn wake(&mut self) {
        let seen = std::mem::replace(&mut self.seen, self.journal.len());
        if self.fetches.is_empty() {
            return;
        }
        let mut changed: Vec<PartitionKey> = Vec::new();
        for entry in &self.journal[seen..] {
            match entry {
                journal::Entry::Log(log::Entry::Appended(key, _) | log::Entry::Started(key, _)) => {
                    changed.push(*key);
                }
                journal::Entry::Log(log::Entry::Deleted(topic)) => {
                    changed.extend(self.fetches.of_topic(*topic));
                }
                _ => {}
            }
        }
        self.wake_fetches(&changed);
    }
}
