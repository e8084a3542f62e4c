//! How an endpoint has been behaving: failures in a row, what the interval brought, and whether it is left out.
//!
//! This is only the record. Whether an endpoint may be ejected depends on its neighbours, so the cluster decides
//! (`cluster::ejection`). An ejection ends by itself when its time is over: nobody has to come and lift it. Where the
//! policy asks for probes the endpoint then gets one request at a time, until enough of them in a row succeeded.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use outrigger_config::policy::Outlier;

/// How an attempt ended, as outlier detection sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Any answer that is no failure.
    Success,
    /// A 5xx, or a gRPC status that maps to one.
    Failure,
    /// 502, 503 or 504, or what maps to them.
    Gateway,
    /// No answer: no connection, a reset, a timeout.
    NoAnswer,
}

/// Why an endpoint is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Failures in a row.
    Errors,
    /// Gateway failures in a row.
    GatewayErrors,
    /// No answers in a row.
    LocalErrors,
    /// It succeeds less often than its neighbours.
    SuccessRate,
    /// It fails too often.
    FailurePercentage,
    /// It is slower than its neighbours.
    Latency,
    /// A probe failed.
    Probe,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Cause; 7] = [
        Cause::Errors,
        Cause::GatewayErrors,
        Cause::LocalErrors,
        Cause::SuccessRate,
        Cause::FailurePercentage,
        Cause::Latency,
        Cause::Probe,
    ];

    /// The cause as metrics and logs call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::Errors => "consecutive_errors",
            Cause::GatewayErrors => "consecutive_gateway_errors",
            Cause::LocalErrors => "consecutive_local_errors",
            Cause::SuccessRate => "success_rate",
            Cause::FailurePercentage => "failure_percentage",
            Cause::Latency => "latency",
            Cause::Probe => "probe",
        }
    }
}

/// What an interval brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that were answered or failed.
    pub requests: u32,
    /// Those that failed.
    pub failures: u32,
    /// The mean time to a good answer's head; none without one.
    pub latency: Option<Duration>,
}

/// How an endpoint has been behaving.
#[derive(Debug)]
pub struct OutlierState {
    epoch: Instant,
    failures: AtomicU32,
    gateway: AtomicU32,
    local: AtomicU32,
    /// How often it was ejected; sinks again with time.
    times: AtomicU32,
    /// When the ejection ends, nanoseconds since the epoch; 0 if there was none.
    until: AtomicU64,
    /// The same two of ejections that would have been, which change nothing.
    rehearsed_times: AtomicU32,
    rehearsed_until: AtomicU64,
    /// Probes that must still succeed after that.
    probes: AtomicU32,
    /// Whether a probe is under way.
    probing: AtomicBool,
    /// Failures of the interval above, requests below.
    counts: AtomicU64,
    /// Good answers of the interval, and their time to head in microseconds.
    answers: AtomicU32,
    micros: AtomicU64,
}

impl OutlierState {
    /// Without a stain. `epoch` is the time it counts from.
    pub fn new(epoch: Instant) -> Self {
        OutlierState {
            epoch,
            failures: AtomicU32::new(0),
            gateway: AtomicU32::new(0),
            local: AtomicU32::new(0),
            times: AtomicU32::new(0),
            until: AtomicU64::new(0),
            rehearsed_times: AtomicU32::new(0),
            rehearsed_until: AtomicU64::new(0),
            probes: AtomicU32::new(0),
            probing: AtomicBool::new(false),
            counts: AtomicU64::new(0),
            answers: AtomicU32::new(0),
            micros: AtomicU64::new(0),
        }
    }

    /// A request succeeded. Writes only where failures went before, so that healthy traffic shares no cache line.
    pub fn succeed(&self) {
        [&self.failures, &self.gateway, &self.local].into_iter().for_each(clear);
    }

    /// A request failed. A cause for exactly one caller each time its limit of failures in a row is reached; the count
    /// then begins anew.
    pub fn fail(&self, outcome: Outcome, policy: &Outlier) -> Option<Cause> {
        let reached = |count, limit: Option<u32>| limit.is_some_and(|limit| step(count, limit));
        match outcome {
            Outcome::Success => {
                self.succeed();
                None
            }
            Outcome::NoAnswer if policy.consecutive_local_errors.is_some() => {
                reached(&self.local, policy.consecutive_local_errors).then_some(Cause::LocalErrors)
            }
            _ => {
                // An answer ends a row of no answers, and another failure a row of a gateway's.
                if outcome != Outcome::NoAnswer {
                    clear(&self.local);
                }
                let gateway = if outcome == Outcome::Failure {
                    clear(&self.gateway);
                    false
                } else {
                    reached(&self.gateway, policy.consecutive_gateway_errors)
                };
                let errors = reached(&self.failures, policy.consecutive_errors);
                match (gateway, errors) {
                    (true, _) => Some(Cause::GatewayErrors),
                    (false, true) => Some(Cause::Errors),
                    (false, false) => None,
                }
            }
        }
    }

    /// Failures in a row so far.
    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// How often it was ejected, less one for each calm interval since.
    pub fn times(&self) -> u32 {
        self.times.load(Ordering::Relaxed)
    }

    /// The same of ejections that would have been.
    pub fn rehearsed_times(&self) -> u32 {
        self.rehearsed_times.load(Ordering::Relaxed)
    }

    /// Whether it would be ejected, were the policy enforced.
    pub fn is_rehearsed(&self, now: Instant) -> bool {
        let until = self.rehearsed_until.load(Ordering::Relaxed);
        until != 0 && until > self.nanos(now)
    }

    /// Whether it is ejected.
    pub fn is_ejected(&self, now: Instant) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until != 0 && until > self.nanos(now)
    }

    /// Whether it bears no load: ejected, or only probed since.
    pub fn is_out(&self, now: Instant) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until != 0 && (until > self.nanos(now) || self.probes.load(Ordering::Relaxed) > 0)
    }

    /// Whether it takes a request, be it as a probe.
    pub fn admits(&self, now: Instant) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until == 0
            || (until <= self.nanos(now)
                && (self.probes.load(Ordering::Relaxed) == 0 || !self.probing.load(Ordering::Relaxed)))
    }

    /// Whether its ejection ended and probes decide.
    pub fn is_on_probation(&self, now: Instant) -> bool {
        self.is_out(now) && !self.is_ejected(now)
    }

    /// Takes the one place for a probe; it must be given back by [`OutlierState::end_probe`]. False while another has it.
    pub fn begin_probe(&self) -> bool {
        !self.probing.swap(true, Ordering::AcqRel)
    }

    /// Gives the place for a probe back.
    pub fn end_probe(&self) {
        self.probing.store(false, Ordering::Release);
    }

    /// A probe succeeded. True if it was the last that was asked for.
    pub fn pass(&self) -> bool {
        let less = |probes: u32| probes.checked_sub(1);
        self.probes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) == Ok(1)
    }

    /// How much longer it is ejected.
    pub fn remaining(&self, now: Instant) -> Option<Duration> {
        let until = self.until.load(Ordering::Relaxed);
        until.checked_sub(self.nanos(now)).filter(|left| *left > 0).map(Duration::from_nanos)
    }

    /// Ejects it for `time`, and until so many probes succeeded after that.
    pub fn eject(&self, now: Instant, time: Duration, probes: u32) {
        self.times.fetch_add(1, Ordering::Relaxed);
        self.probes.store(probes, Ordering::Relaxed);
        self.until.store(self.end(now, time), Ordering::Relaxed);
    }

    /// Notes that it would have been ejected for `time`; failures of before do not count for the next time.
    pub fn rehearse(&self, now: Instant, time: Duration) {
        self.rehearsed_times.fetch_add(1, Ordering::Relaxed);
        self.rehearsed_until.store(self.end(now, time), Ordering::Relaxed);
        self.succeed();
    }

    /// It is back, whether or not its time is over; failures of before do not count against it.
    pub fn restore(&self) {
        self.until.store(0, Ordering::Relaxed);
        self.probes.store(0, Ordering::Relaxed);
        self.succeed();
    }

    /// An interval passed: if it is not out, its next ejection is a step shorter.
    pub fn calm(&self, now: Instant) {
        if self.times() > 0 && !self.is_out(now) {
            self.times.fetch_sub(1, Ordering::Relaxed);
        }
        if self.rehearsed_times() > 0 && !self.is_rehearsed(now) {
            self.rehearsed_times.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Counts a request for its interval.
    pub fn count(&self, failed: bool, latency: Option<Duration>) {
        self.counts.fetch_add(u64::from(failed) << 32 | 1, Ordering::Relaxed);
        if let Some(latency) = latency.filter(|_| !failed) {
            self.micros.fetch_add(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes what was counted; the next interval begins.
    pub fn take(&self) -> Tally {
        let counts = self.counts.swap(0, Ordering::Relaxed);
        let (micros, answers) = (self.micros.swap(0, Ordering::Relaxed), self.answers.swap(0, Ordering::Relaxed));
        Tally {
            // The low half; a request counted between the swaps is a rounding error of the mean.
            requests: counts as u32,
            failures: (counts >> 32) as u32,
            latency: micros.checked_div(u64::from(answers)).map(Duration::from_micros),
        }
    }

    fn end(&self, now: Instant, time: Duration) -> u64 {
        self.nanos(now).saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }
}

fn clear(count: &AtomicU32) {
    if count.load(Ordering::Relaxed) != 0 {
        count.store(0, Ordering::Relaxed);
    }
}

/// One more. True for exactly one caller each time `limit` is reached; the count then begins anew.
fn step(count: &AtomicU32, limit: u32) -> bool {
    let next = |count: u32| if count + 1 >= limit { 0 } else { count + 1 };
    let before =
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some(next(count))).unwrap_or_default();
    next(before) == 0
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    use outrigger_config::policy::{Origin, Outlier};

    use super::{Cause, Outcome, OutlierState, Tally};

    fn policy(errors: u32, gateway: Option<u32>, local: Option<u32>) -> Outlier {
        Outlier {
            consecutive_errors: Some(errors),
            consecutive_gateway_errors: gateway,
            consecutive_local_errors: local,
            ..Outlier::with_defaults(Origin::default())
        }
    }

    #[test]
    fn a_success_begins_the_count_anew() {
        let state = OutlierState::new(Instant::now());
        let policy = policy(5, None, None);
        let fail =
            |times: u32| (0..times).filter(|_| state.fail(Outcome::Failure, &policy) == Some(Cause::Errors)).count();
        assert_eq!(fail(4), 0);
        state.succeed();
        assert_eq!(fail(4), 0);
        assert_eq!(fail(1), 1);
        assert_eq!(state.failures(), 0);
    }

    #[test]
    fn each_kind_of_failure_counts_in_its_rows() {
        use Outcome::{Failure, Gateway, NoAnswer, Success};
        // The policy's rows (any, gateway, none at all), what happened, and what the last of it leads to.
        for (rows, outcomes, cause) in [
            ((3, None, None), vec![Failure, Gateway, NoAnswer], Some(Cause::Errors)),
            ((5, Some(2), None), vec![Gateway, NoAnswer], Some(Cause::GatewayErrors)),
            ((5, Some(2), None), vec![Gateway, Failure, Gateway], None),
            ((3, Some(2), None), vec![Gateway, Failure, Failure], Some(Cause::Errors)),
            ((2, None, Some(3)), vec![NoAnswer, NoAnswer], None),
            ((2, None, Some(3)), vec![NoAnswer, NoAnswer, NoAnswer], Some(Cause::LocalErrors)),
            ((2, None, Some(2)), vec![NoAnswer, Failure, NoAnswer], None),
            ((2, None, Some(2)), vec![NoAnswer, Success, NoAnswer], None),
        ] {
            let policy = policy(rows.0, rows.1, rows.2);
            let state = OutlierState::new(Instant::now());
            let seen: Vec<_> = outcomes.iter().map(|outcome| state.fail(*outcome, &policy)).collect();
            assert_eq!(seen.last().copied().flatten(), cause, "{rows:?} {outcomes:?}");
            assert!(seen[..seen.len() - 1].iter().all(Option::is_none), "{rows:?} {outcomes:?}");
        }
    }

    #[test]
    fn the_limit_is_reached_once_by_one_thread() {
        let state = OutlierState::new(Instant::now());
        let reached = AtomicU32::new(0);
        let policy = policy(5, None, None);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let cause = state.fail(Outcome::NoAnswer, &policy);
                        reached.fetch_add(u32::from(cause.is_some()), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(reached.into_inner(), 8000 / 5);
    }

    #[test]
    fn an_ejection_ends_by_itself() {
        let now = Instant::now();
        let state = OutlierState::new(now);
        assert_eq!((state.is_ejected(now), state.remaining(now)), (false, None));
        state.eject(now, Duration::from_secs(3), 0);
        assert_eq!(state.remaining(now + Duration::from_secs(1)), Some(Duration::from_secs(2)));
        assert!(state.is_ejected(now + Duration::from_millis(2999)));
        assert!(!state.is_ejected(now + Duration::from_secs(3)) && !state.is_out(now + Duration::from_secs(3)));
        state.restore();
        assert!(!state.is_ejected(now));
        state.calm(now);
        state.calm(now);
        assert_eq!(state.times(), 0);
    }

    #[test]
    fn an_ejection_that_would_have_been_ends_too_and_leaves_it_in() {
        let now = Instant::now();
        let state = OutlierState::new(now);
        assert!(!state.is_rehearsed(now));
        state.rehearse(now, Duration::from_secs(3));
        state.calm(now);
        assert!(
            state.is_rehearsed(now + Duration::from_millis(2999)) && !state.is_rehearsed(now + Duration::from_secs(3))
        );
        assert!(!state.is_out(now) && state.admits(now));
        assert_eq!((state.times(), state.rehearsed_times()), (0, 1));
        state.calm(now + Duration::from_secs(3));
        assert_eq!(state.rehearsed_times(), 0);
    }

    #[test]
    fn after_an_ejection_one_probe_at_a_time_decides() {
        let now = Instant::now();
        let state = OutlierState::new(now);
        state.eject(now, Duration::from_secs(3), 2);
        let later = now + Duration::from_secs(3);
        assert!(!state.admits(now) && state.admits(later) && state.is_on_probation(later));
        assert!(state.begin_probe() && !state.begin_probe() && !state.admits(later));
        assert!(!state.pass(), "another is asked for");
        state.end_probe();
        assert!(state.admits(later) && state.is_out(later) && state.begin_probe());
        assert!(state.pass());
        state.restore();
        assert!(!state.is_out(later) && state.admits(later) && !state.pass());
    }

    #[test]
    fn an_interval_is_counted_whole_and_once() {
        let state = OutlierState::new(Instant::now());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..1000).for_each(|step| state.count(step % 4 == 0, Some(Duration::from_micros(30)))));
            }
        });
        let latency = Some(Duration::from_micros(30));
        assert_eq!(state.take(), Tally { requests: 8000, failures: 2000, latency });
        assert_eq!(state.take(), Tally::default());
    }
}
