//! The admin port: what it shows, and that only a POST changes anything.

use std::path::Path;
use std::process::{Command, Stdio};

use outrigger_integration::client::{Reply, get};
use outrigger_integration::mesh::{CALLER, Mesh, small};
use outrigger_integration::origin::Origin;
use outrigger_integration::{peers, wait};

async fn used() -> (Origin, Mesh) {
    let origin = Origin::start().await;
    let mesh = Mesh::of("http", &[origin.address()]).await;
    mesh.many("/", 5).await;
    mesh.get("/status/503").await;
    (origin, mesh)
}

#[tokio::test]
async fn health_is_two_questions() {
    let (_origin, mut mesh) = used().await;
    assert_eq!(mesh.caller().admin("/ready").await.status, 200);
    assert_eq!(mesh.caller().admin("/live").await.status, 200);
    assert_eq!(mesh.caller().admin("/nothing").await.status, 404);
}

#[tokio::test]
async fn the_configuration_that_serves_can_be_read() {
    let (origin, mut mesh) = used().await;
    let dump = mesh.caller().admin_json("/config_dump").await.to_string();
    for part in ["shop/catalog/http", &origin.address().port().to_string(), "outbound/shop"] {
        assert!(dump.contains(part), "{part} is missing: {dump}");
    }
    let clusters = mesh.caller().admin("/clusters").await.text();
    assert!(clusters.contains(&origin.address().to_string()), "{clusters}");
}

#[tokio::test]
async fn only_a_post_changes_anything() {
    let (_origin, mut mesh) = used().await;
    for path in ["/drain", "/logging?filter=debug"] {
        assert_eq!(mesh.caller().admin(path).await.status, 405, "{path}");
    }
    assert_eq!(mesh.caller().admin_post("/ready").await.status, 405);
    assert_eq!(mesh.caller().admin("/ready").await.status, 200);
}

#[tokio::test]
async fn the_log_level_changes_while_it_runs() {
    let (_origin, mut mesh) = used().await;
    assert_eq!(mesh.caller().admin_post("/logging?filter=trace").await.status, 200);
    mesh.http2().await.send(get("catalog", "/")).await;
    wait::holds("a line below info", || {
        mesh.caller().process().lines().iter().any(|line| line.contains("TRACE") || line.contains("DEBUG"))
    })
    .await;
    assert_eq!(mesh.caller().admin_post("/logging?filter=%5B%5Bnonsense").await.status, 400);
}

#[tokio::test]
async fn requests_are_counted_by_what_became_of_them() {
    let (_origin, mut mesh) = used().await;
    let good = mesh.caller().metric("outrigger_requests_total", &["dst_service=\"catalog\"", "code=\"200\""]).await;
    let bad = mesh.caller().metric("outrigger_requests_total", &["dst_service=\"catalog\"", "code=\"503\""]).await;
    assert_eq!((good, bad), (5.0, 1.0));
    let seconds = mesh.caller().metric("outrigger_request_duration_seconds_count", &["dst_service=\"catalog\""]).await;
    assert_eq!(seconds, 6.0);
}

#[tokio::test]
async fn attempts_connections_and_callers_are_counted() {
    let (_origin, mut mesh) = used().await;
    let proxy = mesh.caller();
    let catalog = "dst_service=\"catalog\"";
    for (outcome, count) in [("success", 5.0), ("failure", 1.0), ("aborted", 0.0)] {
        let outcome = format!("outcome=\"{outcome}\"");
        assert_eq!(proxy.metric("outrigger_attempts_total", &[catalog, &outcome]).await, count, "{outcome}");
    }
    assert!(proxy.metric("outrigger_pool_wait_seconds_count", &[catalog]).await >= 1.0, "the first has no connection");
    assert!(proxy.metric("outrigger_detect_seconds_count", &["protocol=\"http1\""]).await >= 1.0);
}

/// Holds metrics to what promtool asks of names, types, help and format.
fn is_accepted(promtool: &Path, metrics: &Reply) {
    assert!(metrics.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &metrics.body).unwrap();
    let input = Stdio::from(std::fs::File::open(file.path()).unwrap());
    let output = Command::new(promtool).args(["check", "metrics"]).stdin(input).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}\n{}", metrics.text());
}

#[tokio::test]
async fn promtool_accepts_the_metrics_of_a_proxy() {
    let Some(promtool) = peers::promtool() else { return };
    let (_origin, mut mesh) = used().await;
    is_accepted(&promtool, &mesh.caller().admin("/metrics").await);
}

#[tokio::test]
async fn promtool_accepts_the_metrics_of_a_control_plane() {
    let Some(promtool) = peers::promtool() else { return };
    let origin = Origin::start().await;
    let mut mesh = Mesh::steered(small("http", &[origin.address()])).await;
    mesh.control_plane().synced(CALLER).await;
    is_accepted(&promtool, &mesh.control_plane().get("/metrics").await);
}
