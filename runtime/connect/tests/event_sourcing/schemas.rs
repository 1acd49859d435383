//! Old events read by new programs (ES4).

use serde::{Deserialize, Serialize};
use serde_json::json;
use tidemill_connect::event_sourcing::{
    EventEnvelope, EventError, EventType, Recorded, Upcasters, Version,
};
use uuid::Uuid;

/// Prices were whole euros once, then cents, now they have a currency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Event {
    Priced { minor: i64, currency: String },
}

impl EventType for Event {
    fn event_type(&self) -> &'static str {
        "Priced"
    }
    fn schema_version(&self) -> u32 {
        3
    }
}

fn upcasters() -> Upcasters {
    Upcasters::new()
        .step("Priced", 1, |old| {
            let euros = old["Priced"]["euros"].as_i64().ok_or("no euros")?;
            Ok(json!({"Priced": {"cents": euros * 100}}))
        })
        .step("Priced", 2, |old| {
            let cents = old["Priced"]["cents"].as_i64().ok_or("no cents")?;
            Ok(json!({"Priced": {"minor": cents, "currency": "EUR"}}))
        })
}

fn stored(schema: u32, data: serde_json::Value) -> EventEnvelope {
    EventEnvelope {
        version: Version(7),
        event_id: Uuid::from_u128(1),
        command_id: Uuid::from_u128(2),
        event_type: "Priced".to_owned(),
        schema,
        data,
    }
}

#[test]
fn es4_every_old_schema_is_read_as_todays() {
    let today = Event::Priced { minor: 1200, currency: "EUR".to_owned() };
    for (schema, data) in [
        (1, json!({"Priced": {"euros": 12}})),
        (2, json!({"Priced": {"cents": 1200}})),
        (3, json!({"Priced": {"minor": 1200, "currency": "EUR"}})),
    ] {
        let read: Recorded<Event> = upcasters().read(stored(schema, data)).unwrap();
        assert_eq!((read.event, read.version), (today.clone(), Version(7)));
    }
}

#[test]
fn es4_what_cannot_be_read_says_why() {
    let read = |upcasters: Upcasters, schema, data| {
        upcasters.read::<Event>(stored(schema, data)).unwrap_err()
    };
    let todays = json!({"Priced": {"minor": 1, "currency": "EUR"}});
    let error = read(upcasters(), 4, todays.clone());
    assert!(matches!(error, EventError::NewerSchema { stored: 4, known: 3, .. }), "{error}");
    assert!(error.to_string().contains("deploy the program that wrote it"));
    // it fits by chance, but nobody said that it may
    let error = read(Upcasters::new(), 2, todays);
    assert!(matches!(error, EventError::NoUpcaster { stored: 2, known: 3, .. }), "{error}");
    let error = read(upcasters(), 1, json!({"Priced": {"cents": 1}}));
    assert!(matches!(error, EventError::Upcaster { from: 1, .. }), "{error}");
    let error = read(upcasters(), 3, json!({"Priced": {"euros": 1}}));
    assert!(matches!(error, EventError::Data { schema: 3, .. }), "{error}");
}
