//! The bytes of each serde, and what null is to it.

use proptest::prelude::*;

use super::*;

fn written<T>(serde: &impl Serde<T>, value: &T) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match serde.serialize("t", value, &mut out).unwrap() {
        Encoded::Bytes => Some(out),
        Encoded::Null => None,
    }
}

#[test]
fn numbers_have_the_bytes_that_java_writes() {
    assert_eq!(written(&i64(), &-2), Some(vec![255, 255, 255, 255, 255, 255, 255, 254]));
    assert_eq!(written(&i32(), &258), Some(vec![0, 0, 1, 2]));
    assert_eq!(written(&i16(), &1), Some(vec![0, 1]));
    assert_eq!(written(&f64(), &1.0), Some(vec![0x3f, 0xf0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(written(&f32(), &-0.0), Some(vec![0x80, 0, 0, 0]));
    assert_eq!(i64().deserialize("t", Some(&[0, 0, 0, 0, 0, 0, 1, 0])).unwrap(), 256);
    assert!(matches!(
        i64().deserialize("t", Some(&[1])),
        Err(SerdeError::Length { expected: 8, found: 1, .. })
    ));
}

#[test]
fn null_is_kept_apart_from_empty() {
    let serde = optional(string());
    assert_eq!(written(&serde, &None), None);
    assert_eq!(written(&serde, &Some(String::new())), Some(vec![]));
    assert_eq!(serde.deserialize("t", None).unwrap(), None);
    assert_eq!(serde.deserialize("t", Some(&[])).unwrap(), Some(String::new()));
    assert!(serde.is_null(&None) && !serde.is_null(&Some(String::new())));
    assert!(matches!(string().deserialize("t", None), Err(SerdeError::Null(_))));
    assert!(matches!(bytes().deserialize("t", None), Err(SerdeError::Null(_))));
}

#[test]
fn the_unit_serde_ignores_what_it_reads_and_writes_null() {
    assert_eq!(written(&unit(), &()), None);
    unit().deserialize("t", Some(b"anything")).unwrap();
    unit().deserialize("t", None).unwrap();
}

#[test]
fn the_json_text_null_is_refused_both_ways() {
    let mut out = Vec::new();
    assert!(json::<Option<u8>>().serialize("t", &None, &mut out).is_err());
    assert!(json::<Option<u8>>().deserialize("t", Some(b"null")).is_err());
    assert_eq!(written(&optional(json::<u8>()), &Some(7)), Some(b"7".to_vec()));
    assert_eq!(written(&optional(json::<u8>()), &None), None);
}

#[test]
fn text_that_is_not_utf_8_is_an_error() {
    assert!(string().deserialize("t", Some(&[0xff])).is_err());
}

#[cfg(feature = "bincode")]
#[test]
fn bincode_refuses_trailing_bytes() {
    let bytes = written(&bincode::<(u32, String)>(), &(7, "x".to_owned())).unwrap();
    let serde = bincode::<(u32, String)>();
    assert_eq!(serde.deserialize("t", Some(&bytes)).unwrap(), (7, "x".to_owned()));
    let longer = [&bytes[..], &[0]].concat();
    assert!(serde.deserialize("t", Some(&longer)).is_err());
}

proptest! {
    /// What a topic brings is a value or an error, and a value is made of these bytes.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let read = Some(&bytes[..]);
        prop_assert_eq!(i64().deserialize("t", read).is_ok(), bytes.len() == 8);
        prop_assert_eq!(i32().deserialize("t", read).is_ok(), bytes.len() == 4);
        prop_assert_eq!(i16().deserialize("t", read).is_ok(), bytes.len() == 2);
        prop_assert_eq!(f64().deserialize("t", read).is_ok(), bytes.len() == 8);
        prop_assert_eq!(f32().deserialize("t", read).is_ok(), bytes.len() == 4);
        let text = string().deserialize("t", read).ok();
        prop_assert_eq!(text, String::from_utf8(bytes.clone()).ok());
        let text = optional(string()).deserialize("t", read).ok();
        prop_assert_eq!(text, String::from_utf8(bytes.clone()).ok().map(Some));
        prop_assert_eq!(self::bytes().deserialize("t", read).unwrap(), &bytes[..]);
    }

    /// JSON as it is sent by who knows whom: broken off, nested, with bytes changed.
    #[test]
    fn any_json_is_read_or_refused(
        text in "[\\[\\]{}\":,0-9a-z. -]{0,60}",
        depth in 0..2_000_usize,
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
    ) {
        let serde = json::<Vec<Option<(u8, String)>>>();
        let _ = serde.deserialize("t", Some(text.as_bytes()));
        let _ = json::<serde_json::Value>().deserialize("t", Some("[".repeat(depth).as_bytes()));
        let mut valid = br#"[null,[7,"seven"],[8,"\u00e4"]]"#.to_vec();
        let at = at.index(valid.len());
        valid[at] = with;
        if let Ok(read) = serde.deserialize("t", Some(&valid)) {
            prop_assert!(read.len() <= valid.len());
        }
        let _ = serde.deserialize("t", Some(&valid[..at]));
    }
}

#[cfg(feature = "bincode")]
proptest! {
    /// A length that no bytes follow allocates nothing.
    #[test]
    fn any_bincode_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let serde = bincode::<(Vec<u64>, String, Vec<Vec<u8>>)>();
        let _ = serde.deserialize("t", Some(&bytes));
        let huge = [&[253, 255, 255, 255, 255, 255, 255, 255, 127][..], &bytes].concat();
        prop_assert!(bincode::<Vec<u8>>().deserialize("t", Some(&huge)).is_err());
    }
}
