//! Which endpoints are left out, and for how long (xDS `outlier_detection`).
//!
//! Failures in a row are counted on the endpoint, without a lock. Only when they reach the limit does the cluster
//! decide, one decision at a time: while `max_percent` of the endpoints are serving an ejection nobody follows, one always
//! may, and the last that takes requests never. Who only waits for a probe may wait long, and uses up no share. In Observe the decision is made and told, and changes nothing but the endpoint's
//! record of what would have been, by which the next one is made. Requests under way outlive their configuration: what
//! they report decides nothing under another policy, or over who is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use outrigger_config::endpoint::Health;
use outrigger_config::policy::{Mode, Outlier};
use outrigger_config::value::Percent;
use parking_lot::Mutex;

use super::comparison;
use crate::endpoint::{Cause, Endpoint, Outcome, OutlierState};

/// How an attempt ended.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// What came of it.
    pub outcome: Outcome,
    /// The time to its response head, if there was one.
    pub latency: Option<Duration>,
    /// Whether it decides over its endpoint's return.
    pub probe: bool,
}

impl From<Outcome> for Report {
    fn from(outcome: Outcome) -> Self {
        Report { outcome, latency: None, probe: false }
    }
}

/// An ejection, or one that would have been.
#[derive(Clone, Debug)]
pub struct Ejected {
    /// Who.
    pub endpoint: Arc<Endpoint>,
    /// Why.
    pub cause: Cause,
    /// For how long.
    pub time: Duration,
    /// Whether it was carried out.
    pub mode: Mode,
}

/// What happened to an endpoint, for whoever tells people.
#[derive(Clone, Debug)]
pub enum Change {
    /// It was left out, or would have been.
    Ejected(Ejected),
    /// It is back.
    Back(Arc<Endpoint>),
}

impl Change {
    /// Writes it into the log.
    pub fn tell(&self, destination: &str) {
        match self {
            Change::Ejected(Ejected { endpoint, cause, time, mode }) => tracing::warn!(
                destination,
                endpoint = %endpoint.address,
                cause = cause.as_str(),
                ?mode,
                seconds = time.as_secs(),
                "Endpoint ejected"
            ),
            Change::Back(endpoint) => {
                tracing::info!(destination, endpoint = %endpoint.address, "Endpoint is back: its ejection is over");
            }
        }
    }
}

/// What a destination keeps of ejections, across configurations.
#[derive(Debug)]
pub(super) struct Ejections {
    /// Whether all of it is rehearsed beside what acts: then it has a record of its own, and leaves nobody out.
    rehearsal: bool,
    /// Held while an ejection is decided and while endpoints are exchanged, so that neither works on stale ones.
    pub(super) governor: Mutex<Governor>,
    done: [AtomicU64; Cause::ALL.len()],
    would: [AtomicU64; Cause::ALL.len()],
    overflows: AtomicU64,
    panics: AtomicU64,
    panicking: AtomicBool,
    /// Whether no room was found for an ejection, until somebody may be back.
    full: AtomicBool,
}

#[derive(Debug)]
pub(super) struct Governor {
    /// The policy of the newest configuration.
    policy: Option<Arc<Outlier>>,
    /// The endpoints of this moment.
    endpoints: Arc<[Arc<Endpoint>]>,
    ejected: Vec<Arc<Endpoint>>,
    swept: Instant,
    rng: fastrand::Rng,
}

impl Governor {
    /// Exchanges the endpoints, and forgets whoever is no longer one.
    pub(super) fn keep(&mut self, endpoints: &[Arc<Endpoint>]) {
        self.endpoints = endpoints.into();
        self.ejected.retain(|one| endpoints.iter().any(|other| Arc::ptr_eq(one, other)));
    }

    fn enforces(&self) -> bool {
        self.policy.as_deref().is_some_and(Outlier::enforces)
    }

    /// Whether a decision by `policy` over `endpoint` still concerns anybody.
    fn is_current(&self, policy: &Outlier, endpoint: &Arc<Endpoint>) -> bool {
        self.policy.as_deref() == Some(policy) && self.endpoints.iter().any(|one| Arc::ptr_eq(one, endpoint))
    }
}

impl Ejections {
    pub(super) fn new(now: Instant, seed: u64) -> Self {
        let rng = fastrand::Rng::with_seed(seed);
        let governor = Governor { policy: None, endpoints: Arc::default(), ejected: Vec::new(), swept: now, rng };
        Ejections {
            rehearsal: false,
            governor: Mutex::new(governor),
            done: Default::default(),
            would: Default::default(),
            overflows: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            panicking: AtomicBool::new(false),
            full: AtomicBool::new(false),
        }
    }

    /// The same for a policy that is rehearsed beside the one that acts.
    pub(super) fn rehearsing(self) -> Self {
        Ejections { rehearsal: true, ..self }
    }

    /// What is counted of an endpoint. Whether it is out is never asked of it.
    fn record<'a>(&self, endpoint: &'a Endpoint) -> &'a OutlierState {
        if self.rehearsal { &endpoint.rehearsal } else { &endpoint.outlier }
    }

    /// A new configuration: its policy, and the endpoints it begins with.
    pub(super) fn govern(&self, policy: Option<&Outlier>, endpoints: &[Arc<Endpoint>]) {
        let mut governor = self.governor.lock();
        governor.policy = policy.map(|policy| Arc::new(policy.clone()));
        governor.keep(endpoints);
        self.make_room();
        if !governor.enforces() && !self.rehearsal {
            // Without the policy nobody stays out by it.
            endpoints.iter().for_each(|endpoint| endpoint.outlier.restore());
        }
    }

    /// Takes in a report of a request that began under `policy`.
    pub(super) fn report(
        &self,
        policy: &Outlier,
        endpoint: &Arc<Endpoint>,
        report: Report,
        now: Instant,
    ) -> Option<Change> {
        let split = policy.consecutive_local_errors.is_some();
        if policy.compares() && !(split && report.outcome == Outcome::NoAnswer) {
            self.record(endpoint).count(report.outcome != Outcome::Success, report.latency);
        }
        match report.outcome {
            Outcome::Success if report.probe => {
                if !endpoint.outlier.pass() {
                    return None;
                }
                let mut governor = self.governor.lock();
                governor.ejected.retain(|other| !Arc::ptr_eq(other, endpoint));
                endpoint.outlier.restore();
                endpoint.ramp.begin(now);
                self.make_room();
                Some(Change::Back(Arc::clone(endpoint)))
            }
            Outcome::Success => {
                self.record(endpoint).succeed();
                None
            }
            _ if report.probe => {
                let mut governor = self.governor.lock();
                self.decide(policy, &mut governor, endpoint, (Cause::Probe, Mode::Enforce), now)
            }
            // What was under way when it was ejected says nothing new.
            _ if self.is_left_out(endpoint, policy.mode, now) => None,
            outcome => {
                let cause = self.record(endpoint).fail(outcome, policy)?;
                // Who keeps failing while too many are out costs the others no lock.
                if self.full.load(Ordering::Relaxed) {
                    self.overflows.fetch_add(1, Ordering::Relaxed);
                    return None;
                }
                let mut governor = self.governor.lock();
                self.decide(policy, &mut governor, endpoint, (cause, policy.mode), now)
            }
        }
    }

    fn decide(
        &self,
        policy: &Outlier,
        governor: &mut Governor,
        endpoint: &Arc<Endpoint>,
        (cause, mode): (Cause, Mode),
        now: Instant,
    ) -> Option<Change> {
        if !governor.is_current(policy, endpoint) {
            return None;
        }
        // A failed probe makes nobody leave who was in.
        let out = endpoint.outlier.is_out(now);
        if out != (cause == Cause::Probe) || (!out && self.is_left_out(endpoint, mode, now)) {
            return None;
        }
        if !out && !self.may_eject(policy, &governor.endpoints, endpoint, mode, now) {
            self.overflows.fetch_add(1, Ordering::Relaxed);
            if mode == policy.mode {
                self.full.store(true, Ordering::Relaxed);
            }
            return None;
        }
        let state = self.record(endpoint);
        let times = if mode.enforces() { state.times() } else { state.rehearsed_times() };
        let time = ejection_time(policy, times, &mut governor.rng);
        let counts = if mode.enforces() {
            state.eject(now, time, policy.probe_requests);
            // Once, even if it failed anew before it was swept.
            governor.ejected.retain(|other| !Arc::ptr_eq(other, endpoint));
            governor.ejected.push(Arc::clone(endpoint));
            &self.done
        } else {
            state.rehearse(now, time);
            &self.would
        };
        counts[cause as usize].fetch_add(1, Ordering::Relaxed);
        Some(Change::Ejected(Ejected { endpoint: Arc::clone(endpoint), cause, time, mode }))
    }

    /// Whether it is left out, or in Observe would be.
    fn is_left_out(&self, endpoint: &Endpoint, mode: Mode, now: Instant) -> bool {
        endpoint.outlier.is_out(now) || (!mode.enforces() && self.record(endpoint).is_rehearsed(now))
    }

    /// Whether one more endpoint may be left out: never the last, at most the share, but always one. Who takes nothing by
    /// its source's word or only waits for a probe, which may never come where its priority is not asked, is no part of
    /// the share; in Observe those that would be out are.
    fn may_eject(
        &self,
        policy: &Outlier,
        endpoints: &[Arc<Endpoint>],
        candidate: &Endpoint,
        mode: Mode,
        now: Instant,
    ) -> bool {
        let serves =
            |one: &Endpoint| one.outlier.is_ejected(now) || (!mode.enforces() && self.record(one).is_rehearsed(now));
        let counts = |one: &&Arc<Endpoint>| one.health() == Health::Healthy && serves(one);
        let out = endpoints.iter().filter(counts).count() as u64;
        let is_in = |one: &Endpoint| one.is_in(now) && !self.is_left_out(one, mode, now);
        let another = endpoints.iter().any(|other| !std::ptr::eq(&raw const **other, candidate) && is_in(other));
        let most = endpoints.len() as u64 * u64::from(policy.max_percent.millionths()) / 1_000_000;
        another && out < most.max(1)
    }

    /// Lets back whose ejection ended, and once an interval compares endpoints and shortens the next ejection of those
    /// that were calm.
    pub(super) fn sweep(&self, now: Instant) -> Vec<Change> {
        let mut governor = self.governor.lock();
        self.make_room();
        let enforces = governor.enforces();
        let back = governor.ejected.extract_if(.., |endpoint| !enforces || !endpoint.outlier.is_out(now));
        let mut changes: Vec<_> = back.map(Change::Back).collect();
        for change in &changes {
            if let Change::Back(endpoint) = change {
                endpoint.outlier.restore();
                endpoint.ramp.begin(now);
            }
        }
        let Some(policy) = governor.policy.clone() else { return changes };
        if now.saturating_duration_since(governor.swept) < policy.interval {
            return changes;
        }
        governor.swept = now;
        let endpoints = Arc::clone(&governor.endpoints);
        if policy.compares() {
            let tallies: Vec<_> = endpoints.iter().map(|endpoint| self.record(endpoint).take()).collect();
            for (index, cause, mode) in comparison::outliers(&policy, &tallies) {
                // Of several causes the first is enough, and who is out already stays it.
                if !endpoints[index].outlier.is_out(now) {
                    changes.extend(self.decide(&policy, &mut governor, &endpoints[index], (cause, mode), now));
                }
            }
        }
        endpoints.iter().for_each(|one| self.record(one).calm(now));
        changes
    }

    /// Ends an ejection before its time.
    pub(super) fn pardon(&self, endpoint: &Arc<Endpoint>) {
        let mut governor = self.governor.lock();
        governor.ejected.retain(|other| !Arc::ptr_eq(other, endpoint));
        endpoint.outlier.restore();
        self.make_room();
    }

    /// Somebody may be back, or others may count: the next decision is made anew. To be called with the governor locked.
    pub(super) fn make_room(&self) {
        self.full.store(false, Ordering::Relaxed);
    }

    /// Holds the share of endpoints that are in against the panic threshold.
    pub(super) fn assess(&self, threshold: Percent, endpoints: &[Arc<Endpoint>], now: Instant) {
        // Relaxed: a request at the moment of change may meet either.
        self.panicking.store(is_panic(threshold, endpoints, now), Ordering::Relaxed);
    }

    pub(super) fn is_panicking(&self) -> bool {
        self.panicking.load(Ordering::Relaxed)
    }

    pub(super) fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self, cause: Cause) -> (u64, u64) {
        let of = |counts: &[AtomicU64]| counts[cause as usize].load(Ordering::Relaxed);
        (of(&self.done), of(&self.would))
    }

    pub(super) fn overflows(&self) -> u64 {
        self.overflows.load(Ordering::Relaxed)
    }

    pub(super) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }
}

/// Whether a smaller share of endpoints than that is in, of those that are healthy by their source.
pub fn is_panic(threshold: Percent, endpoints: &[Arc<Endpoint>], now: Instant) -> bool {
    let healthy = endpoints.iter().filter(|endpoint| endpoint.health() == Health::Healthy);
    let (all, inside) =
        healthy.fold((0_u64, 0_u64), |(all, inside), one| (all + 1, inside + u64::from(one.is_in(now))));
    inside * 1_000_000 < all * u64::from(threshold.millionths())
}

/// How long the next ejection of an endpoint lasts that was ejected `times` before. What chance adds keeps endpoints
/// that were ejected together from coming back together.
pub fn ejection_time(policy: &Outlier, times: u32, rng: &mut fastrand::Rng) -> Duration {
    let time = policy.base_ejection.saturating_mul(times.saturating_add(1)).min(policy.max_ejection);
    if policy.max_jitter.is_zero() { time } else { time.saturating_add(policy.max_jitter.mul_f64(rng.f64())) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use outrigger_config::policy::{Origin, Outlier};

    use super::ejection_time;

    #[test]
    fn each_ejection_is_a_step_longer_up_to_the_longest() {
        let mut rng = fastrand::Rng::with_seed(1);
        let policy = Outlier::with_defaults(Origin::default());
        let mut seconds = |times: u32| ejection_time(&policy, times, &mut rng).as_secs();
        assert_eq!([0, 1, 2, 9, 10, u32::MAX].map(&mut seconds), [30, 60, 90, 300, 300, 300]);
        let still = Outlier { base_ejection: Duration::from_secs(300), ..policy };
        assert_eq!(ejection_time(&still, 4, &mut rng), Duration::from_secs(300));
    }

    #[test]
    fn chance_adds_up_to_the_jitter() {
        let mut rng = fastrand::Rng::with_seed(1);
        let policy = Outlier { max_jitter: Duration::from_secs(10), ..Outlier::with_defaults(Origin::default()) };
        let times: Vec<_> = (0..1000).map(|_| ejection_time(&policy, 0, &mut rng).as_secs_f64()).collect();
        let (least, most) = times.iter().fold((f64::MAX, 0.0_f64), |(low, high), one| (low.min(*one), high.max(*one)));
        assert!((30.0..30.2).contains(&least) && (39.8..40.0).contains(&most), "{least} {most}");
    }
}
