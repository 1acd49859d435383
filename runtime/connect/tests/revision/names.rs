//! Names and tables that are not as they should be: quoted, or refused with the reason.

use tidemill_connect::postgres::TableName;
use tidemill_connect::revision::{
    CounterError, GuardedWrite, Parameter, RevisionedTable, RowCounter, SequenceRevision,
};

use crate::support::{connected, database, price, shop};

#[tokio::test]
async fn names_never_become_statements() {
    let (config, _) = shop("names").await;
    let mut client = connected(&config).await;
    let evil = r#"p"; DROP TABLE price; --"#;
    let sql = r#"CREATE TABLE "p""; DROP TABLE price; --" (
                     "k""; --" text PRIMARY KEY, "r = 9; --" bigint, "c = 0, x" bigint);
                 INSERT INTO "p""; DROP TABLE price; --" VALUES ('a', 1, 0)"#;
    client.batch_execute(sql).await.unwrap();
    let table = RevisionedTable::new(evil, r#"k"; --"#, "r = 9; --").unwrap();
    let change: (&str, Parameter<'_>) = ("c = 0, x", &7_i64);
    let counter = RowCounter::new(table.clone());
    assert_eq!(counter.update(&*client, &"a", &[change]).await.unwrap(), Some(2));
    let key = "a' OR true; DROP TABLE price; --";
    assert_eq!(counter.update(&*client, &key, &[change]).await.unwrap(), None);
    let written = table.write_if_newer(&*client, &"a", 5, &[change]).await.unwrap();
    assert_eq!(written, GuardedWrite::Written);
    let name = TableName::new(r#"s"; DROP TABLE price; --"#).unwrap();
    let sequence = SequenceRevision::create(&*client, name).await.unwrap();
    let transaction = client.transaction().await.unwrap();
    assert_eq!(sequence.draw(&transaction, &table, &"a").await.unwrap(), Some(1));
    transaction.commit().await.unwrap();
    assert_eq!(price(&client, "hat").await, (1, 0), "the table of prices is still there");
    for (table, key, revision) in [("", "k", "r"), ("t", "k.k", "r"), ("t", "k", "\0")] {
        assert!(RevisionedTable::new(table, key, revision).is_err());
    }
    let error = table.guarded_sql(&["a.b"]).unwrap_err();
    assert_eq!(error.to_string(), r#""a.b" is no name of PostgreSQL: a column has no dot"#);
}

#[tokio::test]
async fn a_key_that_is_not_unique_is_refused() {
    let config = database("names");
    let mut client = connected(&config).await;
    let sql = "CREATE TABLE price (sku text, cents bigint, revision bigint);
               INSERT INTO price VALUES ('hat', 1, 0), ('hat', 2, 0)";
    client.batch_execute(sql).await.unwrap();
    let table = RevisionedTable::new("price", "sku", "revision").unwrap();
    let transaction = client.transaction().await.unwrap();
    let error = table.write_if_newer(&transaction, &"hat", 1, &[]).await.unwrap_err();
    assert!(matches!(error, CounterError::NotUnique { rows: 2, .. }), "{error}");
    let error = RowCounter::new(table).update(&transaction, &"hat", &[]).await.unwrap_err();
    assert!(matches!(error, CounterError::NotUnique { rows: 2, .. }), "{error}");
    assert!(!error.is_retriable());
}

#[tokio::test]
async fn a_row_that_takes_no_update_is_not_tried_for_ever() {
    let (config, table) = shop("names").await;
    let client = connected(&config).await;
    let sql = "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
               CREATE TRIGGER no BEFORE UPDATE ON price FOR EACH ROW EXECUTE FUNCTION no()";
    client.batch_execute(sql).await.unwrap();
    let error = table.write_if_newer(&*client, &"hat", 1, &[]).await.unwrap_err();
    assert!(error.to_string().contains("look for a trigger"), "{error}");
}

#[tokio::test]
async fn a_sequence_that_does_not_grow_is_refused_with_the_remedy() {
    let config = database("names");
    let client = connected(&config).await;
    let open = async |name: &str| {
        let name = TableName::new(name).unwrap();
        SequenceRevision::open(&*client, name).await.map_err(|error| error.to_string())
    };
    assert!(open("missing").await.unwrap_err().contains("there is none"));
    for (options, expected) in [
        ("CACHE 20", "its sessions keep numbers in advance; ALTER SEQUENCE .. CACHE 1"),
        ("INCREMENT -1", "it counts downwards"),
        ("CYCLE", "it begins anew at its end"),
    ] {
        let sql = format!("DROP SEQUENCE IF EXISTS bad; CREATE SEQUENCE bad {options}");
        client.batch_execute(&sql).await.unwrap();
        let error = open("bad").await.unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    client.batch_execute("DROP SEQUENCE bad; CREATE SEQUENCE bad").await.unwrap();
    open("public.bad").await.unwrap();
}

#[tokio::test]
async fn a_missing_table_is_named() {
    let config = database("names");
    let client = connected(&config).await;
    let table = RevisionedTable::new("shop.price", "sku", "revision").unwrap();
    let error = table.write_if_newer(&*client, &"hat", 1, &[]).await.unwrap_err();
    assert_eq!(error.to_string(), r#"could not write "shop"."price""#);
    assert!(!error.is_retriable());
}
