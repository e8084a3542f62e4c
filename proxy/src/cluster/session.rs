//! Sending a session where it began (Envoy's `stateful_session` in its lenient form).
//!
//! Its endpoint gets it as long as it takes requests, or only finishes what it has (DRAINING: a session is what it has).
//! One that is out, ejected or unhealthy by its source or its checks, loses its sessions only for that time: each goes to a stand-in of
//! its own, the same every time, and keeps its cookie. One that is gone has lost them for good: whoever the balancer
//! picks has a new session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use outrigger_config::endpoint::Health;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Ask, Cluster, Seat};
use crate::endpoint::{Endpoint, Token};
use crate::limits::Limit;

/// What became of a request's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// There was none, so that one begins.
    Begun,
    /// It went where it began.
    Kept,
    /// A stand-in has it, while its endpoint is out.
    Diverted,
    /// What it came with names nobody any more, so that another begins.
    Renewed,
}

impl Held {
    /// Each of them.
    pub const ALL: [Held; 4] = [Held::Begun, Held::Kept, Held::Diverted, Held::Renewed];

    /// What it is called in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Held::Begun => "begun",
            Held::Kept => "kept",
            Held::Diverted => "diverted",
            Held::Renewed => "renewed",
        }
    }

    /// Whether the caller is to be told where its session is from now on.
    pub fn begins(self) -> bool {
        matches!(self, Held::Begun | Held::Renewed)
    }
}

impl Cluster {
    /// Whether a token names one of the endpoints that are asked for.
    pub fn names(&self, ask: Ask, token: Token) -> bool {
        self.among(&self.picker.load(), ask).is_some_and(|among| among.picker.find(token).is_some())
    }

    /// A place for the session that began at the endpoint of this token. `seed` tells sessions of one endpoint apart;
    /// the rest is as for [`Cluster::pick_for`].
    pub fn pick_for_session(
        &self,
        ask: Ask,
        (token, seed): (Token, u64),
        hash: Option<u64>,
        avoid: &[SocketAddr],
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> (Option<Seat>, Held) {
        let all = self.picker.load();
        let picker = self.among(&all, ask).map(|among| among.picker);
        let home = picker.and_then(|picker| picker.endpoints().get(picker.find(token)?));
        let (Some(picker), Some(home)) = (picker, home) else {
            return (self.pick_for(ask, hash, avoid, now, rng), Held::Renewed);
        };
        let takes =
            |one: &Endpoint| one.health() != Health::Unhealthy && !one.check.is_out() && one.outlier.admits(now);
        let free = |one: &Endpoint| {
            !avoid.contains(&one.address) && (!self.limits_requests() || one.limits.has_room(Limit::Requests))
        };
        // To one that drains nobody else is sent, so that its seat is not refused for that.
        let seat = |one: &Arc<Endpoint>| self.seat(one, one.health() == Health::Draining, now);
        if takes(home)
            && free(home)
            && let Some(seat) = seat(home)
        {
            self.note_fallback(&all, ask);
            return (Some(seat), Held::Kept);
        }
        // Highest random weight: each session has a stand-in of its own, and keeps it while that one is in.
        let weight = |one: &&Arc<Endpoint>| xxh3_64_with_seed(&one.token.0, seed);
        let others = picker.endpoints().iter().filter(|one| !Arc::ptr_eq(one, home));
        let stand_in = others.filter(|one| one.is_available(now) && free(one)).max_by_key(weight);
        let seat = stand_in.and_then(|one| self.seat(one, false, now));
        seat.as_ref().inspect(|_| self.note_fallback(&all, ask));
        (seat.or_else(|| self.pick_for(ask, hash, avoid, now, rng)), Held::Diverted)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use outrigger_config::cluster::{Balancing, Cluster as Model, Discovery};
    use outrigger_config::endpoint::{Assignment, Endpoint as EndpointModel, Health};
    use outrigger_config::name::ResourceName;
    use outrigger_config::policy::health_check::Probe;
    use outrigger_config::policy::{HealthCheck, Mode, Origin};

    use super::Held;
    use crate::cluster::{Ask, Cluster, Setting};
    use crate::endpoint::{Sick, Token};

    fn endpoint(last: u8, health: Health) -> EndpointModel {
        EndpointModel { health, ..EndpointModel::at(([10, 0, 0, last], 80).into()) }
    }

    fn assignment(of: &[(u8, Health)]) -> Assignment {
        let name = ResourceName::try_new("catalog").expect("a name");
        Assignment::try_new(name, of.iter().map(|(last, health)| endpoint(*last, *health)).collect()).expect("valid")
    }

    fn cluster(of: &[(u8, Health)], now: Instant) -> Cluster {
        let assignment = assignment(of);
        let mut model = Model::new(assignment.name.clone(), Discovery::Static(assignment.clone()));
        model.balancing = Balancing::RoundRobin;
        Cluster::new(model, Some(&assignment), None, Setting { workers: 1, seed: 0, now })
    }

    const ALL: [(u8, Health); 4] =
        [(1, Health::Healthy), (2, Health::Healthy), (3, Health::Healthy), (4, Health::Healthy)];

    fn pick(cluster: &Cluster, token: Token, seed: u64, now: Instant) -> (u8, Held) {
        let mut rng = fastrand::Rng::with_seed(1);
        let (seat, held) = cluster.pick_for_session(Ask::default(), (token, seed), None, &[], now, &mut rng);
        let std::net::IpAddr::V4(ip) = seat.expect("a seat").endpoint().address.ip() else { panic!() };
        (ip.octets()[3], held)
    }

    #[test]
    fn a_session_stays_until_its_endpoint_is_out_and_comes_back() {
        let now = Instant::now();
        let cluster = cluster(&ALL, now);
        let home = cluster.picker().endpoints()[1].clone();
        for seed in 0..50 {
            assert_eq!(pick(&cluster, home.token, seed, now), (2, Held::Kept));
        }
        home.outlier.eject(now, Duration::from_secs(30), 0);
        let mut stand_ins: BTreeMap<u8, u32> = BTreeMap::new();
        for seed in 0..300 {
            let (first, held) = pick(&cluster, home.token, seed, now);
            assert_eq!(held, Held::Diverted);
            assert_eq!(pick(&cluster, home.token, seed, now).0, first, "the same stand-in every time");
            *stand_ins.entry(first).or_default() += 1;
        }
        // Three others, a hundred each by chance.
        assert!(stand_ins.len() == 3 && stand_ins.values().all(|count| (70..=130).contains(count)), "{stand_ins:?}");
        let later = now + Duration::from_secs(31);
        assert_eq!(pick(&cluster, home.token, 1, later), (2, Held::Kept));
    }

    #[test]
    fn one_that_fails_its_checks_loses_its_sessions_for_that_time_though_it_drains() {
        let now = Instant::now();
        let policy = HealthCheck::with_defaults(Origin::default(), Mode::Enforce, Probe::Tcp);
        let policy = HealthCheck { unhealthy_threshold: 1, healthy_threshold: 1, ..policy };
        for health in [Health::Healthy, Health::Draining] {
            let mut of = ALL;
            of[1].1 = health;
            let cluster = cluster(&of, now);
            let home = cluster.picker().endpoints()[1].clone();
            home.check.tune(Some(&policy));
            let answer = |answer| home.check.report(&policy, answer, now, &mut fastrand::Rng::with_seed(1));
            answer(Err(Sick::new("no")));
            let (other, held) = pick(&cluster, home.token, 1, now);
            assert!(other != 2 && held == Held::Diverted, "{health:?}: {other} {held:?}");
            answer(Ok(()));
            assert_eq!(pick(&cluster, home.token, 1, now), (2, Held::Kept), "{health:?}");
        }
    }

    #[test]
    fn one_that_drains_finishes_its_sessions_and_one_that_is_unhealthy_does_not() {
        let now = Instant::now();
        let mut of = ALL;
        let cluster = cluster(&of, now);
        let home = cluster.picker().endpoints()[0].token;
        of[0].1 = Health::Draining;
        cluster.set_assignment(&assignment(&of), now);
        assert_eq!(pick(&cluster, home, 1, now), (1, Held::Kept));
        of[0].1 = Health::Unhealthy;
        cluster.set_assignment(&assignment(&of), now);
        let (other, held) = pick(&cluster, home, 1, now);
        assert!(other != 1 && held == Held::Diverted);
        cluster.set_assignment(&assignment(&of[1..]), now);
        let (other, held) = pick(&cluster, home, 1, now);
        assert!(other != 1 && held == Held::Renewed && held.begins());
        assert!(!cluster.names(Ask::default(), home));
    }

    #[test]
    fn a_second_attempt_goes_elsewhere_and_a_foreign_token_goes_anywhere() {
        let now = Instant::now();
        let cluster = cluster(&ALL, now);
        let home = cluster.picker().endpoints()[0].clone();
        let mut rng = fastrand::Rng::with_seed(1);
        let (seat, held) =
            cluster.pick_for_session(Ask::default(), (home.token, 1), None, &[home.address], now, &mut rng);
        assert!(held == Held::Diverted && seat.expect("a seat").endpoint().address != home.address);
        assert_eq!(pick(&cluster, Token([0; Token::LENGTH]), 1, now).1, Held::Renewed);
        let nobody = self::cluster(&[(1, Health::Unhealthy)], now);
        let token = nobody.picker().endpoints()[0].token;
        let (seat, _) = nobody.pick_for_session(Ask::default(), (token, 1), None, &[], now, &mut rng);
        assert!(seat.is_none());
    }
}
