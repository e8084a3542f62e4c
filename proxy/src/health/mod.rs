//! Active health checks: asks endpoints, on the side thread, and tells their destinations what came of it.
//!
//! Nothing here knows which endpoints there are but from the snapshot in force: each look asks whoever is due, so that
//! no list of tasks has to follow the configuration. A check is a task with a connection of its own; how many there are at
//! once is bounded, and whoever finds no place is asked a look later.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_config::policy::HealthCheck;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::cluster::Cluster;
use crate::endpoint::{CheckState, Endpoint};
use crate::exchange::Shared;

mod probe;

/// Checks under way at once in the process, by [`Kind`]: what is only rehearsed takes no place of what acts.
const MAX_CHECKS: [usize; 2] = [128, 32];

/// The time from one look to the next while somebody has checks, and while nobody has.
const LOOKS: [Duration; 2] = [Duration::from_millis(25), Duration::from_millis(500)];

/// Asks whoever is due, until the process drains.
pub async fn watch(shared: Arc<Shared>) {
    let places = MAX_CHECKS.map(|most| Arc::new(Semaphore::new(most)));
    let mut rng = fastrand::Rng::new();
    let mut first = 0_usize;
    while !shared.drain.is_draining() {
        let snapshot = shared.snapshots.load_full();
        let asked = |cluster: &&Arc<Cluster>| KINDS.into_iter().any(|kind| kind.policy(cluster).is_some());
        let checked: Vec<_> = snapshot.clusters().filter(asked).collect();
        // Each look begins with another destination, or the first ones would have all the places when those are short.
        first = first.wrapping_add(1);
        let from = first.checked_rem(checked.len()).unwrap_or(0);
        for cluster in checked[from..].iter().chain(&checked[..from]) {
            KINDS.into_iter().for_each(|kind| begin(&shared, cluster, kind, &places[kind as usize], &mut rng));
        }
        tokio::time::sleep(LOOKS[usize::from(checked.is_empty())]).await;
    }
}

/// Why an endpoint is asked.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// By the policy that acts, or is rehearsed alone.
    Own,
    /// By the one that is rehearsed beside it.
    Beside,
}

const KINDS: [Kind; 2] = [Kind::Own, Kind::Beside];

impl Kind {
    fn policy(self, cluster: &Cluster) -> Option<&HealthCheck> {
        match self {
            Kind::Own => cluster.config.health_check.as_ref(),
            Kind::Beside => cluster.config.rehearsed.health_check.as_ref(),
        }
    }

    fn state(self, endpoint: &Endpoint) -> &CheckState {
        match self {
            Kind::Own => &endpoint.check,
            Kind::Beside => &endpoint.rehearsed_check,
        }
    }
}

/// Asks the endpoints of a destination that are due, as far as there are places.
fn begin(shared: &Arc<Shared>, cluster: &Arc<Cluster>, kind: Kind, places: &Arc<Semaphore>, rng: &mut fastrand::Rng) {
    if kind.policy(cluster).is_none() {
        return;
    }
    let place = || Arc::clone(places).try_acquire_owned().ok();
    let is_due = |endpoint: &Endpoint, now, rng: &mut fastrand::Rng| kind.state(endpoint).begin(now, rng);
    ask_due(cluster.picker().endpoints(), is_due, Instant::now(), rng, place, |endpoint, place| {
        let asked = Asked { endpoint: Arc::clone(endpoint), kind, _place: place };
        tokio::spawn(check(Arc::clone(shared), Arc::clone(cluster), asked));
    });
}

/// Gives the endpoints that are due to `ask`, each with a place, while there is one.
fn ask_due<P>(
    endpoints: &[Arc<Endpoint>],
    is_due: impl Fn(&Endpoint, Instant, &mut fastrand::Rng) -> bool,
    now: Instant,
    rng: &mut fastrand::Rng,
    mut place: impl FnMut() -> Option<P>,
    mut ask: impl FnMut(&Arc<Endpoint>, P),
) {
    // Each look begins with another one: where there are too few places those in front would be due again, and asked,
    // before the rest ever were.
    let from = if endpoints.is_empty() { 0 } else { rng.usize(..endpoints.len()) };
    for endpoint in endpoints[from..].iter().chain(&endpoints[..from]) {
        let Some(place) = place() else { return };
        if is_due(endpoint, now, rng) {
            ask(endpoint, place);
        }
    }
}

/// An endpoint that is being asked; it can be asked again once this is dropped.
struct Asked {
    endpoint: Arc<Endpoint>,
    kind: Kind,
    _place: OwnedSemaphorePermit,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.kind.state(&self.endpoint).end();
    }
}

async fn check(shared: Arc<Shared>, cluster: Arc<Cluster>, asked: Asked) {
    let Some(policy) = asked.kind.policy(&cluster) else { return };
    let answer = probe::ask(policy, &cluster.label, asked.endpoint.address).await;
    // The configuration may be another by now; what it says of its endpoints is decided there.
    let snapshot = shared.snapshots.load_full();
    if let Some(current) = snapshot.cluster(&cluster.config.name) {
        current.checked(&asked.endpoint, policy, answer, Instant::now(), &mut fastrand::Rng::new());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use outrigger_config::endpoint::Endpoint as Model;
    use outrigger_config::policy::health_check::Probe;
    use outrigger_config::policy::{HealthCheck, Mode, Origin};

    use super::ask_due;
    use crate::endpoint::{Endpoint, Latency, Sick};

    fn endpoint(number: u16, policy: &HealthCheck, now: Instant) -> Arc<Endpoint> {
        let model = Model::at(([127, 0, 0, 1], number + 1).into());
        let endpoint = Endpoint::new(&model, 1, Latency::default(), now);
        endpoint.check.tune(Some(policy));
        Arc::new(endpoint)
    }

    #[test]
    fn many_that_answer_slowly_keep_nobody_from_being_asked() {
        let start = Instant::now();
        let policy = HealthCheck {
            interval: Duration::from_secs(1),
            jitter: Duration::ZERO,
            ..HealthCheck::with_defaults(Origin::default(), Mode::Enforce, Probe::Tcp)
        };
        let endpoints: Vec<_> = (0..400).map(|number| endpoint(number, &policy, start)).collect();
        let mut rng = fastrand::Rng::with_seed(1);
        let mut asked = HashSet::new();
        let mut under_way: Vec<(u32, Arc<Endpoint>)> = Vec::new();
        // Each check takes a second, and there are places for a fourth of them.
        for tenth in 10..500 {
            let now = start + Duration::from_millis(100) * tenth;
            for (_, endpoint) in under_way.extract_if(.., |(until, _)| *until <= tenth) {
                endpoint.check.report(&policy, Err(Sick::new("slow")), now, &mut rng);
                endpoint.check.end();
            }
            let mut places = 100 - under_way.len();
            let place = || {
                places = places.checked_sub(1)?;
                Some(())
            };
            let is_due = |endpoint: &Endpoint, now, rng: &mut fastrand::Rng| endpoint.check.begin(now, rng);
            ask_due(&endpoints, is_due, now, &mut rng, place, |endpoint, ()| {
                asked.insert(endpoint.address);
                under_way.push((tenth + 10, Arc::clone(endpoint)));
            });
            assert!(under_way.len() <= 100);
        }
        assert_eq!(asked.len(), endpoints.len());
    }
}
