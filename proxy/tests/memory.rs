//! With the allocator of the binary: memory that was freed by threads that live on is not held to be used for ever, or a
//! proxy that once ran short of it would never accept again.
#![allow(missing_docs)]

use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use outrigger_proxy::overload::sample;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MIB: u64 = 1024 * 1024;

#[test]
fn what_was_freed_is_given_back_once_memory_runs_short() {
    let (go, order) = sync_channel::<()>(1);
    let (done, told) = sync_channel::<u64>(1);
    let before = sample::memory().expect("the kernel says");
    let worker = thread::Builder::new().name("worker".into()).spawn(move || {
        let kept: Vec<Vec<u8>> = (0..40_000).map(|turn| vec![1; 500 + turn % 7 * 1000]).collect();
        done.send(sample::memory().expect("the kernel says")).expect("somebody listens");
        order.recv().expect("an order");
        drop(kept);
        done.send(0).expect("somebody listens");
        // It lives on and does nothing.
        order.recv().expect("an order");
    });
    let full = told.recv().expect("filled");
    assert!(full > before + 100 * MIB, "{before} {full}");
    go.send(()).expect("somebody listens");
    told.recv().expect("freed");
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        thread::sleep(Duration::from_millis(250));
        sample::purge();
        let now = sample::memory().expect("the kernel says");
        if now < before + 50 * MIB {
            break;
        }
        assert!(Instant::now() < end, "{} MiB of {} are still held", now / MIB, full / MIB);
    }
    go.send(()).expect("somebody listens");
    worker.expect("started").join().expect("no panic");
}
