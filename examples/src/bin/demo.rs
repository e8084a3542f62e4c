//! `cargo demo`: the shop, its mesh and its story in one binary. It starts itself again for every process of the shop.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    outrigger_examples::run(std::env::args_os())
}
