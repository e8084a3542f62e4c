//! The fault switch of `recommend`: how many calls in a hundred fail and how long each takes, changed while it runs
//! through a port of its own, so that breaking it needs no help from the mesh.

use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is wrong at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    /// Calls in a hundred that fail with 503.
    #[serde(default)]
    pub(crate) fail_percent: f64,
    /// Added to the time of every call, in milliseconds.
    #[serde(default)]
    pub(crate) delay_ms: u64,
}

/// What the switch has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Calls that reached the service.
    pub(crate) calls: u64,
    /// Those it failed.
    pub(crate) failed: u64,
}

/// The switch and its counts.
#[derive(Debug, Default)]
pub(crate) struct Switch(Mutex<(Fault, Counts)>);

impl Switch {
    fn with<T>(&self, act: impl FnOnce(&mut (Fault, Counts)) -> T) -> T {
        let mut guard = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        act(&mut guard)
    }

    /// Turns it.
    pub(crate) fn set(&self, fault: Fault) {
        self.with(|state| state.0 = fault);
    }

    /// Its counts so far.
    pub(crate) fn counts(&self) -> Counts {
        self.with(|state| state.1)
    }

    /// Decides about one call: how long it takes, and whether it then fails. `dice` is uniform in 0..1.
    pub(crate) fn decide(&self, dice: f64) -> (Duration, bool) {
        self.with(|(fault, counts)| {
            let fails = dice * 100.0 < fault.fail_percent;
            counts.calls += 1;
            counts.failed += u64::from(fails);
            (Duration::from_millis(fault.delay_ms), fails)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Counts, Fault, Switch};

    #[test]
    fn three_in_ten_fail_and_are_counted() {
        let switch = Switch::default();
        assert_eq!(switch.decide(0.0), (Duration::ZERO, false), "off at first");
        switch.set(Fault { fail_percent: 30.0, delay_ms: 7 });
        let failed = (0..100).filter(|step| switch.decide(f64::from(*step) / 100.0).1).count();
        assert_eq!(failed, 30);
        assert_eq!(switch.decide(0.5).0, Duration::from_millis(7));
        assert_eq!(switch.counts(), Counts { calls: 102, failed: 30 });
    }
}
