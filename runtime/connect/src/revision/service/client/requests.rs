//! The task that sends the requests, one after the other.

use std::time::Duration;

use reqwest::{StatusCode, Url, redirect};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use super::{CALLERS_MAX, RevisionClientConfig, RevisionClientError};
use crate::revision::service::wire::{BODY_BYTES_MAX, Granted, REVISIONS, Refusal, Request};

const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_LAST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Asked {
    pub(super) count: u32,
    pub(super) answer: oneshot::Sender<Result<(i64, i64), RevisionClientError>>,
}

/// The task that sends the requests, one after the other.
pub(super) struct Requests {
    http: reqwest::Client,
    url: Url,
    /// Of the service, without whatever else the URL says.
    pub(super) address: String,
    name: Option<String>,
    count_max: u32,
    timeout: Duration,
    /// The largest number that was given out.
    last: i64,
}

/// What became of one request.
enum Failure {
    Later(String),
    Never(RevisionClientError),
}

impl Requests {
    pub(super) fn new(config: &RevisionClientConfig) -> Result<Self, RevisionClientError> {
        let refused = |why: &str| RevisionClientError::Address(why.to_owned());
        let mut url = Url::parse(&config.url).map_err(|error| refused(&error.to_string()))?;
        if url.scheme() != "http" || !url.username().is_empty() || url.password().is_some() {
            return Err(refused("it has another scheme, or a user"));
        }
        let host = url.host_str().ok_or_else(|| refused("it has no host"))?;
        let address = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
        url.set_path(REVISIONS);
        url.set_query(None);
        let http = reqwest::Client::builder()
            .timeout(config.request_timeout)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(1)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| refused(&error.to_string()))?;
        let (name, count_max) = (config.name.clone(), config.count_max);
        Ok(Self { http, url, address, name, count_max, timeout: config.timeout, last: 0 })
    }

    pub(super) async fn run(mut self, mut asked: mpsc::Receiver<Asked>) {
        let mut waiting = Vec::new();
        while asked.recv_many(&mut waiting, CALLERS_MAX).await > 0 {
            let mut callers = waiting.drain(..).peekable();
            while let Some(first) = callers.next() {
                let (mut count, mut together) = (first.count, vec![first]);
                while let Some(more) = callers.next_if(|next| next.count <= self.count_max - count)
                {
                    count += more.count;
                    together.push(more);
                }
                self.serve(together).await;
            }
        }
    }

    async fn serve(&mut self, mut together: Vec<Asked>) {
        // whoever gave up needs no numbers
        together.retain(|asked| !asked.answer.is_closed());
        let count: u32 = together.iter().map(|asked| asked.count).sum();
        if count == 0 {
            return;
        }
        let outcome = self.patiently(count, &together).await;
        let mut next = outcome.as_ref().copied().unwrap_or_default();
        for Asked { count, answer } in together {
            let first = next;
            next += i64::from(count);
            let granted = outcome.clone().map(|_| (first, next - 1));
            // who went away meanwhile leaves a gap
            let _ = answer.send(granted);
        }
    }

    /// Asks until there is an answer, and returns the first of the numbers.
    async fn patiently(
        &mut self,
        count: u32,
        callers: &[Asked],
    ) -> Result<i64, RevisionClientError> {
        let deadline = Instant::now() + self.timeout;
        let mut pause = PAUSE_FIRST;
        let mut why = "no answer".to_owned();
        loop {
            match timeout_at(deadline, self.request(count)).await {
                Ok(Ok(first)) => return Ok(first),
                Ok(Err(Failure::Never(error))) => return Err(error),
                Ok(Err(Failure::Later(what))) => why = what,
                Err(_) => {}
            }
            // clients of a service that comes back do not come all at once
            let pausing = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
            let nobody_waits = callers.iter().all(|asked| asked.answer.is_closed());
            if nobody_waits || Instant::now() + pausing >= deadline {
                let address = self.address.clone();
                return Err(RevisionClientError::Unavailable { address, why });
            }
            tracing::debug!(address = self.address, why, "asking the revision service again");
            sleep(pausing).await;
            pause = (pause * 2).min(PAUSE_LAST);
        }
    }

    async fn request(&mut self, count: u32) -> Result<i64, Failure> {
        let request = Request { count, name: self.name.clone() };
        let sent = self.http.post(self.url.clone()).json(&request).send().await;
        let mut response = sent.map_err(|error| later(&error))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| later(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > BODY_BYTES_MAX {
                return Err(self.malformed("the answer is too long".to_owned()));
            }
        }
        if status != StatusCode::OK {
            let said = serde_json::from_slice(&body).map(|refusal: Refusal| refusal.error);
            let why = said.unwrap_or_else(|_| "no reason is given".to_owned());
            return Err(match status {
                StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::BAD_GATEWAY
                | StatusCode::GATEWAY_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS => Failure::Later(why),
                _ => {
                    let (address, status) = (self.address.clone(), status.as_u16());
                    Failure::Never(RevisionClientError::Refused { address, status, why })
                }
            });
        }
        let granted: Granted =
            serde_json::from_slice(&body).map_err(|error| self.malformed(error.to_string()))?;
        self.check(&granted, count)
    }

    fn check(&mut self, granted: &Granted, count: u32) -> Result<i64, Failure> {
        let Granted { name, first, last } = granted;
        if self.name.as_ref().is_some_and(|wanted| wanted != name) {
            return Err(self.malformed(format!("numbers of the counter {name:?}")));
        }
        if last.checked_sub(*first).is_none_or(|more| more + 1 != i64::from(count)) {
            return Err(self.malformed(format!("{first} to {last} for a count of {count}")));
        }
        if *first <= self.last {
            let (address, first, last) = (self.address.clone(), *first, self.last);
            return Err(Failure::Never(RevisionClientError::WentBack { address, first, last }));
        }
        self.last = *last;
        Ok(*first)
    }

    fn malformed(&self, why: String) -> Failure {
        Failure::Never(RevisionClientError::Malformed { address: self.address.clone(), why })
    }
}

/// The connection failed, or there was no answer in time.
fn later(error: &reqwest::Error) -> Failure {
    let mut text = String::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text = cause.to_string();
        next = cause.source();
    }
    let kind = if error.is_timeout() { "no answer in time" } else { "the connection failed" };
    Failure::Later(if text.is_empty() { kind.to_owned() } else { format!("{kind}: {text}") })
}
