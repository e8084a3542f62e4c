//! Which of a destination's endpoints a request may go to, where routes ask for subsets of them
//! ([`crate::balance::subsets`]).
//!
//! What routes ask of a destination is known when they are compiled; each has its place in a list, which a request brings.
//! A destination that is not divided has no list, and every request may go anywhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use outrigger_config::subset::{Criteria, Miss};

use super::{Cluster, Seat};
use crate::balance::Picker;
use crate::balance::subsets::Led;
use crate::endpoint::Endpoint;

/// How it is told that a request may go anywhere, or nowhere.
const ANYBODY: &str = "any endpoint";
const NOBODY: &str = "nobody";

/// What a route asks of a destination: a place in its list. The default is that of whoever asks for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask(u32);

/// Where requests went that did not get the subset they asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    /// To an endpoint that has some of the labels.
    Fewer,
    /// To the default subset.
    Default,
    /// To any endpoint.
    Any,
    /// Nowhere.
    Nobody,
}

impl Instead {
    /// Each of them.
    pub const ALL: [Instead; 4] = [Instead::Fewer, Instead::Default, Instead::Any, Instead::Nobody];

    /// What it is called in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Instead::Fewer => "fewer_keys",
            Instead::Default => "default_subset",
            Instead::Any => "any_endpoint",
            Instead::Nobody => "nobody",
        }
    }
}

/// How often that was.
#[derive(Debug, Default)]
pub struct Fallbacks([AtomicU64; Instead::ALL.len()]);

impl Fallbacks {
    /// How often attempts went there.
    pub fn count(&self, instead: Instead) -> u64 {
        self.0[instead as usize].load(Ordering::Relaxed)
    }

    fn note(&self, instead: Instead) {
        self.0[instead as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Those that a request is chosen among.
#[derive(Clone, Copy, Debug)]
pub(super) struct Among<'a> {
    pub(super) picker: &'a Picker,
    /// Whether those of them that are left out take part.
    pub(super) panicking: bool,
}

/// What became of what a request asked for, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What it asked for; empty: nothing.
    pub asked: String,
    /// Where it was led: `version=v1`, `any endpoint`, `nobody`.
    pub led: String,
    /// Why that is not what it asked for; empty where it is.
    pub because: &'static str,
}

impl Cluster {
    /// The place of what a route asks.
    pub fn ask(&self, asked: &Criteria) -> Ask {
        let place = self.asked.iter().position(|one| one == asked);
        // In range: there are as many as routes at most.
        Ask(place.and_then(|place| u32::try_from(place).ok()).unwrap_or_default())
    }

    /// What routes ask.
    pub fn asked(&self) -> &[Criteria] {
        &self.asked
    }

    /// The place of each of these.
    pub fn asks(&self) -> impl Iterator<Item = Ask> {
        (0..self.asked.len()).filter_map(|place| u32::try_from(place).ok()).map(Ask)
    }

    /// Chooses an endpoint among those that are asked for, and takes a place there, as [`Cluster::pick`] does.
    pub fn pick_for(
        &self,
        ask: Ask,
        hash: Option<u64>,
        avoid: &[SocketAddr],
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> Option<Seat> {
        let picker = self.picker.load();
        let Some(subsets) = picker.subsets() else {
            return self.pick_among(self.all(&picker), hash, avoid, now, rng);
        };
        self.note_fallback(&picker, ask);
        let seat = self.among(&picker, ask).and_then(|among| self.pick_among(among, hash, avoid, now, rng));
        if seat.is_none() && subsets.rescues(ask.0 as usize) {
            return self.pick_among(self.all(&picker), hash, avoid, now, rng);
        }
        seat
    }

    /// Counts a request that does not get the subset that it asks for.
    pub(super) fn note_fallback(&self, picker: &Picker, ask: Ask) {
        let Some(subsets) = picker.subsets() else { return };
        let (miss, fewer) = subsets.misses(ask.0 as usize);
        if fewer || matches!(miss, Some(Miss::Unknown | Miss::Empty)) {
            self.fallbacks.note(match subsets.led(ask.0 as usize) {
                _ if fewer && miss.is_none() => Instead::Fewer,
                Led::To(_) => Instead::Default,
                Led::All => Instead::Any,
                Led::Nobody => Instead::Nobody,
            });
        }
    }

    /// All of them.
    pub(super) fn all<'a>(&self, picker: &'a Picker) -> Among<'a> {
        Among { picker, panicking: self.is_panicking() }
    }

    /// Those that are asked for.
    pub(super) fn among<'a>(&self, picker: &'a Picker, ask: Ask) -> Option<Among<'a>> {
        match picker.subsets().map_or(Led::All, |subsets| subsets.led(ask.0 as usize)) {
            Led::All => Some(self.all(picker)),
            Led::To(subset) => Some(Among { picker: &subset.picker, panicking: subset.is_panicking() }),
            Led::Nobody => None,
        }
    }

    /// The endpoints that are asked for, to look at.
    pub fn candidates<T>(&self, ask: Ask, look: impl FnOnce(&[Arc<Endpoint>]) -> T) -> T {
        let picker = self.picker.load();
        look(self.among(&picker, ask).map_or(&[], |among| among.picker.endpoints()))
    }

    /// The version of those that are asked for, if they all have the same; else empty.
    pub fn version_for(&self, ask: Ask) -> Arc<str> {
        self.candidates(ask, |endpoints| {
            let mut versions = endpoints.iter().map(|endpoint| &endpoint.version);
            let first = versions.next().map_or_else(|| "".into(), Arc::clone);
            if versions.all(|version| *version == first) { first } else { "".into() }
        })
    }

    /// The same of whatever routes ask.
    pub(super) fn versions(&self) -> Vec<Arc<str>> {
        let divided = self.asks().skip(1).map(|ask| self.version_for(ask));
        std::iter::once(self.version_for(Ask::default())).chain(divided).collect()
    }

    /// Whether those that are asked for are so few that those left out take part.
    pub fn is_panicking_for(&self, ask: Ask) -> bool {
        self.among(&self.picker.load(), ask).is_some_and(|among| among.panicking)
    }

    /// What became of what is asked; none where the destination is not divided.
    pub fn tell(&self, ask: Ask) -> Option<Told> {
        let picker = self.picker.load();
        let subsets = picker.subsets()?;
        let (miss, fewer) = subsets.misses(ask.0 as usize);
        let text = |criteria: &Criteria| criteria.to_string();
        Some(Told {
            asked: self.asked.get(ask.0 as usize).map(text).unwrap_or_default(),
            led: match subsets.led(ask.0 as usize) {
                Led::All => ANYBODY.to_owned(),
                Led::To(subset) => text(&subset.of),
                Led::Nobody => NOBODY.to_owned(),
            },
            because: match miss {
                None if fewer => "no endpoint has all that is asked",
                None => "",
                Some(Miss::Unasked) => "nothing is asked",
                Some(Miss::Unknown) => "no selector has these keys",
                Some(Miss::Empty) => "no endpoint has what is asked",
            },
        })
    }
}

impl Told {
    /// That a destination called so has nobody for a request, in words.
    pub fn refusal(&self, label: &str) -> String {
        let Told { asked, led, because } = self;
        match (led.as_str(), asked.as_str()) {
            (NOBODY, "") => format!("{label} has no endpoint for who asks for no subset"),
            (NOBODY, asked) => format!("{label} has no endpoint for {asked}: {because}"),
            (ANYBODY, _) => format!("{label} has no endpoint that takes requests"),
            (led, _) if because.is_empty() => format!("{label} has no endpoint of {led} that takes requests"),
            (led, "") => format!("{label} has no endpoint of {led} that takes requests, where {because}"),
            (led, asked) => {
                format!("{label} has no endpoint of {led} that takes requests, in the place of {asked}: {because}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use outrigger_config::cluster::{Balancing, Cluster as Model, Discovery, Localities};
    use outrigger_config::endpoint::{Assignment, Endpoint as EndpointModel, Health, Locality, LocalityWeight};
    use outrigger_config::name::ResourceName;
    use outrigger_config::subset::{Criteria, Fallback, Keys, Known, PlaceWeights, Selector, Subsets, Value};
    use outrigger_config::value::Percent;
    use proptest::prelude::{Just, ProptestConfig, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::{Ask, Instead, Told};
    use crate::balance::tests::balancing;
    use crate::cluster::session::Held;
    use crate::cluster::{Cluster, Setting};

    fn asks(labels: &[(&str, &str)]) -> Criteria {
        labels.iter().map(|(key, value)| (*key, *value)).collect()
    }

    fn endpoint(last: u8, labels: &[(&str, &str)]) -> EndpointModel {
        let known = |(key, value): &(&str, &str)| (Arc::from(*key), Known::One(Value::Text(Arc::from(*value))));
        EndpointModel {
            address: ([10, 0, 0, last], 80).into(),
            weight: 1,
            health: Health::Healthy,
            priority: 0,
            locality: Locality::default(),
            workload: "".into(),
            version: labels.iter().find(|(key, _)| *key == "version").map_or("", |(_, value)| *value).into(),
            metadata: labels.iter().map(known).collect(),
        }
    }

    fn assignment(endpoints: Vec<EndpointModel>) -> Assignment {
        Assignment::try_new(ResourceName::try_new("catalog").expect("a name"), endpoints).expect("valid")
    }

    /// Two endpoints of v1, two of v2.
    fn four() -> Assignment {
        let of = |(last, version)| endpoint(last, &[("version", version)]);
        assignment([(1, "v1"), (2, "v1"), (3, "v2"), (4, "v2")].map(of).into())
    }

    fn by_version(fallback: Fallback, of_selector: Option<Fallback>) -> Subsets {
        Subsets {
            selectors: vec![Selector { keys: Keys::from(["version".into()]), fallback: of_selector }],
            fallback,
            default: asks(&[("version", "v1")]),
            panic_any: false,
            lists: false,
            places: PlaceWeights::Ignored,
        }
    }

    fn cluster(subsets: Subsets, asked: &[Criteria], assignment: &Assignment, now: Instant) -> Cluster {
        let mut model = Model::new(assignment.name.clone(), Discovery::Static(assignment.clone()));
        (model.balancing, model.subsets) = (Balancing::RoundRobin, Some(subsets));
        build(model, asked, assignment, now)
    }

    fn build(model: Model, asked: &[Criteria], assignment: &Assignment, now: Instant) -> Cluster {
        let asked = [Criteria::default()].iter().chain(asked).cloned().collect();
        Cluster::asked_for(model, asked, Some(assignment), None, Setting { workers: 1, seed: 0, now })
    }

    fn last(address: SocketAddr) -> u8 {
        match address.ip() {
            std::net::IpAddr::V4(ip) => ip.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        }
    }

    /// Who is picked, in many picks.
    fn picks(cluster: &Cluster, asked: &Criteria, now: Instant) -> BTreeMap<u8, u32> {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut counts = BTreeMap::new();
        for _ in 0..200 {
            if let Some(seat) = cluster.pick_for(cluster.ask(asked), None, &[], now, &mut rng) {
                *counts.entry(last(seat.endpoint().address)).or_default() += 1;
            }
        }
        counts
    }

    fn who(cluster: &Cluster, asked: &Criteria, now: Instant) -> Vec<u8> {
        picks(cluster, asked, now).into_keys().collect()
    }

    #[test]
    fn each_gets_what_it_asks_for_and_fallbacks_are_counted() {
        let now = Instant::now();
        let (v1, v2, v3) = (asks(&[("version", "v1")]), asks(&[("version", "v2")]), asks(&[("version", "v3")]));
        let stage = asks(&[("stage", "prod")]);
        let all = [v1.clone(), v2.clone(), v3.clone(), stage.clone()];
        let lead = |fallback, of_selector| {
            let cluster = cluster(by_version(fallback, of_selector), &all, &four(), now);
            assert_eq!((who(&cluster, &v1, now), who(&cluster, &v2, now)), (vec![1, 2], vec![3, 4]));
            let got = [&Criteria::default(), &v3, &stage].map(|asked| who(&cluster, asked, now));
            (got, Instead::ALL.map(|instead| cluster.fallbacks.count(instead)))
        };
        let (everyone, first): (Vec<u8>, Vec<u8>) = (vec![1, 2, 3, 4], vec![1, 2]);
        let nobody = Vec::new;
        // Requests that ask for nothing are no fallbacks: two hundred picks each of the other two.
        assert_eq!(lead(Fallback::Nobody, None), ([nobody(), nobody(), nobody()], [0, 0, 0, 400]));
        assert_eq!(lead(Fallback::Any, None), ([everyone.clone(), everyone.clone(), everyone.clone()], [0, 0, 400, 0]));
        assert_eq!(lead(Fallback::Default, None), ([first.clone(), first.clone(), first.clone()], [0, 400, 0, 0]));
        assert_eq!(
            lead(Fallback::Any, Some(Fallback::Nobody)),
            ([everyone.clone(), nobody(), everyone], [0, 0, 200, 200])
        );
        assert_eq!(lead(Fallback::Nobody, Some(Fallback::Default)), ([nobody(), first, nobody()], [0, 200, 0, 200]));
    }

    #[test]
    fn what_became_of_a_question_is_told() {
        let now = Instant::now();
        let v3 = asks(&[("version", "v3")]);
        let cluster = cluster(by_version(Fallback::Default, None), std::slice::from_ref(&v3), &four(), now);
        let told = cluster.tell(cluster.ask(&v3)).expect("divided");
        let because = "no endpoint has what is asked";
        assert_eq!(told, Told { asked: "version=v3".to_owned(), led: "version=v1".to_owned(), because });
        assert_eq!(
            told.refusal("catalog"),
            "catalog has no endpoint of version=v1 that takes requests, in the place of version=v3: no endpoint has what \
             is asked"
        );
        let told = cluster.tell(Ask::default()).expect("divided");
        assert_eq!((&*told.asked, &*told.led, told.because), ("", "version=v1", "nothing is asked"));
        let nobody = self::cluster(by_version(Fallback::Nobody, None), std::slice::from_ref(&v3), &four(), now);
        let refusal = |asked| nobody.tell(nobody.ask(asked)).expect("divided").refusal("catalog");
        assert_eq!(refusal(&v3), "catalog has no endpoint for version=v3: no endpoint has what is asked");
        assert_eq!(refusal(&Criteria::default()), "catalog has no endpoint for who asks for no subset");
        let plain = Model::new(four().name, Discovery::Static(four()));
        let plain = Cluster::new(plain, Some(&four()), None, Setting { workers: 1, seed: 0, now });
        assert!(plain.tell(plain.ask(&v3)).is_none());
        assert_eq!(who(&plain, &v3, now), [1, 2, 3, 4], "what is not divided goes anywhere");
    }

    #[test]
    fn a_subset_whose_endpoints_are_out_panics_alone_and_does_not_fall_back() {
        let now = Instant::now();
        let (v1, v2) = (asks(&[("version", "v1")]), asks(&[("version", "v2")]));
        let cluster = cluster(by_version(Fallback::Any, None), &[v1.clone(), v2.clone()], &four(), now);
        let endpoints = cluster.picker().endpoints().to_vec();
        endpoints[2].outlier.eject(now, Duration::from_secs(30), 0);
        cluster.sweep(now);
        assert_eq!(who(&cluster, &v2, now), [4], "half of it is in");
        endpoints[3].outlier.eject(now, Duration::from_secs(30), 0);
        cluster.sweep(now);
        assert_eq!(who(&cluster, &v2, now), [3, 4]);
        assert_eq!(who(&cluster, &v1, now), [1, 2]);
        let panics = [&v1, &v2].map(|asked| cluster.is_panicking_for(cluster.ask(asked)));
        assert_eq!((panics, cluster.is_panicking()), ([false, true], false), "half of all are in");
        let later = now + Duration::from_secs(31);
        cluster.sweep(later);
        assert!(!cluster.is_panicking_for(cluster.ask(&v2)));
    }

    #[test]
    fn any_will_do_where_the_default_subset_takes_nobody_and_the_policy_says_so() {
        let now = Instant::now();
        let mut four = four();
        four.endpoints[..2].iter_mut().for_each(|one| one.health = Health::Draining);
        for (panic_any, expected) in [(false, vec![]), (true, vec![3, 4])] {
            let subsets = Subsets { panic_any, ..by_version(Fallback::Default, None) };
            let cluster = cluster(subsets, &[], &four, now);
            assert_eq!(who(&cluster, &Criteria::default(), now), expected);
        }
    }

    #[test]
    fn labels_that_change_change_the_subset_and_keep_the_endpoint() {
        let now = Instant::now();
        let v2 = asks(&[("version", "v2")]);
        let cluster = cluster(by_version(Fallback::Nobody, None), std::slice::from_ref(&v2), &four(), now);
        assert_eq!(&*cluster.version_for(cluster.ask(&v2)), "v2");
        let before = cluster.picker().endpoints()[0].clone();
        before.load.begin();
        let mut moved = four();
        moved.endpoints[0].metadata = moved.endpoints[2].metadata.clone();
        assert!(cluster.set_assignment(&moved, now), "the subset is of one version no more");
        assert_eq!(who(&cluster, &v2, now), [1, 3, 4]);
        assert!(Arc::ptr_eq(&before, &cluster.picker().endpoints()[0]));
        moved.endpoints.iter_mut().for_each(|one| one.metadata.clear());
        cluster.set_assignment(&moved, now);
        assert_eq!(who(&cluster, &v2, now), [0; 0]);
    }

    #[test]
    fn a_session_stays_in_its_subset() {
        let now = Instant::now();
        let (v1, v2) = (asks(&[("version", "v1")]), asks(&[("version", "v2")]));
        let cluster = cluster(by_version(Fallback::Any, None), &[v1.clone(), v2.clone()], &four(), now);
        let home = cluster.picker().endpoints()[2].clone();
        let (v1, v2) = (cluster.ask(&v1), cluster.ask(&v2));
        assert_eq!((cluster.names(v1, home.token), cluster.names(v2, home.token)), (false, true));
        let mut rng = fastrand::Rng::with_seed(1);
        let mut pick = |ask| {
            let (seat, held) = cluster.pick_for_session(ask, (home.token, 1), None, &[], now, &mut rng);
            (last(seat.expect("a seat").endpoint().address), held)
        };
        assert_eq!(pick(v2), (3, Held::Kept));
        let (other, held) = pick(v1);
        assert!(other < 3 && held == Held::Renewed);
        home.outlier.eject(now, Duration::from_secs(30), 0);
        assert_eq!(pick(v2), (4, Held::Diverted), "its stand-in is of its own subset");
    }

    #[test]
    fn a_session_that_does_not_get_its_subset_is_counted_too() {
        let now = Instant::now();
        let v3 = asks(&[("version", "v3")]);
        let cluster = cluster(by_version(Fallback::Default, None), std::slice::from_ref(&v3), &four(), now);
        let home = cluster.picker().endpoints()[0].clone();
        let mut rng = fastrand::Rng::with_seed(1);
        let mut pick = |token| {
            let (seat, held) = cluster.pick_for_session(cluster.ask(&v3), (token, 1), None, &[], now, &mut rng);
            (last(seat.expect("a seat").endpoint().address), held, cluster.fallbacks.count(Instead::Default))
        };
        assert_eq!(pick(home.token), (1, Held::Kept, 1));
        home.outlier.eject(now, Duration::from_secs(30), 0);
        assert_eq!(pick(home.token), (2, Held::Diverted, 2));
        let foreign = cluster.picker().endpoints()[2].token;
        let (_, held, counted) = pick(foreign);
        assert_eq!((held, counted), (Held::Renewed, 3), "once");
    }

    #[test]
    fn priorities_are_those_of_the_subset() {
        let now = Instant::now();
        let (v1, v2) = (asks(&[("version", "v1")]), asks(&[("version", "v2")]));
        let mut assignment = four();
        // The second of v1 waits behind the first; v2 has nobody before it, and does not wait.
        assignment.endpoints[1..].iter_mut().for_each(|one| one.priority = 1);
        let cluster = cluster(by_version(Fallback::Any, None), &[v1.clone(), v2.clone()], &assignment, now);
        assert_eq!(who(&cluster, &Criteria::default(), now), [1]);
        assert_eq!((who(&cluster, &v1, now), who(&cluster, &v2, now)), (vec![1], vec![3, 4]));
        cluster.picker().endpoints()[0].outlier.eject(now, Duration::from_secs(30), 0);
        cluster.sweep(now);
        assert_eq!(who(&cluster, &v1, now), [2]);
    }

    #[test]
    fn places_weigh_in_a_subset_as_the_policy_says() {
        let now = Instant::now();
        let v1 = asks(&[("version", "v1")]);
        // One of four in zone a and three of four in zone b are of v1; zone a weighs three times as much.
        let of = |last: u8| {
            let (zone, version) = (if last < 4 { "a" } else { "b" }, if last == 0 || last > 4 { "v1" } else { "v2" });
            let locality = Locality { region: "r".into(), zone: zone.into() };
            EndpointModel { locality, ..endpoint(last, &[("version", version)]) }
        };
        let weight = |zone: &str, weight| {
            let locality = Locality { region: "r".into(), zone: zone.into() };
            LocalityWeight { priority: 0, locality, weight }
        };
        let assignment = assignment((0..8).map(of).collect()).weighing(vec![weight("a", 300), weight("b", 100)]);
        for (places, share) in [
            (PlaceWeights::Ignored, 0.25),
            (PlaceWeights::Whole, 0.75),
            // 300 x 1/4 to 100 x 3/4.
            (PlaceWeights::Scaled, 0.5),
        ] {
            let mut model = Model::new(assignment.name.clone(), Discovery::Static(assignment.clone()));
            model.balancing = Balancing::RoundRobin;
            model.localities = Localities::Weighted;
            model.subsets = Some(Subsets { places, ..by_version(Fallback::Any, None) });
            let cluster = build(model, std::slice::from_ref(&v1), &assignment, now);
            let mut rng = fastrand::Rng::with_seed(7);
            let ask = cluster.ask(&v1);
            let hits = (0..10_000).filter(|_| {
                let seat = cluster.pick_for(ask, None, &[], now, &mut rng).expect("a seat");
                last(seat.endpoint().address) == 0
            });
            let seen = hits.count() as f64 / 10_000.0;
            assert!((seen - share).abs() < 0.02, "{places:?}: {seen}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_pick_never_leaves_its_subset_and_without_a_fallback_there_is_none(
            balancing in balancing(),
            // For each endpoint its stage and version, its priority, its zone, whether it is out and whether it is well.
            many in prop::collection::vec((0_u8..3, 0_u8..3, 0_u32..3, 0_u8..2, prop::bool::ANY, prop::bool::weighted(0.8)), 0..12),
            fallback in prop_oneof![Just(Fallback::Nobody), Just(Fallback::Any), Just(Fallback::Default)],
            zoned in prop::bool::ANY,
            threshold in prop_oneof![Just(0.0), Just(50.0), Just(100.0)],
            hash in prop::option::of(0_u64..u64::MAX),
            avoid in prop::collection::vec(0_u8..12, 0..3),
            seed in 0_u64..u64::MAX,
        ) {
            let now = Instant::now();
            let word = |prefix: &str, number: u8| format!("{prefix}{number}");
            let of = |(index, one): (usize, &(u8, u8, u32, u8, bool, bool))| {
                let (stage, version, priority, zone, _, well) = *one;
                let (stage, version) = (word("s", stage), word("v", version));
                let locality = Locality { region: "r".into(), zone: word("z", zone).into() };
                let health = if well { Health::Healthy } else { Health::Unhealthy };
                EndpointModel { priority, locality, health, ..endpoint(index as u8, &[("stage", &stage), ("version", &version)]) }
            };
            let assignment = assignment(many.iter().enumerate().map(of).collect());
            let selector = |keys: &[&str]| Selector { keys: keys.iter().map(|key| Arc::from(*key)).collect(), fallback: None };
            let mut model = Model::new(assignment.name.clone(), Discovery::Static(assignment.clone()));
            model.subsets = Some(Subsets {
                selectors: vec![selector(&["version"]), selector(&["stage", "version"])],
                ..by_version(fallback.clone(), None)
            });
            model.balancing = balancing;
            model.panic_threshold = Percent::try_new(threshold).expect("a share");
            if zoned {
                model.localities = Localities::ZoneAware { percent: Percent::HUNDRED, min_endpoints: 2 };
            }
            let mut asked: Vec<Criteria> = (0..4).map(|version| asks(&[("version", &word("v", version))])).collect();
            asked.extend((0..3).map(|stage| asks(&[("stage", &word("s", stage)), ("version", "v1")])));
            let cluster = build(model, &asked, &assignment, now);
            for endpoint in cluster.picker().endpoints() {
                if many[usize::from(last(endpoint.address))].4 {
                    endpoint.outlier.eject(now, Duration::from_secs(30), 0);
                }
            }
            cluster.sweep(now);
            let avoid: Vec<SocketAddr> = avoid.iter().map(|last| ([10, 0, 0, *last], 80).into()).collect();
            let mut rng = fastrand::Rng::with_seed(seed);
            for asked in [Criteria::default()].iter().chain(&asked) {
                let of = |criteria: &Criteria| -> BTreeSet<u8> {
                    let fits = assignment.endpoints.iter().filter(|one| criteria.fits(&one.metadata, false));
                    fits.map(|one| last(one.address)).collect()
                };
                let own = if asked.is_empty() { BTreeSet::new() } else { of(asked) };
                let allowed = match (&own, &fallback) {
                    (own, _) if !own.is_empty() => own.clone(),
                    (_, Fallback::Any) => of(&Criteria::default()),
                    (_, Fallback::Default) => of(&asks(&[("version", "v1")])),
                    _ => BTreeSet::new(),
                };
                let well = allowed.iter().any(|last| many[usize::from(*last)].5);
                for _ in 0..8 {
                    let seat = cluster.pick_for(cluster.ask(asked), hash, &avoid, now, &mut rng);
                    // Whoever is well by its source is picked, be it in a panic; and nobody else.
                    prop_assert_eq!(seat.is_some(), well, "{}", asked);
                    let picked = seat.map(|seat| last(seat.endpoint().address));
                    prop_assert!(picked.is_none_or(|one| allowed.contains(&one)), "{asked}: {picked:?} of {allowed:?}");
                }
            }
        }
    }
}
