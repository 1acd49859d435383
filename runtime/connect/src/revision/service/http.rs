//! The service's door: two addresses, answers in JSON, everything bounded.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request as HttpRequest, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::sync::{mpsc, oneshot};

use super::RevisionServiceConfig;
use super::allocator::Asked;
use super::ledger::Ledger;
use super::wire::{BODY_BYTES_MAX, Granted, HEALTH, Health, REVISIONS, Refusal, Request};

/// Connections of clients.
pub(super) const CONNECTIONS_MAX: usize = 1_024;
/// How long a service that stops waits for what was asked already.
pub(super) const STOP_WITHIN: Duration = Duration::from_secs(10);
/// Beyond the time that the database is given: the answer then says why.
const GRACE: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Door {
    name: String,
    count_max: u32,
    timeout: Duration,
    asking: mpsc::Sender<Asked>,
    ledger: Ledger,
}

pub(super) fn router(
    config: &RevisionServiceConfig,
    asking: mpsc::Sender<Asked>,
    ledger: Ledger,
) -> Router {
    let door = Arc::new(Door {
        name: config.name.clone(),
        count_max: config.count_max,
        timeout: config.timeout + GRACE,
        asking,
        ledger,
    });
    Router::new()
        .route(REVISIONS, post(revisions))
        .route(HEALTH, get(health))
        .fallback(async || refuse(StatusCode::NOT_FOUND, "there is nothing at this address"))
        .method_not_allowed_fallback(async || {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "POST to /v1/revisions, GET from /health")
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(Arc::clone(&door), in_time))
        .with_state(door)
}

/// Also a client that sends its body slowly is answered in time.
async fn in_time(State(door): State<Arc<Door>>, request: HttpRequest, next: Next) -> Response {
    match tokio::time::timeout(door.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "no answer in time, try again"),
    }
}

async fn revisions(State(door): State<Arc<Door>>, body: Result<Bytes, BytesRejection>) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return refuse(rejection.status(), &rejection.body_text()),
    };
    let request: Request = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => {
            let text = format!("the body is no request for revisions: {error}");
            return refuse(StatusCode::BAD_REQUEST, &text);
        }
    };
    if request.count == 0 || request.count > door.count_max {
        let text = format!("count must be from 1 to {}, not {}", door.count_max, request.count);
        return refuse(StatusCode::BAD_REQUEST, &text);
    }
    if let Some(name) = request.name.filter(|name| *name != door.name) {
        let text = format!("this service has the counter {:?}, not {name:?}", door.name);
        return refuse(StatusCode::CONFLICT, &text);
    }
    let (answer, answered) = oneshot::channel();
    if door.asking.try_send(Asked { count: request.count, answer }).is_err() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many requests wait, try again");
    }
    match answered.await {
        Ok(Ok((first, last))) => {
            Json(Granted { name: door.name.clone(), first, last }).into_response()
        }
        Ok(Err((text, true))) => refuse(StatusCode::SERVICE_UNAVAILABLE, &text),
        Ok(Err((text, false))) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &text),
        Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "the service is stopping"),
    }
}

async fn health(State(door): State<Arc<Door>>) -> Response {
    match door.ledger.look().await {
        Ok(last) => {
            let name = door.name.clone();
            Json(Health { status: "up", name, last }).into_response()
        }
        Err(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, &error.in_a_line()),
    }
}

fn refuse(status: StatusCode, error: &str) -> Response {
    (status, Json(Refusal { error: error.to_owned() })).into_response()
}
