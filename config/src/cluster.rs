//! A destination: how to reach it, how to choose among its endpoints, and what it bears (xDS `Cluster`).

use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::Assignment;
use crate::error::Problem;
use crate::name::{ClusterName, ObjectName};
use crate::policy::{Budget, Limits, Outlier};
use crate::value::Percent;

/// Which protocol is spoken to the endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge; what gRPC needs.
    Http2,
    /// The caller's (`HttpProtocolOptions.use_downstream_protocol_config`).
    #[default]
    Downstream,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balancing {
    /// Each in turn, by weight, smoothly.
    RoundRobin,
    /// Of two chosen at random the one with fewer requests under way, by weight.
    LeastRequest,
    /// Of two chosen at random the one with the lower expected wait: latency, weighted to its latest peak, times
    /// requests under way.
    PeakEwma {
        /// How fast an old latency is forgotten.
        decay: Duration,
        /// What is expected of an endpoint that has not answered yet.
        default_rtt: Duration,
    },
    /// By chance, by weight.
    Random,
    /// The same key to the same endpoint; the key is the route's ([`crate::route::HashKey`]).
    RingHash {
        /// The fewest points on the ring.
        min_size: u32,
        /// The most points on the ring, at most 8,388,608.
        max_size: u32,
    },
}

impl Default for Balancing {
    /// Peak EWMA with 10 s decay and 30 ms for a newcomer.
    fn default() -> Self {
        Balancing::PeakEwma { decay: Duration::from_secs(10), default_rtt: Duration::from_millis(30) }
    }
}

/// Where the endpoints come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// Over EDS, under this name.
    Eds(ClusterName),
    /// Written into the cluster (type STATIC).
    Static(Assignment),
}

/// A destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The resource's name.
    pub name: ClusterName,
    /// The service behind it, for metrics and spans; absent for one that another control plane made.
    pub service: Option<ObjectName>,
    /// What the service is called in spans (`server.address`) and metrics: its host name. Empty: the cluster's name.
    pub host: Arc<str>,
    /// Which protocol is spoken.
    pub protocol: Protocol,
    /// How long making a connection may take; longer than zero.
    pub connect_timeout: Duration,
    /// How long an idle connection is kept; absent keeps it for ever.
    pub idle_timeout: Option<Duration>,
    /// How an endpoint is chosen.
    pub balancing: Balancing,
    /// Below this share of endpoints in, those that are left out take part again, since the few could not bear all
    /// (`common_lb_config.healthy_panic_threshold`). What its source calls unhealthy never does.
    pub panic_threshold: Percent,
    /// How much of it may be used at once.
    pub limits: Option<Limits>,
    /// When a failing endpoint is left out.
    pub outlier: Option<Outlier>,
    /// How many retries it bears.
    pub budget: Budget,
    /// Where the endpoints come from.
    pub discovery: Discovery,
}

impl Cluster {
    /// The time to connect unless said otherwise: 1 s.
    pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

    /// The panic threshold unless said otherwise: 50 %.
    pub fn default_panic_threshold() -> Percent {
        Percent::from_millionths(500_000).unwrap_or(Percent::ZERO)
    }

    /// A cluster with every default.
    pub fn new(name: ClusterName, discovery: Discovery) -> Self {
        Cluster {
            name,
            service: None,
            host: "".into(),
            protocol: Protocol::default(),
            connect_timeout: Self::DEFAULT_CONNECT_TIMEOUT,
            idle_timeout: Some(Duration::from_secs(60)),
            balancing: Balancing::default(),
            panic_threshold: Self::default_panic_threshold(),
            limits: None,
            outlier: None,
            budget: Budget::default(),
            discovery,
        }
    }

    /// The numbers hold together.
    pub fn check(&self) -> Result<(), Problem> {
        if self.connect_timeout.is_zero() {
            return Err(Problem::invalid("0s", "must be longer than zero").at_field("connect").at_field("timeouts"));
        }
        if let Balancing::RingHash { min_size, max_size } = self.balancing
            && (min_size == 0 || min_size > max_size || max_size > 8_388_608)
        {
            return Err(Problem::invalid(
                format!("{min_size}..{max_size}"),
                "ring sizes must satisfy 1 <= minimum <= maximum <= 8388608",
            )
            .at_field("loadBalancing"));
        }
        if let Some(outlier) = &self.outlier {
            outlier.check().map_err(|problem| problem.at_field("outlierDetection"))?;
        }
        self.budget.check().map_err(|problem| problem.at_field("retryConstraint"))
    }
}
