//! rotel, an independent receiver of OTLP, takes our spans over both transports and prints what they say.

use std::process::Command;

use outrigger_integration::client::get;
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{CALLER, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::process::Process;
use outrigger_integration::proxy::Start;
use outrigger_integration::{client::Client, peers, ports, wait};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

async fn receives(protocol: &str) {
    let Some(rotel) = peers::rotel() else { return };
    let (grpc, http) = (ports::free(), ports::free());
    let mut command = Command::new(rotel);
    command.args(["start", "--otlp-grpc-endpoint", &grpc.to_string(), "--otlp-http-endpoint", &http.to_string()]);
    command.args(["--exporter", "blackhole", "--debug-log", "traces", "--debug-log-verbosity", "detailed"]);
    let rotel = Process::start("rotel", &mut command);
    for address in [grpc, http] {
        wait::until("rotel to listen", async || tokio::net::TcpStream::connect(address).await.ok()).await;
    }
    let endpoint = if protocol == "grpc" { grpc } else { http };
    let origin = Origin::start().await;
    let documents: Documents = small("http", &[origin.address()]);
    let _proxy = Start::standalone(&documents, CALLER)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{endpoint}"))
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        .env("OTEL_BSP_SCHEDULE_DELAY", "200")
        .ready()
        .await;
    let ask = get("catalog", "/status/503").with("traceparent", &format!("00-{TRACE}-00f067aa0ba902b7-01"));
    Client::http1(documents.outbound(CALLER)).await.send(ask).await;
    wait::holds("rotel to print the span", || rotel.said(TRACE)).await;
    for said in [
        "00f067aa0ba902b7",
        "service.name",
        "web",
        "http.request.method",
        "http.response.status_code",
        "503",
        "server.address",
        "catalog",
    ] {
        wait::holds(&format!("rotel to print {said}"), || rotel.said(said)).await;
    }
}

#[tokio::test]
async fn over_grpc() {
    receives("grpc").await;
}

#[tokio::test]
async fn over_http() {
    receives("http/protobuf").await;
}
