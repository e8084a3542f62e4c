//! Following a control plane: connect, talk, connect again, for as long as the process lives.
//!
//! While there is no stream nothing is lost: what serves goes on serving. A server without delta is asked once more for
//! the state of the world. The one task here is the single writer of snapshots.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_config::name::ObjectName;
use outrigger_config::resource::ResourceType;
use outrigger_config::xds::transport::{Node, Struct};
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until};
use tonic::Code;

use crate::discovery::accepted::{Accepted, Change};
use crate::discovery::backoff::Backoff;
use crate::discovery::publish::Publisher;
use crate::discovery::session::{Answer, Heard, Session, Variant};
use crate::discovery::status::Status;
use crate::discovery::transport::{self, Transport};
use crate::discovery::warming::Warming;
use crate::telemetry::Metrics;

/// What our proxies call themselves, by which a control plane knows what to send them.
pub const USER_AGENT: &str = "outrigger-proxy";

/// Which variants may be spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The first that is tried.
    pub first: Variant,
    /// Whether the other is tried if the server has not the first.
    pub fallback: bool,
}

/// Follows one control plane.
#[derive(Debug)]
pub struct Follower {
    address: SocketAddr,
    choice: Choice,
    publisher: Publisher,
    status: Status,
    metrics: Arc<Metrics>,
    session: Session,
    accepted: Accepted,
    warming: Warming,
    backoff: Backoff,
    /// Time with the control plane on streams that have ended.
    time_before: Duration,
    connected_since: Option<Instant>,
}

/// How a stream ended.
#[derive(Debug)]
enum Ended {
    /// The server has no such variant.
    Unimplemented,
    /// It had answered and was closed in order.
    Closed,
    /// It failed, or could not be opened.
    Failed(String),
}

impl Follower {
    /// Follows the control plane at `address` as `node`.
    pub fn new(
        address: SocketAddr,
        choice: Choice,
        node: &ObjectName,
        publisher: Publisher,
        status: Status,
        metrics: Arc<Metrics>,
    ) -> Self {
        Follower {
            address,
            choice,
            publisher,
            status,
            metrics,
            session: Session::new(introduction(node)),
            accepted: Accepted::default(),
            warming: Warming::default(),
            backoff: Backoff::default(),
            time_before: Duration::ZERO,
            connected_since: None,
        }
    }

    /// Follows for ever. Dropping it between two awaits leaves what serves as it is.
    pub async fn follow(mut self) {
        let mut rng = fastrand::Rng::new();
        let mut variant = self.choice.first;
        let mut said = String::new();
        loop {
            let ended = self.talk(variant).await;
            self.part(&ended);
            let wait = match ended {
                Ended::Unimplemented if self.choice.fallback && variant == self.choice.first => {
                    variant = match variant {
                        Variant::Delta => Variant::Sotw,
                        Variant::Sotw => Variant::Delta,
                    };
                    tracing::info!(
                        variant = variant.as_str(),
                        "The control plane has no delta; asking for the state of the world"
                    );
                    continue;
                }
                Ended::Unimplemented => self.backoff.next(&mut rng),
                Ended::Closed => {
                    said.clear();
                    tracing::info!("The control plane closed the stream; connecting again");
                    Backoff::after_close(&mut rng)
                }
                Ended::Failed(why) => {
                    // The same trouble is said once, not at every attempt.
                    if why != said {
                        tracing::warn!(
                            control_plane = %self.address,
                            error = %why,
                            "No control plane; trying again until there is one, what serves goes on"
                        );
                    }
                    said = why;
                    self.backoff.next(&mut rng)
                }
            };
            self.idle(wait).await;
        }
    }

    /// Waits, and keeps trying to open listeners that are closed.
    async fn idle(&mut self, wait: Duration) {
        sleep(wait).await;
        self.publisher.retry();
    }

    async fn talk(&mut self, variant: Variant) -> Ended {
        let channel = match transport::connect(self.address).await {
            Ok(channel) => channel,
            Err(error) => return Ended::Failed(root_cause(&error)),
        };
        let first = self.session.open(variant, &self.accepted);
        let mut stream = match Transport::open(channel, variant, first).await {
            Ok(stream) => stream,
            Err(status) if status.code() == Code::Unimplemented => return Ended::Unimplemented,
            Err(status) => return Ended::Failed(explain(&status)),
        };
        let opened = Instant::now();
        self.connected_since = Some(opened);
        self.status.note(|standing| standing.transport = Some(variant.as_str()));
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut answered = false;
        loop {
            let due = self.next_due();
            let heard = tokio::select! {
                heard = stream.hear() => heard,
                () = sleep_until(due.into()) => {
                    self.advance(Change::default());
                    continue;
                }
                _ = seconds.tick() => {
                    self.publisher.retry();
                    continue;
                }
            };
            let answer = match heard {
                Some(Ok(answer)) => answer,
                Some(Err(status)) if status.code() == Code::Unimplemented && !answered => return Ended::Unimplemented,
                Some(Err(status)) => return Ended::Failed(explain(&status)),
                None if answered => return Ended::Closed,
                None => return Ended::Failed("the stream was closed without an answer".into()),
            };
            if !answered {
                answered = true;
                self.meet(variant);
            }
            if let Err(status) = self.hear(answer, &stream) {
                return Ended::Failed(explain(&status));
            }
        }
    }

    fn hear(&mut self, answer: Answer, stream: &Transport) -> Result<(), tonic::Status> {
        let now = Instant::now();
        let Heard { asks, change, kind, version, refused } = self.session.hear(answer, &mut self.accepted, now);
        stream.send(asks)?;
        if let Some(kind) = kind {
            self.note(kind, version, refused, now);
        }
        self.advance(change);
        Ok(())
    }

    /// Brings into force what may be.
    fn advance(&mut self, mut change: Change) {
        let now = Instant::now();
        change.add(self.accepted.expire(now));
        let mut recompile = false;
        for name in &change.assignments {
            if let Some(assignment) = self.accepted.set().assignments.get(name)
                && self.warming.serving().assignments.contains_key(name)
            {
                recompile |= self.publisher.assign(assignment, now);
                self.warming.note_assignment(&self.accepted, name);
            }
        }
        let clock = self.clock(now);
        let next = self.warming.advance(&self.accepted, clock);
        if next.is_some() || recompile {
            self.publisher.publish(&Arc::new(self.warming.serving().clone()), now);
        } else if !change.assignments.is_empty() {
            let resources = Arc::new(self.warming.serving().clone());
            self.status.note(|standing| standing.resources = resources);
        }
        let waiting = self.warming.waiting(clock);
        self.status.note(|standing| standing.waiting = waiting);
    }

    fn note(&self, kind: ResourceType, version: String, refused: Option<String>, now: Instant) {
        let result = if refused.is_some() { "rejected" } else { "accepted" };
        match &refused {
            Some(why) => {
                tracing::error!(
                    kind = kind.short(),
                    %version,
                    %why,
                    "Refused what the control plane sent; the last good one serves"
                )
            }
            None => tracing::debug!(kind = kind.short(), %version, "Accepted"),
        }
        self.metrics.discovery.note(|state| {
            *state.updates.entry((kind.short(), result)).or_default() += 1;
            if refused.is_none() {
                state.updated = Some(now);
            }
        });
        let resources = self.accepted.count(kind);
        self.status.note(|standing| {
            let one = standing.types.entry(kind).or_default();
            one.resources = resources;
            match refused {
                Some(why) => one.refused = Some((why, now)),
                None => {
                    one.version = version;
                    one.updated = Some(now);
                    one.refused = None;
                }
            }
        });
    }

    fn meet(&mut self, variant: Variant) {
        tracing::info!(control_plane = %self.address, variant = variant.as_str(), "Steered by the control plane");
        self.backoff.answered();
        self.metrics.discovery.note(|state| state.connected = true);
        self.status.note(|standing| {
            standing.connected = true;
            standing.trouble = None;
        });
    }

    fn part(&mut self, ended: &Ended) {
        if let Some(since) = self.connected_since.take() {
            self.time_before += since.elapsed();
        }
        self.metrics.discovery.note(|state| {
            state.disconnects += u64::from(state.connected);
            state.connected = false;
        });
        let trouble = match ended {
            Ended::Unimplemented => "it does not speak this variant of xDS".to_owned(),
            Ended::Closed => "it closed the stream".to_owned(),
            Ended::Failed(why) => why.clone(),
        };
        self.status.note(|standing| {
            standing.transport = None;
            standing.connected = false;
            standing.trouble = Some(trouble);
        });
    }

    /// The time with the control plane.
    fn clock(&self, now: Instant) -> Duration {
        self.time_before + self.connected_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// When something is to be looked at again without an answer.
    fn next_due(&self) -> Instant {
        let now = Instant::now();
        let clock = self.clock(now);
        let warm = self.warming.next(clock).map(|at| now + (at - clock));
        let far = now + Duration::from_secs(3600);
        [warm, self.accepted.next_expiry(), Some(far)].into_iter().flatten().min().unwrap_or(far)
    }
}

fn introduction(node: &ObjectName) -> Node {
    Node {
        id: node.to_string(),
        cluster: node.name().to_owned(),
        metadata: Some(Struct::of_texts([("NAMESPACE", node.namespace()), ("WORKLOAD", node.name())])),
        user_agent_name: USER_AGENT.to_owned(),
        user_agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        client_features: vec!["xds.config.resource-in-sotw".to_owned()],
        ..Node::default()
    }
}

/// The innermost error, which says most: `Connection refused (os error 111)`.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn explain(status: &tonic::Status) -> String {
    match std::error::Error::source(status) {
        Some(source) => format!("{:?}: {}", status.code(), root_cause(source)),
        None => format!("{:?}: {}", status.code(), status.message()),
    }
}

#[cfg(test)]
mod tests;
