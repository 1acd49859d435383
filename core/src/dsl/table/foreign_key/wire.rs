//! What travels between the two sides of the join, as Kafka Streams writes it.
//!
//! ```text
//!   subscription   version 0 or 1 | instruction | hash 16 | primary key | partition 4
//!   response       version 0 | hash 16 | foreign value
//! ```
//!
//! Numbers are big-endian. A version with 0x80 added has no hash. Version 0 of a subscription has
//! no partition: applications below Kafka Streams 3.4 wrote it. Keys and values have the rest of
//! the bytes, so there is no length to trust.

use crate::record::Partition;
use crate::serdes::{Encoded, Serde, SerdeError, SharedSerde};

use super::hash::Hash;

const NO_HASH: u8 = 0x80;

/// What the foreign table's side does with a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Instruction {
    /// Forgets the row; another foreign key answers for it.
    DeleteKeyNoPropagate = 0,
    /// Forgets the row and answers that there is nothing.
    DeleteKeyAndPropagate = 1,
    /// Keeps the row and answers in any case.
    PropagateNullIfNoForeignValue = 2,
    /// Keeps the row and answers if the foreign table has a value.
    PropagateOnlyIfForeignValue = 3,
}

impl Instruction {
    const ALL: [Self; 4] = [
        Self::DeleteKeyNoPropagate,
        Self::DeleteKeyAndPropagate,
        Self::PropagateNullIfNoForeignValue,
        Self::PropagateOnlyIfForeignValue,
    ];

    pub(super) fn deletes(self) -> bool {
        matches!(self, Self::DeleteKeyNoPropagate | Self::DeleteKeyAndPropagate)
    }
}

/// A row that wants to know what the foreign table has for its foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subscription {
    /// Of the row's value; `None` if the row is gone.
    pub(super) hash: Option<Hash>,
    pub(super) instruction: Instruction,
    /// The row's key. Its bytes are all that the foreign side needs until it answers.
    pub(super) primary_key: Vec<u8>,
    /// Where the row lives; `None` in version 0.
    pub(super) primary_partition: Option<Partition>,
}

/// What the foreign table has for a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Response<V> {
    /// That of the subscription: an answer to another value of the row is out of date.
    pub(super) hash: Option<Hash>,
    pub(super) foreign_value: Option<V>,
    /// Where the answer goes. Not written: the partition of the topic is it.
    pub(super) primary_partition: Option<Partition>,
}

fn malformed(what: &str, why: &str) -> SerdeError {
    SerdeError::format(format!("no {what} of a foreign-key join: {why}"))
}

fn write_hash(hash: Option<Hash>, out: &mut Vec<u8>) {
    for half in hash.into_iter().flatten() {
        out.extend_from_slice(&half.to_be_bytes());
    }
}

/// Takes the hash from the front, if the first byte says that there is one.
fn read_hash(first: u8, bytes: &[u8]) -> Option<(Option<Hash>, &[u8])> {
    if first & NO_HASH != 0 {
        return Some((None, bytes));
    }
    let (one, rest) = bytes.split_first_chunk()?;
    let (other, rest) = rest.split_first_chunk()?;
    Some((Some([u64::from_be_bytes(*one), u64::from_be_bytes(*other)]), rest))
}

/// Reads and writes subscriptions.
#[derive(Debug, Clone, Copy)]
pub(super) struct SubscriptionSerde;

impl Serde<Subscription> for SubscriptionSerde {
    fn serialize(
        &self,
        _: &str,
        subscription: &Subscription,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, SerdeError> {
        let Subscription { hash, instruction, primary_key, primary_partition } = subscription;
        let version = u8::from(primary_partition.is_some());
        out.push(if hash.is_none() { version | NO_HASH } else { version });
        out.push(*instruction as u8);
        write_hash(*hash, out);
        out.extend_from_slice(primary_key);
        if let Some(partition) = primary_partition {
            out.extend_from_slice(&partition.0.to_be_bytes());
        }
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, _: &str, bytes: Option<&[u8]>) -> Result<Subscription, SerdeError> {
        let malformed = |why| malformed("subscription", why);
        let cut_off = || malformed("it is cut off");
        let bytes = bytes.ok_or_else(|| malformed("it is null"))?;
        let ([first, instruction], rest) = bytes.split_first_chunk().ok_or_else(cut_off)?;
        let known = Instruction::ALL.into_iter().find(|known| *known as u8 == *instruction);
        let instruction = known.ok_or_else(|| malformed("its instruction is unknown"))?;
        let (hash, rest) = read_hash(*first, rest).ok_or_else(cut_off)?;
        let (primary_key, primary_partition) = match first & !NO_HASH {
            0 => (rest, None),
            1 => {
                let (key, partition) = rest.split_last_chunk().ok_or_else(cut_off)?;
                (key, Some(Partition(i32::from_be_bytes(*partition))))
            }
            _ => return Err(malformed("its version is neither 0 nor 1")),
        };
        let primary_key = primary_key.to_vec();
        Ok(Subscription { hash, instruction, primary_key, primary_partition })
    }
}

/// Reads and writes responses.
pub(super) struct ResponseSerde<V>(pub(super) SharedSerde<V>);

impl<V: 'static> Serde<Response<V>> for ResponseSerde<V> {
    fn serialize(
        &self,
        topic: &str,
        response: &Response<V>,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, SerdeError> {
        out.push(if response.hash.is_none() { NO_HASH } else { 0 });
        write_hash(response.hash, out);
        if let Some(value) = &response.foreign_value {
            // a value that stands for null adds no bytes
            self.0.serialize(topic, value, out)?;
        }
        Ok(Encoded::Bytes)
    }

    /// A value without bytes can't be told from none: as in Kafka Streams it is none.
    fn deserialize(&self, topic: &str, bytes: Option<&[u8]>) -> Result<Response<V>, SerdeError> {
        let malformed = |why| malformed("response", why);
        let bytes = bytes.ok_or_else(|| malformed("it is null"))?;
        let (first, rest) = bytes.split_first().ok_or_else(|| malformed("it has no bytes"))?;
        if first & !NO_HASH != 0 {
            return Err(malformed("its version is not 0"));
        }
        let (hash, rest) = read_hash(*first, rest).ok_or_else(|| malformed("it is cut off"))?;
        let read = |bytes| self.0.deserialize(topic, Some(bytes));
        let foreign_value = if rest.is_empty() { None } else { Some(read(rest)?) };
        Ok(Response { hash, foreign_value, primary_partition: None })
    }
}

/// Where the rows of a foreign key begin in the store of subscriptions.
pub(super) fn prefix(foreign_key: &[u8]) -> Result<Vec<u8>, SerdeError> {
    let length = u32::try_from(foreign_key.len()).ok().filter(|length| *length <= MAX_LENGTH);
    let length =
        length.ok_or_else(|| SerdeError::format("a foreign key is 2 GiB long, or more"))?;
    let mut bytes = Vec::with_capacity(4 + foreign_key.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(foreign_key);
    Ok(bytes)
}

/// Java's lengths are signed.
const MAX_LENGTH: u32 = i32::MAX.cast_unsigned();

/// The key of a subscription: the foreign key's length, the foreign key, the row's key.
pub(super) fn combined_key(foreign_key: &[u8], primary_key: &[u8]) -> Result<Vec<u8>, SerdeError> {
    let mut bytes = prefix(foreign_key)?;
    bytes.extend_from_slice(primary_key);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::serdes::string;

    fn subscription() -> impl Strategy<Value = Subscription> {
        let key = proptest::collection::vec(any::<u8>(), 0..40);
        (any::<Option<Hash>>(), 0..4_usize, key, any::<Option<i32>>()).prop_map(
            |(hash, instruction, primary_key, partition)| Subscription {
                hash,
                instruction: Instruction::ALL[instruction],
                primary_key,
                primary_partition: partition.map(Partition),
            },
        )
    }

    fn responses() -> ResponseSerde<String> {
        ResponseSerde(Arc::new(string()))
    }

    /// The bytes are those of a vector of Kafka Streams 4.3.1.
    #[test]
    fn the_bytes_are_those_of_kafka_streams() {
        let hash = [0xd1f7_b4ea_cf5a_235e, 0x80f9_e790_4f59_aac2];
        let subscription = Subscription {
            hash: Some(hash),
            instruction: Instruction::PropagateOnlyIfForeignValue,
            primary_key: b"l1".to_vec(),
            primary_partition: Some(Partition(0)),
        };
        let mut bytes = Vec::new();
        SubscriptionSerde.serialize("t", &subscription, &mut bytes).unwrap();
        let expected = b"\x01\x03\xd1\xf7\xb4\xea\xcfZ#^\x80\xf9\xe7\x90OY\xaa\xc2l1\0\0\0\0";
        assert_eq!(bytes, expected);
        let foreign_value = Some("one".to_owned());
        let response = Response { hash: Some(hash), foreign_value, primary_partition: None };
        bytes.clear();
        responses().serialize("t", &response, &mut bytes).unwrap();
        assert_eq!(bytes, b"\x00\xd1\xf7\xb4\xea\xcfZ#^\x80\xf9\xe7\x90OY\xaa\xc2one");
        assert_eq!(combined_key(b"r1", b"l1").unwrap(), b"\0\0\0\x02r1l1");
    }

    /// As applications below Kafka Streams 3.4 left it in topics and stores.
    #[test]
    fn a_subscription_of_version_0_has_no_partition() {
        let old = b"\x80\x01key";
        let read = SubscriptionSerde.deserialize("t", Some(old)).unwrap();
        assert_eq!((&*read.primary_key, read.primary_partition), (&b"key"[..], None));
        let mut bytes = Vec::new();
        SubscriptionSerde.serialize("t", &read, &mut bytes).unwrap();
        assert_eq!(bytes, old);
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let damaged: [&[u8]; 7] = [
            &[],
            &[0x81],
            &[0x81, 4, 0, 0, 0, 0],
            &[0x82, 0, 0, 0, 0, 0],
            &[0x81, 0, 0, 0, 0],
            &[0x01, 0, 1, 2, 3],
            &[0x00, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        ];
        for bytes in damaged {
            assert!(SubscriptionSerde.deserialize("t", Some(bytes)).is_err(), "{bytes:?}");
        }
        for bytes in [&[][..], &[0x01], &[0x81], &[0x00, 1, 2, 3], &[0x80, 0xff]] {
            assert!(responses().deserialize("t", Some(bytes)).is_err(), "{bytes:?}");
        }
        assert!(SubscriptionSerde.deserialize("t", None).is_err());
        assert!(responses().deserialize("t", None).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(subscription in subscription(), value: Option<String>) {
            let mut bytes = Vec::new();
            SubscriptionSerde.serialize("t", &subscription, &mut bytes).unwrap();
            let read = SubscriptionSerde.deserialize("t", Some(&bytes)).unwrap();
            prop_assert_eq!(&read, &subscription);
            let foreign_value = value.filter(|value| !value.is_empty());
            let hash = subscription.hash;
            let response = Response { hash, foreign_value, primary_partition: None };
            bytes.clear();
            responses().serialize("t", &response, &mut bytes).unwrap();
            prop_assert_eq!(responses().deserialize("t", Some(&bytes)).unwrap(), response);
        }

        #[test]
        fn any_bytes_are_read_back_as_they_are_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut again = Vec::new();
            if let Ok(read) = SubscriptionSerde.deserialize("t", Some(&bytes)) {
                SubscriptionSerde.serialize("t", &read, &mut again).unwrap();
                prop_assert_eq!(&again, &bytes);
            }
            again.clear();
            if let Ok(read) = responses().deserialize("t", Some(&bytes)) {
                responses().serialize("t", &read, &mut again).unwrap();
                prop_assert_eq!(&again, &bytes);
            }
        }

        /// No row of another foreign key is between those of one.
        #[test]
        fn the_rows_of_a_foreign_key_share_a_prefix_with_no_others(
            one in proptest::collection::vec(any::<u8>(), 0..6),
            other in proptest::collection::vec(any::<u8>(), 0..6),
            row in proptest::collection::vec(any::<u8>(), 0..6),
        ) {
            let key = combined_key(&other, &row).unwrap();
            prop_assert_eq!(key.starts_with(&prefix(&one).unwrap()), one == other);
        }
    }
}
