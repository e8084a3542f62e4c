//! `loadBalancing` of a BackendPolicy: the algorithm, what belongs to it, and what holds with any.

use std::time::Duration;

use http::header::HeaderName;

use super::policy::LONGER_THAN_ZERO;
use super::reader::Field;
use super::subsets::read_subsets;
use crate::cluster::{Balancing, LoadReports, Localities, SlowStart, is_table_size};
use crate::error::{Code, Problem};
use crate::route::HashKey;
use crate::subset::Subsets;
use crate::value::Percent;

/// What `loadBalancing` says. What is absent has the default that holds without any policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadBalancing {
    /// How an endpoint is chosen.
    pub balancing: Option<Balancing>,
    /// What a hash goes by; empty for every other algorithm.
    pub hash: Vec<HashKey>,
    /// How much more than its part an endpoint may have, in percent; only with a hash.
    pub balance_factor: Option<u32>,
    /// How much the place of an endpoint counts.
    pub localities: Localities,
    /// How a newcomer gets its load.
    pub slow_start: Option<SlowStart>,
    /// How the endpoints are divided.
    pub subsets: Option<Subsets>,
    /// How much of a group of a priority may be missing before the next one helps, in percent.
    pub overprovisioning: Option<u32>,
    /// Below which share of endpoints in those left out take part again.
    pub panic_threshold: Option<Percent>,
}

const RING: &str = "RingHash";
const TABLE: &str = "Maglev";
const REPORTS: &str = "ClientSideWeightedRoundRobin";

/// `algorithm` with `decay` and `defaultRtt` (PeakEwma), `hashOn` and `balanceFactor` (RingHash, Maglev), `ring`
/// (RingHash), `tableSize` (Maglev), `loadReports` (ClientSideWeightedRoundRobin), `slowStart` (all but Random and the
/// hashes), `zoneAware` (all but the hashes), `subsets` (all).
pub(super) fn read_load_balancing(field: &Field<'_>) -> LoadBalancing {
    let ring = Balancing::RingHash { min_size: 1024, max_size: 8_388_608 };
    let words = [
        ("PeakEwma", Balancing::default()),
        ("RoundRobin", Balancing::RoundRobin),
        ("LeastRequest", Balancing::LeastRequest),
        ("Random", Balancing::Random),
        (RING, ring),
        (TABLE, Balancing::Maglev { table_size: Balancing::DEFAULT_TABLE }),
        (REPORTS, Balancing::ClientSideWeightedRoundRobin(LoadReports::default())),
    ];
    let mut fields = field.fields();
    let mut balancing = match fields.optional("algorithm") {
        Some(field) => field.choice(&words),
        None => Some(Balancing::default()),
    };
    let decay = fields.optional("decay").map(|field| field.duration(LONGER_THAN_ZERO));
    let rtt = fields.optional("defaultRtt").map(|field| field.duration(LONGER_THAN_ZERO));
    let reports = fields.optional("loadReports").map(|field| read_reports(&field));
    let sizes = fields.optional("ring").map(|field| read_ring(&field));
    let table = fields.optional("tableSize").map(|field| read_table(&field));
    let hash = fields.optional("hashOn").map(|field| field.some(read_hash_key));
    let balance_factor = fields.optional("balanceFactor").map(|field| field.integer(100..=100_000));
    let slow_start = fields.optional("slowStart").map(|field| read_slow_start(&field));
    let panic_threshold = fields.optional("panicThreshold").and_then(|field| field.number(Percent::try_new));
    let overprovisioning = fields.optional("overprovisioningPercent").map(|field| field.integer(100..=100_000));
    let zone_aware = fields.optional("zoneAware").map(|field| field.boolean());
    let zone_percent = fields.optional("zonePercent").and_then(|field| field.number(Percent::try_new));
    let zone_min = fields.optional("zoneMinEndpoints").map(|field| field.integer(0..=1_000_000));
    let subsets = fields.optional("subsets").and_then(|field| read_subsets(&field));
    let field = fields.finish();
    let check = |name: &str, is_there: bool, belongs: bool, algorithms: &str| {
        if is_there && !belongs && balancing.is_some() {
            let reason = format!("means something with the algorithm {algorithms} only");
            field.note(Problem::new(Code::Conflict, reason).at_field(name));
        }
    };
    let is_hash = balancing.is_some_and(Balancing::is_hash);
    let is_ewma = matches!(balancing, Some(Balancing::PeakEwma { .. }));
    let spares = balancing.is_some_and(Balancing::can_start_slowly);
    check("decay", decay.is_some(), is_ewma, "PeakEwma");
    check("defaultRtt", rtt.is_some(), is_ewma, "PeakEwma");
    let is_reported = matches!(balancing, Some(Balancing::ClientSideWeightedRoundRobin(_)));
    check("loadReports", reports.is_some(), is_reported, REPORTS);
    check("hashOn", hash.is_some(), is_hash, "RingHash or Maglev");
    check("balanceFactor", balance_factor.is_some(), is_hash, "RingHash or Maglev");
    check("ring", sizes.is_some(), matches!(balancing, Some(Balancing::RingHash { .. })), RING);
    check("tableSize", table.is_some(), matches!(balancing, Some(Balancing::Maglev { .. })), TABLE);
    let zones = "PeakEwma, LeastRequest, RoundRobin, Random or ClientSideWeightedRoundRobin";
    check("zoneAware", zone_aware == Some(true), !is_hash, zones);
    for (name, is_there) in [("zonePercent", zone_percent.is_some()), ("zoneMinEndpoints", zone_min.is_some())] {
        if is_there && zone_aware != Some(true) {
            field.note(Problem::new(Code::Conflict, "means something with zoneAware: true only").at_field(name));
        }
    }
    let localities = match zone_aware {
        Some(true) => Localities::ZoneAware {
            percent: zone_percent.unwrap_or(Percent::HUNDRED),
            min_endpoints: zone_min.unwrap_or(Localities::DEFAULT_MIN_ENDPOINTS),
        },
        _ => Localities::Ignored,
    };
    check(
        "slowStart",
        slow_start.is_some(),
        spares,
        "PeakEwma, LeastRequest, RoundRobin or ClientSideWeightedRoundRobin",
    );
    if is_hash && hash.is_none() {
        let algorithm = if matches!(balancing, Some(Balancing::Maglev { .. })) { TABLE } else { RING };
        field.note(Problem::new(Code::MissingField, format!("is required by {algorithm}")).at_field("hashOn"));
    }
    match &mut balancing {
        Some(Balancing::PeakEwma { decay: own_decay, default_rtt }) => {
            *own_decay = decay.unwrap_or(*own_decay);
            *default_rtt = rtt.unwrap_or(*default_rtt);
        }
        Some(Balancing::RingHash { min_size, max_size }) => {
            (*min_size, *max_size) = sizes.unwrap_or((*min_size, *max_size));
        }
        Some(Balancing::ClientSideWeightedRoundRobin(own)) => *own = reports.unwrap_or(*own),
        Some(Balancing::Maglev { table_size }) => *table_size = table.unwrap_or(*table_size),
        _ => {}
    }
    let hash = hash.into_iter().flatten().flatten().collect();
    LoadBalancing {
        balancing,
        hash,
        balance_factor,
        localities,
        slow_start,
        subsets,
        overprovisioning,
        panic_threshold,
    }
}

fn read_reports(field: &Field<'_>) -> LoadReports {
    let mut reports = LoadReports::default();
    let mut fields = field.fields();
    if let Some(field) = fields.optional("blackout") {
        reports.blackout = field.duration(Duration::ZERO..=Duration::from_secs(3600));
    }
    if let Some(field) = fields.optional("expiration") {
        reports.expiration = field.duration(Duration::from_secs(1)..=Duration::from_secs(24 * 3600));
    }
    if let Some(field) = fields.optional("errorPenalty") {
        let penalty = |factor: f64| match (0.0..=1000.0).contains(&factor) {
            // In range: just checked.
            true => Ok((factor * 1000.0).round() as u32),
            false => Err(Problem::invalid(factor, "must be between 0 and 1000")),
        };
        reports.penalty_thousandths = field.number(penalty).unwrap_or(reports.penalty_thousandths);
    }
    let periods = Duration::from_millis(100)..=Duration::from_secs(3600);
    reports.asks_every = fields.optional("outOfBandPeriod").map(|field| field.duration(periods));
    fields.finish();
    reports
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

fn read_table(field: &Field<'_>) -> u32 {
    let size = field.integer(2..=5_000_011);
    if !is_table_size(size) {
        field.note(Problem::invalid(size, "must be a prime of at most 5000011; 65537 is one"));
        return Balancing::DEFAULT_TABLE;
    }
    size
}

fn read_slow_start(field: &Field<'_>) -> SlowStart {
    let mut fields = field.fields();
    let window = fields.required("window").duration(LONGER_THAN_ZERO);
    let mut slow = SlowStart::with_defaults(window.max(Duration::from_millis(1)));
    if let Some(thousandths) = fields.optional("aggression").and_then(|field| field.number(super::policy::thousandths))
    {
        slow.aggression_thousandths = thousandths;
    }
    if let Some(percent) = fields.optional("minPercent").and_then(|field| field.number(Percent::try_new)) {
        slow.min_weight = percent;
    }
    fields.finish();
    slow
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
