//! Envoy as a client of a control plane, ours or the tests' own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::ports;
use crate::process::Process;

/// A running Envoy that knows nothing but who it is and where its control plane is.
pub fn start(envoy: &Path, folder: &Path, workload: &str, api_type: &str, xds: SocketAddr) -> Process {
    let bootstrap = format!(
        "
node: {{ id: shop/{workload}, cluster: {workload} }}
admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {admin} }} }} }}
dynamic_resources:
  ads_config:
    api_type: {api_type}
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
    );
    let file = folder.join("bootstrap.yaml");
    std::fs::write(&file, bootstrap).expect("a file can be written");
    let mut command = Command::new(envoy);
    // One worker: with more of them Envoy's own limits are not exact.
    command.arg("-c").arg(file).args(["--concurrency", "1", "--disable-hot-restart", "-l", "warning"]);
    Process::start("envoy", &mut command)
}
