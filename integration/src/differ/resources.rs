//! A case as xDS resources, in Envoy's JSON: a listener, a table of routes, clusters. Both sides get the same, but for
//! the port that the listener is on.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::case::{Case, Endpoint, merge};

/// What every message in an `Any` begins with.
const PREFIX: &str = "type.googleapis.com/";

fn typed(name: &str, mut value: Value) -> Value {
    value["@type"] = format!("{PREFIX}{name}").into();
    value
}

/// The listener of a case at `port`.
pub fn listener(case: &Case, port: u16) -> Value {
    let filter = |name: &str, config: Value| json!({ "name": name, "typed_config": config });
    let mut manager = json!({
        "stat_prefix": case.id,
        "rds": {
            "route_config_name": case.id,
            "config_source": { "ads": {}, "resource_api_version": "V3" },
        },
        "normalize_path": true,
        // Idle here, switched on by routes.
        "http_filters": [
            filter("envoy.filters.http.local_ratelimit", typed(
                "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
                json!({ "stat_prefix": "limit" }),
            )),
            filter("envoy.filters.http.fault", typed("envoy.extensions.filters.http.fault.v3.HTTPFault", json!({}))),
            filter("envoy.filters.http.router", typed("envoy.extensions.filters.http.router.v3.Router", json!({}))),
        ],
    });
    if let Value::Object(manager) = &mut manager {
        merge(manager, &case.manager);
    }
    let name = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let chain = json!({ "filters": [filter("envoy.filters.network.http_connection_manager", typed(name, manager))] });
    typed(
        "envoy.config.listener.v3.Listener",
        json!({
            "name": case.id,
            "address": socket(SocketAddr::from(([127, 0, 0, 1], port))),
            "filter_chains": [chain],
        }),
    )
}

/// The table of a case.
pub fn table(case: &Case) -> Value {
    let hosts = if case.hosts.is_empty() {
        vec![json!({ "name": "all", "domains": ["*"], "routes": routes(case) })]
    } else {
        case.hosts.clone()
    };
    let mut table = json!({ "name": case.id, "virtual_hosts": hosts });
    if let Value::Object(table) = &mut table {
        merge(table, &case.table);
    }
    typed("envoy.config.route.v3.RouteConfiguration", table)
}

fn routes(case: &Case) -> Vec<Value> {
    if !case.routes.is_empty() {
        return case.routes.clone();
    }
    let mut route = case.route.clone();
    route.entry("match").or_insert(json!({ "prefix": "/" }));
    let answers = ["redirect", "direct_response"].iter().any(|action| route.contains_key(*action));
    if !answers {
        let mut action = Map::new();
        let chooses = ["cluster", "weighted_clusters"].iter().any(|field| case.action.contains_key(*field));
        if !chooses {
            action.insert("cluster".to_owned(), case.id.as_str().into());
        }
        merge(&mut action, &case.action);
        route.insert("route".to_owned(), action.into());
    }
    vec![route.into()]
}

/// The clusters of a case: `$id`, and `$id-NAME` for each further one. `endpoint` knows where each endpoint is.
pub fn clusters(case: &Case, endpoint: impl Fn(&str) -> SocketAddr) -> Vec<Value> {
    let one = |name: String, endpoints: &[Endpoint], speaks: &str, more: &Map<String, Value>| {
        let mut cluster = json!({
            "name": name,
            "type": "STATIC",
            "connect_timeout": "5s",
            "lb_policy": "ROUND_ROBIN",
            "load_assignment": { "cluster_name": name, "endpoints": localities(endpoints, &endpoint) },
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    spoken(speaks),
                ),
            },
        });
        if let Value::Object(cluster) = &mut cluster {
            merge(cluster, more);
        }
        typed("envoy.config.cluster.v3.Cluster", cluster)
    };
    let mut clusters = vec![one(case.id.clone(), &case.endpoints, &case.speaks, &case.cluster)];
    for (name, more) in &case.clusters {
        let mut more = more.clone();
        let endpoints = match more.remove("endpoints") {
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => vec![name.clone()],
        };
        let endpoints: Vec<Endpoint> = endpoints.into_iter().map(Endpoint::Plain).collect();
        clusters.push(one(format!("{}-{name}", case.id), &endpoints, "", &more));
    }
    clusters
}

/// The endpoints of a cluster, those of each priority together.
fn localities(endpoints: &[Endpoint], address: impl Fn(&str) -> SocketAddr) -> Vec<Value> {
    let mut by_priority: BTreeMap<u32, Vec<Value>> = BTreeMap::new();
    for endpoint in endpoints {
        let nothing = Map::new();
        let (at, weight, health, priority, known) = match endpoint {
            Endpoint::Plain(at) => (at, 1, "HEALTHY", 0, &nothing),
            Endpoint::Told { at, weight, health, priority, known } => (at, *weight, health.as_str(), *priority, known),
        };
        let one = json!({
            "metadata": { "filter_metadata": { "envoy.lb": known } },
            "endpoint": { "address": socket(address(at)) },
            "health_status": health,
            "load_balancing_weight": weight,
        });
        by_priority.entry(priority).or_default().push(one);
    }
    let locality = |(priority, endpoints)| json!({ "priority": priority, "lb_endpoints": endpoints });
    by_priority.into_iter().map(locality).collect()
}

fn spoken(protocol: &str) -> Value {
    match protocol {
        "" => json!({ "use_downstream_protocol_config": { "http2_protocol_options": {} } }),
        "h1" => json!({ "explicit_http_config": { "http_protocol_options": {} } }),
        "h2" => json!({ "explicit_http_config": { "http2_protocol_options": {} } }),
        other => panic!("{other:?} is no protocol"),
    }
}

fn socket(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}
