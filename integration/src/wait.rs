//! Waiting for something to come true: polled every few milliseconds, with a deadline, and with words for what did not
//! come. Nothing in the tests sleeps and hopes.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long anything may take unless a test says otherwise. Generous: a busy machine is not a failure.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// How often is looked.
const STEP: Duration = Duration::from_millis(10);

/// Looks until `probe` gives a value, and gives it. Panics after [`PATIENCE`], saying `what` was waited for.
#[track_caller]
pub fn until<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    within(PATIENCE, what, probe)
}

/// As [`until`], with a deadline of its own.
#[track_caller]
pub fn within<T>(limit: Duration, what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    let what = what.to_owned();
    async move {
        let end = Instant::now() + limit;
        loop {
            if let Some(value) = probe().await {
                return value;
            }
            assert!(Instant::now() < end, "{caller}: waited {limit:?} in vain for {what}");
            tokio::time::sleep(STEP).await;
        }
    }
}

/// Looks until `condition` holds.
#[track_caller]
pub fn holds(what: &str, mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    until(what, async move || condition().then_some(()))
}

/// Awaits `future`, at most [`PATIENCE`].
#[track_caller]
pub fn at_most<T>(what: &str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    let what = what.to_owned();
    async move {
        match tokio::time::timeout(PATIENCE, future).await {
            Ok(value) => value,
            Err(_) => panic!("{caller}: waited {PATIENCE:?} in vain for {what}"),
        }
    }
}
