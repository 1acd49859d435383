//! The service's answers, as any HTTP client sees them.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tidemill_connect::revision::service::{RevisionService, RevisionServiceConfig};

use crate::support::{connected, database, start, until_locked_out};

async fn post(service: &RevisionService, body: impl Into<String>) -> (StatusCode, Value) {
    let url = format!("http://{}/v1/revisions", service.address());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = http.post(url).body(body.into()).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn get(service: &RevisionService, path: &str) -> (StatusCode, Value) {
    let url = format!("http://{}{path}", service.address());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = http.get(url).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

fn range(answer: &Value) -> (i64, i64) {
    let number = |name: &str| answer[name].as_str().unwrap().parse().unwrap();
    (number("first"), number("last"))
}

#[tokio::test]
async fn rv7_numbers_come_as_text_single_and_in_batches_beyond_2_to_the_53() {
    let service = start(&RevisionServiceConfig::new(database("rv7"), "prices")).await;
    let (status, answer) = post(&service, "{}").await;
    assert_eq!((status, &answer["name"]), (StatusCode::OK, &json!("prices")));
    let (first, last) = range(&answer);
    assert_eq!(first, last);
    assert!(first > 1_700_000_000_000_000_000, "a new counter begins at the present time");
    assert_eq!(first % 1_000_000, 1);
    let (_, answer) = post(&service, r#"{"count":1000}"#).await;
    assert_eq!(range(&answer), (first + 1, first + 1_000));
    let (_, answer) = post(&service, r#"{"count":2,"name":"prices"}"#).await;
    assert_eq!(range(&answer), (first + 1_001, first + 1_002));
    let (status, answer) = get(&service, "/health").await;
    let up = json!({"status": "up", "name": "prices", "last": (first + 1_002).to_string()});
    assert_eq!((status, answer), (StatusCode::OK, up));
    service.stop().await;
}

#[tokio::test]
async fn what_is_no_request_is_refused_with_the_reason() {
    let config = RevisionServiceConfig::new(database("refused"), "prices").with_count_max(10);
    let service = start(&config).await;
    for (body, status, expected) in [
        ("", 400, "no request for revisions: EOF"),
        ("{", 400, "no request for revisions"),
        (r#"{"count":"3"}"#, 400, "invalid type"),
        (r#"{"counts":3}"#, 400, "unknown field `counts`"),
        (r#"{"count":0}"#, 400, "count must be from 1 to 10, not 0"),
        (r#"{"count":11}"#, 400, "count must be from 1 to 10, not 11"),
        (r#"{"count":4294967296}"#, 400, "no request for revisions"),
        (r#"{"name":"orders"}"#, 409, r#"this service has the counter "prices", not "orders""#),
        (&" ".repeat(5_000), 413, "length limit exceeded"),
    ] {
        let (found, answer) = post(&service, body).await;
        assert_eq!(found.as_u16(), status, "{body}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(expected), "{body}: {answer}");
    }
    assert_eq!(get(&service, "/").await.0, StatusCode::NOT_FOUND);
    let (status, answer) = get(&service, "/v1/revisions").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{answer}");
    for name in ["", "a\0b", &"x".repeat(201)] {
        let config = RevisionServiceConfig::new(database("refused"), name);
        let error = RevisionService::start(&config).await.unwrap_err();
        assert!(error.to_string().contains("no name of a counter"), "{error}");
    }
}

#[tokio::test]
async fn a_database_that_does_not_answer_costs_nobody_more_than_the_timeout() {
    let database = database("stalled");
    let config = RevisionServiceConfig::new(database.clone(), "prices")
        .with_timeout(Duration::from_millis(200))
        .with_requests_max(3);
    let service = start(&config).await;
    let (_, answer) = post(&service, "{}").await;
    let (_, before) = range(&answer);
    let mut holding = connected(&database).await;
    let looking = connected(&database).await;
    let holder = holding.transaction().await.unwrap();
    holder.query("SELECT 1 FROM revision_counter FOR UPDATE", &[]).await.unwrap();
    let (mut asked, mut said) = (Vec::new(), String::new());
    for _ in 0..12 {
        asked.push(post(&service, r#"{"count":5}"#));
    }
    let (answers, ()) = tokio::join!(join(asked), until_locked_out(&looking));
    for (status, answer) in answers {
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
        said.push_str(answer["error"].as_str().unwrap());
    }
    assert!(said.contains("canceling statement due to statement timeout"), "{said}");
    assert!(said.contains("too many requests wait"), "{said}");
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'tidemill-revisions'";
    let connections: i64 = looking.query_one(sql, &[]).await.unwrap().get(0);
    assert!((1..=2).contains(&connections), "{connections}");
    assert_eq!(get(&service, "/health").await.0, StatusCode::OK, "it can still look");
    holder.rollback().await.unwrap();
    let (status, answer) = post(&service, "{}").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(range(&answer).0 > before);
}

async fn join<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, outcome) in &mut running {
            if outcome.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *outcome = Some(value);
            }
        }
        if running.iter().all(|(_, outcome)| outcome.is_some()) {
            return std::task::Poll::Ready(());
        }
        std::task::Poll::Pending
    })
    .await;
    running.into_iter().filter_map(|(_, outcome)| outcome).collect()
}

#[tokio::test]
async fn a_service_without_its_database_says_so_and_tells_no_password() {
    let mut lonely = tokio_postgres::Config::new();
    lonely.host("127.0.0.1").port(1).user("me").password("secret").dbname("x");
    let config = RevisionServiceConfig::new(lonely, "prices");
    let error = RevisionService::start(&config).await.unwrap_err();
    assert!(error.is_retriable(), "{error}");
    assert_eq!(error.to_string(), "could not reach the counter prices");
    assert!(!format!("{error:?}").contains("secret"));
}

#[tokio::test]
async fn a_counter_whose_row_is_gone_or_that_is_at_its_end_says_what_to_do() {
    let database = database("gone");
    let service = start(&RevisionServiceConfig::new(database.clone(), "prices")).await;
    let client = connected(&database).await;
    let last = i64::MAX - 1;
    client.execute("UPDATE revision_counter SET last = $1", &[&last]).await.unwrap();
    let (status, answer) = post(&service, r#"{"count":2}"#).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(answer["error"].as_str().unwrap().contains("at its end"), "{answer}");
    let (_, answer) = post(&service, "{}").await;
    assert_eq!(range(&answer), (i64::MAX, i64::MAX), "the last one is still good");
    client.execute("DELETE FROM revision_counter", &[]).await.unwrap();
    let (status, answer) = post(&service, "{}").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let text = answer["error"].as_str().unwrap();
    assert!(text.contains("there is no counter prices in \"revision_counter\""), "{text}");
    assert_eq!(get(&service, "/health").await.0, StatusCode::SERVICE_UNAVAILABLE);
}
