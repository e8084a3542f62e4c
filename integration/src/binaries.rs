//! Where the binaries under test are. `cargo test --workspace` builds them beside the tests; whoever runs this crate's
//! tests alone gets them built once, the same way, when they are absent or older than their sources. `OUTRIGGER_BINARIES`
//! names a folder of others instead: to hold a release build, or an older one, to the same tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The packages whose binaries are under test, and what they are made of.
const PACKAGES: [&str; 2] = ["outrigger-proxy", "outrigger-control-plane"];
const SOURCES: [&str; 3] = ["config/src", "proxy/src", "control-plane/src"];

/// `outrigger-proxy`.
pub fn proxy() -> PathBuf {
    folder().join("outrigger-proxy")
}

/// `outrigger-control-plane`.
pub fn control_plane() -> PathBuf {
    folder().join("outrigger-control-plane")
}

/// `outrigger`, the command line.
pub fn cli() -> PathBuf {
    folder().join("outrigger")
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate stands in the workspace")
}

/// The folder with the binaries in it: `target/PROFILE` unless told otherwise.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        if let Some(folder) = std::env::var_os("OUTRIGGER_BINARIES") {
            return folder.into();
        }
        // The test executable is target/PROFILE/deps/it-HASH.
        let test = std::env::current_exe().expect("the test knows its own path");
        let folder = test.parent().and_then(Path::parent).expect("a test stands in target/PROFILE/deps").to_owned();
        let built =
            ["outrigger-proxy", "outrigger-control-plane", "outrigger"].map(|name| modified(&folder.join(name)));
        let newest_source = SOURCES.iter().filter_map(|folder| newest(&root().join(folder))).max();
        if built.iter().any(|time| time.is_none() || *time < newest_source) {
            build(&folder);
        }
        folder
    })
}

fn build(folder: &Path) {
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root()).args(["build", "--quiet", "--profile", profile]);
    command.arg("--target-dir").arg(folder.parent().expect("a profile stands in the target folder"));
    for package in PACKAGES {
        command.args(["-p", package]);
    }
    let status = command.status().expect("cargo can be started");
    assert!(status.success(), "the binaries under test do not build: run `cargo build --workspace`");
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|data| data.modified()).ok()
}

/// When the newest file below `folder` was changed.
fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(folder).ok()?;
    entries
        .flatten()
        .filter_map(|entry| if entry.path().is_dir() { newest(&entry.path()) } else { modified(&entry.path()) })
        .max()
}
