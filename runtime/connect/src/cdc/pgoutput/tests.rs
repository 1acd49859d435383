//! Messages written by a plain encoder are read as they were meant; other bytes never panic.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{ColumnBody, Datum, Lsn, Message, OldTuple, RelationBody, Tuple};

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

fn put_tuple(out: &mut Vec<u8>, tuple: &Tuple) {
    out.extend_from_slice(&i16::try_from(tuple.0.len()).unwrap().to_be_bytes());
    for datum in &tuple.0 {
        let (tag, bytes) = match datum {
            Datum::Null => (b'n', None),
            Datum::Unchanged => (b'u', None),
            Datum::Text(bytes) => (b't', Some(bytes)),
            Datum::Binary(bytes) => (b'b', Some(bytes)),
        };
        out.push(tag);
        if let Some(bytes) = bytes {
            out.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_be_bytes());
            out.extend_from_slice(bytes);
        }
    }
}

fn put_old(out: &mut Vec<u8>, old: &OldTuple) {
    match old {
        OldTuple::Key(tuple) => (out.push(b'K'), put_tuple(out, tuple)),
        OldTuple::Full(tuple) => (out.push(b'O'), put_tuple(out, tuple)),
    };
}

fn put_relation(out: &mut Vec<u8>, body: &RelationBody) {
    out.push(b'R');
    out.extend_from_slice(&body.oid.to_be_bytes());
    put_string(out, &body.schema);
    put_string(out, &body.name);
    out.push(body.replica_identity);
    out.extend_from_slice(&i16::try_from(body.columns.len()).unwrap().to_be_bytes());
    for column in &body.columns {
        out.push(u8::from(column.identity));
        put_string(out, &column.name);
        out.extend_from_slice(&column.type_oid.to_be_bytes());
        out.extend_from_slice(&column.type_modifier.to_be_bytes());
    }
}

fn put_rows(out: &mut Vec<u8>, message: &Message) {
    match message {
        Message::Insert { relation, new } => {
            out.push(b'I');
            out.extend_from_slice(&relation.to_be_bytes());
            out.push(b'N');
            put_tuple(out, new);
        }
        Message::Update { relation, old, new } => {
            out.push(b'U');
            out.extend_from_slice(&relation.to_be_bytes());
            if let Some(old) = old {
                put_old(out, old);
            }
            out.push(b'N');
            put_tuple(out, new);
        }
        Message::Delete { relation, old } => {
            out.push(b'D');
            out.extend_from_slice(&relation.to_be_bytes());
            put_old(out, old);
        }
        Message::Truncate { relations, cascade, restart_identity } => {
            out.push(b'T');
            out.extend_from_slice(&u32::try_from(relations.len()).unwrap().to_be_bytes());
            out.push(u8::from(*cascade) | u8::from(*restart_identity) << 1);
            relations.iter().for_each(|oid| out.extend_from_slice(&oid.to_be_bytes()));
        }
        other => panic!("{other:?} is no row"),
    }
}

fn written(message: &Message) -> Bytes {
    let mut out = Vec::new();
    match message {
        Message::Begin { commit_lsn, commit_time, xid } => {
            out.push(b'B');
            out.extend_from_slice(&commit_lsn.0.to_be_bytes());
            out.extend_from_slice(&commit_time.to_be_bytes());
            out.extend_from_slice(&xid.to_be_bytes());
        }
        Message::Commit { commit_lsn, end_lsn, commit_time } => {
            out.extend_from_slice(b"C\0");
            out.extend_from_slice(&commit_lsn.0.to_be_bytes());
            out.extend_from_slice(&end_lsn.0.to_be_bytes());
            out.extend_from_slice(&commit_time.to_be_bytes());
        }
        Message::Origin { commit_lsn, name } => {
            out.push(b'O');
            out.extend_from_slice(&commit_lsn.0.to_be_bytes());
            put_string(&mut out, name);
        }
        Message::Relation(body) => put_relation(&mut out, body),
        Message::Type { oid, schema, name } => {
            out.push(b'Y');
            out.extend_from_slice(&oid.to_be_bytes());
            put_string(&mut out, schema);
            put_string(&mut out, name);
        }
        Message::Logical { transactional, lsn, prefix, content } => {
            out.extend_from_slice(&[b'M', u8::from(*transactional)]);
            out.extend_from_slice(&lsn.0.to_be_bytes());
            put_string(&mut out, prefix);
            out.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
            out.extend_from_slice(content);
        }
        rows => put_rows(&mut out, rows),
    }
    out.into()
}

fn name() -> impl Strategy<Value = String> {
    "[^\0]{0,12}"
}

fn lsn() -> impl Strategy<Value = Lsn> {
    any::<u64>().prop_map(Lsn)
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn rows() -> impl Strategy<Value = Tuple> {
    let datum = prop_oneof![
        Just(Datum::Null),
        Just(Datum::Unchanged),
        bytes().prop_map(Datum::Text),
        bytes().prop_map(Datum::Binary),
    ];
    vec(datum, 0..8).prop_map(Tuple)
}

fn old_rows() -> impl Strategy<Value = OldTuple> {
    prop_oneof![rows().prop_map(OldTuple::Key), rows().prop_map(OldTuple::Full)]
}

fn relations() -> impl Strategy<Value = RelationBody> {
    let column = (any::<bool>(), name(), any::<u32>(), any::<i32>()).prop_map(
        |(identity, name, type_oid, type_modifier)| ColumnBody {
            identity,
            name,
            type_oid,
            type_modifier,
        },
    );
    (any::<u32>(), name(), name(), any::<u8>(), vec(column, 0..6)).prop_map(
        |(oid, schema, name, replica_identity, columns)| RelationBody {
            oid,
            schema,
            name,
            replica_identity,
            columns,
        },
    )
}

fn messages() -> impl Strategy<Value = Message> {
    prop_oneof![
        (lsn(), any::<i64>(), any::<u32>()).prop_map(|(commit_lsn, commit_time, xid)| {
            Message::Begin { commit_lsn, commit_time, xid }
        }),
        (lsn(), lsn(), any::<i64>()).prop_map(|(commit_lsn, end_lsn, commit_time)| {
            Message::Commit { commit_lsn, end_lsn, commit_time }
        }),
        (lsn(), name()).prop_map(|(commit_lsn, name)| Message::Origin { commit_lsn, name }),
        relations().prop_map(Message::Relation),
        (any::<u32>(), name(), name()).prop_map(|(oid, schema, name)| Message::Type {
            oid,
            schema,
            name
        }),
        (any::<u32>(), rows()).prop_map(|(relation, new)| Message::Insert { relation, new }),
        (any::<u32>(), proptest::option::of(old_rows()), rows())
            .prop_map(|(relation, old, new)| Message::Update { relation, old, new }),
        (any::<u32>(), old_rows()).prop_map(|(relation, old)| Message::Delete { relation, old }),
        (vec(any::<u32>(), 0..5), any::<bool>(), any::<bool>()).prop_map(
            |(relations, cascade, restart_identity)| Message::Truncate {
                relations,
                cascade,
                restart_identity
            }
        ),
        (any::<bool>(), lsn(), name(), bytes()).prop_map(
            |(transactional, lsn, prefix, content)| {
                Message::Logical { transactional, lsn, prefix, content }
            }
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_was_written_is_read(message in messages()) {
        prop_assert_eq!(Message::read(&written(&message)), Ok(message));
    }

    #[test]
    fn a_message_that_ends_early_or_late_is_an_error(message in messages(), cut in 0usize..100) {
        let whole = written(&message);
        let short = whole.slice(..cut.min(whole.len() - 1));
        prop_assert!(Message::read(&short).is_err());
        let long: Bytes = [&whole[..], &[0]].concat().into();
        prop_assert!(Message::read(&long).is_err());
    }

    #[test]
    fn a_message_with_a_damaged_byte_never_panics(message in messages(), at: usize, byte: u8) {
        let mut damaged = written(&message).to_vec();
        let at = at % damaged.len();
        damaged[at] = byte;
        let _ = Message::read(&damaged.into());
    }

    #[test]
    fn arbitrary_bytes_never_panic(kind in "[BCORYIUDTM]", rest in vec(any::<u8>(), 0..64)) {
        let _ = Message::read(&[kind.as_bytes(), &rest].concat().into());
        let _ = Message::read(&rest.into());
    }
}

#[test]
fn a_length_that_the_bytes_do_not_bear_out_is_an_error_and_no_allocation() {
    let text = |bytes: &[u8]| Message::read(&Bytes::copy_from_slice(bytes)).unwrap_err().what;
    assert_eq!(text(b"T\x7f\xff\xff\xff\0"), "it ends early");
    assert_eq!(text(b"T\xff\xff\xff\xff\0"), "a negative count");
    assert_eq!(text(b"I\0\0\0\x01N\0\x01t\x7f\xff\xff\xff"), "a length beyond the end");
    assert_eq!(text(b"I\0\0\0\x01N\0\x01t\xff\xff\xff\xff"), "a negative count");
    assert_eq!(text(b"Y\0\0\0\x01no end"), "a name without an end");
    assert_eq!(text(b"D\0\0\0\x01N\0\0"), "no old row");
    assert_eq!(text(b""), "it ends early");
}
