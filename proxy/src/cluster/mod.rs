//! A destination as requests meet it: its endpoints, what it bears, and the history it keeps across configurations.
//!
//! Endpoints come and go often, so they sit behind a swap of their own and an assignment replaces nothing else. One
//! writer (discovery, or the compiler it calls) makes assignments; requests pick and report. A pick never fails while
//! an endpoint's source says that it is healthy: with fewer of those in than the panic threshold asks for, ejections
//! are ignored, and such picks counted as panics. Unlike Envoy's, a panic never reaches whoever the source itself calls
//! draining or unhealthy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use outrigger_config::cluster::Cluster as Model;
use outrigger_config::endpoint::{Assignment, Endpoint as EndpointModel, Health, LocalityWeight};
use outrigger_config::policy::{Limits as LimitsModel, Priority};
use outrigger_config::subset::Criteria;
use outrigger_config::value::Percent;

use crate::balance::{Picker, Subsets};
use crate::endpoint::Endpoint;

pub mod admission;
pub mod budget;
pub mod checks;
pub mod comparison;
pub mod ejection;
mod members;
pub mod seat;
pub mod session;
pub mod share;
pub mod subset;
pub mod traffic;
pub mod zone;

pub use crate::endpoint::{Cause, Outcome};
pub use crate::limits::{self, Acquired, Limit, Limits, Permit};
pub use admission::Admission;
pub use budget::{Budget, RetryPermit};
pub use checks::Checks;
pub use ejection::{Change, Ejected, Report};
pub use seat::Seat;
pub use share::ConnectionPermit;
pub use subset::{Ask, Fallbacks};
pub use traffic::Traffic;

use ejection::Ejections;
use members::{adopt, latency, picker, tune};
use subset::Among;

/// How often a pick is made anew because another worker was faster or a newcomer declined, before it goes anywhere.
const TRIES: usize = 8;

/// The same where a hash is bounded: all workers that have one hot key may want the same last place.
const BOUNDED_TRIES: usize = 64;

/// What a cluster takes from the process it lives in.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// How many workers there are.
    pub workers: usize,
    /// Where round robins begin.
    pub seed: u64,
    /// The time from which clocks count: when the cluster is made.
    pub now: Instant,
}

/// A destination.
#[derive(Debug)]
pub struct Cluster {
    /// How it was configured.
    pub config: Model,
    /// What it is called in metrics and spans: its host, or else its name.
    pub label: Arc<str>,
    /// How much of it is in use, by the requests of each priority.
    limits: [Arc<Limits>; Priority::ALL.len()],
    /// How many retries it bears.
    pub budget: Arc<Budget>,
    /// How much is given up at once while it fails.
    pub admission: Option<Arc<Admission>>,
    /// How much would be by a policy that is rehearsed beside the one that acts.
    pub rehearsed_admission: Option<Arc<Admission>>,
    /// What became of attempts at it.
    pub traffic: Arc<Traffic>,
    /// Whether an endpoint's requests are limited.
    limited: bool,
    /// How much of a priority may be missing, in percent.
    overprovisioning: AtomicU32,
    picker: ArcSwap<Picker>,
    /// What routes ask of its endpoints, if they are divided: nothing first.
    asked: Box<[Criteria]>,
    /// Where requests went that did not get what they asked for.
    pub fallbacks: Arc<Fallbacks>,
    setting: Setting,
    ejections: Arc<Ejections>,
    /// What would be left out by a policy that is rehearsed beside the one that acts.
    rehearsal: Arc<Ejections>,
    /// How its health checks ended.
    pub checks: Arc<Checks>,
    /// Where this proxy stands, for destinations whose places count.
    pub place: Arc<zone::Place>,
}

impl Cluster {
    /// A destination with the endpoints of `assignment`, or those it had while there is none. What still holds of `previous`, the same destination until now, is taken
    /// over: endpoints by address, with their load, ejection and connections; what is in use of its limits; and its
    /// retry budget, unless that changed.
    pub fn new(config: Model, assignment: Option<&Assignment>, previous: Option<&Cluster>, setting: Setting) -> Self {
        Cluster::asked_for(config, Box::default(), assignment, previous, setting)
    }

    /// The same, where routes ask so of its endpoints: first those that ask for nothing.
    pub fn asked_for(
        config: Model,
        asked: Box<[Criteria]>,
        assignment: Option<&Assignment>,
        previous: Option<&Cluster>,
        setting: Setting,
    ) -> Self {
        let host = if config.host.is_empty() { config.name.as_str() } else { &config.host };
        let limits = previous.map(|cluster| cluster.limits.clone()).unwrap_or_default();
        for priority in Priority::ALL {
            limits[priority as usize].tune(priority, config.limits.as_ref(), config.rehearsed.limits.as_ref());
        }
        let of_endpoints = |limits: &LimitsModel| limits.per_endpoint.max_requests.is_some();
        let limited = [&config.limits, &config.rehearsed.limits].into_iter().flatten().any(of_endpoints);
        let budget = previous
            .filter(|cluster| *cluster.budget.model() == config.budget)
            .map_or_else(|| Arc::new(Budget::new(config.budget, setting.now)), |cluster| Arc::clone(&cluster.budget));
        let admission = previous.and_then(|cluster| cluster.admission.as_ref());
        let admission = Admission::carried_on(config.admission.as_ref(), admission, setting.now);
        let rehearsed_admission = previous.and_then(|cluster| cluster.rehearsed_admission.as_ref());
        let rehearsed_admission =
            Admission::carried_on(config.rehearsed.admission.as_ref(), rehearsed_admission, setting.now);
        let known = previous.map_or_else(Vec::new, |cluster| cluster.picker.load().endpoints().to_vec());
        let endpoints = match assignment {
            Some(assignment) => adopt(&known, &assignment.endpoints, latency(config.balancing), setting),
            None => known,
        };
        endpoints.iter().for_each(|endpoint| endpoint.load.tune(latency(config.balancing)));
        endpoints.iter().for_each(|endpoint| tune(endpoint, &config));
        let (ejections, rehearsal) = match previous {
            Some(cluster) => (Arc::clone(&cluster.ejections), Arc::clone(&cluster.rehearsal)),
            None => {
                let new = || Ejections::new(setting.now, setting.seed);
                (Arc::new(new()), Arc::new(new().rehearsing()))
            }
        };
        let overprovisioning = match (assignment, previous) {
            (Some(assignment), _) => assignment.overprovisioning,
            (None, Some(previous)) => previous.overprovisioning.load(Ordering::Relaxed),
            (None, None) => Assignment::DEFAULT_OVERPROVISIONING,
        };
        let weights: Box<[LocalityWeight]> = match (assignment, previous) {
            (Some(assignment), _) => assignment.weights.as_slice().into(),
            (None, Some(previous)) => previous.picker.load().weights().into(),
            (None, None) => Box::default(),
        };
        let picker = picker(&config, &asked, endpoints, overprovisioning, &weights, setting.seed);
        ejections.govern(config.outlier.as_ref(), picker.endpoints());
        rehearsal.govern(config.rehearsed.outlier.as_ref(), picker.endpoints());
        let cluster = Cluster {
            label: host.into(),
            limits,
            limited,
            budget,
            admission,
            rehearsed_admission,
            traffic: previous.map(|cluster| Arc::clone(&cluster.traffic)).unwrap_or_default(),
            overprovisioning: AtomicU32::new(overprovisioning),
            picker: ArcSwap::from_pointee(picker),
            asked,
            fallbacks: previous.map(|cluster| Arc::clone(&cluster.fallbacks)).unwrap_or_default(),
            setting,
            ejections,
            rehearsal,
            checks: previous.map(|cluster| Arc::clone(&cluster.checks)).unwrap_or_default(),
            place: previous.map(|cluster| Arc::clone(&cluster.place)).unwrap_or_default(),
            config,
        };
        cluster.assess(setting.now);
        cluster
    }

    /// Chooses an endpoint and takes a place there. `hash` is the request's key for a ring hash. One of `avoid`, the
    /// endpoints that were tried before, is chosen only if there is no other, and of them the last one only if it is alone:
    /// sooner an ejected one, which may be back, than one that has just failed. None only if no endpoint is healthy by its source, or those in are all full
    /// ([`Cluster::is_full`]): with too few in, or only one that is being probed already, those left out take part again.
    pub fn pick(&self, hash: Option<u64>, avoid: &[SocketAddr], now: Instant, rng: &mut fastrand::Rng) -> Option<Seat> {
        self.pick_for(Ask::default(), hash, avoid, now, rng)
    }

    fn pick_among(
        &self,
        among: Among<'_>,
        hash: Option<u64>,
        avoid: &[SocketAddr],
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> Option<Seat> {
        let picker = among.picker;
        let fresh = |one: &Endpoint| !avoid.contains(&one.address);
        let healthy = |one: &Endpoint| one.health() == Health::Healthy;
        if let Some(seat) = self.pick_available(among, hash, now, rng, fresh) {
            return Some(seat);
        }
        if !avoid.is_empty() {
            let only_out = !picker.endpoints().iter().any(|one| fresh(one) && one.is_in(now));
            if only_out && let Some(endpoint) = self.choose(picker, hash, now, rng, |one| healthy(one) && fresh(one)) {
                self.ejections.panicked();
                return self.seat(endpoint, true, now);
            }
            let not_last = |one: &Endpoint| avoid.last() != Some(&one.address);
            if avoid.len() > 1
                && let Some(seat) = self.pick_available(among, hash, now, rng, not_last)
            {
                return Some(seat);
            }
            if let Some(seat) = self.pick_available(among, hash, now, rng, |_| true) {
                return Some(seat);
            }
        }
        // While those that are in are only full, nobody else is to bear what is too much.
        if self.limits_requests() && !among.panicking && picker.endpoints().iter().any(|one| one.is_in(now)) {
            return None;
        }
        let endpoint = self
            .choose(picker, hash, now, rng, |one| healthy(one) && fresh(one))
            .or_else(|| self.choose(picker, hash, now, rng, healthy))?;
        self.ejections.panicked();
        self.seat(endpoint, true, now)
    }

    /// A place at one of those that are in and accepted.
    fn pick_available(
        &self,
        among: Among<'_>,
        hash: Option<u64>,
        now: Instant,
        rng: &mut fastrand::Rng,
        accept: impl Fn(&Endpoint) -> bool,
    ) -> Option<Seat> {
        let picker = among.picker;
        // A probe or the last place can be taken by another worker between the look and the taking.
        let bounded = self.config.balance_factor.is_some() && hash.is_some();
        let tries = if bounded { BOUNDED_TRIES } else { TRIES };
        for attempt in 0..if among.panicking { 0 } else { tries } {
            let chosen = self.choose(picker, hash, now, rng, |one| one.is_available(now) && accept(one))?;
            // A newcomer declines the part that is not yet its own; the next is drawn as if it were not there.
            if let Some(slow) = &self.config.slow_start
                && attempt + 1 < tries
                && rng.f64() >= chosen.ramp.share(slow, now)
            {
                continue;
            }
            // Whoever loses a race to the last endpoint with room this often goes beyond the bound sooner than nowhere.
            let most = match bounded && attempt + 1 < tries {
                true => picker.most(chosen, |one| one.is_available(now) && accept(one)),
                false => u32::MAX,
            };
            if let Some(seat) = self.seat_within(chosen, false, most, now) {
                return Some(seat);
            }
        }
        None
    }

    /// One of those that are accepted and have room.
    fn choose<'a>(
        &self,
        picker: &'a Picker,
        hash: Option<u64>,
        now: Instant,
        rng: &mut fastrand::Rng,
        accept: impl Fn(&Endpoint) -> bool,
    ) -> Option<&'a Arc<Endpoint>> {
        let limited = self.limits_requests();
        picker.pick(hash, now, rng, |one| accept(one) && (!limited || one.limits.has_room(Limit::Requests)))
    }

    /// Says how an attempt ended. Returns what follows for the endpoint, for whoever tells people.
    pub fn report(&self, endpoint: &Arc<Endpoint>, report: impl Into<Report>, now: Instant) -> Option<Change> {
        let policy = self.config.outlier.as_ref()?;
        let change = self.ejections.report(policy, endpoint, report.into(), now)?;
        self.assess(now);
        Some(change)
    }

    /// Says the same to a policy that is rehearsed beside the one that acts.
    pub fn rehearse(&self, endpoint: &Arc<Endpoint>, report: impl Into<Report>, now: Instant) -> Option<Change> {
        let policy = self.config.rehearsed.outlier.as_ref()?;
        self.rehearsal.report(policy, endpoint, Report { probe: false, ..report.into() }, now)
    }

    /// Returns the endpoints whose ejection ended since the last call, their failures forgiven; once an interval ejects
    /// those that stand out among their neighbours, and shortens the next ejection of those that were calm. To be
    /// called about every second; balancers do not wait for it.
    pub fn sweep(&self, now: Instant) -> Vec<Change> {
        let mut changes = self.ejections.sweep(now);
        self.assess(now);
        changes.extend(self.rehearsal.sweep(now));
        changes
    }

    fn assess(&self, now: Instant) {
        let picker = self.picker.load();
        // One on probation counts as in: else a priority that lost all of its own would never be asked, and nobody in
        // it proved good.
        let inside =
            |one: &Endpoint| one.health() == Health::Healthy && !one.check.is_out() && !one.outlier.is_ejected(now);
        picker.weigh(now);
        self.spread(&picker, inside);
        let enough = picker.assess(inside);
        // Other priorities bear what one cannot: there is no need for those that are left out.
        let threshold = if enough { Percent::ZERO } else { self.config.panic_threshold };
        self.ejections.assess(threshold, picker.endpoints(), now);
        for subset in picker.subsets().into_iter().flat_map(Subsets::each) {
            let enough = subset.picker.assess(inside);
            let threshold = if enough { Percent::ZERO } else { self.config.panic_threshold };
            subset.panic(ejection::is_panic(threshold, subset.picker.endpoints(), now));
        }
    }

    /// Exchanges the endpoints, as EDS says. Those that stay keep their load, ejection and connections. True if
    /// a [`Cluster::version_for`] changed, which routes take down when they are compiled.
    pub fn set_assignment(&self, assignment: &Assignment, now: Instant) -> bool {
        let before = self.versions();
        self.exchange(assignment, now);
        self.assess(now);
        self.versions() != before
    }

    fn exchange(&self, assignment: &Assignment, now: Instant) {
        let old = self.picker.load_full();
        let stays = |(one, model): (&Arc<Endpoint>, &EndpointModel)| {
            let same = one.weight() == model.weight && one.priority() == model.priority;
            same && one.is(model) && one.is_known_as(model)
        };
        let overprovisioning = assignment.overprovisioning;
        let same = self.overprovisioning.swap(overprovisioning, Ordering::Relaxed) == overprovisioning;
        if same
            && old.weights() == assignment.weights
            && old.endpoints().len() == assignment.endpoints.len()
            && old.endpoints().iter().zip(&assignment.endpoints).all(stays)
        {
            // Only health may differ, which needs no new picker.
            old.endpoints().iter().zip(&assignment.endpoints).for_each(|(one, model)| one.update(model));
            return;
        }
        let latency = latency(self.config.balancing);
        let endpoints = adopt(old.endpoints(), &assignment.endpoints, latency, Setting { now, ..self.setting });
        endpoints.iter().for_each(|endpoint| tune(endpoint, &self.config));
        let picker = Arc::new(picker(
            &self.config,
            &self.asked,
            endpoints,
            overprovisioning,
            &assignment.weights,
            self.setting.seed,
        ));
        let mut governor = self.ejections.governor.lock();
        governor.keep(picker.endpoints());
        self.ejections.make_room();
        let mut rehearsing = self.rehearsal.governor.lock();
        rehearsing.keep(picker.endpoints());
        self.rehearsal.make_room();
        self.picker.store(picker);
    }

    /// The endpoints as they are now, with the way to choose among them.
    pub fn picker(&self) -> Arc<Picker> {
        self.picker.load_full()
    }

    /// How often an endpoint was ejected for this cause, and how often one would have been, were the policy enforced.
    pub fn ejections(&self, cause: Cause) -> (u64, u64) {
        let (done, would) = self.ejections.counts(cause);
        (done, would + self.rehearsal.counts(cause).1)
    }

    /// How often an endpoint failed often enough and stayed, because too many were out already.
    pub fn ejection_overflows(&self) -> u64 {
        self.ejections.overflows()
    }

    /// How often an endpoint was picked whether or not it was left out, because too few were in.
    pub fn panics(&self) -> u64 {
        self.ejections.panics()
    }

    /// Whether so few endpoints are in that those left out take part again.
    pub fn is_panicking(&self) -> bool {
        self.ejections.is_panicking()
    }
}

#[cfg(test)]
mod tests;
