//! Whether the other side of an HTTP/2 connection still lives: a PING now and then while streams wait for it
//! (RFC 9113, 6.7), and an answer within its time. A peer that went without a word would else hold its streams until
//! their own timeouts.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep};

/// How often a connection that has streams is asked.
const INTERVAL: Duration = Duration::from_secs(20);

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks one connection.
#[derive(Debug)]
pub struct Liveness {
    pings: PingPong,
    next: Pin<Box<Sleep>>,
    asked: bool,
    /// The timer wakes its task whenever it fires; polling it on every turn would cost more than it is worth.
    watching: bool,
}

impl Liveness {
    /// Asks with the connection's `pings`, which it has once.
    pub fn new(pings: PingPong) -> Self {
        Liveness { pings, next: Box::pin(tokio::time::sleep(INTERVAL)), asked: false, watching: false }
    }

    /// Whether the peer left a question unanswered; asks it the next one when it is time and `has_streams`. To be
    /// polled on every turn of the connection's task, before the connection, so that a question leaves at once.
    pub fn is_dead(&mut self, cx: &mut Context<'_>, has_streams: impl Fn() -> bool) -> bool {
        if self.asked && self.pings.poll_pong(cx).is_ready() {
            self.asked = false;
            self.watch(INTERVAL);
        }
        while !self.watching || self.next.is_elapsed() {
            self.watching = true;
            if self.next.as_mut().poll(cx).is_pending() {
                break;
            }
            if self.asked {
                return true;
            }
            self.asked = has_streams() && self.pings.send_ping(Ping::opaque()).is_ok();
            self.watch(if self.asked { PATIENCE } else { INTERVAL });
            if self.asked {
                // Not here yet: this is to be woken once it is.
                let _ = self.pings.poll_pong(cx);
            }
        }
        false
    }

    fn watch(&mut self, time: Duration) {
        self.next.as_mut().reset(Instant::now() + time);
        self.watching = false;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::time::Instant;

    use super::{INTERVAL, Liveness, PATIENCE};

    /// How long a server takes to give up a caller who answers pings, or does not; none if it does not within 1,000 s.
    async fn given_up(answers: bool, streams: bool) -> Option<std::time::Duration> {
        let (client, server) = tokio::io::duplex(4096);
        let start = Instant::now();
        let (caller, connection) = tokio::join!(h2::client::handshake(client), h2::server::handshake(server));
        let (_caller, caller) = caller.expect("a caller");
        let mut connection = connection.expect("a server");
        let mut caller = Box::pin(caller);
        let mut watch = Liveness::new(connection.ping_pong().expect("the first time"));
        let limit = tokio::time::sleep(std::time::Duration::from_secs(1000));
        tokio::pin!(limit);
        poll_fn(|cx| {
            use std::future::Future;
            if answers {
                let _ = caller.as_mut().poll(cx);
            }
            if watch.is_dead(cx, || streams) {
                return Poll::Ready(Some(start.elapsed()));
            }
            let _ = connection.poll_closed(cx);
            limit.as_mut().poll(cx).map(|()| None)
        })
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_given_up_only_while_streams_wait() {
        assert_eq!(given_up(false, true).await, Some(INTERVAL + PATIENCE));
        assert_eq!(given_up(true, true).await, None);
        assert_eq!(given_up(false, false).await, None);
    }
}
