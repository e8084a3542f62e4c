//! The command line against a real control plane: what it prints and its exit codes.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::otlp::{a_trace, an_edge, send_metrics, send_trace};
use super::plane::{Output, Plane, SHOP, a_proxy_that_refuses, run, soon};

fn path(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

/// The output without what differs from run to run.
fn stable(output: &Output, plane: &Plane) -> String {
    let all = format!("exit code {}\n--- stdout\n{}--- stderr\n{}", output.code, output.out, output.err);
    all.replace(&plane.api().to_string(), "API").replace(path(plane.directory.path()), "DIR")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_come_and_go() {
    let plane = Plane::start().await;
    let file = plane.directory.path().join("shop.yaml");
    fs::write(&file, SHOP).expect("writes");
    let mut said = String::new();
    for arguments in [
        &["apply", "-f", path(&file), "--dry-run"][..],
        &["apply", "-f", path(&file)],
        &["apply", "-f", path(&file), "-o", "json"],
        &["get"],
        &["get", "service"],
        &["get", "workload", "catalog-1", "-o", "yaml"],
        &["get", "workload", "shop/catalog-1", "-o", "json"],
        &["get", "service", "nothing"],
        &["get", "pods"],
        &["delete", "service", "nothing"],
        &["delete", "httproute", "catalog", "-n", "shop", "-o", "json"],
        &["delete", "-f", path(&file)],
        &["apply", "-f", path(&file)],
        &["delete", "-f", path(&file)],
        &["get"],
    ] {
        let shown = arguments.join(" ").replace(path(plane.directory.path()), "DIR");
        let output = plane.cli(arguments).await;
        said.push_str(&format!("$ outrigger {shown}\n{}\n", stable(&output, &plane)));
    }
    insta::assert_snapshot!(said);
    plane.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_get_prints_apply_reads_back() {
    let plane = Plane::start().await;
    let file = plane.directory.path().join("shop.yaml");
    fs::write(&file, SHOP).expect("writes");
    assert_eq!(plane.cli(&["apply", "-f", path(&file)]).await.code, 0);
    let yaml = plane.cli(&["get", "-o", "yaml"]).await;
    fs::write(&file, &yaml.out).expect("writes");
    let again = plane.cli(&["apply", "-f", path(&file)]).await;
    assert_eq!((again.code, again.out.matches("unchanged").count()), (0, 3), "{again:?}");
    plane.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_name_the_file_and_the_line() {
    let plane = Plane::start().await;
    let directory = plane.directory.path().join("documents");
    fs::create_dir(&directory).expect("creates");
    let (service, rest) = SHOP.split_once("---\n").expect("several documents");
    fs::write(directory.join("a.yaml"), service).expect("writes");
    fs::write(directory.join("b.yml"), rest.replace("9001", "99999").replace("port: 80", "port: 81")).expect("writes");
    fs::write(directory.join("ignored.txt"), "no document").expect("writes");
    let mut said = String::new();
    for arguments in [["apply", "-f"], ["analyze", "-f"]] {
        let output = plane.cli(&[arguments[0], arguments[1], path(&directory)]).await;
        said.push_str(&format!("$ outrigger {} DIR/documents\n{}\n", arguments.join(" "), stable(&output, &plane)));
    }
    insta::assert_snapshot!(said);
    let json = plane.cli(&["analyze", "-f", path(&directory), "-o", "json"]).await;
    let json: Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!((json["errors"].as_u64(), json["problems"][0]["code"].as_str()), (Some(1), Some("ORG006")));
    plane.running.stop().await;
}

#[tokio::test]
async fn documents_are_analyzed_without_a_control_plane() {
    let good = run(&["analyze", "-f", "-"], SHOP).await;
    assert_eq!((good.code, good.out.as_str()), (0, "no problems (3 documents in 1 file)\n"), "{good:?}");
    let bad = run(&["analyze", "-f", "-"], "kind: Pod\n").await;
    assert_eq!(bad.code, 1, "{bad:?}");
    assert!(bad.out.starts_with("-:1:"), "{bad:?}");
    let codes = run(&["analyze", "--codes"], "").await;
    insta::assert_snapshot!(codes.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_mesh_does_is_shown() {
    let plane = Plane::start().await;
    let mut said = String::new();
    let commands: [&[&str]; 6] =
        [&["proxies"], &["wait", "--for=applied"], &["stat"], &["edges"], &["traces"], &["traces", "--last"]];
    for arguments in commands {
        let output = plane.cli(arguments).await;
        said.push_str(&format!("$ outrigger {}\n{}\n", arguments.join(" "), stable(&output, &plane)));
    }
    send_trace(&plane, &a_trace()).await;
    send_metrics(&plane, &an_edge()).await;
    for arguments in [
        &["stat", "none"][..],
        &["edges", "-n", "other"],
        &["traces", "--status", "error"],
        &["traces", "--status", "failed"],
        &["traces", "--last", "--retried"],
        &["traces", "01010101010101010101010101010101"],
        &["traces", "1"],
        &["traces", "--status", "maybe"],
        &["traces", "--service", "none"],
    ] {
        let output = plane.cli(arguments).await;
        said.push_str(&format!("$ outrigger {}\n{}\n", arguments.join(" "), stable(&output, &plane)));
    }
    insta::assert_snapshot!(said);
    // The rate depends on how fast the test runs; the rest does not.
    for (arguments, row) in [
        (&["stat", "catalog", "--window", "60s"][..], "catalog shop v1 100 % 7.5 ms 9.8 ms 9.9 ms -"),
        (&["edges"], "storefront catalog v1 100 % 7.5 ms 9.8 ms 9.9 ms -"),
    ] {
        let output = plane.cli(arguments).await;
        let mut words: Vec<_> = output.out.lines().nth(1).expect("a row").split_whitespace().collect();
        words.remove(3);
        assert_eq!(words.join(" "), row);
    }
    let edges = plane.cli(&["edges", "-o", "json"]).await;
    let edges: Value = serde_json::from_str(&edges.out).expect("JSON");
    assert_eq!(edges["edges"][0]["windows"]["10s"]["requests"], 10);
    plane.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_use_and_an_unreachable_control_plane_are_2() {
    let mut said = String::new();
    for arguments in [
        &[][..],
        &["aply"],
        &["apply"],
        &["apply", "-f", "/nowhere.yaml"],
        &["delete", "service"],
        &["delete", "-n", "shop"],
        &["delete", "service", "x", "-f", "y"],
        &["get", "-o", "xml"],
        &["wait", "--for=ready"],
        &["wait", "--timeout", "5"],
        &["get", "--server", "https://127.0.0.1"],
        &["get", "--server", "http://127.0.0.1:1"],
        &["traces", "--server", "http://127.0.0.1:1"],
    ] {
        let output = run(arguments, "").await;
        assert_eq!(output.code, 2, "{arguments:?}: {output:?}");
        assert!(!output.err.is_empty() && output.out.is_empty(), "{arguments:?}: {output:?}");
        assert!(arguments.is_empty() || output.err.lines().count() == 1, "{arguments:?}: {output:?}");
        said.push_str(&format!("$ outrigger {}\n{}", arguments.join(" "), output.err));
    }
    insta::assert_snapshot!(said);
    let unreachable = run(&["get", "--server", "http://127.0.0.1:1"], "").await.err;
    assert!(
        unreachable.starts_with("outrigger: cannot reach the control plane at http://127.0.0.1:1: "),
        "{unreachable}"
    );
    assert_eq!(unreachable.lines().count(), 1);
}

#[tokio::test]
async fn help_tells_the_exit_codes() {
    let help = run(&["--help"], "").await;
    assert_eq!(help.code, 0);
    insta::assert_snapshot!(help.out);
    for command in ["apply", "get", "delete", "analyze", "proxies", "wait", "stat", "edges", "traces"] {
        assert_eq!(run(&[command, "--help"], "").await.code, 0, "{command}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_ends_when_too_few_proxies_come() {
    let plane = Plane::start().await;
    let output = plane.cli(&["wait", "--for=applied", "--proxies", "1", "--timeout", "300ms"]).await;
    assert_eq!(output.code, 1);
    assert!(output.err.contains("0 connected, 1 wanted"), "{output:?}");
    plane.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_stands_where_one_looks() {
    let plane = Plane::start().await;
    plane.apply(SHOP).await;
    let _proxy = a_proxy_that_refuses(&plane).await;
    let proxies = plane.cli(&["proxies"]).await;
    assert_eq!(proxies.code, 0, "{proxies:?}");
    assert!(proxies.out.contains("shop/catalog-1  refuses"), "{proxies:?}");
    assert!(proxies.out.contains(": no such balancer\n"), "{proxies:?}");
    let wait = plane.cli(&["wait", "--for=applied"]).await;
    assert_eq!((wait.code, wait.out.as_str()), (1, ""), "{wait:?}");
    assert!(wait.err.contains("shop/catalog-1 refuses CDS") && wait.err.contains("is refused"), "{wait:?}");
    plane.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_the_control_plane_cannot_take_is_named() {
    let watched = tempfile::tempdir().expect("a directory");
    fs::write(watched.path().join("good.yaml"), SHOP).expect("writes");
    let plane = Plane::start_with(&["--documents", path(watched.path())]).await;
    fs::write(watched.path().join("bad.yaml"), "kind: Pod\n").expect("writes");
    soon("the file is refused", || async { !plane.running.steering.refused_files().is_empty() }).await;
    for arguments in [["proxies"].as_slice(), &["wait", "--for=applied", "--proxies", "0"]] {
        let output = plane.cli(arguments).await;
        assert_eq!(output.code, 0, "{output:?}");
        assert!(output.err.contains("bad.yaml:1:") && output.err.contains("--documents are refused"), "{output:?}");
    }
    plane.running.stop().await;
}
