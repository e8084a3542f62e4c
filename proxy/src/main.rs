//! The proxy's binary; everything is in [`outrigger_proxy::app`], and in [`outrigger_proxy::simulate`] what only
//! rehearses.

use std::process::ExitCode;

use outrigger_proxy::simulate::command;

/// Smaller and faster than the system's allocator where many small buffers live briefly.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The heap is small: by pages of 2 MiB it takes three times its size. Where the kernel has none, none is needed.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let arguments: Vec<_> = std::env::args_os().collect();
    match command::is_meant(&arguments) {
        true => command::run(&arguments),
        false => outrigger_proxy::app::run(arguments),
    }
}
