//! Integers and floats as Kafka's Java serializers write them: big-endian, fixed width.

use super::{Encoded, Serde, SerdeError};

macro_rules! number {
    ($serde:ident, $make:ident, $type:ty, $java:literal) => {
        #[doc = concat!("Big-endian `", stringify!($type), "`. See [`", stringify!($make), "()`].")]
        #[derive(Debug, Clone, Copy, Default)]
        pub struct $serde;

        #[doc = concat!("Returns the serde of `", stringify!($type), "` (Kafka's `", $java, "`).")]
        #[must_use]
        pub fn $make() -> $serde {
            $serde
        }

        impl Serde<$type> for $serde {
            fn serialize(
                &self,
                _: &str,
                value: &$type,
                out: &mut Vec<u8>,
            ) -> Result<Encoded, SerdeError> {
                out.extend_from_slice(&value.to_be_bytes());
                Ok(Encoded::Bytes)
            }

            fn deserialize(&self, _: &str, bytes: Option<&[u8]>) -> Result<$type, SerdeError> {
                let bytes = bytes.ok_or(SerdeError::Null(stringify!($type)))?;
                let exact = bytes.try_into().map_err(|_| SerdeError::Length {
                    what: stringify!($type),
                    expected: size_of::<$type>(),
                    found: bytes.len(),
                })?;
                Ok(<$type>::from_be_bytes(exact))
            }
        }
    };
}

number!(I16, i16, i16, "ShortSerializer");
number!(I32, i32, i32, "IntegerSerializer");
number!(I64, i64, i64, "LongSerializer");
number!(F32, f32, f32, "FloatSerializer");
number!(F64, f64, f64, "DoubleSerializer");
