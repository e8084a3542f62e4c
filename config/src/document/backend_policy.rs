//! `BackendPolicy`: how a service is balanced over, what it bears and when an endpoint of it is left out, carried out by
//! the caller's proxy. Its targets are Services or single ports; the policy of a port counts before that of its Service.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::header::HeaderName;

use super::kind::Kind;
use super::policy::{LONGER_THAN_ZERO, read_mode, read_mode_or};
use super::reader::Field;
use super::reference::TargetRef;
use crate::cluster::Balancing;
use crate::error::{Code, Problem};
use crate::name::ObjectName;
use crate::policy::{Budget, Limits, Mode, Origin, Outlier};
use crate::route::HashKey;
use crate::value::Percent;

/// The spec of a BackendPolicy. What is absent has the default that holds without any policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendPolicy {
    /// What it is for.
    pub targets: Vec<TargetRef>,
    /// How an endpoint is chosen.
    pub balancing: Option<Balancing>,
    /// What ring hash keys by; empty for every other algorithm.
    pub hash: Vec<HashKey>,
    /// How much of it may be used at once; what it does not name is unlimited.
    pub limits: Option<Limits>,
    /// When a failing endpoint is left out.
    pub outlier: Option<Outlier>,
    /// How many retries it bears.
    pub budget: Option<Budget>,
    /// How long making a connection may take.
    pub connect_timeout: Option<Duration>,
    /// How long an idle connection is kept.
    pub idle_timeout: Option<Duration>,
}

const ANY_COUNT: RangeInclusive<u32> = 0..=u32::MAX;

impl BackendPolicy {
    pub(super) fn read(field: &Field<'_>, owner: &ObjectName, origin: &Origin) -> Self {
        let mut fields = field.fields();
        let mode = read_mode(&mut fields);
        let targets = fields.required("targetRefs").some(|field| TargetRef::read(field, owner, &[Kind::Service]));
        let (balancing, hash) = match fields.optional("loadBalancing") {
            Some(field) => read_balancing(&field),
            None => (None, Vec::new()),
        };
        let limits = fields.optional("limits").map(|field| read_limits(&field, mode, origin));
        let outlier = fields.optional("outlierDetection").map(|field| read_outlier(&field, mode, origin));
        let budget = fields.optional("retryConstraint").map(|field| read_budget(&field));
        let (connect_timeout, idle_timeout) = match fields.optional("timeouts") {
            Some(field) => read_timeouts(&field),
            None => (None, None),
        };
        fields.unsupported(&["sessionPersistence", "tls", "healthCheck"]);
        fields.finish();
        BackendPolicy { targets, balancing, hash, limits, outlier, budget, connect_timeout, idle_timeout }
    }
}

/// `algorithm` with `decay` and `defaultRtt` (PeakEwma), or `hashOn` and `ring` (RingHash).
fn read_balancing(field: &Field<'_>) -> (Option<Balancing>, Vec<HashKey>) {
    let ring = Balancing::RingHash { min_size: 1024, max_size: 8_388_608 };
    let words = [
        ("PeakEwma", Balancing::default()),
        ("RoundRobin", Balancing::RoundRobin),
        ("LeastRequest", Balancing::LeastRequest),
        ("Random", Balancing::Random),
        ("RingHash", ring),
    ];
    let mut fields = field.fields();
    let mut balancing = fields.required("algorithm").choice(&words);
    let decay = fields.optional("decay").map(|field| field.duration(LONGER_THAN_ZERO));
    let rtt = fields.optional("defaultRtt").map(|field| field.duration(LONGER_THAN_ZERO));
    let sizes = fields.optional("ring").map(|field| read_ring(&field));
    let hash = fields.optional("hashOn").map(|field| field.some(read_hash_key));
    fields.unsupported(&["zoneAware", "slowStart"]);
    let field = fields.finish();
    let misplaced = |name: &str, algorithm: &str| {
        let reason = format!("means something with the algorithm {algorithm} only");
        field.note(Problem::new(Code::Conflict, reason).at_field(name));
    };
    match &mut balancing {
        Some(Balancing::PeakEwma { decay: own_decay, default_rtt }) => {
            *own_decay = decay.unwrap_or(*own_decay);
            *default_rtt = rtt.unwrap_or(*default_rtt);
        }
        Some(_) if decay.is_some() => misplaced("decay", "PeakEwma"),
        Some(_) if rtt.is_some() => misplaced("defaultRtt", "PeakEwma"),
        _ => {}
    }
    match &mut balancing {
        Some(Balancing::RingHash { min_size, max_size }) => {
            (*min_size, *max_size) = sizes.unwrap_or((*min_size, *max_size));
            if hash.is_none() {
                field.note(Problem::new(Code::MissingField, "is required by RingHash").at_field("hashOn"));
            }
        }
        Some(_) if hash.is_some() => misplaced("hashOn", "RingHash"),
        Some(_) if sizes.is_some() => misplaced("ring", "RingHash"),
        _ => {}
    }
    (balancing, hash.into_iter().flatten().flatten().collect())
}

fn read_ring(field: &Field<'_>) -> (u32, u32) {
    let sizes = 1..=8_388_608;
    let mut fields = field.fields();
    let min = fields.optional("min").map_or(1024, |field| field.integer(sizes.clone()));
    let max = fields.optional("max").map_or(*sizes.end(), |field| field.integer(sizes.clone()));
    let field = fields.finish();
    if min > max {
        field.note(Problem::new(Code::Conflict, format!("must be at most max, which is {max}")).at_field("min"));
    }
    (min, max)
}

/// What requests are told apart by.
pub(super) fn read_hash_key(field: &Field<'_>) -> Option<HashKey> {
    #[derive(Clone, Copy)]
    enum Type {
        Header,
        Cookie,
        SourceIp,
    }
    let mut fields = field.fields();
    let words = [("Header", Type::Header), ("Cookie", Type::Cookie), ("SourceIP", Type::SourceIp)];
    let header = |name: &str| {
        let parsed = HeaderName::from_bytes(name.as_bytes());
        parsed.map_err(|_| Problem::invalid(name, "must be the name of a header field or cookie"))
    };
    let kind = fields.required("type").choice(&words);
    let key = match kind {
        Some(Type::Header) => fields.required("name").parsed(header).map(|name| HashKey::Header(name.as_str().into())),
        // A cookie's name is a token too (RFC 6265), in the case it was written in.
        Some(Type::Cookie) => fields.required("name").parsed(|name| header(name).map(|_| HashKey::Cookie(name.into()))),
        Some(Type::SourceIp) => Some(HashKey::SourceIp),
        None => fields.optional("name").and(None),
    };
    fields.finish();
    key
}

fn read_limits(field: &Field<'_>, mode: Mode, origin: &Origin) -> Limits {
    let mut fields = field.fields();
    let mode = read_mode_or(&mut fields, mode);
    let max_connections = fields.optional("maxConnections").map(|field| field.integer(ANY_COUNT));
    let max_pending_requests = fields.optional("maxPendingRequests").map(|field| field.integer(ANY_COUNT));
    let max_requests = fields.optional("maxRequests").map(|field| field.integer(ANY_COUNT));
    fields.unsupported(&["perEndpoint"]);
    fields.finish();
    Limits { origin: origin.clone(), mode, max_connections, max_pending_requests, max_requests }
}

fn read_outlier(field: &Field<'_>, mode: Mode, origin: &Origin) -> Outlier {
    let mut fields = field.fields();
    let mut outlier = Outlier { mode: read_mode_or(&mut fields, mode), ..Outlier::with_defaults(origin.clone()) };
    if let Some(field) = fields.optional("consecutiveErrors") {
        outlier.consecutive_errors = field.integer(1..=u32::MAX);
    }
    if let Some(field) = fields.optional("interval") {
        outlier.interval = field.duration(LONGER_THAN_ZERO);
    }
    if let Some(field) = fields.optional("ejection") {
        let mut fields = field.fields();
        if let Some(field) = fields.optional("base") {
            outlier.base_ejection = field.duration(LONGER_THAN_ZERO);
        }
        // A longer base than the default maximum takes the maximum with it.
        outlier.max_ejection = match fields.optional("max") {
            Some(field) => field.duration(LONGER_THAN_ZERO),
            None => outlier.max_ejection.max(outlier.base_ejection),
        };
        if let Some(percent) = fields.optional("maxPercent").and_then(|field| field.number(Percent::try_new)) {
            outlier.max_percent = percent;
        }
        fields.unsupported(&["jitterPercent"]);
        fields.finish();
    }
    fields.unsupported(&["successRate", "recovery", "latency"]);
    let field = fields.finish();
    if let Err(problem) = outlier.check() {
        field.note(problem);
    }
    outlier
}

/// The shape of GEP-3388, and `minConcurrent`: retries at once that are always allowed.
fn read_budget(field: &Field<'_>) -> Budget {
    let mut budget = Budget::default();
    let mut fields = field.fields();
    if let Some(field) = fields.optional("budget") {
        let mut fields = field.fields();
        if let Some(percent) = fields.optional("percent").and_then(|field| field.number(Percent::try_new)) {
            budget.percent = percent;
        }
        if let Some(field) = fields.optional("interval") {
            budget.interval = field.duration(Duration::from_secs(1)..=Duration::from_secs(60));
        }
        fields.finish();
    }
    if let Some(field) = fields.optional("minRetryRate") {
        let mut fields = field.fields();
        let count = fields.required("count").integer(0..=1_000_000);
        let second = Duration::from_secs(1);
        let interval =
            fields.optional("interval").map_or(second, |field| field.duration(second..=Duration::from_secs(3600)));
        fields.finish();
        // The model counts by the second; a part of one is rounded up, so that a small rate is never none.
        budget.min_per_second = count.div_ceil(u32::try_from(interval.as_secs()).unwrap_or(u32::MAX).max(1));
    }
    if let Some(field) = fields.optional("minConcurrent") {
        budget.min_concurrent = field.integer(0..=1_000_000);
    }
    fields.finish();
    budget
}

fn read_timeouts(field: &Field<'_>) -> (Option<Duration>, Option<Duration>) {
    let mut fields = field.fields();
    let connect = fields.optional("connect").map(|field| field.duration(LONGER_THAN_ZERO));
    let idle = fields.optional("idle").map(|field| field.duration(LONGER_THAN_ZERO));
    fields.finish();
    (connect, idle)
}
