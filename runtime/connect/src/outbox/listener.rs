//! Woken by commits that notify, instead of looking again after a while.

use std::future::poll_fn;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Config, Error, NoTls};

use crate::postgres::quoted;

/// A connection that listens. If it is lost, the relay finds events by looking, a little later.
#[derive(Debug)]
pub(super) struct Listener {
    heard: Arc<Notify>,
    driver: JoinHandle<()>,
    // the session ends with it
    _client: Client,
}

impl Listener {
    pub(super) async fn start(config: &Config, channel: &str) -> Result<Self, Error> {
        let (client, mut connection) = config.connect(NoTls).await?;
        let heard = Arc::new(Notify::new());
        let tell = Arc::clone(&heard);
        let driver = tokio::spawn(async move {
            loop {
                match poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(_))) => tell.notify_one(),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => {
                        tracing::debug!(%error, "the connection that listens ended");
                        return;
                    }
                    None => return,
                }
            }
        });
        client.batch_execute(&format!("LISTEN {}", quoted(channel))).await?;
        Ok(Self { heard, driver, _client: client })
    }

    /// Completes when a commit was heard of since the last time.
    pub(super) async fn heard(&self) {
        self.heard.notified().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
