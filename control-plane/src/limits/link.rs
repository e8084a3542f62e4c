//! The way to Redis: one connection that all questions share, made again whenever it is lost or says nothing any more.
//!
//! Nobody waits for a connection: without one a question fails at once, and with one after its timeout. The connection is
//! the `redis` crate's; its own manager is not used, since it keeps a refused greeting for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, RedisError};
use tokio::sync::Notify;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(1);
/// From a connection that is lost to the next.
const AGAIN: Duration = Duration::from_millis(200);
/// So many questions in a row without an answer, and a connection is given up: its other end may be gone without a word.
const SILENCE: u32 = 16;
/// Commands that may wait to be written; whoever comes later waits for its own timeout.
const WAITING: usize = 1024;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// There is no connection.
    #[error("Redis is not there")]
    Away,
    /// It took too long.
    #[error("Redis did not answer within {0:?}")]
    Slow(Duration),
    /// It answered with an error, or with something that is no answer.
    #[error("Redis answered {0:?}")]
    Said(String),
}

/// A way to a Redis. Cloning it shares it.
#[derive(Clone)]
pub struct Link {
    current: Arc<ArcSwapOption<Line>>,
    timeout: Duration,
}

/// One connection.
struct Line {
    connection: MultiplexedConnection,
    /// Questions in a row that it left without an answer.
    silent: AtomicU32,
    lost: Notify,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Link {
    /// Connects to `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`, on the runtime that this is called on, for as long as
    /// somebody may ask. An answer may take `timeout`.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, &'static str> {
        let client = Client::open(url).map_err(|_| "must be redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]")?;
        let current = Arc::default();
        tokio::spawn(keep(client, Arc::downgrade(&current)));
        Ok(Link { current, timeout })
    }

    /// Sends a command whose answer is an integer.
    pub async fn ask(&self, command: &Cmd) -> Result<i64, Failure> {
        let line = self.current.load_full().ok_or(Failure::Away)?;
        // A clone is a handle to the one connection.
        let mut connection = line.connection.clone();
        let Ok(answer) = tokio::time::timeout(self.timeout, command.query_async::<i64>(&mut connection)).await else {
            if line.silent.fetch_add(1, Relaxed) >= SILENCE {
                line.lost.notify_one();
            }
            return Err(Failure::Slow(self.timeout));
        };
        line.silent.store(0, Relaxed);
        answer.map_err(|error| {
            if error.is_unrecoverable_error() {
                line.lost.notify_one();
            }
            Failure::Said(said(&error))
        })
    }
}

/// In a few words: it goes to whoever asked, who may be anybody's Envoy.
fn said(error: &RedisError) -> String {
    error.to_string().chars().filter(|char| !char.is_control()).take(200).collect()
}

async fn keep(client: Client, current: std::sync::Weak<ArcSwapOption<Line>>) {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(CONNECT))
        .set_pipeline_buffer_size(WAITING);
    while current.strong_count() > 0 {
        // The crate bounds the connection; this bounds what is said first on it as well.
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        match tokio::time::timeout(2 * CONNECT, connecting).await {
            Ok(Ok(connection)) => {
                let line = Arc::new(Line { connection, silent: AtomicU32::new(0), lost: Notify::new() });
                let Some(current) = current.upgrade() else { return };
                current.store(Some(Arc::clone(&line)));
                line.lost.notified().await;
                current.store(None);
                tracing::warn!("the connection to Redis is lost");
            }
            Ok(Err(error)) => tracing::warn!(error = said(&error), "Redis cannot be reached"),
            Err(_) => tracing::warn!("Redis cannot be reached in time"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Failure, Link};

    #[tokio::test]
    async fn a_url_says_where() {
        let timeout = Duration::from_millis(50);
        for wrong in ["", "127.0.0.1:6379", "http://a", "rediss://a", "redis://a/b"] {
            assert!(Link::new(wrong, timeout).is_err(), "{wrong}");
        }
        for good in ["redis://127.0.0.1", "redis://:secret@db:7000/3", "redis://me:secret@[::1]:7000/"] {
            let link = Link::new(good, timeout).expect(good);
            assert!(!format!("{link:?}").contains("secret"));
            assert_eq!(link.ask(&redis::cmd("DBSIZE")).await, Err(Failure::Away));
        }
    }
}
