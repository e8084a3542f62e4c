//! The way to Redis: one connection that all workers' questions share, which the side thread drives and makes again
//! whenever it is lost.
//!
//! Nobody waits for a connection: without one a question fails at once. Whoever asks may give up whenever they like: the
//! question itself goes on in a task until it is answered, so that it is known what the connection is still owed
//! ([`Meter`]), or until that has taken so long that the connection is given up. Connection, credentials and protocol are
//! the `redis` crate's.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisConnectionInfo,
    Value,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

use super::meter::{MAX_UNDER_WAY, Meter, Metered};

/// How long connecting may take, what is said first included; and an answer, before its connection is given up.
const PATIENCE: Duration = Duration::from_secs(1);
/// From a connection that is lost to the next, at random up to this, which doubles with each that fails.
const AGAIN: Duration = Duration::from_millis(200);
/// The bound of that.
const MOST: Duration = Duration::from_secs(5);

/// What a connection is made of.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Makes connections.
pub type Dial = Box<dyn Fn() -> BoxFuture<'static, io::Result<Box<dyn Stream>>> + Send + Sync>;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no connection.
    Away,
    /// Too many ask.
    Crowded,
    /// The connection broke before the answer was whole.
    Lost,
    /// It answered with an error.
    Refused,
    /// What came is no answer, or more than one may be.
    Garbage,
}

/// Where Redis is, and who asks it.
#[derive(Clone)]
pub struct Address {
    host: String,
    port: u16,
    greeting: RedisConnectionInfo,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without credentials.
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Address {
    /// Reads `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`; else says what is wrong, without showing any of it.
    pub fn read(url: &str) -> Result<Self, &'static str> {
        if url.starts_with("rediss:") {
            return Err("has rediss://, and TLS is not spoken to Redis: use redis:// and a tunnel beside the proxy");
        }
        let wrong = "must be redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], such as redis://127.0.0.1:6379";
        let info: ConnectionInfo = url.into_connection_info().map_err(|_| wrong)?;
        match info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                Ok(Address { host: host.clone(), port: *port, greeting: info.redis_settings().clone() })
            }
            _ => Err(wrong),
        }
    }

    /// Whether nobody on a network sees what goes there.
    pub fn is_near(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    }

    fn dial(&self) -> Dial {
        let (host, port) = (self.host.clone(), self.port);
        Box::new(move || {
            let host = host.clone();
            Box::pin(async move {
                let stream = TcpStream::connect((host.trim_start_matches('[').trim_end_matches(']'), port)).await?;
                stream.set_nodelay(true)?;
                let stream: Box<dyn Stream> = Box::new(stream);
                Ok(stream)
            })
        })
    }
}

/// A way to a Redis. Cloning it shares it.
#[derive(Clone)]
pub struct Link(Arc<ArcSwapOption<Line>>);

/// One connection.
struct Line {
    connection: MultiplexedConnection,
    meter: Arc<Meter>,
    is_lost: AtomicBool,
    lost: Notify,
    /// Why it refuses was said already.
    refuses: AtomicBool,
    driver: AbortHandle,
}

impl Drop for Line {
    fn drop(&mut self) {
        // By itself it would wait for answers that never come.
        self.driver.abort();
    }
}

impl Line {
    fn lose(&self) {
        self.is_lost.store(true, Relaxed);
        self.lost.notify_one();
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Link").field(&self.is_up()).finish()
    }
}

impl Link {
    /// Connects, on the runtime that this is called on, for as long as somebody may ask.
    pub fn new(address: &Address) -> Self {
        Link::over(address.dial(), address.greeting.clone())
    }

    /// The same over connections that `dial` makes.
    pub fn over(dial: Dial, greeting: RedisConnectionInfo) -> Self {
        let current = Arc::default();
        tokio::spawn(keep(dial, greeting, Arc::downgrade(&current)));
        Link(current)
    }

    /// Whether there is a connection.
    pub fn is_up(&self) -> bool {
        self.0.load().as_ref().is_some_and(|line| !line.is_lost.load(Relaxed))
    }

    /// Sends a command, and waits for its answer, for as long as its connection may last. Never more than
    /// [`MAX_UNDER_WAY`] at once.
    pub async fn ask(&self, command: Cmd) -> Result<Value, Failure> {
        let line = self.0.load_full().filter(|line| !line.is_lost.load(Relaxed)).ok_or(Failure::Away)?;
        let question = line.meter.question().ok_or(Failure::Crowded)?;
        let (tell, told) = oneshot::channel();
        tokio::spawn(async move {
            // A clone is a handle to the one connection.
            let answer = command.query_async::<Value>(&mut line.connection.clone()).await;
            drop(question);
            let answer = answer.map_err(|error| {
                // One that did not answer in so long may be gone without a word.
                if error.is_timeout() || error.is_unrecoverable_error() {
                    line.lose();
                }
                match error.kind() {
                    ErrorKind::Server(_) | ErrorKind::Extension => {
                        if !line.refuses.swap(true, Relaxed) {
                            tracing::warn!(why = said(&error), "Redis refuses what it is asked: nothing is shared so");
                        }
                        Failure::Refused
                    }
                    _ if error.is_connection_dropped() && !line.meter.is_exceeded() => Failure::Lost,
                    _ => Failure::Garbage,
                }
            });
            // Whoever asked may have given up.
            let _ = tell.send(answer);
        });
        told.await.unwrap_or(Err(Failure::Away))
    }
}

async fn keep(dial: Dial, greeting: RedisConnectionInfo, current: std::sync::Weak<ArcSwapOption<Line>>) {
    let (mut bound, mut said) = (AGAIN, false);
    while current.strong_count() > 0 {
        match tokio::time::timeout(2 * PATIENCE, connect(&dial, &greeting)).await {
            Ok(Ok(line)) => {
                let line = Arc::new(line);
                let Some(slot) = current.upgrade() else { return };
                slot.store(Some(Arc::clone(&line)));
                drop(slot);
                tracing::info!("Connected to Redis, which proxies share their caches in");
                (bound, said) = (AGAIN, false);
                line.lost.notified().await;
                let Some(slot) = current.upgrade() else { return };
                slot.store(None);
                tracing::warn!("The connection to Redis is lost: the cache is this proxy's alone until it is back");
            }
            Ok(Err(why)) if !said => tracing::warn!(%why, "Redis cannot be reached: the cache is this proxy's alone"),
            Err(_) if !said => tracing::warn!("Redis cannot be reached in time: the cache is this proxy's alone"),
            _ => {}
        }
        said = said || current.upgrade().is_none_or(|slot| slot.load().is_none());
        // At random, so that not all proxies come at once to a Redis that is back.
        tokio::time::sleep(bound.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        bound = (2 * bound).min(MOST);
    }
}

async fn connect(dial: &Dial, greeting: &RedisConnectionInfo) -> Result<Line, String> {
    let stream = dial().await.map_err(|error| error.to_string())?;
    let meter = Arc::new(Meter::default());
    // What it answers to the greeting counts too.
    let question = meter.question();
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE))
        .set_pipeline_buffer_size(MAX_UNDER_WAY);
    let stream = Metered::new(stream, Arc::clone(&meter));
    let connected = MultiplexedConnection::new_with_config(greeting, stream, config).await;
    let (connection, driver) = connected.map_err(|error| said(&error))?;
    drop(question);
    let driver = tokio::spawn(driver).abort_handle();
    Ok(Line {
        connection,
        meter,
        is_lost: AtomicBool::new(false),
        lost: Notify::new(),
        refuses: AtomicBool::new(false),
        driver,
    })
}

/// In a few words; never what was said to Redis, which may be a password.
fn said(error: &redis::RedisError) -> String {
    error.to_string().chars().filter(|char| !char.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn a_url_says_where_and_is_not_shown() {
        for wrong in ["", "127.0.0.1:6379", "http://a", "redis://a/b", "unix:///tmp/a", "redis+unix:///tmp/a"] {
            assert!(Address::read(wrong).is_err(), "{wrong}");
        }
        let why = Address::read("rediss://:secret@a").expect_err("no TLS");
        assert!(why.contains("tunnel") && !why.contains("secret"));
        for (good, near) in [
            ("redis://127.0.0.1", true),
            ("redis://localhost:1/2", true),
            ("redis://:secret@db:7000/3", false),
            ("redis://me:secret@[::1]:7000/", true),
        ] {
            let address = Address::read(good).expect(good);
            assert_eq!(address.is_near(), near, "{good}");
            assert!(!format!("{address:?}").contains("secret"));
        }
    }
}
