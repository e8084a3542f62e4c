//! The policies that held for a request, each in a few words, with the document it came from: what somebody would change.

use std::time::Duration;

use outrigger_config::policy::health_check::Probe;
use outrigger_config::policy::{
    Cache, Fault, HealthCheck, Hedge, Limits, Mode, Origin, Outlier, RateLimit, Retry, Thresholds, Timeouts,
};
use outrigger_config::record::Policy;
use outrigger_config::value::format_duration;

use crate::cluster::Cluster;
use crate::route::Route;

/// The policies of a route, and of its destination where one was chosen.
pub(super) fn policies(route: &Route, cluster: Option<&Cluster>) -> Vec<Policy> {
    let config = &route.config;
    let mut all = Vec::new();
    let mut add = |about: &str, origin: &Origin, mode: Mode, says: String| {
        all.push(Policy { about: about.to_owned(), origin: origin.to_string(), observe: !mode.enforces(), says });
    };
    if let Some(says) = timeouts(config.timeouts) {
        add("timeouts", &config.origin, Mode::Enforce, says);
    }
    if let Some(limit) = &config.rate_limit {
        add("rate limit", &limit.origin, limit.mode, rate_limit(limit));
    }
    if let Some(fault) = &config.fault {
        add("fault", &fault.origin, fault.mode, injected(fault));
    }
    if let Some(policy) = &config.retry {
        add("retry", &policy.origin, policy.mode, retry(policy));
    }
    if let Some(policy) = &config.cache {
        add("cache", &policy.origin, policy.mode, cache(policy));
    }
    let Some(cluster) = cluster else { return all };
    if let Some(policy) = &cluster.config.limits {
        add("limits", &policy.origin, policy.mode, limits(policy.of(config.priority), policy));
    }
    if let Some(policy) = &cluster.config.admission {
        let (most, threshold) = (policy.max_rejection, policy.success_threshold);
        add("admission control", &policy.origin, policy.mode, format!("below {threshold} % at most {most} % given up"));
    }
    if let Some(policy) = &cluster.config.outlier {
        add("outlier detection", &policy.origin, policy.mode, outlier(policy));
    }
    if let Some(policy) = &cluster.config.health_check {
        add("health check", &policy.origin, policy.mode, health_check(policy));
    }
    all
}

fn timeouts(timeouts: Timeouts) -> Option<String> {
    let named = [
        ("request", timeouts.request),
        ("attempt", timeouts.per_try),
        ("idle", timeouts.idle),
        ("stream", timeouts.stream),
        ("grpc-timeout", timeouts.grpc_max.filter(|most| !most.is_zero())),
    ];
    listed(named.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", format_duration(value?)))))
}

fn injected(policy: &Fault) -> String {
    let named = [
        ("delays", policy.delay.map(|delay| delay.percent)),
        ("aborts", policy.abort.map(|abort| abort.percent)),
        ("throttles", policy.throttle.map(|throttle| throttle.percent)),
    ];
    let named = named.into_iter().filter_map(|(name, percent)| Some(format!("{name} {} %", percent?)));
    listed(named).unwrap_or_else(|| "injects nothing".to_owned())
}

fn rate_limit(policy: &RateLimit) -> String {
    let rule = |rule: &outrigger_config::policy::RateLimitRule| {
        let every = format_duration(rule.interval);
        format!("{}: {} every {every}, {} at once", rule.name, rule.requests, rule.burst)
    };
    listed(policy.rules.iter().map(rule)).unwrap_or_else(|| "no rule".to_owned())
}

fn retry(policy: &Retry) -> String {
    let conditions = policy.on.iter().map(|condition| condition.token().to_owned());
    let codes = policy.codes.iter().map(u16::to_string);
    let grpc = policy.grpc_codes.iter().map(|number| crate::telemetry::would::grpc_name(number).to_owned());
    let on = listed(conditions.chain(codes).chain(grpc)).unwrap_or_else(|| "nothing".to_owned());
    let each = policy.per_try_timeout.map(|each: Duration| format!("; each attempt {}", format_duration(each)));
    let hedge = policy.hedge.map(|hedge| match hedge {
        Hedge::Delay(delay) => format!("; another beside one that takes {}", format_duration(delay)),
        Hedge::Percentile(share) => format!("; another beside one that takes longer than {share} % of answers do"),
    });
    format!("at most {} on {on}{}{}", policy.attempts, each.unwrap_or_default(), hedge.unwrap_or_default())
}

/// The limits that hold for requests of a priority.
fn limits(most: Thresholds, policy: &Limits) -> String {
    let named = [
        ("connections", most.max_connections),
        ("waiting", most.max_pending_requests),
        ("requests", most.max_requests),
        ("retries", most.max_retries),
        ("connections of an endpoint", policy.per_endpoint.max_connections),
        ("requests of an endpoint", policy.per_endpoint.max_requests),
    ];
    let all = named.into_iter().filter_map(|(name, max)| Some(format!("{} {name}", max?)));
    listed(all).unwrap_or_else(|| "none".to_owned())
}

fn outlier(policy: &Outlier) -> String {
    let counts = [
        ("errors in a row", policy.consecutive_errors),
        ("gateway errors in a row", policy.consecutive_gateway_errors),
        ("attempts without an answer in a row", policy.consecutive_local_errors),
    ];
    let others = [
        ("a low success rate", policy.success_rate.is_some()),
        ("many failures", policy.failure_percentage.is_some()),
        ("slow answers", policy.latency.is_some()),
    ];
    let counts = counts.into_iter().filter_map(|(name, count)| Some(format!("{} {name}", count?)));
    let others = others.into_iter().filter(|(_, is)| *is).map(|(name, _)| name.to_owned());
    let causes = listed(counts.chain(others)).unwrap_or_else(|| "nothing".to_owned());
    format!("ejects for {causes}; {} at first", format_duration(policy.base_ejection))
}

fn health_check(policy: &HealthCheck) -> String {
    let what = match &policy.probe {
        Probe::Http(probe) => format!("GET {}", probe.path),
        Probe::Grpc { service, .. } if service.is_empty() => "gRPC health of the server".to_owned(),
        Probe::Grpc { service, .. } => format!("gRPC health of {service}"),
        Probe::Tcp => "a connection".to_owned(),
    };
    let (interval, timeout) = (format_duration(policy.interval), format_duration(policy.timeout));
    let (out, back) = (policy.unhealthy_threshold, policy.healthy_threshold);
    format!("{what} every {interval} within {timeout}; out after {out} failures, back after {back} successes")
}

fn cache(policy: &Cache) -> String {
    let fresh = match (policy.ttl, policy.default_ttl) {
        (Some(ttl), _) => format!("fresh for {}", format_duration(ttl)),
        (None, Some(ttl)) => format!("fresh as responses say, or {}", format_duration(ttl)),
        (None, None) => "fresh as responses say".to_owned(),
    };
    let windows =
        [("stale while asked for anew", policy.stale_while_revalidate), ("stale for failures", policy.stale_if_error)];
    let windows = windows.into_iter().filter_map(|(name, window)| Some(format!("{name} {}", format_duration(window?))));
    let shared = policy.shared.then(|| "shared with other proxies".to_owned());
    listed([fresh].into_iter().chain(windows).chain(shared)).unwrap_or_default()
}

/// `a, b, c`; none of nothing.
fn listed(parts: impl Iterator<Item = String>) -> Option<String> {
    let parts: Vec<String> = parts.collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}
