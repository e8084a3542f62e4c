//! The way to Redis: one connection that all questions share, made again whenever it is lost or says nothing any more.
//!
//! Nobody waits for a connection: without one a question fails at once, and with one after its timeout. The connection is
//! the `redis` crate's; its own manager is not used, since it keeps a refused greeting for ever. What is read is bounded
//! ([`Bounded`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue, IntoConnectionInfo, RedisError,
};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::bounded::{Bounded, Read};

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
    read: Read,
    lost: Notify,
    driver: AbortHandle,
}

impl Drop for Line {
    fn drop(&mut self) {
        // By itself it would wait for answers that never come.
        self.driver.abort();
    }
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
        let wrong = "must be redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]";
        let info = url.into_connection_info().map_err(|_| wrong)?;
        if !matches!(info.addr(), ConnectionAddr::Tcp(..)) {
            return Err(wrong);
        }
        let current = Arc::default();
        tokio::spawn(keep(info, Arc::downgrade(&current)));
        Ok(Link { current, timeout })
    }

    /// Sends a command whose answer is an integer.
    pub async fn ask(&self, command: &Cmd) -> Result<i64, Failure> {
        self.ask_for(command, self.timeout).await
    }

    /// Sends a command, whose answer may take `timeout`.
    pub async fn ask_for<T: FromRedisValue>(&self, command: &Cmd, timeout: Duration) -> Result<T, Failure> {
        let line = self.current.load_full().ok_or(Failure::Away)?;
        // A clone is a handle to the one connection.
        let mut connection = line.connection.clone();
        let Ok(answer) = tokio::time::timeout(timeout, command.query_async::<T>(&mut connection)).await else {
            if line.silent.fetch_add(1, Relaxed) >= SILENCE {
                line.lost.notify_one();
            }
            return Err(Failure::Slow(timeout));
        };
        answer.inspect(|_| line.whole()).map_err(|error| {
            match error.is_unrecoverable_error() || error.is_timeout() {
                true => line.lost.notify_one(),
                false => line.whole(),
            }
            Failure::Said(said(&error))
        })
    }
}

impl Line {
    /// It has answered.
    fn whole(&self) {
        self.silent.store(0, Relaxed);
        self.read.whole();
    }
}

/// In a few words: it goes to whoever asked, who may be anybody's Envoy.
fn said(error: &RedisError) -> String {
    error.to_string().chars().filter(|char| !char.is_control()).take(200).collect()
}

async fn keep(info: ConnectionInfo, current: std::sync::Weak<ArcSwapOption<Line>>) {
    while current.strong_count() > 0 {
        // What is said first is bounded as well.
        match tokio::time::timeout(2 * CONNECT, connect(&info)).await {
            Ok(Ok(line)) => {
                let line = Arc::new(line);
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

async fn connect(info: &ConnectionInfo) -> Result<Line, RedisError> {
    let ConnectionAddr::Tcp(host, port) = info.addr() else {
        return Err((redis::ErrorKind::InvalidClientConfig, "no TCP").into());
    };
    let stream = TcpStream::connect((host.trim_start_matches('[').trim_end_matches(']'), *port)).await?;
    stream.set_nodelay(true)?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(CONNECT))
        .set_pipeline_buffer_size(WAITING);
    let read = Read::default();
    let stream = Bounded::new(stream, read.clone());
    let (connection, driver) = MultiplexedConnection::new_with_config(info.redis_settings(), stream, config).await?;
    read.whole();
    let driver = tokio::spawn(driver).abort_handle();
    Ok(Line { connection, silent: AtomicU32::new(0), read, lost: Notify::new(), driver })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::oneshot;

    use super::{Failure, Link};
    use crate::limits::bounded::MAX_READ;

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

    /// What a Redis says that greets like one and answers every question without end, and how much of it was taken until
    /// its connection was given up.
    async fn taken(begins: &'static str, goes_on: u8) -> (Failure, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("redis://{}", listener.local_addr().expect("bound"));
        let (tell, told) = oneshot::channel();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut buffer = vec![0; 4096];
            loop {
                let count = stream.read(&mut buffer).await.expect("what it says first");
                let text = String::from_utf8_lossy(&buffer[..count]);
                if text.contains("DBSIZE") {
                    break;
                }
                let greeted = text.matches("CLIENT").count();
                stream.write_all("+OK\r\n".repeat(greeted).as_bytes()).await.expect("it listens");
            }
            stream.write_all(begins.as_bytes()).await.expect("it listens");
            let (mut all, more) = (0, vec![goes_on; 1 << 16]);
            while let Ok(count) = stream.write(&more).await {
                all += count;
            }
            let _ = tell.send(all);
        });
        let link = Link::new(&url, Duration::from_millis(100)).expect("a URL");
        let question = redis::cmd("DBSIZE");
        while link.ask(&question).await == Err(Failure::Away) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let begun = std::time::Instant::now();
        let failure = link.ask(&question).await.expect_err("no answer");
        assert!(begun.elapsed() < Duration::from_secs(2));
        (failure, tokio::time::timeout(Duration::from_secs(20), told).await.expect("it is given up").expect("told"))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_answer_without_end_is_given_up_before_it_fills_the_memory() {
        for (begins, goes_on) in [("$1073741824\r\n", b'a'), ("+", b'a'), ("*1000000000\r\n", b'*'), ("", b'\n')] {
            let (_, taken) = taken(begins, goes_on).await;
            // What the kernel holds on the way comes on top.
            assert!(taken < MAX_READ + (16 << 20), "{begins}: {taken}");
        }
    }
}
