//! The control plane's binary; everything is in [`outrigger_control_plane::app`].

use std::process::ExitCode;

/// Smaller and faster than the system's allocator where many small buffers live briefly.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The heap is small: by pages of 2 MiB it takes a multiple of its size. Where the kernel has none, none is needed.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    outrigger_control_plane::app::run(std::env::args_os())
}
