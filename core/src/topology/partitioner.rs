//! Which partition a key belongs to: the same answer as Kafka's Java producer.

use crate::record::Partition;

/// Which partitions of its topic an output record goes to (KIP-837).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Partitions {
    /// The one that the key's bytes say, as without a partitioner.
    ByKey,
    /// This one.
    One(Partition),
    /// A copy to each of these, in this order; one that is named twice gets one. Named none, the
    /// record is dropped and counted.
    Each(Vec<Partition>),
}

impl From<Partition> for Partitions {
    fn from(partition: Partition) -> Self {
        Self::One(partition)
    }
}

impl From<Option<Partition>> for Partitions {
    /// `None` is [`Partitions::ByKey`].
    fn from(partition: Option<Partition>) -> Self {
        partition.map_or(Self::ByKey, Self::One)
    }
}

impl From<Vec<Partition>> for Partitions {
    fn from(partitions: Vec<Partition>) -> Self {
        Self::Each(partitions)
    }
}

/// Chooses the partitions of an output record. Closures that return a [`Partition`], an `Option` or
/// a `Vec` of it, or [`Partitions`] do, too.
pub trait StreamPartitioner<K, V>: Send + Sync {
    /// Returns the partitions, each of them below `partitions`.
    fn partitions(&self, topic: &str, key: &K, value: &V, partitions: u32) -> Partitions;
}

impl<K, V, R, F> StreamPartitioner<K, V> for F
where
    F: Fn(&str, &K, &V, u32) -> R + Send + Sync,
    R: Into<Partitions>,
{
    fn partitions(&self, topic: &str, key: &K, value: &V, partitions: u32) -> Partitions {
        self(topic, key, value, partitions).into()
    }
}

/// Returns the partition that Kafka's Java producer gives to a record with this key.
///
/// # Panics
/// If `partitions` is 0.
#[must_use]
pub fn partition_for_key(key: &[u8], partitions: u32) -> Partition {
    let positive = murmur2(key) & 0x7fff_ffff;
    let partition = positive % partitions;
    Partition(i32::try_from(partition).expect("31 bits were kept"))
}

/// Returns the 32-bit murmur2 hash with Kafka's seed (`org.apache.kafka.common.utils.Utils`).
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    // Java's lengths are 32 bits wide
    let length = data.len() as u32;
    let mut hash = SEED ^ length;
    let (chunks, rest) = data.as_chunks::<4>();
    for chunk in chunks {
        let mut k = u32::from_le_bytes(*chunk).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}
