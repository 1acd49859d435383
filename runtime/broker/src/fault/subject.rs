//! Whom and what a call is about, as far as rules ask for it.

use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, DeleteRecordsRequest, FetchRequest, FindCoordinatorRequest,
    LeaveGroupRequest, ListOffsetsRequest, OffsetCommitRequest, OffsetFetchRequest, ProduceRequest,
    RequestKind, TxnOffsetCommitRequest,
};

use super::Api;
use crate::engine::Call;
use crate::log::Topics;

/// What the rules of a plan look at.
#[derive(Debug, Default)]
pub(super) struct Subject<'a> {
    pub(super) api: Option<Api>,
    pub(super) client_id: &'a str,
    pub(super) partitions: Vec<(&'a str, i32)>,
    pub(super) transactional_id: Option<&'a str>,
    pub(super) group: Option<&'a str>,
    pub(super) member: Option<&'a str>,
}

impl<'a> Subject<'a> {
    pub(super) fn of(call: &'a Call, topics: &'a Topics) -> Self {
        let mut subject = Self { client_id: &call.client_id, ..Self::default() };
        subject.read(&call.request, topics);
        // a member that has no id yet can't be named
        subject.member = subject.member.filter(|member| !member.is_empty());
        subject
    }

    fn api(&mut self, api: Api) -> &mut Self {
        self.api = Some(api);
        self
    }

    fn in_transaction(&mut self, id: Option<&'a str>) -> &mut Self {
        self.transactional_id = id.filter(|id| !id.is_empty());
        self
    }

    fn in_group(&mut self, group: &'a str) -> &mut Self {
        self.group = Some(group);
        self
    }

    fn member(&mut self, member: &'a str) -> &mut Self {
        self.member = Some(member);
        self
    }

    fn about(&mut self, partitions: impl Iterator<Item = (&'a str, i32)>) {
        self.partitions.extend(partitions);
    }

    fn read(&mut self, request: &'a RequestKind, topics: &'a Topics) {
        match request {
            RequestKind::Produce(request) => self.produce(request),
            RequestKind::Fetch(request) => self.fetch(request, topics),
            RequestKind::ListOffsets(request) => self.list_offsets(request),
            RequestKind::Metadata(_) => drop(self.api(Api::Metadata)),
            RequestKind::OffsetCommit(request) => self.offset_commit(request),
            RequestKind::OffsetFetch(request) => self.offset_fetch(request),
            RequestKind::FindCoordinator(request) => self.find_coordinator(request),
            RequestKind::JoinGroup(request) => {
                self.api(Api::JoinGroup).in_group(&request.group_id).member(&request.member_id);
            }
            RequestKind::Heartbeat(request) => {
                self.api(Api::Heartbeat).in_group(&request.group_id).member(&request.member_id);
            }
            RequestKind::LeaveGroup(request) => self.leave_group(request),
            RequestKind::SyncGroup(request) => {
                self.api(Api::SyncGroup).in_group(&request.group_id).member(&request.member_id);
            }
            RequestKind::InitProducerId(request) => {
                let id = request.transactional_id.as_ref().map(|id| id.as_str());
                self.api(Api::InitProducerId).in_transaction(id);
            }
            RequestKind::AddPartitionsToTxn(request) => self.add_partitions(request),
            RequestKind::AddOffsetsToTxn(request) => {
                let id = Some(request.transactional_id.as_str());
                self.api(Api::AddOffsetsToTxn).in_transaction(id).in_group(&request.group_id);
            }
            RequestKind::TxnOffsetCommit(request) => self.transactional_offsets(request),
            RequestKind::EndTxn(request) => {
                self.api(Api::EndTxn).in_transaction(Some(&request.transactional_id));
            }
            RequestKind::DeleteRecords(request) => self.delete_records(request),
            other => self.administer(other),
        }
    }

    fn produce(&mut self, request: &'a ProduceRequest) {
        let id = request.transactional_id.as_ref().map(|id| id.as_str());
        self.api(Api::Produce).in_transaction(id);
        for topic in &request.topic_data {
            self.about(topic.partition_data.iter().map(|one| (topic.name.as_str(), one.index)));
        }
    }

    fn fetch(&mut self, request: &'a FetchRequest, topics: &'a Topics) {
        self.api(Api::Fetch);
        for topic in &request.topics {
            // by id from version 13 on
            let name = topics.name_of(topic.topic_id).unwrap_or(&topic.topic);
            self.about(topic.partitions.iter().map(|one| (name, one.partition)));
        }
    }

    fn list_offsets(&mut self, request: &'a ListOffsetsRequest) {
        self.api(Api::ListOffsets);
        for topic in &request.topics {
            let partitions = topic.partitions.iter();
            self.about(partitions.map(|one| (topic.name.as_str(), one.partition_index)));
        }
    }

    fn offset_commit(&mut self, request: &'a OffsetCommitRequest) {
        self.api(Api::OffsetCommit).in_group(&request.group_id).member(&request.member_id);
        for topic in &request.topics {
            let partitions = topic.partitions.iter();
            self.about(partitions.map(|one| (topic.name.as_str(), one.partition_index)));
        }
    }

    fn offset_fetch(&mut self, request: &'a OffsetFetchRequest) {
        // from version 8 on there may be several groups; clients ask for one
        let many = request.groups.first().map(|group| group.group_id.as_str());
        self.api(Api::OffsetFetch).in_group(many.unwrap_or(&request.group_id));
    }

    fn find_coordinator(&mut self, request: &'a FindCoordinatorRequest) {
        const TRANSACTION: i8 = 1;
        let key = request.coordinator_keys.first().unwrap_or(&request.key);
        let subject = self.api(Api::FindCoordinator);
        if request.key_type == TRANSACTION {
            subject.in_transaction(Some(key));
        } else {
            subject.in_group(key);
        }
    }

    fn leave_group(&mut self, request: &'a LeaveGroupRequest) {
        let first = request.members.first().map(|member| member.member_id.as_str());
        let member = first.unwrap_or(&request.member_id);
        self.api(Api::LeaveGroup).in_group(&request.group_id).member(member);
    }

    fn add_partitions(&mut self, request: &'a AddPartitionsToTxnRequest) {
        let first = request.transactions.first();
        let id = first.map_or(&request.v3_and_below_transactional_id, |one| &one.transactional_id);
        self.api(Api::AddPartitionsToTxn).in_transaction(Some(id));
        let newer = request.transactions.iter().flat_map(|one| &one.topics);
        for topic in request.v3_and_below_topics.iter().chain(newer) {
            self.about(topic.partitions.iter().map(|partition| (topic.name.as_str(), *partition)));
        }
    }

    fn transactional_offsets(&mut self, request: &'a TxnOffsetCommitRequest) {
        let subject = self.api(Api::TxnOffsetCommit).in_group(&request.group_id);
        subject.in_transaction(Some(&request.transactional_id)).member(&request.member_id);
        for topic in &request.topics {
            let partitions = topic.partitions.iter();
            self.about(partitions.map(|one| (topic.name.as_str(), one.partition_index)));
        }
    }

    fn delete_records(&mut self, request: &'a DeleteRecordsRequest) {
        self.api(Api::DeleteRecords);
        for topic in &request.topics {
            let partitions = topic.partitions.iter();
            self.about(partitions.map(|one| (topic.name.as_str(), one.partition_index)));
        }
    }

    fn administer(&mut self, request: &'a RequestKind) {
        self.api = match request {
            RequestKind::ApiVersions(_) => Some(Api::ApiVersions),
            RequestKind::CreateTopics(_) => Some(Api::CreateTopics),
            RequestKind::DeleteTopics(_) => Some(Api::DeleteTopics),
            RequestKind::CreatePartitions(_) => Some(Api::CreatePartitions),
            RequestKind::DescribeConfigs(_) => Some(Api::DescribeConfigs),
            RequestKind::AlterConfigs(_) => Some(Api::AlterConfigs),
            RequestKind::IncrementalAlterConfigs(_) => Some(Api::IncrementalAlterConfigs),
            RequestKind::DescribeGroups(_) => Some(Api::DescribeGroups),
            RequestKind::ListGroups(_) => Some(Api::ListGroups),
            RequestKind::DeleteGroups(_) => Some(Api::DeleteGroups),
            RequestKind::OffsetDelete(_) => Some(Api::OffsetDelete),
            RequestKind::OffsetForLeaderEpoch(_) => Some(Api::OffsetForLeaderEpoch),
            RequestKind::DescribeCluster(_) => Some(Api::DescribeCluster),
            RequestKind::DescribeProducers(_) => Some(Api::DescribeProducers),
            RequestKind::DescribeTransactions(_) => Some(Api::DescribeTransactions),
            RequestKind::ListTransactions(_) => Some(Api::ListTransactions),
            _ => None,
        };
        if let RequestKind::OffsetDelete(request) = request {
            self.in_group(&request.group_id);
        }
    }
}
