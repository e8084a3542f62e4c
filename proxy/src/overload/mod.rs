//! The overload manager: keeps the process alive when memory, file descriptors or connections run short.
//!
//! A side thread samples; what is to be done is one word that a request reads with one relaxed load, and zero is the
//! usual. Doing it is others' business: the accept loops, the record of responses, and `policy::shed`. Admin and
//! discovery are never touched, and what asks for a service's health is never shed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use outrigger_config::policy::Mode;
use outrigger_config::route::Priority;
use parking_lot::Mutex;
use tokio::sync::Notify;

pub mod pressure;
pub mod sample;

pub use pressure::{Actions, Held};

/// The time from one sample to the next.
const PERIOD: Duration = Duration::from_millis(250);

/// How long whoever waits for room waits until it looks again.
pub const PAUSE: Duration = Duration::from_millis(50);

/// No more than this part of all connections is dismissed at one sample: their callers come again, and not all at once.
const SLICE: u32 = 8;

/// What may run short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Memory, of the cgroup's limit.
    Memory,
    /// File descriptors, of RLIMIT_NOFILE.
    Descriptors,
    /// Callers' connections, of `--max-connections`.
    Connections,
}

impl Resource {
    /// Every resource.
    pub const ALL: [Resource; 3] = [Resource::Memory, Resource::Descriptors, Resource::Connections];

    /// The word of metrics, logs and refusals.
    pub const fn as_str(self) -> &'static str {
        match self {
            Resource::Memory => "memory",
            Resource::Descriptors => "file_descriptors",
            Resource::Connections => "connections",
        }
    }

    /// Whether fewer requests free it: memory and descriptors they do, idle connections they do not.
    fn sheds(self) -> bool {
        self != Resource::Connections
    }
}

/// How much the process may use; none is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Whether anything is done about it.
    pub mode: Mode,
    /// Memory, bytes.
    pub memory: Option<u64>,
    /// File descriptors.
    pub descriptors: Option<u64>,
    /// Callers' connections; exact.
    pub connections: Option<u32>,
}

/// What is short, and what is done about it.
#[derive(Debug, Default)]
pub struct Overload {
    bounds: Bounds,
    actions: AtomicU32,
    connections: AtomicU32,
    over_limit: AtomicU64,
    dismissed: AtomicU64,
    shed: [AtomicU64; 2],
    held: Mutex<[Held; Resource::ALL.len()]>,
    /// Where connections that rest wait to be dismissed, in the order in which they came to rest.
    resting: Notify,
}

/// A place for a caller's connection, free again when it is dropped.
#[derive(Debug)]
pub struct Place(Arc<Overload>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Overload {
    /// Nothing is short yet.
    pub fn new(bounds: Bounds) -> Self {
        Overload { bounds, ..Overload::default() }
    }

    /// How much the process may use.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// What is to be done, or in Observe would be.
    pub fn actions(&self) -> Actions {
        Actions::unpack(self.actions.load(Ordering::Relaxed))
    }

    /// Whether anything is to be done at all.
    pub fn is_calm(&self) -> bool {
        self.actions.load(Ordering::Relaxed) == 0
    }

    /// Whether a connection ends with the answer under way.
    pub fn closes(&self) -> bool {
        !self.is_calm() && self.bounds.mode.enforces() && self.actions().closes
    }

    /// Whether nothing is accepted now.
    pub fn refuses(&self) -> bool {
        if !self.bounds.mode.enforces() {
            return false;
        }
        self.bounds.connections.is_some_and(|most| self.connections() >= most) || self.actions().refuses
    }

    /// A place for a connection that was accepted; waits until there is one, where another worker, or whoever came
    /// before, has taken the last. Cancel safe.
    pub async fn place(self: &Arc<Self>) -> Place {
        let (mut place, beyond) = self.enter();
        self.over_limit.fetch_add(u64::from(beyond), Ordering::Relaxed);
        loop {
            if let Some(place) = place {
                return place;
            }
            tokio::time::sleep(PAUSE).await;
            place = self.enter().0;
        }
    }

    /// A place, if there is one, and whether the limit has been reached.
    fn enter(self: &Arc<Self>) -> (Option<Place>, bool) {
        let most = self.bounds.connections.unwrap_or(u32::MAX);
        let acts = self.bounds.mode.enforces();
        let more = |held: u32| if held < most || !acts { held.checked_add(1) } else { None };
        let before = self.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        (before.ok().map(|_| Place(Arc::clone(self))), before.map_or(true, |before| before >= most))
    }

    /// Completes when a connection that rests is to give its place up; those that wait longest go first. Cancel safe, and
    /// what one that is dropped was told goes to the next.
    pub async fn dismissed(&self) {
        loop {
            self.resting.notified().await;
            // What was said with nobody there to hear it waits for the next, who may come in better times.
            if self.closes() {
                return;
            }
        }
    }

    /// Tells the next that rests, in the place of one that was told and does not.
    pub fn pass_on(&self) {
        self.resting.notify_one();
    }

    /// Counts a connection that went since it was dismissed.
    pub fn note_dismissed(&self) {
        self.dismissed.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that rested and were closed because the process ran short.
    pub fn dismissals(&self) -> u64 {
        self.dismissed.load(Ordering::Relaxed)
    }

    /// Dismisses so many connections as rest and are in the way: where places run short, as many as others need to come
    /// in; where anything else does, all, little by little. Says how many were asked for.
    fn dismiss(&self) -> u32 {
        if !self.closes() {
            return 0;
        }
        let (there, [memory, descriptors, _]) = (self.connections(), self.held.lock().map(Held::now));
        let slice = there.div_ceil(SLICE);
        let wanted = if memory.max(descriptors) >= pressure::CLOSE {
            slice
        } else {
            // The pressure falls slowly; how many there are is known now.
            let keeps =
                self.bounds.connections.map_or(u32::MAX, |most| (f64::from(most) * pressure::CLOSE).ceil() as u32);
            there.saturating_sub(keeps.saturating_sub(1)).min(slice)
        };
        (0..wanted).for_each(|_| self.resting.notify_one());
        wanted
    }

    /// Callers' connections.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections beyond the limit: they waited for a place, or in Observe were served.
    pub fn over_limit(&self) -> u64 {
        self.over_limit.load(Ordering::Relaxed)
    }

    /// Counts a request that is shed, or in Observe would be.
    pub fn note_shed(&self, priority: Priority) {
        self.shed[usize::from(priority == Priority::High)].fetch_add(1, Ordering::Relaxed);
    }

    /// Requests of this priority that were shed, or in Observe would have been.
    pub fn shed(&self, priority: Priority) -> u64 {
        self.shed[usize::from(priority == Priority::High)].load(Ordering::Relaxed)
    }

    /// How much of a resource is used, 1 being all of it; falls slowly.
    pub fn pressure(&self, resource: Resource) -> f64 {
        self.held.lock()[resource as usize].now()
    }

    /// What is shortest, for people.
    pub fn shortest(&self) -> (Resource, f64) {
        self.shortest_of(|_| true)
    }

    /// What requests are shed for, for people.
    pub fn sheds_for(&self) -> (Resource, f64) {
        self.shortest_of(Resource::sheds)
    }

    fn shortest_of(&self, counts: impl Fn(Resource) -> bool) -> (Resource, f64) {
        let held = self.held.lock().map(Held::now);
        let pairs = Resource::ALL.into_iter().zip(held).filter(|(resource, _)| counts(*resource));
        pairs.fold((Resource::Memory, 0.0), |most, one| if one.1 > most.1 { one } else { most })
    }

    /// The memory that is used: where that is much, without what is free and was only not given back.
    fn memory(&self) -> Option<u64> {
        let (used, most) = (sample::memory()?, self.bounds.memory.unwrap_or(u64::MAX));
        if (used as f64) < pressure::CLOSE * most as f64 {
            return Some(used);
        }
        sample::purge();
        sample::memory()
    }

    /// Takes down what is used, so long after the last time.
    pub fn note(&self, used: [Option<u64>; Resource::ALL.len()], since: Duration) -> Actions {
        let most = [self.bounds.memory, self.bounds.descriptors, self.bounds.connections.map(u64::from)];
        let mut held = self.held.lock();
        let mut actions = Actions::default();
        for resource in Resource::ALL {
            let index = resource as usize;
            let measured = match (used[index], most[index]) {
                (Some(sample::ALL), Some(_)) => 1.0,
                (Some(used), Some(most)) => used as f64 / most.max(1) as f64,
                _ => 0.0,
            };
            let pressure = held[index].note(measured, since);
            actions = actions.or(Actions::of(pressure, resource.sheds()));
        }
        self.actions.store(actions.pack(), Ordering::Relaxed);
        actions
    }
}

/// Samples for ever, and tells people when it comes to another stage. While memory is short, `relieve` gives back what
/// is only kept to be fast: or a full cache could keep the proxy short when nobody calls any more.
pub async fn watch(overload: Arc<Overload>, relieve: impl Fn()) {
    let (mut stage, mut last) = (0, Instant::now());
    loop {
        tokio::time::sleep(PERIOD).await;
        let used = [overload.memory(), sample::descriptors(), Some(u64::from(overload.connections()))];
        let now = Instant::now();
        let actions = overload.note(used, now.saturating_duration_since(last));
        last = now;
        overload.dismiss();
        if overload.bounds.mode.enforces() && overload.pressure(Resource::Memory) >= pressure::CLOSE {
            relieve();
        }
        let before = std::mem::replace(&mut stage, actions.stage());
        if stage != before {
            let (resource, pressure) = overload.shortest();
            let (resource, percent, mode) = (resource.as_str(), (pressure * 100.0).round(), overload.bounds.mode);
            match stage {
                0 => tracing::info!(resource, percent, ?mode, "The proxy has enough of everything again"),
                _ => tracing::warn!(resource, percent, stage, ?mode, "The proxy runs short"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use futures_util::future::{BoxFuture, FutureExt};
    use outrigger_config::policy::Mode;

    use super::{Bounds, Overload, Resource};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_shortest_decides() {
        let bounds = Bounds { memory: Some(1000), descriptors: Some(100), connections: Some(10), ..Bounds::default() };
        let overload = Overload::new(bounds);
        assert_eq!(overload.note([Some(500), Some(50), Some(5)], SECOND).stage(), 0);
        assert!(overload.is_calm() && !overload.closes());
        assert_eq!(overload.note([Some(500), Some(96), Some(5)], SECOND).stage(), 2);
        assert_eq!(overload.shortest().0, Resource::Descriptors);
        assert!(overload.closes() && !overload.refuses());
        assert_eq!(overload.note([Some(990), Some(96), Some(5)], SECOND).stage(), 4);
        assert!(overload.refuses());
    }

    #[test]
    fn requests_are_not_shed_for_want_of_connections() {
        let bounds = Bounds { memory: Some(1000), connections: Some(10), ..Bounds::default() };
        let overload = Overload::new(bounds);
        overload.note([Some(960), None, Some(10)], SECOND);
        assert_eq!((overload.shortest().0, overload.sheds_for().0), (Resource::Connections, Resource::Memory));
    }

    #[test]
    fn without_bounds_and_without_samples_nothing_is_short() {
        assert_eq!(Overload::default().note([Some(u64::MAX), Some(u64::MAX), Some(u64::MAX)], SECOND).stage(), 0);
        let bounds = Bounds { memory: Some(0), descriptors: Some(1), ..Bounds::default() };
        assert_eq!(Overload::new(bounds).note([None; 3], SECOND).stage(), 0);
        let overload = Overload::new(bounds);
        assert_eq!(overload.note([None, Some(u64::MAX), None], SECOND).stage(), 4, "too few to count them");
        assert!((overload.pressure(Resource::Descriptors) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn in_observe_it_is_known_and_nothing_is_done() {
        let bounds = Bounds { mode: Mode::Observe, memory: Some(1), connections: Some(1), ..Bounds::default() };
        let overload = Arc::new(Overload::new(bounds));
        assert_eq!(overload.note([Some(1), None, None], SECOND).stage(), 4);
        let places: Vec<_> = (0..3).map(|_| overload.place().now_or_never()).collect();
        assert!(places.iter().all(Option::is_some) && !overload.closes() && !overload.refuses());
        assert_eq!((overload.connections(), overload.over_limit()), (3, 2));
    }

    #[tokio::test]
    async fn those_that_rest_longest_are_dismissed_and_no_more_than_must_be() {
        let overload = Arc::new(Overload::new(Bounds { connections: Some(20), ..Bounds::default() }));
        let places: Vec<_> = (0..20).map(|_| overload.enter().0).collect();
        let mut resting: Vec<_> = places.iter().map(|_| overload.dismissed().boxed()).collect();
        let mut told = || {
            let ready = |(index, one): (usize, &mut BoxFuture<()>)| one.now_or_never().map(|()| index);
            let told: Vec<usize> = resting.iter_mut().enumerate().filter_map(ready).collect();
            told.iter().rev().for_each(|index| drop(resting.remove(*index)));
            told
        };
        assert!(told().is_empty() && overload.dismiss() == 0, "nothing is short yet");
        overload.note([None, None, Some(20)], SECOND);
        assert_eq!((overload.dismiss(), told()), (3, vec![0, 1, 2]), "17 are below 0.90 of 20");
        drop(places.into_iter().take(3).collect::<Vec<_>>());
        assert_eq!((overload.dismiss(), told()), (0, vec![]), "though the pressure falls slowly");
        overload.note([None, Some(1), Some(17)], SECOND);
        assert!(overload.closes(), "all the same");
    }

    #[tokio::test]
    async fn where_memory_is_short_all_that_rest_go_little_by_little() {
        let bounds = Bounds { memory: Some(100), ..Bounds::default() };
        let overload = Arc::new(Overload::new(bounds));
        let _places: Vec<_> = (0..80).map(|_| overload.enter().0).collect();
        overload.note([Some(91), None, Some(80)], SECOND);
        assert_eq!(overload.dismiss(), 10);
        // Nobody was there to hear it; who comes later, in better times, stays.
        overload.note([Some(10), None, Some(80)], 100 * SECOND);
        assert!(Box::pin(overload.dismissed()).now_or_never().is_none());
        let observed = Arc::new(Overload::new(Bounds { mode: Mode::Observe, ..bounds }));
        let _places: Vec<_> = (0..80).map(|_| observed.enter().0).collect();
        observed.note([Some(91), None, Some(80)], SECOND);
        assert_eq!(observed.dismiss(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_accepted_for_the_last_place_waits_for_the_next() {
        let overload = Arc::new(Overload::new(Bounds { connections: Some(1), ..Bounds::default() }));
        let first = overload.place().await;
        let second = tokio::spawn({
            let overload = Arc::clone(&overload);
            async move { overload.place().await }
        });
        tokio::time::sleep(10 * SECOND).await;
        assert!(!second.is_finished() && overload.over_limit() == 1);
        drop(first);
        let _second = second.await.expect("no panic");
        assert_eq!((overload.connections(), overload.over_limit()), (1, 1));
    }

    #[test]
    fn no_interleaving_of_threads_lets_one_more_connection_in() {
        let overload = Arc::new(Overload::new(Bounds { connections: Some(5), ..Bounds::default() }));
        let most = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        if let Some(place) = overload.enter().0 {
                            most.fetch_max(overload.connections(), Ordering::Relaxed);
                            drop(place);
                        }
                    }
                });
            }
        });
        assert!(most.into_inner() <= 5 && overload.connections() == 0);
    }
}
