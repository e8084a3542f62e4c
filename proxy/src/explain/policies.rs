//! The policies that held for a request, each in a few words, with the document it came from: what somebody would change.

use std::time::Duration;

use outrigger_config::policy::health_check::Probe;
use outrigger_config::policy::{
    Cache, Fault, HealthCheck, Hedge, Limits, Mode, Origin, Outlier, RateLimit, Retry, Thresholds, Timeouts,
};
use outrigger_config::record::Policy;
use outrigger_config::value::format_duration;

use crate::cluster::Cluster;
use crate::gradient::Gradients;
use crate::route::Route;
use crate::wishes::Wishes;

/// The policies of a route, of its destination where one was chosen, and of the listener: each that acts, and each that is
/// rehearsed beside it. What the caller wished for stands in the place of what it replaces.
pub(super) fn policies(
    route: &Route,
    cluster: Option<&Cluster>,
    wishes: Option<&Wishes>,
    gradients: Option<&Gradients>,
) -> Vec<Policy> {
    let (config, beside) = (&route.config, &route.config.rehearsed);
    let mut all = List(Vec::new());
    let times = wishes.map_or(config.timeouts, |wishes| wishes.timeouts);
    if let Some(says) = timeouts(times) {
        let origin = if times == config.timeouts { config.origin.clone() } else { wished(Some(&config.origin)) };
        all.add("timeouts", &origin, Mode::Enforce, says);
    }
    for one in [&config.rate_limit, &beside.rate_limit].into_iter().flatten() {
        all.add("rate limit", &one.origin, one.mode, rate_limit(one));
    }
    for one in gradients.into_iter().flat_map(|both| [Some(&both.own), both.beside.as_ref()]).flatten() {
        let model = one.model();
        let says = format!("{} to {} at once, as many as the service bears", model.min_limit, model.max_limit);
        all.add("adaptive concurrency", &model.origin, model.mode, says);
    }
    for one in [&config.fault, &beside.fault].into_iter().flatten() {
        all.add("fault", &one.origin, one.mode, injected(one));
    }
    for (origin, policy) in retries(route, wishes) {
        all.add("retry", &origin, policy.mode, retry(policy));
    }
    for one in [&config.cache, &beside.cache].into_iter().flatten() {
        all.add("cache", &one.origin, one.mode, cache(one));
    }
    let Some(cluster) = cluster else { return all.0 };
    let (of, beside) = (&cluster.config, &cluster.config.rehearsed);
    for one in [&of.limits, &beside.limits].into_iter().flatten() {
        all.add("limits", &one.origin, one.mode, limits(one.of(config.priority), one));
    }
    for one in [&of.admission, &beside.admission].into_iter().flatten() {
        let (most, threshold) = (one.max_rejection, one.success_threshold);
        let says = format!("below {threshold} % at most {most} % given up");
        all.add("admission control", &one.origin, one.mode, says);
    }
    for one in [&of.outlier, &beside.outlier].into_iter().flatten() {
        all.add("outlier detection", &one.origin, one.mode, outlier(one));
    }
    for one in [&of.health_check, &beside.health_check].into_iter().flatten() {
        all.add("health check", &one.origin, one.mode, health_check(one));
    }
    all.0
}

struct List(Vec<Policy>);

impl List {
    fn add(&mut self, about: &str, origin: &Origin, mode: Mode, says: String) {
        let (about, origin) = (about.to_owned(), origin.to_string());
        self.0.push(Policy { about, origin, observe: !mode.enforces(), says });
    }
}

/// What is tried again, and what is only rehearsed of it.
fn retries<'a>(route: &'a Route, wishes: Option<&'a Wishes>) -> Vec<(Origin, &'a Retry)> {
    let own = route.config.retry.as_ref();
    let mut all = Vec::new();
    match wishes {
        Some(wishes) => {
            let over = own.filter(|own| own.mode.enforces());
            let other = |policy: &&Retry| over != Some(*policy);
            all.extend(wishes.retry.as_ref().filter(other).map(|one| (wished(over.map(|own| &own.origin)), one)));
            let stays = own.filter(|own| !own.mode.enforces() || wishes.retry.as_ref() == Some(*own));
            all.extend(stays.map(|one| (one.origin.clone(), one)));
        }
        None => all.extend(own.map(|one| (one.origin.clone(), one))),
    }
    all.extend(route.config.rehearsed.retry.as_ref().map(|one| (one.origin.clone(), one)));
    all
}

/// What a caller wished for, and what it stands on.
fn wished(over: Option<&Origin>) -> Origin {
    match over {
        Some(over) => Origin(format!("x-envoy-* of the caller, over {over}").into()),
        None => Origin("x-envoy-* of the caller".into()),
    }
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
