//! Destinations, their policies, and their endpoints.

use outrigger_config::cluster::{Balancing, Cluster, Discovery, Protocol, Rehearsed};
use outrigger_config::endpoint::Assignment;
use outrigger_config::policy::health_check::{Probe, StatusRange};
use outrigger_config::policy::{AdmissionControl, HealthCheck, Limits, Outlier, PerEndpoint, Priority, Sample};
use outrigger_config::subset::{Fallback, Keys, Known, PlaceWeights, Selector, Subsets};
use outrigger_config::value::format_duration;
use serde_json::{Map, Value, json};

use super::{mode, some};

pub(super) fn cluster(cluster: &Cluster) -> Value {
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
        "subsets": cluster.subsets.as_ref().map(subsets),
        "panicThreshold": cluster.panic_threshold.ratio() * 100.0,
        "limits": cluster.limits.as_ref().map(limits),
        "admissionControl": cluster.admission.as_ref().map(admission),
        "outlierDetection": cluster.outlier.as_ref().map(outlier),
        "healthCheck": cluster.health_check.as_ref().map(health_check),
        "rehearsed": rehearsed(&cluster.rehearsed),
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

fn rehearsed(one: &Rehearsed) -> Option<Value> {
    (*one != Rehearsed::default()).then(|| {
        some(json!({
            "limits": one.limits.as_ref().map(limits),
            "outlierDetection": one.outlier.as_ref().map(outlier),
            "healthCheck": one.health_check.as_ref().map(health_check),
            "admissionControl": one.admission.as_ref().map(admission),
        }))
    })
}

fn health_check(check: &HealthCheck) -> Value {
    let ranges = |ranges: &[StatusRange]| {
        ranges.iter().map(|range| format!("{}-{}", range.first, range.last)).collect::<Vec<_>>()
    };
    let (kind, probe) = match &check.probe {
        Probe::Http(http) => (
            "http",
            json!({
                "path": &*http.path,
                "host": &*http.host,
                "http2": http.http2,
                "statuses": ranges(&http.statuses),
                "tolerated": ranges(&http.tolerated),
            }),
        ),
        Probe::Grpc { service, authority } => ("grpc", json!({ "service": &**service, "authority": &**authority })),
        Probe::Tcp => ("tcp", json!({})),
    };
    json!({
        "origin": check.origin.to_string(),
        "mode": mode(check.mode),
        kind: probe,
        "interval": format_duration(check.interval),
        "timeout": format_duration(check.timeout),
        "jitter": format_duration(check.jitter),
        "unhealthyThreshold": check.unhealthy_threshold,
        "healthyThreshold": check.healthy_threshold,
        "port": check.port,
    })
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

fn subsets(subsets: &Subsets) -> Value {
    let keys = |keys: &Keys| keys.iter().map(|key| key.to_string()).collect::<Vec<_>>();
    let fallback = |fallback: &Fallback| match fallback {
        Fallback::Nobody => json!("NoFallback"),
        Fallback::Any => json!("AnyEndpoint"),
        Fallback::Default => json!("DefaultSubset"),
        Fallback::Fewer(fewer) => json!({ "KeysSubset": keys(fewer) }),
    };
    let selector = |selector: &Selector| {
        some(json!({ "keys": keys(&selector.keys), "fallback": selector.fallback.as_ref().map(fallback) }))
    };
    some(json!({
        "selectors": subsets.selectors.iter().map(selector).collect::<Vec<_>>(),
        "fallback": fallback(&subsets.fallback),
        "defaultSubset": (!subsets.default.is_empty()).then(|| subsets.default.to_string()),
        "panicAny": subsets.panic_any.then_some(true),
        "listAsAny": subsets.lists.then_some(true),
        "localityWeights": match subsets.places {
            PlaceWeights::Ignored => None,
            PlaceWeights::Whole => Some("Whole"),
            PlaceWeights::Scaled => Some("Scaled"),
        },
    }))
}

fn admission(policy: &AdmissionControl) -> Value {
    json!({
        "origin": policy.origin.to_string(),
        "mode": mode(policy.mode),
        "successThreshold": policy.success_threshold.ratio() * 100.0,
        "aggression": f64::from(policy.aggression_thousandths) / 1000.0,
        "maxRejectPercent": policy.max_rejection.ratio() * 100.0,
        "minRequestsPerSecond": policy.min_per_second,
        "window": format_duration(policy.window),
    })
}

fn limits(limits: &Limits) -> Value {
    some(json!({
        "origin": limits.origin.to_string(),
        "mode": mode(limits.mode),
        "maxConnections": limits.max_connections,
        "maxPendingRequests": limits.max_pending_requests,
        "maxRequests": limits.max_requests,
        "maxRetries": limits.max_retries,
        "high": (limits.high != limits.of(Priority::Default)).then(|| some(json!({
            "maxConnections": limits.high.max_connections,
            "maxPendingRequests": limits.high.max_pending_requests,
            "maxRequests": limits.high.max_requests,
            "maxRetries": limits.high.max_retries,
        }))),
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

pub(super) fn assignment(assignment: &Assignment) -> Value {
    let endpoint = |endpoint: &outrigger_config::endpoint::Endpoint| {
        let known = |known: &Known| match known {
            Known::One(value) => json!(value.to_string()),
            Known::Several(values) => json!(values.iter().map(ToString::to_string).collect::<Vec<_>>()),
        };
        let metadata = endpoint.metadata.iter().map(|(key, value)| (key.to_string(), known(value)));
        some(json!({
            "address": endpoint.address.to_string(),
            "weight": endpoint.weight,
            "health": format!("{:?}", endpoint.health),
            "priority": endpoint.priority,
            "workload": &*endpoint.workload,
            "version": &*endpoint.version,
            "metadata": (!endpoint.metadata.is_empty()).then(|| metadata.collect::<Map<_, _>>()),
        }))
    };
    json!({
        "name": assignment.name.as_str(),
        "endpoints": assignment.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
    })
}
