//! `/config_dump`: the configuration in force as JSON, and how discovery stands with each type.
//!
//! It shows the validated model, not xDS: what this proxy does, in the words of the documents.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use outrigger_config::cluster::{Balancing, Cluster, Discovery, Protocol};
use outrigger_config::endpoint::Assignment;
use outrigger_config::header::{HeaderChanges, HeaderField, Headers};
use outrigger_config::listener::{Listener, TableSource};
use outrigger_config::matching::{PathMatch, RouteMatch, ValueMatch};
use outrigger_config::name::ResourceName;
use outrigger_config::policy::fault::{Abort, AbortWith, Delay, Scope};
use outrigger_config::policy::{
    Fault, Limits, Methods, Mode, Outlier, PerEndpoint, RateLimit, Retry, Sample, Timeouts,
};
use outrigger_config::rewrite::{Answer, PathRewrite, Rewrite, Scheme};
use outrigger_config::route::{Backend, HashKey, Mirror, Route, RouteTable, VirtualHost};
use outrigger_config::value::format_duration;
use serde_json::{Map, Value, json};

use crate::discovery::status::Standing;
use crate::telemetry::direction_word;

/// The page; only resources whose name contains `wanted`.
pub fn dump(standing: &Standing, snapshot: u64, wanted: &str, now: Instant) -> Value {
    let resources = &standing.resources;
    let types: Map<String, Value> = standing
        .types
        .iter()
        .map(|(kind, one)| {
            let value = json!({
                "version": one.version,
                "resources": one.resources,
                "age_seconds": one.updated.map(|at| now.saturating_duration_since(at).as_secs_f64()),
                "refused": one.refused.as_ref().map(|(why, at)| json!({
                    "message": why, "age_seconds": now.saturating_duration_since(*at).as_secs_f64(),
                })),
            });
            (kind.short().to_owned(), value)
        })
        .collect();
    json!({
        "source": standing.source.to_string(),
        "transport": standing.transport,
        "connected": standing.connected,
        "trouble": standing.trouble,
        "types": types,
        "waiting": standing.waiting,
        "closed": standing.closed,
        "snapshot": snapshot,
        "listeners": shown(&resources.listeners, wanted, listener),
        "tables": shown(&resources.tables, wanted, table),
        "clusters": shown(&resources.clusters, wanted, cluster),
        "assignments": shown(&resources.assignments, wanted, assignment),
    })
}

fn shown<T>(resources: &BTreeMap<ResourceName, T>, wanted: &str, show: fn(&T) -> Value) -> Vec<Value> {
    resources.iter().filter(|(name, _)| name.as_str().contains(wanted)).map(|(_, one)| show(one)).collect()
}

fn listener(listener: &Listener) -> Value {
    json!({
        "name": listener.name.as_str(),
        "address": listener.address.to_string(),
        "direction": direction_word(listener.direction),
        "table": match &listener.table {
            TableSource::Rds(name) => json!(name.as_str()),
            TableSource::Inline(inline) => table(inline),
        },
        "workload": listener.identity.as_ref().map(|identity| identity.workload.to_string()),
        "service": listener.identity.as_ref().map(|identity| &*identity.service),
        "samplePercent": listener.telemetry.sample.ratio() * 100.0,
        "accessLog": listener.telemetry.access_log,
    })
}

fn table(table: &RouteTable) -> Value {
    let host = |host: &VirtualHost| {
        json!({
            "name": &*host.name,
            "domains": host.domains.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "routes": host.routes.iter().map(route).collect::<Vec<_>>(),
        })
    };
    json!({ "name": table.name.as_str(), "hosts": table.hosts.iter().map(host).collect::<Vec<_>>() })
}

fn route(route: &Route) -> Value {
    let backend = |one: &Backend| {
        some(json!({ "cluster": one.cluster.as_str(), "weight": one.weight, "headers": headers(&one.headers) }))
    };
    some(json!({
        "name": &*route.name,
        "origin": route.origin.to_string(),
        "match": matches(&route.matches),
        "backends": route.backends.iter().map(backend).collect::<Vec<_>>(),
        "sticky": (!route.sticky.is_empty()).then(|| route.sticky.iter().map(hash).collect::<Vec<_>>()),
        "session": route.session.as_ref().map(|one| json!({ "cookie": &*one.name, "path": &*one.path })),
        "mirrors": (!route.mirrors.is_empty()).then(|| route.mirrors.iter().map(mirror).collect::<Vec<_>>()),
        "answer": route.answer.as_ref().map(answer),
        "rewrite": (!route.rewrite.is_empty()).then(|| rewrite(&route.rewrite)),
        "headers": headers(&route.headers),
        "timeouts": timeouts(&route.timeouts),
        "retry": route.retry.as_ref().map(retry),
        "fault": route.fault.as_ref().map(fault),
        "rateLimit": route.rate_limit.as_ref().map(rate_limit),
        "hash": (!route.hash.is_empty()).then(|| route.hash.iter().map(hash).collect::<Vec<_>>()),
    }))
}

fn mirror(mirror: &Mirror) -> Value {
    json!({ "cluster": mirror.cluster.as_str(), "percent": mirror.percent.ratio() * 100.0 })
}

fn fault(fault: &Fault) -> Value {
    let abort = |abort: &Abort| match abort.with {
        AbortWith::Status(status) => json!({ "status": status, "percent": abort.percent.ratio() * 100.0 }),
        AbortWith::Grpc(status) => json!({ "grpcStatus": status, "percent": abort.percent.ratio() * 100.0 }),
        AbortWith::Header => json!({ "fromHeader": true, "percent": abort.percent.ratio() * 100.0 }),
    };
    let delay = |delay: &Delay| {
        let fixed = delay.fixed.map(format_duration);
        json!({ "fixed": fixed, "percent": delay.percent.ratio() * 100.0 })
    };
    let names: Vec<&str> = fault.headers.iter().map(|header| &*header.name).collect();
    some(json!({
        "origin": fault.origin.to_string(),
        "mode": mode(fault.mode),
        "scope": if fault.scope == Scope::Attempt { "Attempt" } else { "Request" },
        "headers": (!names.is_empty()).then_some(names),
        "delay": fault.delay.as_ref().map(delay),
        "abort": fault.abort.as_ref().map(abort),
    }))
}

fn answer(answer: &Answer) -> Value {
    match answer {
        Answer::Redirect(redirect) => some(json!({
            "redirect": redirect.status,
            "scheme": redirect.scheme.map(Scheme::as_str),
            "host": redirect.host.as_deref(),
            "port": redirect.port,
            "path": redirect.path.as_ref().map(path),
        })),
        Answer::Direct(direct) => json!({ "status": direct.status, "body": &*direct.body }),
    }
}

fn rewrite(rewrite: &Rewrite) -> Value {
    some(json!({ "host": rewrite.host.as_deref(), "path": rewrite.path.as_ref().map(path) }))
}

fn path(path: &PathRewrite) -> Value {
    match path {
        PathRewrite::Full(full) => json!({ "full": &**full }),
        PathRewrite::Prefix(prefix) => json!({ "prefix": &**prefix }),
    }
}

fn headers(headers: &Headers) -> Option<Value> {
    let fields = |fields: &[HeaderField]| {
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        (!fields.is_empty()).then_some(fields)
    };
    let changes = |changes: &HeaderChanges| {
        let remove = (!changes.remove.is_empty()).then_some(&changes.remove);
        let remove = remove.map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>());
        (!changes.is_empty())
            .then(|| some(json!({ "set": fields(&changes.set), "add": fields(&changes.add), "remove": remove })))
    };
    (!headers.is_empty())
        .then(|| some(json!({ "request": changes(&headers.request), "response": changes(&headers.response) })))
}

fn matches(one: &RouteMatch) -> Value {
    let value = |value: &ValueMatch| match value {
        ValueMatch::Exact(text) => json!({ "exact": &**text }),
        ValueMatch::Regex(pattern) => json!({ "regex": pattern.as_str() }),
        ValueMatch::Present => json!("present"),
    };
    let headers: Map<String, Value> = one.headers.iter().map(|one| (one.name.to_string(), value(&one.value))).collect();
    let query: Map<String, Value> = one.query.iter().map(|one| (one.name.to_string(), value(&one.value))).collect();
    some(json!({
        "path": match &one.path {
            PathMatch::Exact(path) => json!({ "exact": &**path }),
            PathMatch::Prefix(path) => json!({ "prefix": &**path }),
            PathMatch::RawPrefix(path) => json!({ "rawPrefix": &**path }),
            PathMatch::Regex(pattern) => json!({ "regex": pattern.as_str() }),
        },
        "method": one.method.as_deref(),
        "headers": (!headers.is_empty()).then_some(headers),
        "query": (!query.is_empty()).then_some(query),
        "grpc": one.grpc.then_some(true),
    }))
}

fn hash(key: &HashKey) -> String {
    match key {
        HashKey::Header(name) => format!("header {name}"),
        HashKey::Cookie(name) => format!("cookie {name}"),
        HashKey::SourceIp => "source ip".into(),
    }
}

fn timeouts(timeouts: &Timeouts) -> Value {
    some(json!({
        "request": timeouts.request.map(format_duration),
        "perTry": timeouts.per_try.map(format_duration),
        "idle": timeouts.idle.map(format_duration),
    }))
}

fn retry(retry: &Retry) -> Value {
    some(json!({
        "origin": retry.origin.to_string(),
        "mode": mode(retry.mode),
        "attempts": retry.attempts,
        "on": retry.on.iter().map(|condition| condition.token()).collect::<Vec<_>>(),
        "codes": retry.codes,
        "grpcCodes": retry.grpc_codes.iter().collect::<Vec<_>>(),
        "methods": match &retry.methods {
            Methods::Only(methods) => json!(methods.iter().map(ToString::to_string).collect::<Vec<_>>()),
            other => json!(format!("{other:?}").to_lowercase()),
        },
        "perTryTimeout": retry.per_try_timeout.map(format_duration),
        "backoff": { "base": format_duration(retry.backoff.base), "max": format_duration(retry.backoff.max) },
        "bodyLimit": retry.body_limit,
    }))
}

fn rate_limit(limit: &RateLimit) -> Value {
    let rule = |rule: &outrigger_config::policy::RateLimitRule| {
        json!({
            "name": &*rule.name,
            "matches": rule.matches.iter().map(matches).collect::<Vec<_>>(),
            "requests": rule.requests,
            "interval": format_duration(rule.interval),
            "burst": rule.burst,
        })
    };
    json!({
        "origin": limit.origin.to_string(),
        "mode": mode(limit.mode),
        "status": limit.status,
        "rules": limit.rules.iter().map(rule).collect::<Vec<_>>(),
    })
}

fn cluster(cluster: &Cluster) -> Value {
    some(json!({
        "name": cluster.name.as_str(),
        "service": cluster.service.as_ref().map(ToString::to_string),
        "host": &*cluster.host,
        "protocol": match cluster.protocol {
            Protocol::Http1 => "http1",
            Protocol::Http2 => "http2",
            Protocol::Downstream => "as the caller",
        },
        "connectTimeout": format_duration(cluster.connect_timeout),
        "idleTimeout": cluster.idle_timeout.map(format_duration),
        "balancing": balancing(cluster.balancing),
        "balanceFactor": cluster.balance_factor,
        "slowStart": cluster.slow_start.map(|slow| json!({
            "window": format_duration(slow.window),
            "aggression": f64::from(slow.aggression_thousandths) / 1000.0,
            "minPercent": slow.min_weight.ratio() * 100.0,
        })),
        "panicThreshold": cluster.panic_threshold.ratio() * 100.0,
        "limits": cluster.limits.as_ref().map(limits),
        "outlierDetection": cluster.outlier.as_ref().map(outlier),
        "retryBudget": {
            "percent": cluster.budget.percent.ratio() * 100.0,
            "interval": format_duration(cluster.budget.interval),
            "minConcurrent": cluster.budget.min_concurrent,
            "minPerSecond": cluster.budget.min_per_second,
        },
        "endpoints": match &cluster.discovery {
            Discovery::Eds(name) => json!({ "eds": name.as_str() }),
            Discovery::Static(inline) => assignment(inline),
        },
    }))
}

fn balancing(balancing: Balancing) -> Value {
    match balancing {
        Balancing::RoundRobin => json!("RoundRobin"),
        Balancing::LeastRequest => json!("LeastRequest"),
        Balancing::Random => json!("Random"),
        Balancing::ClientSideWeightedRoundRobin(_) => json!("ClientSideWeightedRoundRobin"),
        Balancing::PeakEwma { decay, default_rtt } => {
            json!({ "PeakEwma": { "decay": format_duration(decay), "defaultRtt": format_duration(default_rtt) } })
        }
        Balancing::Maglev { table_size } => json!({ "algorithm": "Maglev", "tableSize": table_size }),
        Balancing::RingHash { min_size, max_size } => {
            json!({ "RingHash": { "minSize": min_size, "maxSize": max_size } })
        }
    }
}

fn limits(limits: &Limits) -> Value {
    some(json!({
        "origin": limits.origin.to_string(),
        "mode": mode(limits.mode),
        "maxConnections": limits.max_connections,
        "maxPendingRequests": limits.max_pending_requests,
        "maxRequests": limits.max_requests,
        "maxRetries": limits.max_retries,
        "perEndpoint": (limits.per_endpoint != PerEndpoint::default()).then(|| some(json!({
            "maxConnections": limits.per_endpoint.max_connections,
            "maxRequests": limits.per_endpoint.max_requests,
        }))),
    }))
}

fn outlier(outlier: &Outlier) -> Value {
    let sample = |part: &mut Value, sample: Sample| {
        part["minRequests"] = sample.min_requests.into();
        part["minEndpoints"] = sample.min_endpoints.into();
        part.take()
    };
    let rate = outlier.success_rate.map(|part| {
        let deviations = f64::from(part.deviation_thousandths) / 1000.0;
        sample(&mut json!({ "mode": mode(part.mode), "deviations": deviations }), part.sample)
    });
    let failures = outlier.failure_percentage.map(|part| {
        let threshold = part.threshold.ratio() * 100.0;
        sample(&mut json!({ "mode": mode(part.mode), "threshold": threshold }), part.sample)
    });
    let latency = outlier.latency.map(|part| {
        let (factor, floor) = (f64::from(part.factor_thousandths) / 1000.0, format_duration(part.floor));
        sample(&mut json!({ "mode": mode(part.mode), "factor": factor, "floor": floor }), part.sample)
    });
    some(json!({
        "origin": outlier.origin.to_string(),
        "mode": mode(outlier.mode),
        "consecutiveErrors": outlier.consecutive_errors,
        "consecutiveGatewayErrors": outlier.consecutive_gateway_errors,
        "consecutiveLocalErrors": outlier.consecutive_local_errors,
        "successRate": rate,
        "failurePercentage": failures,
        "latency": latency,
        "interval": format_duration(outlier.interval),
        "baseEjection": format_duration(outlier.base_ejection),
        "maxEjection": format_duration(outlier.max_ejection),
        "maxJitter": format_duration(outlier.max_jitter),
        "maxPercent": outlier.max_percent.ratio() * 100.0,
        "probeRequests": outlier.probe_requests,
    }))
}

fn assignment(assignment: &Assignment) -> Value {
    let endpoint = |endpoint: &outrigger_config::endpoint::Endpoint| {
        json!({
            "address": endpoint.address.to_string(),
            "weight": endpoint.weight,
            "health": format!("{:?}", endpoint.health),
            "priority": endpoint.priority,
            "workload": &*endpoint.workload,
            "version": &*endpoint.version,
        })
    };
    json!({
        "name": assignment.name.as_str(),
        "endpoints": assignment.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
    })
}

fn mode(mode: Mode) -> &'static str {
    if mode.enforces() { "Enforce" } else { "Observe" }
}

/// Without the fields that are not set.
fn some(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, field| !field.is_null());
    }
    value
}

/// For the tests and the page of clusters: seconds with milliseconds.
pub(super) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}
