//! The proxy's binary; everything is in [`outrigger_proxy::app`].

use std::process::ExitCode;

/// Smaller and faster than the system's allocator where many small buffers live briefly.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    outrigger_proxy::app::run(std::env::args_os())
}
