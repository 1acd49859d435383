//! Lists of partitions with offsets: into librdkafka and out of it.

#![expect(unsafe_code, reason = "owns a C list and copies its elements")]

use std::ffi::c_int;
use std::ptr::{self, NonNull};

use tidemill_core::record::{Offset, Partition, TopicPartition};

use super::ffi::*;
use super::handle::Client;
use crate::client::error::ClientError;
use crate::client::types::OffsetCommit;

/// A partition list, owned.
pub(super) struct PartitionList {
    list: NonNull<rd_kafka_topic_partition_list_t>,
}

impl PartitionList {
    pub(super) fn new(capacity: usize) -> Self {
        // SAFETY: no precondition; never returns null.
        let list =
            unsafe { rd_kafka_topic_partition_list_new(c_int::try_from(capacity).unwrap_or(0)) };
        Self { list: NonNull::new(list).expect("rd_kafka_topic_partition_list_new never fails") }
    }

    pub(super) fn of_partitions(
        operation: &'static str,
        partitions: &[TopicPartition],
    ) -> Result<Self, ClientError> {
        let list = Self::new(partitions.len());
        for partition in partitions {
            list.add(operation, partition, None)?;
        }
        Ok(list)
    }

    pub(super) fn of_offsets(
        operation: &'static str,
        offsets: &[(TopicPartition, Offset)],
    ) -> Result<Self, ClientError> {
        let list = Self::new(offsets.len());
        for (partition, offset) in offsets {
            list.add(operation, partition, Some(*offset))?;
        }
        Ok(list)
    }

    pub(super) fn of_commits(
        operation: &'static str,
        client: &Client,
        commits: &[OffsetCommit],
    ) -> Result<Self, ClientError> {
        let list = Self::new(commits.len());
        for commit in commits {
            let element = list.add(operation, &commit.partition, Some(commit.offset))?;
            let metadata = commit.metadata.as_bytes();
            if metadata.is_empty() {
                continue;
            }
            // SAFETY: the element is the one just added; its metadata must come from librdkafka's
            // allocator because destroying the list frees it. The copy has exactly that size.
            unsafe {
                let copy = rd_kafka_mem_malloc(client.ptr(), metadata.len());
                ptr::copy_nonoverlapping(metadata.as_ptr(), copy.cast::<u8>(), metadata.len());
                (*element).metadata = copy;
                (*element).metadata_size = metadata.len();
            }
        }
        Ok(list)
    }

    /// Adds one partition; the pointer is good until the next addition.
    fn add(
        &self,
        operation: &'static str,
        partition: &TopicPartition,
        offset: Option<Offset>,
    ) -> Result<*mut rd_kafka_topic_partition_t, ClientError> {
        let topic = c_string(operation, &partition.topic)?;
        // SAFETY: list and string are live, the string is copied; never returns null.
        unsafe {
            let element = rd_kafka_topic_partition_list_add(
                self.ptr(),
                topic.as_ptr(),
                partition.partition.0,
            );
            if let Some(offset) = offset {
                (*element).offset = offset.0;
            }
            Ok(element)
        }
    }

    pub(super) fn ptr(&self) -> *mut rd_kafka_topic_partition_list_t {
        self.list.as_ptr()
    }

    pub(super) fn read(&self) -> Vec<ListedPartition> {
        // SAFETY: the list is live.
        unsafe { ListedPartition::read(self.ptr()) }
    }
}

impl Drop for PartitionList {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once.
        unsafe { rd_kafka_topic_partition_list_destroy(self.ptr()) }
    }
}

/// One element of a partition list, copied out.
#[derive(Debug)]
pub(super) struct ListedPartition {
    pub(super) partition: TopicPartition,
    pub(super) offset: i64,
    pub(super) metadata: String,
    pub(super) code: i32,
}

impl ListedPartition {
    /// Copies a list's elements.
    ///
    /// # Safety
    /// The list is null (then it is empty) or live.
    pub(super) unsafe fn read(list: *const rd_kafka_topic_partition_list_t) -> Vec<Self> {
        if list.is_null() {
            return Vec::new();
        }
        // SAFETY: the caller's promise; `elems` has `cnt` elements.
        unsafe {
            let count = usize::try_from((*list).cnt).unwrap_or(0);
            (0..count).map(|index| Self::copy((*list).elems.add(index))).collect()
        }
    }

    /// Copies one element.
    ///
    /// # Safety
    /// The element is live.
    pub(super) unsafe fn copy(element: *const rd_kafka_topic_partition_t) -> Self {
        // SAFETY: the caller's promise. The error code is read as a number through a raw pointer,
        // so that the field never takes the enum's type; metadata has `metadata_size` bytes.
        unsafe {
            let metadata = match NonNull::new((*element).metadata.cast::<u8>()) {
                Some(bytes) => {
                    let size = (*element).metadata_size;
                    String::from_utf8_lossy(std::slice::from_raw_parts(bytes.as_ptr(), size)).into()
                }
                None => String::new(),
            };
            Self {
                partition: TopicPartition::new(
                    text((*element).topic),
                    Partition((*element).partition),
                ),
                offset: (*element).offset,
                metadata,
                code: ptr::addr_of!((*element).err).cast::<c_int>().read(),
            }
        }
    }
}
