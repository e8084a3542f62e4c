//! `/metrics`: telemetry's counters, and what destinations and discovery know of themselves, in Prometheus' text
//! format.

use std::time::Instant;

use outrigger_config::cluster::Balancing;
use outrigger_config::policy::Priority;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, TextEncoder};

use crate::admin::clusters::state;
use crate::admin::{adaptive, overload, policies};
use crate::cache::Store;
use crate::cluster::subset::Instead;
use crate::cluster::{Cause, Limit, Limits};
use crate::discovery::status::Standing;
use crate::exchange::Shared;
use crate::rls::LimitService;
use crate::snapshot::Snapshot;
use crate::telemetry::family::Family;
use crate::telemetry::metrics::DiscoveryState;
use crate::telemetry::scrape;

/// The page.
pub fn text(shared: &Shared, standing: &Standing, started: Instant, now: Instant) -> prometheus::Result<Vec<u8>> {
    let telemetry = &shared.telemetry;
    let mut families = scrape::families(&telemetry.metrics, &telemetry.spans, &telemetry.records);
    families.extend(destinations(&shared.snapshots.load_full(), now));
    families.extend(policies::families(&shared.snapshots.load_full(), now));
    families.extend(rate_limits(&shared.snapshots.load_full(), &shared.limits));
    families.extend(discovery(&telemetry.metrics.discovery.state(), standing, now));
    families.extend(replay(shared));
    families.extend(cache(&shared.caching.store));
    families.extend(adaptive::families(&shared.snapshots.load_full()));
    families.extend(overload::families(&shared.overload));
    families.extend(process(shared, started, now));
    families.sort_by(|a, b| a.name().cmp(b.name()));
    let mut page = Vec::new();
    TextEncoder::new().encode(&families, &mut page)?;
    Ok(page)
}

fn destinations(snapshot: &Snapshot, now: Instant) -> Vec<MetricFamily> {
    let mut inflight =
        Family::gauge("outrigger_inflight_requests", "Requests under way to a destination, waiting ones included.");
    let mut limit = Family::gauge("outrigger_limit", "How much of a destination may be used at once.");
    let mut held = Family::gauge("outrigger_limit_used", "How much of a destination is used now.");
    let mut rejected = Family::counter(
        "outrigger_breaker_rejected_total",
        "Requests beyond a limit of their destination: refused (mode enforce) or let through (observe).",
    );
    let mut breaker = Family::gauge(
        "outrigger_breaker_state",
        "1 for the state that a destination is in: closed, or open while a limit is reached.",
    );
    let mut endpoints = Family::gauge("outrigger_endpoints", "Endpoints of a destination, by state.");
    let mut attempts = Family::counter(
        "outrigger_attempts_total",
        "Attempts at a destination that are over; aborted are those that their caller or a limit gave up.",
    );
    let mut waits = Family::histogram(
        "outrigger_pool_wait_seconds",
        "How long attempts waited for a connection where none was at hand.",
    );
    let mut budget = Family::counter(
        "outrigger_retry_budget_exhausted_total",
        "Retries that were not made because the destination's budget had nothing left.",
    );
    let mut ejections = Family::counter(
        "outrigger_ejections_total",
        "Endpoints left out, by cause (mode enforce), or that would have been (observe).",
    );
    let mut withheld = Family::counter(
        "outrigger_ejections_withheld_total",
        "Failing endpoints that stayed because too many were out already.",
    );
    let mut panics = Family::counter(
        "outrigger_balancer_panics_total",
        "Requests that might go to an ejected endpoint because too few were in.",
    );
    let mut panicking = Family::gauge(
        "outrigger_balancer_panic",
        "1 while so few endpoints of a destination are in that those left out take part again.",
    );
    let mut sessions = Family::counter(
        "outrigger_session_requests_total",
        "Requests of routes with session persistence, by what became of their session.",
    );
    let mut places = Family::counter(
        "outrigger_zone_requests_total",
        "Requests to a destination with zoneAware, by whether they stayed in the caller's zone.",
    );
    let mut fallbacks = Family::counter(
        "outrigger_subset_fallbacks_total",
        "Attempts whose route asked for a subset that is not there, by where they went.",
    );
    let mut reports = Family::counter(
        "outrigger_load_reports_total",
        "Load reports of a destination's endpoints (ORCA): taken, or void.",
    );
    let mut streams = Family::gauge(
        "outrigger_load_report_streams",
        "Endpoints of a destination that report their load beside requests now.",
    );
    let mut stream_ends = Family::counter(
        "outrigger_load_report_stream_ends_total",
        "Streams of load reports of a destination's endpoints that ended, or did not come about.",
    );
    for cluster in snapshot.clusters() {
        let name = policies::labels(cluster);
        let with = |more: &[(&'static str, &'static str)]| [&name[..], more].concat();
        let under_way = Priority::ALL.map(|priority| cluster.limits(priority).held(Limit::Requests));
        inflight.add(&name, f64::from(under_way[0]) + f64::from(under_way[1]));
        for priority in cluster.priorities() {
            let (limits, priority) = (cluster.limits(priority), ("priority", priority.as_str()));
            for one in Limit::ALL {
                let word = ("limit", one.as_str());
                held.add(&with(&[priority, word]), f64::from(limits.held(one)));
                if let Some(max) = limits.max(one) {
                    limit.add(&with(&[priority, word]), f64::from(max));
                }
                rejected.add(&with(&[priority, word, ("mode", "enforce")]), limits.refused(one) as f64);
                rejected.add(&with(&[priority, word, ("mode", "observe")]), limits.exceeded(one) as f64);
            }
            let is_open = is_open(limits);
            breaker.add(&with(&[priority, ("state", "open")]), f64::from(u8::from(is_open)));
            breaker.add(&with(&[priority, ("state", "closed")]), f64::from(u8::from(!is_open)));
        }
        for wanted in ["healthy", "ejected", "probing", "unchecked", "failing", "draining", "unhealthy"] {
            let picker = cluster.picker();
            let count = picker.endpoints().iter().filter(|endpoint| state(endpoint, now) == wanted).count();
            endpoints.add(&with(&[("state", wanted)]), count as f64);
        }
        for (outcome, count) in cluster.traffic.attempts() {
            attempts.add(&with(&[("outcome", outcome)]), count as f64);
        }
        let waited = cluster.traffic.waits();
        if waited.requests() > 0 {
            waits.add_reading(&name, &waited);
        }
        budget.add(&name, cluster.budget.refused() as f64);
        for cause in Cause::ALL {
            let (done, would) = cluster.ejections(cause);
            // One cause is always there to be found; the others once they happened, to spare series.
            if cause == Cause::Errors || done + would > 0 {
                let cause = ("cause", cause.as_str());
                ejections.add(&with(&[cause, ("mode", "enforce")]), done as f64);
                ejections.add(&with(&[cause, ("mode", "observe")]), would as f64);
            }
        }
        for (held, count) in cluster.traffic.sessions().into_iter().filter(|(_, count)| *count > 0) {
            sessions.add(&with(&[("session", held.as_str())]), count as f64);
        }
        let (local, cross) = cluster.place.counts();
        for (zone, count) in [("local", local), ("cross", cross)].into_iter().filter(|_| local + cross > 0) {
            places.add(&with(&[("zone", zone)]), count as f64);
        }
        for instead in Instead::ALL.into_iter().filter(|_| cluster.config.subsets.is_some()) {
            fallbacks.add(&with(&[("to", instead.as_str())]), cluster.fallbacks.count(instead) as f64);
        }
        let (taken, void) = cluster.traffic.reports();
        for (result, count) in [("taken", taken), ("void", void)].into_iter().filter(|_| taken + void > 0) {
            reports.add(&with(&[("result", result)]), count as f64);
        }
        if matches!(&cluster.config.balancing, Balancing::ClientSideWeightedRoundRobin(rules) if rules.asks_every.is_some())
        {
            streams.add(&name, cluster.traffic.streams() as f64);
            stream_ends.add(&name, cluster.traffic.stream_failures() as f64);
        }
        panicking.add(&name, f64::from(u8::from(cluster.is_panicking())));
        withheld.add(&name, cluster.ejection_overflows() as f64);
        panics.add(&name, cluster.panics() as f64);
    }
    let all = [
        inflight,
        limit,
        held,
        rejected,
        breaker,
        endpoints,
        attempts,
        waits,
        budget,
        ejections,
        withheld,
        panics,
        panicking,
        sessions,
        places,
        fallbacks,
        reports,
        streams,
        stream_ends,
    ];
    all.into_iter().filter_map(Family::finish).collect()
}

/// What the bodies take that are kept to be sent again.
fn replay(shared: &Shared) -> Vec<MetricFamily> {
    let mut used = Family::gauge(
        "outrigger_replay_bytes",
        "Memory that request bodies take which are kept for retries and mirrors.",
    );
    used.add(&[], shared.replay.used() as f64);
    let mut limit = Family::gauge("outrigger_replay_limit_bytes", "How much they may take together.");
    limit.add(&[], shared.replay.limit() as f64);
    let mut abandoned = Family::counter(
        "outrigger_replay_abandoned_total",
        "Request bodies sent once and not kept, by the bound that they were beyond.",
    );
    for (bound, count) in shared.replay.abandoned() {
        abandoned.add(&[("bound", bound)], count as f64);
    }
    [used, limit, abandoned].into_iter().filter_map(Family::finish).collect()
}

/// The buckets that are kept for each caller, address or header value, and how questions to who counts for all end.
fn rate_limits(snapshot: &Snapshot, service: &LimitService) -> Vec<MetricFamily> {
    let mut known =
        Family::gauge("outrigger_rate_limit_keys", "Callers, addresses or header values that have a bucket of a rule.");
    let mut forgotten = Family::counter(
        "outrigger_rate_limit_keys_forgotten_total",
        "Keys that made way for others before their bucket was full again, and so were let in anew.",
    );
    for (policy, rule, keys, lost) in snapshot.keyed() {
        let name = [("policy", policy), ("rule", rule)];
        known.add(&name, keys as f64);
        forgotten.add(&name, lost as f64);
    }
    let mut shares = Family::gauge(
        "outrigger_rate_limit_share",
        "Requests a second that this proxy may let in of a limit that is divided.",
    );
    for (policy, rule, bucket, leased) in snapshot.leased() {
        if let Some(rate) = leased.rate(bucket.nanos(Instant::now())) {
            shares.add(&[("policy", policy), ("rule", rule)], rate);
        }
    }
    let mut asked = Family::counter(
        "outrigger_rate_limit_service_total",
        "Questions to the rate limit service, by how they ended.",
    );
    for (outcome, count) in service.outcomes().filter(|(_, count)| *count > 0) {
        asked.add(&[("outcome", outcome.as_str())], count as f64);
    }
    [known, forgotten, shares, asked].into_iter().filter_map(Family::finish).collect()
}

fn is_open(limits: &Limits) -> bool {
    Limit::ALL.into_iter().any(|limit| limits.max(limit).is_some_and(|max| limits.held(limit) >= max))
}

fn discovery(state: &DiscoveryState, standing: &Standing, now: Instant) -> Vec<MetricFamily> {
    let mut ready = Family::gauge("outrigger_ready", "1 if traffic may come, as /ready says.");
    ready.add(&[], f64::from(u8::from(standing.ready().is_ok())));
    let mut connected = Family::gauge("outrigger_xds_connected", "1 while a stream to the control plane answers.");
    connected.add(&[], f64::from(u8::from(state.connected)));
    let mut disconnects =
        Family::counter("outrigger_xds_disconnects_total", "Streams to the control plane that ended.");
    disconnects.add(&[], state.disconnects as f64);
    let mut updates = Family::counter(
        "outrigger_xds_updates_total",
        "Responses of the control plane, by type and what became of them.",
    );
    for ((kind, result), count) in &state.updates {
        updates.add(&[("type", kind), ("result", result)], *count as f64);
    }
    let mut age =
        Family::gauge("outrigger_xds_config_age_seconds", "Time since the control plane last sent something good.");
    if let Some(updated) = state.updated {
        age.add(&[], now.saturating_duration_since(updated).as_secs_f64());
    }
    let mut number = Family::gauge("outrigger_snapshot", "The number of the configuration in force.");
    let mut apply = Family::gauge("outrigger_xds_apply_seconds", "How long it took to put it in force.");
    if let Some((snapshot, took)) = state.applied {
        number.add(&[], snapshot as f64);
        apply.add(&[], took.as_secs_f64());
    }
    let mut closed = Family::gauge("outrigger_closed_listeners", "Listeners that could not be opened.");
    closed.add(&[], standing.closed.len() as f64);
    let all = [ready, connected, disconnects, updates, age, number, apply, closed];
    all.into_iter().filter_map(Family::finish).collect()
}

fn cache(store: &Store) -> Vec<MetricFamily> {
    let mut bytes = Family::gauge("outrigger_cache_bytes", "Memory that kept responses take.");
    bytes.add(&[], store.bytes() as f64);
    let mut limit = Family::gauge("outrigger_cache_limit_bytes", "Memory that kept responses may take.");
    limit.add(&[], store.capacity() as f64);
    let mut entries = Family::gauge("outrigger_cache_entries", "Targets of which something is kept.");
    entries.add(&[], store.entries() as f64);
    let mut evictions = Family::counter("outrigger_cache_evictions_total", "Targets that were driven out for others.");
    evictions.add(&[], store.evictions() as f64);
    [bytes, limit, entries, evictions].into_iter().filter_map(Family::finish).collect()
}

fn process(shared: &Shared, started: Instant, now: Instant) -> Vec<MetricFamily> {
    let mut build = Family::gauge("outrigger_build_info", "1, and the version of this proxy.");
    build.add(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let mut workers = Family::gauge("outrigger_workers", "Threads that serve requests.");
    workers.add(&[], shared.workers as f64);
    let mut uptime = Family::gauge("outrigger_uptime_seconds", "Time since the process began.");
    uptime.add(&[], now.saturating_duration_since(started).as_secs_f64());
    [build, workers, uptime].into_iter().filter_map(Family::finish).collect()
}
