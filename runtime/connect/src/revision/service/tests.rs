//! What the wire looks like, and addresses that are refused.

use super::wire::{Granted, Request};
use super::{RevisionClient, RevisionClientConfig, RevisionClientError, RevisionServiceConfig};

#[test]
fn rv7_numbers_go_over_the_wire_as_text_and_come_back_exactly() {
    for number in [1, (1 << 53) + 1, 1_795_339_200_000_000_007, i64::MAX] {
        let granted = Granted { name: "prices".into(), first: number, last: number };
        let json = serde_json::to_string(&granted).unwrap();
        let expected = format!(r#"{{"name":"prices","first":"{number}","last":"{number}"}}"#);
        assert_eq!(json, expected);
        let back: Granted = serde_json::from_str(&json).unwrap();
        assert_eq!((back.first, back.last), (number, number));
    }
}

#[test]
fn a_request_needs_no_count_but_takes_nothing_unknown() {
    let request: Request = serde_json::from_str("{}").unwrap();
    assert_eq!((request.count, request.name), (1, None));
    assert!(serde_json::from_str::<Request>(r#"{"counts":3}"#).is_err());
    assert!(serde_json::from_str::<Request>(r#"{"count":-1}"#).is_err());
    assert!(serde_json::from_str::<Request>(r#"{"count":1.5}"#).is_err());
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_without_telling_its_password() {
    for url in ["", "localhost:80", "https://host", "ftp://host", "http://me:secret@host:1"] {
        let error = RevisionClient::new(&RevisionClientConfig::new(url)).unwrap_err();
        assert!(matches!(error, RevisionClientError::Address(_)), "{url}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    RevisionClient::new(&RevisionClientConfig::new("http://127.0.0.1:7070/")).unwrap();
}

#[test]
fn the_password_of_the_database_is_not_shown() {
    let database = "host=127.0.0.1 user=me password=secret dbname=x".parse().unwrap();
    let config = RevisionServiceConfig::new(database, "prices");
    assert!(!format!("{config:?}").contains("secret"));
}
