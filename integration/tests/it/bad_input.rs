//! Bad input: one line that says what to do, exit code 2; and of documents every problem at once, with nothing applied.

use std::ffi::OsString;

use outrigger_integration::control_plane::ControlPlane;
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{CALLER, Mesh, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::process::{Ended, Process};
use outrigger_integration::proxy::Start;
use outrigger_integration::{binaries, ports, proxy};

#[track_caller]
fn is_one_line(ended: &Ended, with: &str) {
    assert_eq!(ended.code, Some(2), "{:?}", ended.lines);
    assert_eq!(ended.lines.len(), 1, "{:#?}", ended.lines);
    assert!(ended.lines[0].contains(with), "{:?} does not say {with:?}", ended.lines[0]);
}

fn arguments(line: &str) -> Vec<OsString> {
    line.split(' ').map(OsString::from).collect()
}

#[tokio::test]
async fn a_proxy_with_bad_flags_says_what_to_do() {
    let cases = [
        ("--no-such-flag", "--no-such-flag"),
        ("--config /no/such/file.yaml", "/no/such/file.yaml"),
        ("--xds nonsense --node-id shop/web", "nonsense"),
        ("--xds 127.0.0.1:15012 --node-id shop/web --drain-timeout soon", "soon"),
        ("--xds 127.0.0.1:15012 --node-id shop/web --workers 0", "workers"),
        ("--xds 127.0.0.1:15012 --node-id Not_A_Name!", "Not_A_Name!"),
        ("--xds 10.1.2.3:15012 --node-id shop/web", "loopback"),
        ("--node-id shop/web", "--config"),
    ];
    for (line, with) in cases {
        is_one_line(&proxy::refused(arguments(line)).await, with);
    }
}

#[tokio::test]
async fn a_proxy_with_a_bad_sampler_says_what_to_do() {
    let cases: [(&[(&str, &str)], &str); 2] = [
        (&[("OTEL_TRACES_SAMPLER", "sometimes")], "use always_on, always_off or traceidratio"),
        (&[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "50%")], "between 0 and 1"),
    ];
    for (variables, with) in cases {
        let start = Start::steered(ports::free(), CALLER);
        let start = variables.iter().fold(start, |start, (name, value)| start.env(name, value));
        is_one_line(&start.start().ended().await, with);
    }
}

#[tokio::test]
async fn a_control_plane_with_bad_flags_says_what_to_do() {
    let cases = [
        ("--no-such-flag", "--no-such-flag"),
        ("--documents /no/such/folder --store /no/such/store.redb", "/no/such"),
        ("--xds nonsense", "nonsense"),
    ];
    for (line, with) in cases {
        is_one_line(&Process::run(binaries::control_plane(), arguments(line)).await, with);
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = ports::free();
    let _holder = std::net::TcpListener::bind(taken).unwrap();
    let line = format!("--xds 127.0.0.1:15012 --node-id shop/web --admin {taken}");
    is_one_line(&proxy::refused(arguments(&line)).await, &taken.to_string());

    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store.redb");
    let line = format!(
        "--documents {} --store {} --api {taken} --xds {}",
        folder.path().display(),
        store.display(),
        ports::free()
    );
    is_one_line(&Process::run(binaries::control_plane(), arguments(&line)).await, &taken.to_string());
}

#[tokio::test]
async fn a_listener_port_in_use_is_named() {
    let origin = Origin::start().await;
    let documents = small("http", &[origin.address()]);
    let _holder = std::net::TcpListener::bind(documents.outbound(CALLER)).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), documents.text()).unwrap();
    let line = format!("--config {} --node-id shop/web --admin {}", file.path().display(), ports::free());
    let ended = proxy::refused(arguments(&line)).await;
    assert_eq!(ended.code, Some(2), "{:?}", ended.lines);
    assert!(ended.lines.last().unwrap().contains(&documents.outbound(CALLER).to_string()), "{:?}", ended.lines);
}

#[tokio::test]
async fn a_bad_document_stops_a_standalone_proxy_with_its_place() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: { name: a }\nspec: { prts: [] }\n",
    )
    .unwrap();
    let line = format!("--config {}", file.path().display());
    let ended = proxy::refused(arguments(&line)).await;
    assert_eq!(ended.code, Some(2), "{:?}", ended.lines);
    let said = ended.lines.join("\n");
    assert!(said.contains(":4:") && said.contains("prts") && said.contains("ORG003"), "{said}");
}

/// Documents that must be refused, and what must be said of them.
fn wrong() -> Vec<(&'static str, String, Vec<&'static str>)> {
    let two_wrongs = "
apiVersion: outrigger.dev/v1alpha1
kind: Service
metadata: { name: cart, namespace: shop }
spec: { selector: { app: cart }, ports: [{ name: http, port: 99999 }] }
---
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: { name: cart-1, namespace: shop }
spec: { address: not-an-address }";
    let route = |rules: &str| Documents::bare().route("catalog", rules).text().to_owned();
    vec![
        ("not YAML", "a: [".to_owned(), vec!["ORG001"]),
        ("two wrongs", two_wrongs.to_owned(), vec!["99999", "not-an-address"]),
        ("a dangling reference", route("- backendRefs: [{ name: nobody, port: 80 }]"), vec!["ORG007", "nobody"]),
        ("weights of zero", route("- backendRefs: [{ name: catalog, port: 80, weight: 0 }]"), vec!["ORG010"]),
        (
            "a timeout inside a shorter one",
            route("- { timeouts: { request: 1s, backendRequest: 2s }, backendRefs: [{ name: catalog, port: 80 }] }"),
            vec!["ORG011"],
        ),
        (
            "a duration out of range",
            Documents::bare().backend_policy("catalog", "timeouts: { connect: 99999999h }").text().to_owned(),
            vec!["ORG006", "99999999h"],
        ),
        (
            "a feature of another version",
            route("- { filters: [{ type: ExternalAuth }], backendRefs: [{ name: catalog, port: 80 }] }"),
            vec!["ORG015", "ExternalAuth"],
        ),
        ("deep nesting", format!("a: {}1{}", "[".repeat(10_000), "]".repeat(10_000)), vec!["ORG001"]),
        ("deep nesting without brackets", "- ".repeat(200) + "1", vec!["ORG001"]),
    ]
}

#[tokio::test]
async fn bad_documents_are_refused_whole_and_traffic_goes_on() {
    let origin = Origin::start().await;
    let mut mesh = Mesh::steered(small("http", &[origin.address()])).await;
    let before = mesh.control_plane().get("/api/v1/documents").await.text();
    for (what, document, says) in wrong() {
        let reply = mesh.control_plane().try_apply(&document).await;
        assert_eq!(reply.status, 422, "{what}: {}", reply.text());
        for word in says {
            assert!(reply.text().contains(word), "{what} does not say {word}: {}", reply.text());
        }
    }
    assert_eq!(mesh.control_plane().get("/api/v1/documents").await.text(), before, "nothing was applied");
    assert_eq!(mesh.get("/").await.status, 200);
}

#[tokio::test]
async fn ten_megabytes_are_refused_and_nothing_breaks() {
    let control_plane = ControlPlane::start().await;
    let line = "# a comment that goes on and on and on and on and on and on\n";
    let reply = control_plane.try_apply(&line.repeat(10_000_000 / line.len())).await;
    assert!(matches!(reply.status, 413 | 422), "{}", reply.status);
    assert!(!reply.text().is_empty());
    let bomb = format!("a: &a [x]\nb: &b [{0}]\nc: [{1}]", "*a,".repeat(100), "*b,".repeat(100));
    assert_eq!(control_plane.try_apply(&bomb).await.status, 422);
    assert_eq!(control_plane.get("/readyz").await.status, 200);
}
