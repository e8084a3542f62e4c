//! Whether a service that fails is asked at all: after some failures in a row nobody waits for it any more, but one
//! request a second, which finds out whether it is back.
//!
//! Without it each request would pay the timeout for as long as the service is away. Exact over all workers; times are
//! nanoseconds since whatever the owner counts from.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Failures in a row after which the service is held to be away.
const FAILURES: u32 = 5;
/// From one probe to the next.
pub const PAUSE: Duration = Duration::from_secs(1);

/// What is known of a service.
#[derive(Debug, Default)]
pub struct Circuit {
    failures: AtomicU32,
    probe: AtomicU64,
}

impl Circuit {
    /// Whether the service may be asked at `now`. While it is away that takes the turn of a probe: whoever gets it and
    /// never reports, since its caller left, holds nobody up for longer than to the next turn.
    pub fn may_ask(&self, now: u64) -> bool {
        if self.failures.load(Relaxed) < FAILURES {
            return true;
        }
        let probe = self.probe.load(Relaxed);
        now >= probe && self.probe.compare_exchange(probe, now.saturating_add(pause()), Relaxed, Relaxed).is_ok()
    }

    /// The service has answered. True if it is back with that.
    pub fn succeeded(&self) -> bool {
        // Read first: a write would take the line from every other worker.
        self.failures.load(Relaxed) > 0 && self.failures.swap(0, Relaxed) >= FAILURES
    }

    /// It has not, at `now`. True if it is held to be away from now on.
    pub fn failed(&self, now: u64) -> bool {
        let before = self.failures.fetch_update(Relaxed, Relaxed, |count| Some(count.saturating_add(1)));
        let opens = before == Ok(FAILURES - 1);
        if opens {
            self.probe.store(now.saturating_add(pause()), Relaxed);
        }
        opens
    }

    /// Whether the service is held to be away.
    pub fn is_open(&self) -> bool {
        self.failures.load(Relaxed) >= FAILURES
    }
}

fn pause() -> u64 {
    u64::try_from(PAUSE.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Circuit, FAILURES};

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_service_that_is_away_is_asked_once_a_second() {
        let circuit = Circuit::default();
        for failure in 1..=FAILURES {
            assert!(circuit.may_ask(0) && !circuit.is_open());
            assert_eq!(circuit.failed(0), failure == FAILURES, "said once");
        }
        assert!(circuit.is_open());
        let asked = (0..100).filter(|tenth| circuit.may_ask(tenth * SECOND / 10)).count();
        assert_eq!(asked, 9, "none in the first second");
        // The first answer is enough, and one failure then is not.
        assert!(!circuit.failed(0) && circuit.succeeded() && !circuit.succeeded(), "said once");
        circuit.failed(SECOND);
        assert!((0..10).all(|_| circuit.may_ask(SECOND)));
    }

    #[test]
    fn of_many_that_would_probe_one_may() {
        let circuit = Circuit::default();
        assert!((0..FAILURES).any(|_| circuit.failed(0)));
        let asked = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let may = u32::from(circuit.may_ask(SECOND));
                    asked.fetch_add(may, std::sync::atomic::Ordering::Relaxed);
                });
            }
        });
        assert_eq!(asked.into_inner(), 1);
    }
}
