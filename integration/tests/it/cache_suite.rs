//! The cache held to the suite http-cache-tests: every test of it passes, but those that `integration/cache/known.txt`
//! names with a reason. `integration/cache/run` writes the whole table.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{Mesh, SERVICE};
use outrigger_integration::process::Process;
use outrigger_integration::{binaries, peers, ports, wait};
use tokio::net::TcpStream;

/// A test of the suite, and what came of it.
#[derive(Debug)]
struct Outcome {
    id: String,
    kind: String,
    outcome: String,
    message: String,
}

fn suite(packages: &Path) -> Command {
    let mut command = Command::new("node");
    command.arg("--no-warnings").arg(binaries::root().join("integration/cache/suite.mjs")).env("PACKAGES", packages);
    command
}

/// Runs these tests of the suite, or all.
async fn run(packages: &Path, base: &str, ids: &[String]) -> Vec<Outcome> {
    let mut command = suite(packages);
    command.args(["run", base]).args(ids);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it ends").expect("node runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = |line: &str| {
        let mut parts = line.split('\t').map(str::to_owned);
        Some(Outcome { id: parts.next()?, kind: parts.next()?, outcome: parts.next()?, message: parts.next()? })
    };
    text.lines().filter_map(line).collect()
}

/// The tests that are known to fail, with the reason.
fn known() -> BTreeMap<String, String> {
    let file = binaries::root().join("integration/cache/known.txt");
    let text = std::fs::read_to_string(file).expect("known.txt is there");
    let pair = |line: &str| line.split_once(": ").map(|(id, reason)| (id.trim().to_owned(), reason.trim().to_owned()));
    text.lines().filter(|line| !line.starts_with('#')).filter_map(pair).collect()
}

fn table(all: &[Outcome], known: &BTreeMap<String, String>) -> String {
    let mut text = String::from("# http-cache-tests against the proxy\n\n");
    text.push_str("Written by `integration/cache/run`: a RoutePolicy with `cache: { heuristicPercent: 10, alsoStore: [SetCookie] }`.\n\n");
    text.push_str(
        "| kind | passes | fails | could not be set up or builds on one that fails |\n|---|---:|---:|---:|\n",
    );
    for (kind, of) in
        [("required", "by the standard"), ("optimal", "allowed, and of use"), ("check", "a question: yes, no")]
    {
        let count = |outcomes: &[&str]| {
            all.iter().filter(|one| one.kind == kind && outcomes.contains(&one.outcome.as_str())).count()
        };
        let (passes, fails, rest) = (count(&["pass"]), count(&["fail", "no"]), count(&["setup", "untested"]));
        let _ = writeln!(text, "| {kind} ({of}) | {passes} | {fails} | {rest} |");
    }
    text.push_str("\n| test that does not pass | kind | why |\n|---|---|---|\n");
    for one in all.iter().filter(|one| one.kind != "check" && one.outcome != "pass") {
        let why = known.get(&one.id).map_or(one.message.as_str(), String::as_str);
        let _ = writeln!(text, "| `{}` | {} | {why} |", one.id, one.kind);
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_test_of_the_suite_passes_but_those_that_are_known() {
    let Some(packages) = peers::cache_suite() else { return };
    let port = ports::free();
    let _origin = Process::start("the suite's origin", suite(&packages).args(["origin", &port.port().to_string()]));
    wait::until("the suite's origin", async || TcpStream::connect(port).await.ok()).await;
    let cache = "cache: { heuristicPercent: 10, alsoStore: [SetCookie] }";
    let documents =
        Documents::new().service(SERVICE, "http", &[port]).bound("web", SERVICE).route_policy(SERVICE, cache);
    let mesh = Mesh::standalone(documents).await;
    let base = format!("http://{}", mesh.address());
    let all = run(&packages, &base, &[]).await;
    assert!(all.len() > 300, "the suite ran {} tests", all.len());
    let known = known();
    let fails = |one: &&Outcome| one.kind != "check" && one.outcome != "pass" && !known.contains_key(&one.id);
    let mut failing: Vec<&Outcome> = all.iter().filter(fails).collect();
    // Once more and alone: four hundred at once may have been too much for the machine.
    let ids: Vec<String> = failing.iter().map(|one| one.id.clone()).collect();
    let again = if ids.is_empty() { Vec::new() } else { run(&packages, &base, &ids).await };
    failing.retain(|one| !again.iter().any(|other| other.id == one.id && other.outcome == "pass"));
    if let Ok(file) = std::env::var("OUTRIGGER_CACHE_RESULTS") {
        std::fs::write(file, table(&all, &known)).expect("a file can be written");
    }
    assert!(failing.is_empty(), "{failing:#?}");
    let passing = all.iter().filter(|one| one.outcome == "pass" && known.contains_key(&one.id));
    let passing: Vec<&str> = passing.map(|one| one.id.as_str()).collect();
    assert!(passing.is_empty(), "take these out of known.txt: {passing:?}");
}
