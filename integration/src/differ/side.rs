//! The two that are compared: each a process that gets every case's resources from a control plane of its own, and a
//! port for each case.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use outrigger_config::resource::ResourceType;
use outrigger_config::xds;

use super::case::Case;
use super::encode::encode;
use super::resources;
use super::upstream::Upstream;
use crate::ads::{Ads, Sets};
use crate::ports;
use crate::process::Process;
use crate::proxy::{Proxy, Start};

/// A running Envoy or proxy of ours.
#[derive(Debug)]
pub struct Side {
    /// The port of each case, by the case's id.
    pub ports: BTreeMap<String, SocketAddr>,
    /// Which cases it would refuse the resources of, and why.
    pub refused: BTreeMap<String, String>,
    _ads: Ads,
    _runs: Runs,
}

#[derive(Debug)]
enum Runs {
    Envoy { _process: Process, _folder: tempfile::TempDir },
    Ours { _proxy: Proxy },
}

/// Every case's resources, as bytes: the same for both sides but for the listeners' ports.
#[derive(Debug)]
pub struct Given {
    shared: Vec<(String, ResourceType, String, Bytes)>,
    envoy: Listeners,
    ours: Listeners,
}

/// Each case's id, port and listener.
type Listeners = Vec<(String, SocketAddr, Bytes)>;

impl Given {
    /// Makes them.
    pub fn new(python: &Path, cases: &[Case], upstream: &Upstream) -> Given {
        let (mut messages, mut names) = (Vec::new(), Vec::new());
        for case in cases {
            names.push((case.id.clone(), ResourceType::Table));
            messages.push(resources::table(case));
            for cluster in resources::clusters(case, |endpoint| upstream.endpoint(endpoint)) {
                names.push((case.id.clone(), ResourceType::Cluster));
                messages.push(cluster);
            }
        }
        let shared = messages.len();
        let ports: Vec<_> = cases.iter().chain(cases).map(|_| ports::free()).collect();
        messages
            .extend(cases.iter().chain(cases).zip(&ports).map(|(case, port)| resources::listener(case, port.port())));
        let encoded = encode(python, &messages);
        let named = names.into_iter().zip(&messages).zip(&encoded);
        let name = |message: &serde_json::Value| message["name"].as_str().unwrap_or_default().to_owned();
        let mut listeners = cases.iter().chain(cases).zip(ports).zip(&encoded[shared..]);
        let mut take = || -> Listeners {
            let some = listeners.by_ref().take(cases.len());
            some.map(|((case, port), bytes)| (case.id.clone(), port, bytes.clone())).collect()
        };
        let (envoy, ours) = (take(), take());
        let shared = named.map(|(((id, kind), message), bytes)| (id, kind, name(message), bytes.clone())).collect();
        Given { shared, envoy, ours }
    }

    fn sets(&self, listeners: &Listeners, without: &BTreeMap<String, String>) -> Sets {
        let mut sets = Sets::new();
        for (id, kind, name, bytes) in &self.shared {
            if !without.contains_key(id) {
                sets.entry(*kind).or_default().push((name.clone(), bytes.clone()));
            }
        }
        for (id, _, bytes) in listeners {
            if !without.contains_key(id) {
                sets.entry(ResourceType::Listener).or_default().push((id.clone(), bytes.clone()));
            }
        }
        sets
    }

    /// What our proxy would refuse, by case; those cases are compared by that alone.
    fn refused(&self) -> BTreeMap<String, String> {
        let listeners = self.ours.iter().map(|(id, _, bytes)| (id, &ResourceType::Listener, bytes));
        let shared = self.shared.iter().map(|(id, kind, _, bytes)| (id, kind, bytes));
        let judged = shared.chain(listeners).filter_map(|(id, kind, bytes)| {
            let problem = xds::decode(*kind, bytes).err()?;
            Some((id.clone(), format!("{}: {}", problem.path, problem.reason)))
        });
        judged.collect()
    }
}

fn ports_of(listeners: &Listeners) -> BTreeMap<String, SocketAddr> {
    listeners.iter().map(|(id, port, _)| (id.clone(), *port)).collect()
}

/// Starts Envoy and waits until it has taken everything.
pub async fn envoy(envoy: &Path, given: &Given) -> Side {
    let none = BTreeMap::new();
    let ads = Ads::start(given.sets(&given.envoy, &none)).await;
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("bootstrap.yaml");
    std::fs::write(&file, bootstrap(ads.address())).expect("a file can be written");
    let mut command = Command::new(envoy);
    // One worker: with more of them Envoy's own limits are not exact.
    command.arg("-c").arg(&file).args(["--concurrency", "1", "--disable-hot-restart", "-l", "warning"]);
    let process = Process::start("envoy", &mut command);
    for kind in [ResourceType::Cluster, ResourceType::Listener, ResourceType::Table] {
        let verdict = ads.verdict(kind, 1).await;
        assert_eq!(verdict.error, None, "Envoy refuses a {}", kind.short());
    }
    let runs = Runs::Envoy { _process: process, _folder: folder };
    Side { ports: ports_of(&given.envoy), refused: none, _ads: ads, _runs: runs }
}

/// Starts our proxy, with one worker as well, and waits until it is ready.
pub async fn ours(given: &Given) -> Side {
    let refused = given.refused();
    let ads = Ads::start(given.sets(&given.ours, &refused)).await;
    let proxy = Start::steered_alone(ads.address(), "web").ready().await;
    Side { ports: ports_of(&given.ours), refused, _ads: ads, _runs: Runs::Ours { _proxy: proxy } }
}

fn bootstrap(xds: SocketAddr) -> String {
    format!(
        "
node: {{ id: shop/web, cluster: web }}
admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {admin} }} }} }}
dynamic_resources:
  ads_config:
    api_type: GRPC
    transport_api_version: V3
    set_node_on_first_message_only: true
    grpc_services: [{{ envoy_grpc: {{ cluster_name: control-plane }} }}]
  lds_config: {{ ads: {{}}, resource_api_version: V3 }}
  cds_config: {{ ads: {{}}, resource_api_version: V3 }}
static_resources:
  clusters:
  - name: control-plane
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment:
      cluster_name: control-plane
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }} }}] }}]
",
        admin = ports::free().port(),
        port = xds.port(),
    )
}
