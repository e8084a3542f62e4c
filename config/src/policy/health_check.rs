//! Active health checks: the proxy asks each endpoint itself whether it is well (xDS `Cluster.health_checks`).
//!
//! Outlier detection learns from requests, and so at their cost; a check finds a sick endpoint before they do, and a
//! recovered one without risking any.

use std::sync::Arc;
use std::time::Duration;

use super::{Mode, Origin};
use crate::error::{Code, Problem};

/// How endpoints are asked, and what follows from their answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Where the policy came from.
    pub origin: Origin,
    /// Whether an endpoint that fails is left out.
    pub mode: Mode,
    /// What is asked.
    pub probe: Probe,
    /// How long after an answer the next check begins; longer than zero.
    pub interval: Duration,
    /// How long a check may take, with its connection; longer than zero.
    pub timeout: Duration,
    /// The most that chance adds to an interval.
    pub jitter: Duration,
    /// Failures in a row that make an endpoint leave. At least 1.
    pub unhealthy_threshold: u32,
    /// Successes in a row that bring it back. At least 1.
    pub healthy_threshold: u32,
    /// Another port than the endpoint's own (`alt_port`).
    pub port: Option<u16>,
}

/// What is asked of an endpoint. Each check makes a connection of its own, so that it also finds out whether a new one
/// is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A GET and the status of its answer.
    Http(HttpProbe),
    /// `grpc.health.v1.Health/Check`, which must say SERVING.
    Grpc {
        /// The service that is asked for; empty is the whole server.
        service: Arc<str>,
        /// The `:authority`; empty is the destination's host.
        authority: Arc<str>,
    },
    /// A connection.
    Tcp,
}

/// An HTTP request and the answers that are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    /// Path and query, from `/` on.
    pub path: Arc<str>,
    /// The host; empty is the destination's.
    pub host: Arc<str>,
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
    /// The statuses that are good.
    pub statuses: Vec<StatusRange>,
    /// Those that count towards the threshold of failures; any other makes the endpoint leave at once
    /// (`retriable_statuses`).
    pub tolerated: Vec<StatusRange>,
}

/// Statuses from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl StatusRange {
    /// Every status.
    pub const ALL: StatusRange = StatusRange { first: 100, last: 599 };
    /// Every status of a success.
    pub const SUCCESS: StatusRange = StatusRange { first: 200, last: 299 };

    /// One status alone.
    pub fn only(status: u16) -> Self {
        StatusRange { first: status, last: status }
    }

    /// Whether it has this status.
    pub fn contains(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl HttpProbe {
    /// HTTP/1.1 to the destination's host, any 2xx; every other status counts towards the threshold.
    pub fn new(path: &str) -> Self {
        HttpProbe {
            path: path.into(),
            host: "".into(),
            http2: false,
            statuses: vec![StatusRange::SUCCESS],
            tolerated: vec![StatusRange::ALL],
        }
    }
}

impl HealthCheck {
    /// What holds once a probe is given without numbers: every 10 s with a tenth of it added by chance, 1 s for an
    /// answer, out after 3 failures, back after 2 successes.
    pub fn with_defaults(origin: Origin, mode: Mode, probe: Probe) -> Self {
        HealthCheck {
            origin,
            mode,
            probe,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            jitter: Duration::from_secs(1),
            unhealthy_threshold: 3,
            healthy_threshold: 2,
            port: None,
        }
    }

    /// The numbers hold together, and what is sent can be sent.
    pub fn check(&self) -> Result<(), Problem> {
        for (field, duration) in [("interval", self.interval), ("timeout", self.timeout)] {
            if duration.is_zero() {
                return Err(Problem::invalid("0s", "must be longer than zero").at_field(field));
            }
        }
        let thresholds =
            [("unhealthyThreshold", self.unhealthy_threshold), ("healthyThreshold", self.healthy_threshold)];
        if let Some((field, _)) = thresholds.into_iter().find(|(_, threshold)| *threshold == 0) {
            return Err(Problem::invalid(0, "must be at least 1").at_field(field));
        }
        if self.port == Some(0) {
            return Err(Problem::invalid(0, "must be a port").at_field("port"));
        }
        match &self.probe {
            Probe::Http(probe) => probe.check().map_err(|problem| problem.at_field("http")),
            Probe::Grpc { authority, .. } => {
                check_host("authority", authority).map_err(|problem| problem.at_field("grpc"))
            }
            Probe::Tcp => Ok(()),
        }
    }
}

impl HttpProbe {
    fn check(&self) -> Result<(), Problem> {
        let path = &*self.path;
        if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            let reason = "must begin with / and have only visible ASCII characters, without #";
            return Err(Problem::invalid(path, reason).at_field("path"));
        }
        check_host("host", &self.host)?;
        if self.statuses.is_empty() {
            return Err(Problem::new(Code::MissingField, "needs at least one item").at_field("statuses"));
        }
        let wrong = |range: &&StatusRange| range.first < 100 || range.last > 599 || range.first > range.last;
        if let Some(range) = self.statuses.iter().chain(&self.tolerated).find(wrong) {
            let reason = "must be statuses between 100 and 599, the lower one first";
            return Err(Problem::invalid(format!("{}-{}", range.first, range.last), reason).at_field("statuses"));
        }
        Ok(())
    }
}

/// Whether this can stand in `Host`, or is empty.
pub fn is_host(host: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    host.len() <= 255 && host.bytes().all(known)
}

/// Refuses what cannot stand in `Host`; empty is the destination's.
fn check_host(field: &str, host: &str) -> Result<(), Problem> {
    if !is_host(host) {
        return Err(Problem::invalid(host, "must be a host, with a port where it has one").at_field(field));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{HealthCheck, HttpProbe, Probe, StatusRange};
    use crate::policy::{Mode, Origin};

    fn http(change: impl FnOnce(&mut HttpProbe)) -> HealthCheck {
        let mut probe = HttpProbe::new("/healthz");
        change(&mut probe);
        HealthCheck::with_defaults(Origin::default(), Mode::Enforce, Probe::Http(probe))
    }

    #[test]
    fn only_what_can_be_asked_is_taken() {
        assert_eq!(http(|_| {}).check(), Ok(()));
        for (check, path) in [
            (http(|probe| probe.path = "healthz".into()), "http.path"),
            (http(|probe| probe.path = "/a b".into()), "http.path"),
            (http(|probe| probe.host = "a\r\nb".into()), "http.host"),
            (http(|probe| probe.statuses.clear()), "http.statuses"),
            (http(|probe| probe.statuses = vec![StatusRange { first: 300, last: 200 }]), "http.statuses"),
            (http(|probe| probe.tolerated = vec![StatusRange::only(99)]), "http.statuses"),
            (HealthCheck { healthy_threshold: 0, ..http(|_| {}) }, "healthyThreshold"),
            (HealthCheck { timeout: std::time::Duration::ZERO, ..http(|_| {}) }, "timeout"),
            (HealthCheck { port: Some(0), ..http(|_| {}) }, "port"),
        ] {
            assert_eq!(check.check().expect_err(path).path, path);
        }
    }
}
