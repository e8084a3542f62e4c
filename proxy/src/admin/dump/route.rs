//! Tables, routes and their policies.

use outrigger_config::header::{HeaderChanges, HeaderField, Headers};
use outrigger_config::matching::{PathMatch, RouteMatch, ValueMatch};
use outrigger_config::policy::fault::{Abort, AbortWith, Delay, Scope};
use outrigger_config::policy::rate_limit as limits;
use outrigger_config::policy::{Fault, Methods, Per, RateLimit, Retry, Timeouts};
use outrigger_config::rewrite::{Answer, PathRewrite, Rewrite, Scheme};
use outrigger_config::route::{Backend, HashKey, Mirror, Rehearsed, Route, RouteTable, VirtualHost};
use outrigger_config::value::format_duration;
use serde_json::{Map, Value, json};

use super::{mode, some};
use crate::admin::cache::cache;

pub(super) fn table(table: &RouteTable) -> Value {
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
        some(json!({
            "cluster": one.cluster.as_str(),
            "weight": one.weight,
            "subset": (!one.subset.is_empty()).then(|| one.subset.to_string()),
            "headers": headers(&one.headers),
        }))
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
        "cache": route.cache.as_ref().map(cache),
        "rehearsed": rehearsed(&route.rehearsed),
        "hash": (!route.hash.is_empty()).then(|| route.hash.iter().map(hash).collect::<Vec<_>>()),
    }))
}

fn rehearsed(one: &Rehearsed) -> Option<Value> {
    (*one != Rehearsed::default()).then(|| {
        some(json!({
            "retry": one.retry.as_ref().map(retry),
            "fault": one.fault.as_ref().map(fault),
            "rateLimit": one.rate_limit.as_ref().map(rate_limit),
            "cache": one.cache.as_ref().map(cache),
        }))
    })
}

fn mirror(mirror: &Mirror) -> Value {
    some(json!({
        "cluster": mirror.cluster.as_str(),
        "percent": mirror.percent.ratio() * 100.0,
        "subset": (!mirror.subset.is_empty()).then(|| mirror.subset.to_string()),
    }))
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
        "throttle": fault.throttle.map(|throttle| json!({
            "kibPerSecond": throttle.kib_per_second, "percent": throttle.percent.ratio() * 100.0,
        })),
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
            PathMatch::Template(template) => json!({ "template": template.as_str() }),
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
        "stream": timeouts.stream.map(format_duration),
        "grpcMax": timeouts.grpc_max.map(format_duration),
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
            "per": match &rule.per {
                Per::Total => json!("total"),
                Per::SourceWorkload => json!("source workload"),
                Per::SourceIp => json!("source IP"),
                Per::Header(name) => json!(format!("header {name}")),
            },
            "scope": match rule.scope {
                limits::Scope::Proxy => "proxy",
                limits::Scope::Global => "global",
                limits::Scope::Leased => "leased",
            },
            "maxKeys": Some(rule.max_keys).filter(|_| rule.per != Per::Total),
        })
    };
    json!({
        "origin": limit.origin.to_string(),
        "mode": mode(limit.mode),
        "status": limit.status,
        "timeout": format_duration(limit.global.timeout),
        "onError": format!("{:?}", limit.global.on_error).to_lowercase(),
        "rules": limit.rules.iter().map(rule).collect::<Vec<_>>(),
    })
}
