//! How much of a destination, or of one endpoint, is in use, and how much may be (xDS `circuit_breakers`).
//!
//! A destination has one of these for each priority, and a request counts against its own alone.
//!
//! Gauges that all workers of the proxy share, each exact: where a limit is enforced, no interleaving of threads
//! admits one more. Where it is only observed, be it beside one that is enforced, whoever goes beyond it is admitted and
//! told so. A [`Permit`] gives its part back when it is dropped, on whatever path that happens. `None` is unlimited,
//! `Some(0)` admits nobody.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use outrigger_config::policy::{Limits as Model, Priority, Thresholds};
use tokio::sync::Notify;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Connections to the destination.
    Connections,
    /// Requests waiting for a connection.
    Pending,
    /// Requests under way, waiting ones included.
    Requests,
    /// Retries under way.
    Retries,
}

impl Limit {
    /// Every limit.
    pub const ALL: [Limit; 4] = [Limit::Connections, Limit::Pending, Limit::Requests, Limit::Retries];

    /// The limit as metrics and `/clusters` call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Limit::Connections => "connections",
            Limit::Pending => "pending",
            Limit::Requests => "requests",
            Limit::Retries => "retries",
        }
    }
}

/// How much of a destination is in use.
#[derive(Debug, Default)]
pub struct Limits {
    gauges: [Gauge; Limit::ALL.len()],
    /// Whether anybody ever wanted a part.
    used: AtomicBool,
    /// Wakes one of those who wait for a connection whenever one is given back.
    freed: Notify,
}

/// No limit.
const UNLIMITED: u32 = u32::MAX;

#[derive(Debug)]
struct Gauge {
    held: AtomicU32,
    /// The most that is admitted.
    max: AtomicU32,
    /// The most that is not told.
    watched: AtomicU32,
    refused: AtomicU64,
    exceeded: AtomicU64,
}

impl Default for Gauge {
    fn default() -> Self {
        Gauge {
            held: AtomicU32::new(0),
            max: AtomicU32::new(UNLIMITED),
            watched: AtomicU32::new(UNLIMITED),
            refused: AtomicU64::new(0),
            exceeded: AtomicU64::new(0),
        }
    }
}

/// The answer to whoever wants a part.
#[derive(Debug)]
pub enum Acquired {
    /// Within the limit.
    Granted(Permit),
    /// Beyond a limit that is only observed.
    WouldRefuse(Permit),
    /// Beyond the limit.
    Refused,
}

impl Limits {
    /// Nothing in use. Without a policy everything is counted and nothing limited.
    pub fn new(model: Option<&Model>) -> Self {
        let limits = Limits::default();
        limits.tune(Priority::Default, model, None);
        limits
    }

    /// Limits requests of this priority another way from now on, with what is only observed beside it. What is in use
    /// stays counted: a lower limit refuses until enough is given back.
    pub fn tune(&self, priority: Priority, model: Option<&Model>, rehearsed: Option<&Model>) {
        let (acting, observed) = match model {
            Some(model) if model.mode.enforces() => (Some(model), rehearsed),
            model => (None, rehearsed.or(model)),
        };
        // Relaxed throughout: a limit guards no other memory, and a request at the moment of change may meet either.
        for limit in Limit::ALL {
            let most =
                |model: Option<&Model>| model.and_then(|model| of(model.of(priority), limit)).unwrap_or(UNLIMITED);
            self.gauge(limit).max.store(most(acting), Ordering::Relaxed);
            self.gauge(limit).watched.store(most(observed), Ordering::Relaxed);
        }
        self.freed.notify_waiters();
    }

    /// Limits one endpoint from now on, to what a destination's policies give to each.
    pub fn tune_endpoint(&self, model: Option<&Model>, rehearsed: Option<&Model>) {
        let own = |model: &Model| Model {
            mode: model.mode,
            max_connections: model.per_endpoint.max_connections,
            max_requests: model.per_endpoint.max_requests,
            ..Model::default()
        };
        self.tune(Priority::Default, model.map(own).as_ref(), rehearsed.map(own).as_ref());
    }

    /// Whether a part would be granted now.
    pub fn has_room(&self, limit: Limit) -> bool {
        let gauge = self.gauge(limit);
        gauge.held.load(Ordering::Relaxed) < gauge.max.load(Ordering::Relaxed)
    }

    /// Counts a part that was refused elsewhere.
    pub fn note_refused(&self, limit: Limit) {
        self.gauge(limit).refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a part that was granted beyond a limit elsewhere that is only observed.
    pub fn note_exceeded(&self, limit: Limit) {
        self.gauge(limit).exceeded.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a part, if the limit allows.
    pub fn try_acquire(self: &Arc<Self>, limit: Limit) -> Acquired {
        let answer = self.take(limit);
        match answer {
            Acquired::Granted(_) => {}
            Acquired::WouldRefuse(_) => {
                self.gauge(limit).exceeded.fetch_add(1, Ordering::Relaxed);
            }
            Acquired::Refused => {
                self.gauge(limit).refused.fetch_add(1, Ordering::Relaxed);
            }
        }
        answer
    }

    /// Waits until a connection may be made, without counting as refused once more. Dropping the future is safe at any
    /// time: a wake-up it had already been given goes on to the next who waits. Newcomers may overtake.
    pub async fn connection(self: &Arc<Self>) -> Permit {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Listening before asking, or a connection given back in between would wake nobody.
            freed.as_mut().enable();
            if let Some(permit) = self.spare_connection() {
                return permit;
            }
            freed.await;
        }
    }

    /// A connection, where one may be made now, without counting as refused.
    pub fn spare_connection(self: &Arc<Self>) -> Option<Permit> {
        match self.take(Limit::Connections) {
            Acquired::Granted(permit) | Acquired::WouldRefuse(permit) => Some(permit),
            Acquired::Refused => None,
        }
    }

    fn take(self: &Arc<Self>, limit: Limit) -> Acquired {
        // Looked at first, so that workers do not take the line from each other.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        let gauge = self.gauge(limit);
        let max = gauge.max.load(Ordering::Relaxed);
        let before = if max == UNLIMITED {
            gauge.held.fetch_add(1, Ordering::Relaxed)
        } else {
            let more = |held: u32| (held < max).then_some(held + 1);
            match gauge.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
                Ok(before) => before,
                Err(_) => return Acquired::Refused,
            }
        };
        let permit = Permit { limits: Arc::clone(self), limit };
        if before < gauge.watched.load(Ordering::Relaxed) {
            Acquired::Granted(permit)
        } else {
            Acquired::WouldRefuse(permit)
        }
    }

    /// Whether anybody ever wanted a part.
    pub fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// How much is in use.
    pub fn held(&self, limit: Limit) -> u32 {
        self.gauge(limit).held.load(Ordering::Relaxed)
    }

    /// How much may be in use, or where nothing is enforced, how much is only observed; none is unlimited.
    pub fn max(&self, limit: Limit) -> Option<u32> {
        let gauge = self.gauge(limit);
        let limits = [&gauge.max, &gauge.watched].map(|max| max.load(Ordering::Relaxed));
        limits.into_iter().find(|max| *max != UNLIMITED)
    }

    /// How often a part was refused.
    pub fn refused(&self, limit: Limit) -> u64 {
        self.gauge(limit).refused.load(Ordering::Relaxed)
    }

    /// How often a part was granted beyond a limit that is only observed.
    pub fn exceeded(&self, limit: Limit) -> u64 {
        self.gauge(limit).exceeded.load(Ordering::Relaxed)
    }

    fn gauge(&self, limit: Limit) -> &Gauge {
        &self.gauges[limit as usize]
    }
}

fn of(most: Thresholds, limit: Limit) -> Option<u32> {
    match limit {
        Limit::Connections => most.max_connections,
        Limit::Pending => most.max_pending_requests,
        Limit::Requests => most.max_requests,
        Limit::Retries => most.max_retries,
    }
}

/// A part of a destination's limit, given back when dropped.
#[must_use = "dropping a permit gives it back"]
pub struct Permit {
    limits: Arc<Limits>,
    limit: Limit,
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({})", self.limit.as_str())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limits.gauge(self.limit).held.fetch_sub(1, Ordering::Relaxed);
        if self.limit == Limit::Connections {
            self.limits.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::FutureExt;
    use outrigger_config::policy::{Limits as Model, Mode, Priority};
    use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

    use super::{Acquired, Limit, Limits};

    fn limits(mode: Mode, max: u32) -> Arc<Limits> {
        let max = Some(max);
        let model = Model {
            mode,
            max_connections: max,
            max_pending_requests: max,
            max_requests: max,
            max_retries: max,
            ..Model::default()
        };
        Arc::new(Limits::new(Some(&model)))
    }

    #[test]
    fn without_a_policy_everything_is_counted_and_nothing_refused() {
        let limits = Arc::new(Limits::new(None));
        let permits: Vec<_> = (0..5000).map(|_| limits.try_acquire(Limit::Requests)).collect();
        assert!(permits.iter().all(|answer| matches!(answer, Acquired::Granted(_))));
        assert_eq!((limits.held(Limit::Requests), limits.max(Limit::Requests)), (5000, None));
        drop(permits);
        assert_eq!(limits.held(Limit::Requests), 0);
    }

    #[test]
    fn a_limit_of_zero_admits_nobody() {
        let limits = limits(Mode::Enforce, 0);
        assert!(Limit::ALL.into_iter().all(|limit| matches!(limits.try_acquire(limit), Acquired::Refused)));
        assert_eq!(limits.refused(Limit::Pending), 1);
    }

    #[test]
    fn an_observed_limit_admits_everybody_and_says_who_would_not_be() {
        let limits = limits(Mode::Observe, 1);
        let first = limits.try_acquire(Limit::Requests);
        let second = limits.try_acquire(Limit::Requests);
        assert!(matches!((&first, &second), (Acquired::Granted(_), Acquired::WouldRefuse(_))));
        assert_eq!((limits.held(Limit::Requests), limits.exceeded(Limit::Requests)), (2, 1));
    }

    #[test]
    fn a_limit_is_rehearsed_beside_one_that_acts() {
        let limits = limits(Mode::Enforce, 3);
        let acting = Model { max_requests: Some(3), ..Model::default() };
        let rehearsed = Model { mode: Mode::Observe, max_requests: Some(1), ..Model::default() };
        limits.tune(Priority::Default, Some(&acting), Some(&rehearsed));
        let answers: Vec<_> = (0..5).map(|_| limits.try_acquire(Limit::Requests)).collect();
        let count = |wanted: fn(&Acquired) -> bool| answers.iter().filter(|answer| wanted(answer)).count();
        assert_eq!(count(|answer| matches!(answer, Acquired::Granted(_))), 1);
        assert_eq!(count(|answer| matches!(answer, Acquired::WouldRefuse(_))), 2);
        assert_eq!((limits.refused(Limit::Requests), limits.exceeded(Limit::Requests)), (2, 2));
        assert_eq!(limits.max(Limit::Requests), Some(3), "what acts is what is shown");
    }

    #[test]
    fn a_lower_limit_refuses_until_enough_is_given_back() {
        let limits = limits(Mode::Enforce, 3);
        let mut held: Vec<_> = (0..3).map(|_| limits.try_acquire(Limit::Requests)).collect();
        let lower = Model { max_requests: Some(2), ..Model::default() };
        limits.tune(Priority::Default, Some(&lower), None);
        held.truncate(2);
        assert!(matches!(limits.try_acquire(Limit::Requests), Acquired::Refused));
        held.truncate(1);
        assert!(matches!(limits.try_acquire(Limit::Requests), Acquired::Granted(_)));
    }

    #[test]
    fn a_connection_given_back_goes_to_one_who_waits() {
        let limits = limits(Mode::Enforce, 1);
        let held = limits.connection().now_or_never().expect("the first is free");
        let (mut first, mut second) = (Box::pin(limits.connection()), Box::pin(limits.connection()));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        drop(held);
        // The one that was woken goes away: its wake-up must not be lost.
        drop(first);
        assert!(second.as_mut().now_or_never().is_some());
        assert_eq!(limits.held(Limit::Connections), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn no_interleaving_of_threads_admits_one_more(max in 1_u32..12, rounds in 1_usize..400) {
            let limits = limits(Mode::Enforce, max);
            let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        for _ in 0..rounds {
                            if let Acquired::Granted(permit) = limits.try_acquire(Limit::Requests) {
                                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                                std::hint::spin_loop();
                                inside.fetch_sub(1, Ordering::SeqCst);
                                drop(permit);
                            }
                        }
                    });
                }
            });
            prop_assert!(most.load(Ordering::SeqCst) <= max);
            prop_assert_eq!(limits.held(Limit::Requests), 0);
        }
    }
}
