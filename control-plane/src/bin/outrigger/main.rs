//! `outrigger`: steers and watches a mesh through the API of its control plane.

use std::process::ExitCode;

fn main() -> ExitCode {
    outrigger_control_plane::cli::run(std::env::args_os())
}
