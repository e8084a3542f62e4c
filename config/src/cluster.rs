//! A destination: how to reach it, how to choose among its endpoints, and what it bears (xDS `Cluster`).

use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::Assignment;
use crate::error::{Code, Problem};
use crate::name::{ClusterName, ObjectName};
use crate::policy::{AdmissionControl, Budget, HealthCheck, Limits, Outlier};
use crate::subset::Subsets;
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
    /// The same key to the same endpoint, by Google's Maglev: more even than a ring, and a little more moves when an
    /// endpoint comes or goes.
    Maglev {
        /// How many places the table has: a prime, at most 5,000,011.
        table_size: u32,
    },
    /// Each in turn, by what endpoints report of their own load (ORCA, gRFC A58).
    ClientSideWeightedRoundRobin(LoadReports),
}

/// Which load reports are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadReports {
    /// How long an endpoint must have reported before its reports count.
    pub blackout: Duration,
    /// After how long without a report the last one counts no more; longer than zero.
    pub expiration: Duration,
    /// How much an error weighs against utilization, in thousandths.
    pub penalty_thousandths: u32,
    /// How often endpoints are asked to report beside requests, and then what comes with responses does not count; longer
    /// than zero. None: only what comes with responses counts.
    pub asks_every: Option<Duration>,
}

impl Default for LoadReports {
    /// Those of gRFC A58: 10 s, 3 min, 1.
    fn default() -> Self {
        LoadReports {
            blackout: Duration::from_secs(10),
            expiration: Duration::from_secs(180),
            penalty_thousandths: 1000,
            asks_every: None,
        }
    }
}

/// How a newcomer among endpoints that serve already gets its load: little by little
/// (`envoy.extensions.load_balancing_policies.common.v3.SlowStartConfig`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowStart {
    /// How long until it has its whole part; longer than zero.
    pub window: Duration,
    /// In thousandths: 1000 is a straight line, more is steeper at first. At least 1.
    pub aggression_thousandths: u32,
    /// The least share of its part.
    pub min_weight: Percent,
}

/// How much the place of an endpoint counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Localities {
    /// Not at all.
    #[default]
    Ignored,
    /// Places have weights ([`crate::endpoint::Assignment::weights`]), and an endpoint is chosen inside one.
    Weighted,
    /// Requests stay in the caller's own zone as far as its endpoints bear what its callers send.
    ZoneAware {
        /// The share of requests that this holds for.
        percent: Percent,
        /// With fewer endpoints in than this, it holds for none.
        min_endpoints: u32,
    },
}

impl Localities {
    /// From how many endpoints on zones count unless said otherwise: from two, since with one there is no choice. Envoy's 6
    /// would leave small services out.
    pub const DEFAULT_MIN_ENDPOINTS: u32 = 2;
}

impl SlowStart {
    /// A straight line from 10 %.
    pub fn with_defaults(window: Duration) -> Self {
        let min_weight = Percent::from_millionths(100_000).unwrap_or(Percent::ZERO);
        SlowStart { window, aggression_thousandths: 1000, min_weight }
    }
}

impl Balancing {
    /// The places of a Maglev table unless said otherwise.
    pub const DEFAULT_TABLE: u32 = 65_537;

    /// Whether requests go by a key.
    pub fn is_hash(self) -> bool {
        matches!(self, Balancing::RingHash { .. } | Balancing::Maglev { .. })
    }

    /// Whether a newcomer can be spared.
    pub fn can_start_slowly(self) -> bool {
        matches!(
            self,
            Balancing::RoundRobin
                | Balancing::LeastRequest
                | Balancing::PeakEwma { .. }
                | Balancing::ClientSideWeightedRoundRobin(_)
        )
    }
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

/// Policies in Observe beside ones that act: each decides as if it stood in the other's place, and changes nothing. What
/// is observed where nothing acts stands on the destination itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rehearsed {
    /// How much might be used at once.
    pub limits: Option<Limits>,
    /// When a failing endpoint would be left out.
    pub outlier: Option<Outlier>,
    /// How each endpoint is asked whether it is well, though nobody leaves for it.
    pub health_check: Option<HealthCheck>,
    /// How much would be given up at once while it fails.
    pub admission: Option<AdmissionControl>,
}

impl Rehearsed {
    fn check(&self) -> Result<(), Problem> {
        let refuse = |field| Err(Problem::new(Code::Conflict, "must be in Observe").at_field(field));
        if self.limits.as_ref().is_some_and(|limits| limits.mode.enforces()) {
            return refuse("limits");
        }
        if let Some(check) = &self.health_check {
            if check.mode.enforces() {
                return refuse("healthCheck");
            }
            check.check().map_err(|problem| problem.at_field("healthCheck"))?;
        }
        if let Some(admission) = &self.admission {
            if admission.mode.enforces() {
                return refuse("admissionControl");
            }
            admission.check().map_err(|problem| problem.at_field("admissionControl"))?;
        }
        match &self.outlier {
            Some(outlier) if outlier.enforces() => refuse("outlierDetection"),
            Some(outlier) => outlier.check().map_err(|problem| problem.at_field("outlierDetection")),
            None => Ok(()),
        }
    }
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
    /// How much more than its part of all requests under way an endpoint may have before its keys go on to the next, in
    /// percent of that part; at least 100. Only with a hash (`hash_balance_factor`).
    pub balance_factor: Option<u32>,
    /// How much the place of an endpoint counts.
    pub localities: Localities,
    /// How a newcomer gets its load; absent: all at once.
    pub slow_start: Option<SlowStart>,
    /// How its endpoints are divided; absent: they are not, and what requests ask of them means nothing.
    pub subsets: Option<Subsets>,
    /// Below this share of endpoints in, those that are left out take part again, since the few could not bear all
    /// (`common_lb_config.healthy_panic_threshold`). What its source calls unhealthy never does.
    pub panic_threshold: Percent,
    /// How much of it may be used at once.
    pub limits: Option<Limits>,
    /// When a failing endpoint is left out.
    pub outlier: Option<Outlier>,
    /// What is only observed beside the two above.
    pub rehearsed: Rehearsed,
    /// How each endpoint is asked whether it is well.
    pub health_check: Option<HealthCheck>,
    /// How much is given up at once while it fails.
    pub admission: Option<AdmissionControl>,
    /// How many retries it bears.
    pub budget: Budget,
    /// Whether a request tells it which workload calls, since a rate limit of its own counts by that.
    pub names_caller: bool,
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
            balance_factor: None,
            localities: Localities::default(),
            slow_start: None,
            subsets: None,
            panic_threshold: Self::default_panic_threshold(),
            limits: None,
            outlier: None,
            rehearsed: Rehearsed::default(),
            health_check: None,
            admission: None,
            budget: Budget::default(),
            names_caller: false,
            discovery,
        }
    }

    /// The numbers hold together.
    pub fn check(&self) -> Result<(), Problem> {
        if let Some(admission) = &self.admission {
            admission.check().map_err(|problem| problem.at_field("admissionControl"))?;
        }
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
        if let Balancing::Maglev { table_size } = self.balancing
            && !is_table_size(table_size)
        {
            return Err(Problem::invalid(table_size, "must be a prime of at most 5000011")
                .at_field("tableSize")
                .at_field("loadBalancing"));
        }
        if let Balancing::ClientSideWeightedRoundRobin(reports) = self.balancing
            && reports.expiration.is_zero()
        {
            return Err(Problem::invalid("0s", "must be longer than zero")
                .at_field("expiration")
                .at_field("loadBalancing"));
        }
        if let Balancing::ClientSideWeightedRoundRobin(LoadReports { asks_every: Some(Duration::ZERO), .. }) =
            self.balancing
        {
            return Err(Problem::invalid("0s", "must be longer than zero")
                .at_field("outOfBandPeriod")
                .at_field("loadBalancing"));
        }
        if let Some(factor) = self.balance_factor.filter(|factor| *factor < 100) {
            return Err(Problem::invalid(factor, "must be at least 100")
                .at_field("balanceFactor")
                .at_field("loadBalancing"));
        }
        if let Some(slow) = &self.slow_start
            && (slow.window.is_zero() || slow.aggression_thousandths == 0)
        {
            return Err(Problem::new(Code::InvalidValue, "needs a window and an aggression above zero")
                .at_field("slowStart")
                .at_field("loadBalancing"));
        }
        if let Some(subsets) = &self.subsets {
            subsets.check().map_err(|problem| problem.at_field("subsets").at_field("loadBalancing"))?;
        }
        if let Some(outlier) = &self.outlier {
            outlier.check().map_err(|problem| problem.at_field("outlierDetection"))?;
        }
        self.rehearsed.check().map_err(|problem| problem.at_field("rehearsed"))?;
        if let Some(check) = &self.health_check {
            check.check().map_err(|problem| problem.at_field("healthCheck"))?;
        }
        self.budget.check().map_err(|problem| problem.at_field("retryConstraint"))
    }
}

/// Whether a Maglev table can have so many places. Each endpoint goes through the table in steps of its own, and only a
/// prime is sure to let all of them come by every place.
pub fn is_table_size(size: u32) -> bool {
    let divides = |divisor: u32| size.is_multiple_of(divisor);
    (2..=5_000_011).contains(&size) && !(2..).take_while(|divisor| divisor * divisor <= size).any(divides)
}

#[cfg(test)]
mod tests {
    use super::is_table_size;

    #[test]
    fn a_table_has_a_prime_number_of_places() {
        for (size, is) in [
            (0, false),
            (1, false),
            (2, true),
            (4, false),
            (49, false),
            (65_537, true),
            (65_536, false),
            (5_000_011, true),
            (5_000_077, false),
        ] {
            assert_eq!(is_table_size(size), is, "{size}");
        }
    }
}
