//! Choosing one of a destination's endpoints.
//!
//! A [`Picker`] is built when the endpoints or their weights change and is immutable from then on, apart from the turn
//! of a round robin. It knows nothing of health, ejection or earlier attempts: the caller says which endpoints it
//! accepts, the picker chooses fairly among those and finds one whenever there is one. No pick allocates or locks, and
//! one that meets only accepted endpoints costs the same however many there are.

use std::sync::Arc;
use std::time::Instant;

use outrigger_config::cluster::{Balancing, Localities};
use outrigger_config::endpoint::LocalityWeight;

use crate::endpoint::{Endpoint, Token};

pub mod bound;
pub mod levels;
pub mod maglev;
pub mod members;
pub mod p2c;
pub mod reported;
pub mod ring_hash;
pub mod round_robin;
pub mod subsets;
pub mod tokens;
pub mod zones;

pub use bound::Bound;
pub use levels::Levels;
pub use maglev::Maglev;
pub use members::Members;
pub use reported::ByReports;
pub use ring_hash::Ring;
pub use round_robin::Turns;
pub use subsets::Subsets;
pub use tokens::Tokens;
pub use zones::{Callers, Zones};

/// The endpoints of a destination and the way to choose among them.
#[derive(Debug)]
pub struct Picker {
    members: Members,
    method: Method,
    /// How much more than its part an endpoint may have, in percent; only a hash asks.
    factor: Option<u32>,
    /// Where endpoints have several priorities: how the load is distributed among them, and a picker of each.
    levels: Option<(Levels, Box<[Picker]>)>,
    tokens: Tokens,
    /// Where places count: how requests are distributed among them, and a picker of each.
    zones: Option<Zones>,
    weights: Box<[LocalityWeight]>,
    /// Where the endpoints are divided, and routes ask for parts of them.
    subsets: Option<Box<Subsets>>,
}

#[derive(Debug)]
enum Method {
    RoundRobin(Turns),
    LeastRequest,
    PeakEwma,
    Random,
    RingHash(Ring),
    Maglev(Maglev),
    ByReports(ByReports),
}

impl Picker {
    /// Builds what the method needs. `seed` says where a round robin begins, so that many proxies do not all begin
    /// with the same endpoint.
    pub fn new(balancing: Balancing, endpoints: Vec<Arc<Endpoint>>, seed: u64) -> Self {
        let members = Members::new(endpoints);
        let method = match balancing {
            Balancing::RoundRobin => Method::RoundRobin(Turns::new(&members, seed)),
            Balancing::LeastRequest => Method::LeastRequest,
            Balancing::PeakEwma { .. } => Method::PeakEwma,
            Balancing::Random => Method::Random,
            Balancing::RingHash { min_size, max_size } => Method::RingHash(Ring::new(&members, min_size, max_size)),
            Balancing::Maglev { table_size } => Method::Maglev(Maglev::new(&members, table_size)),
            Balancing::ClientSideWeightedRoundRobin(rules) => Method::ByReports(ByReports::new(&members, rules, seed)),
        };
        Picker {
            members,
            method,
            factor: None,
            levels: None,
            tokens: Tokens::default(),
            zones: None,
            weights: Box::default(),
            subsets: None,
        }
    }

    /// Bounds the load of an endpoint that a hash leads to: beyond so many percent of its part, keys go on to the next.
    #[must_use]
    pub fn bounded(mut self, factor: Option<u32>) -> Self {
        self.factor = factor;
        self
    }

    /// Chooses a place first, where endpoints stand in several. To be called before [`Picker::levelled`].
    #[must_use]
    pub fn zoned(mut self, balancing: Balancing, weights: &[LocalityWeight], seed: u64) -> Self {
        let priority = self.endpoints().first().map_or(0, |one| one.priority());
        let picker = |endpoints: Vec<Arc<Endpoint>>| Picker::new(balancing, endpoints, seed).bounded(self.factor);
        let weight = |place: &outrigger_config::endpoint::Locality| {
            let said = weights.iter().find(|one| one.priority == priority && one.locality == *place);
            said.map(|one| one.weight)
        };
        self.zones = Zones::new(self.endpoints(), picker, weight);
        self.weights = weights.into();
        self
    }

    /// Chooses a priority first, where endpoints have several.
    #[must_use]
    pub fn levelled(mut self, balancing: Balancing, overprovisioning: u32, seed: u64) -> Self {
        self.levels = Levels::new(self.members.endpoints(), overprovisioning).map(|levels| {
            let zoned = self.zones.is_some();
            let picker = |group: &[Arc<Endpoint>]| {
                let picker = Picker::new(balancing, group.to_vec(), seed).bounded(self.factor);
                if zoned { picker.zoned(balancing, &self.weights, seed) } else { picker }
            };
            let pickers = levels.groups().map(picker).collect();
            (levels, pickers)
        });
        self
    }

    /// With subsets beside the whole.
    #[must_use]
    pub fn divided(mut self, subsets: Option<Subsets>) -> Self {
        self.subsets = subsets.map(Box::new);
        self
    }

    /// The subsets, where there are some.
    pub fn subsets(&self) -> Option<&Subsets> {
        self.subsets.as_deref()
    }

    /// Distributes the load among priorities anew. True if together they are wholly healthy by their
    /// overprovisioning; false where there is only one, whose panic threshold decides alone.
    pub fn assess(&self, is_in: impl Fn(&Endpoint) -> bool) -> bool {
        self.levels.as_ref().is_some_and(|(levels, _)| levels.assess(is_in))
    }

    /// Looks at what endpoints report of their load, where that counts.
    pub fn weigh(&self, now: Instant) {
        if let Method::ByReports(turns) = &self.method {
            turns.weigh(&self.members, now);
            let levels = self.levels.iter().flat_map(|(_, pickers)| pickers);
            levels.for_each(|picker| picker.weigh(now));
            self.zones.iter().flat_map(Zones::pickers).for_each(|picker| picker.weigh(now));
            let subsets = self.subsets.iter().flat_map(|subsets| subsets.each());
            subsets.for_each(|subset| subset.picker.weigh(now));
        }
    }

    /// Distributes the load among places anew.
    pub fn spread(
        &self,
        policy: Localities,
        overprovisioning: u32,
        callers: Option<&Callers>,
        is_in: impl Fn(&Endpoint) -> bool,
    ) {
        let levels = self.levels.iter().flat_map(|(_, pickers)| pickers).chain(Some(self));
        for zones in levels.filter_map(|picker| picker.zones.as_ref()) {
            zones.assess(policy, overprovisioning, callers, &is_in);
        }
    }

    /// The weights of places that it was built with.
    pub fn weights(&self) -> &[LocalityWeight] {
        &self.weights
    }

    /// One of the accepted endpoints; none only if none is accepted. `hash` is the request's key for a ring hash: a
    /// request without one goes anywhere.
    pub fn pick(
        &self,
        hash: Option<u64>,
        now: Instant,
        rng: &mut fastrand::Rng,
        accept: impl Fn(&Endpoint) -> bool,
    ) -> Option<&Arc<Endpoint>> {
        let Some((levels, pickers)) = &self.levels else { return self.pick_one(hash, now, rng, accept) };
        // The same key to the same priority. The lower half of it chooses inside.
        let point = hash.map_or_else(|| rng.u32(0..100), |hash| (hash >> 32) as u32 % 100);
        levels.order(point).find_map(|index| pickers[index].pick_one(hash, now, rng, &accept))
    }

    fn pick_one(
        &self,
        hash: Option<u64>,
        now: Instant,
        rng: &mut fastrand::Rng,
        accept: impl Fn(&Endpoint) -> bool,
    ) -> Option<&Arc<Endpoint>> {
        if let Some(zones) = &self.zones {
            // The same key to the same place, by other bits of it than those that choose inside.
            let key = |hash: u64| ((hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % u64::from(zones::PARTS)) as u32;
            let point = hash.map_or_else(|| rng.u32(0..zones::PARTS), key);
            let picked = zones.choose(point).and_then(|picker| picker.pick_flat(hash, now, rng, &accept));
            if picked.is_some() {
                return picked;
            }
        }
        self.pick_flat(hash, now, rng, accept)
    }

    fn pick_flat(
        &self,
        hash: Option<u64>,
        now: Instant,
        rng: &mut fastrand::Rng,
        accept: impl Fn(&Endpoint) -> bool,
    ) -> Option<&Arc<Endpoint>> {
        let members = &self.members;
        let index = match (&self.method, hash) {
            (Method::RoundRobin(turns), _) => turns.pick(members, accept),
            (Method::ByReports(turns), _) => turns.pick(members, accept),
            (Method::LeastRequest, _) => p2c::least_request(members, rng, accept),
            (Method::PeakEwma, _) => p2c::peak_ewma(members, now, rng, accept),
            (Method::RingHash(ring), Some(hash)) => self.hashed(accept, |accept| ring.pick(members, hash, accept)),
            (Method::Maglev(table), Some(hash)) => self.hashed(accept, |accept| table.pick(members, hash, accept)),
            (Method::Random | Method::RingHash(_) | Method::Maglev(_), _) => members.draw(rng, accept),
        };
        index.and_then(|index| self.endpoints().get(index))
    }

    /// A hash's choice among those with room, if there is a bound.
    fn hashed(
        &self,
        accept: impl Fn(&Endpoint) -> bool,
        choose: impl Fn(&dyn Fn(usize, &Endpoint) -> bool) -> Option<usize>,
    ) -> Option<usize> {
        if let Some(factor) = self.factor {
            let bound = Bound::new(&self.members, factor, &accept);
            let found = choose(&|index, one| bound.leaves_room(&self.members, index) && accept(one));
            if found.is_some() {
                return found;
            }
        }
        choose(&|_, one| accept(one))
    }

    /// The index of the endpoint that sessions call so.
    pub fn find(&self, token: Token) -> Option<usize> {
        self.tokens.find(self.endpoints(), token)
    }

    /// How many requests a hash lets an endpoint have at this moment, the one to come included; where places are weighed
    /// against each other, as many as there are.
    pub fn most(&self, endpoint: &Endpoint, accept: impl Fn(&Endpoint) -> bool) -> u32 {
        let is = |one: &Arc<Endpoint>| std::ptr::eq(&raw const **one, endpoint);
        let level = self.levels.iter().flat_map(|(_, pickers)| pickers).find(|one| one.endpoints().iter().any(is));
        let picker = level.unwrap_or(self);
        let (Some(factor), None) = (picker.factor, &picker.zones) else { return u32::MAX };
        let bound = Bound::new(&picker.members, factor, accept);
        picker.endpoints().iter().position(is).map_or(u32::MAX, |index| bound.most(&picker.members, index))
    }

    /// Every endpoint, accepted or not, in the order of its assignment.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        self.members.endpoints()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use outrigger_config::cluster::Balancing;
    use outrigger_config::endpoint::Endpoint as Model;
    use proptest::prelude::{Just, ProptestConfig, Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::{Members, Picker};
    use crate::endpoint::{Endpoint, Latency};

    /// Endpoints 10.0.0.0, 10.0.0.1, ... of these weights.
    pub(crate) fn endpoints(weights: &[u32]) -> Vec<Arc<Endpoint>> {
        let epoch = Instant::now();
        let endpoint = |(index, weight): (usize, &u32)| {
            let model = Model { weight: *weight, ..Model::at(([10, 0, (index >> 8) as u8, index as u8], 80).into()) };
            Arc::new(Endpoint::new(&model, 1, Latency::default(), epoch))
        };
        weights.iter().enumerate().map(endpoint).collect()
    }

    pub(crate) fn members(weights: &[u32]) -> Members {
        Members::new(endpoints(weights))
    }

    /// How often each index comes in `count` picks.
    pub(crate) fn shares(members: usize, count: u32, mut pick: impl FnMut() -> Option<usize>) -> Vec<f64> {
        let mut seen = vec![0_u32; members];
        for _ in 0..count {
            seen[pick().expect("an accepted endpoint")] += 1;
        }
        seen.into_iter().map(|times| f64::from(times) / f64::from(count)).collect()
    }

    /// Every way to choose.
    pub(crate) fn balancing() -> impl Strategy<Value = Balancing> {
        prop_oneof![
            Just(Balancing::RoundRobin),
            Just(Balancing::LeastRequest),
            Just(Balancing::default()),
            Just(Balancing::Random),
            Just(Balancing::RingHash { min_size: 64, max_size: 4096 }),
            Just(Balancing::Maglev { table_size: 251 }),
            Just(Balancing::ClientSideWeightedRoundRobin(outrigger_config::cluster::LoadReports::default())),
        ]
    }

    #[test]
    fn a_hash_with_a_bound_overflows_to_the_next_and_comes_back() {
        for balancing in
            [Balancing::RingHash { min_size: 1024, max_size: 4096 }, Balancing::Maglev { table_size: 65_537 }]
        {
            let picker = Picker::new(balancing, endpoints(&[1; 4]), 0).bounded(Some(125));
            let mut rng = fastrand::Rng::with_seed(1);
            let mut pick = || picker.pick(Some(77), Instant::now(), &mut rng, |_| true).expect("an endpoint");
            let home = pick();
            // One hot key, all its requests kept open: nobody gets more than 1.25 times the mean.
            let held: Vec<_> = (0..400)
                .map(|_| {
                    let one = pick();
                    one.load.begin();
                    one
                })
                .collect();
            for endpoint in picker.endpoints() {
                assert!(endpoint.load.active() <= 125, "{balancing:?}: {}", endpoint.load.active());
            }
            held.iter().for_each(|one| one.load.leave());
            assert_eq!(pick().address, home.address);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn every_method_finds_an_accepted_endpoint_whenever_there_is_one(
            balancing in balancing(),
            members in prop::collection::vec((1_u32..100, prop::bool::weighted(0.3)), 0..20),
            hash in prop::option::of(0_u64..u64::MAX),
            seed in 0_u64..u64::MAX,
            factor in prop::option::of(100_u32..200),
        ) {
            let (weights, accepted): (Vec<u32>, Vec<bool>) = members.into_iter().unzip();
            let picker = Picker::new(balancing, endpoints(&weights), seed).bounded(factor);
            let accept = |endpoint: &Endpoint| {
                picker.endpoints().iter().position(|other| std::ptr::eq(&**other, endpoint)).is_some_and(|at| accepted[at])
            };
            let mut rng = fastrand::Rng::with_seed(seed);
            for _ in 0..32 {
                let picked = picker.pick(hash, Instant::now(), &mut rng, accept);
                prop_assert_eq!(picked.is_some(), accepted.contains(&true));
                prop_assert!(picked.is_none_or(|endpoint| accept(endpoint)));
            }
        }
    }
}
