//! Control planes that divide one limit through one Redis never pass it together, and use it.

use std::sync::Arc;

use proptest::prelude::*;

use self::world::{BURST, RATE, SECOND, World};
use crate::limits::book::Answer;
use crate::limits::grants::{Grants, Hold, Report};

mod world;

#[test]
fn alone_it_has_the_whole_limit_before_long() {
    let mut world = World::new(1, 5, 1.0, 1);
    world.demand(2.0 * RATE);
    world.run(8);
    let used = world.run(20);
    assert!(used > 0.95 && world.keeps_to_it(), "{used}, {} and {} beyond", world.overshoot, world.excess);
}

#[test]
fn what_proxies_have_is_claimed_until_they_have_given_it_up() {
    let (mut grants, name): (_, Arc<str>) = (Grants::common((RATE, BURST), 0.0, 0), "a".into());
    let answer = |part| Answer { part, is_settled: true };
    let ask = grants.ask(0).expect("there are others");
    grants.answer(&ask, answer(RATE), 0);
    assert!(grants.join(&name, Hold::default(), None, 0));
    let word = grants.divide(0).pop().expect("a word");
    assert_eq!(word.share.rate, RATE);
    let ask = grants.ask(SECOND).expect("there are others");
    grants.answer(&ask, answer(10.0), SECOND);
    let lower = grants.divide(SECOND).pop().expect("a word");
    assert_eq!(lower.share.rate, 10.0);
    assert_eq!(grants.ask(SECOND).map(|ask| (ask.hold, ask.base)), Some((RATE, 10.0)), "it has not said that it knows");
    grants.leave(&name, 2 * SECOND);
    assert_eq!(grants.ask(3 * SECOND).map(|ask| ask.hold), Some(RATE), "nor will it");
    let mut other = Grants::common((RATE, BURST), 0.0, 0);
    assert!(other.join(&name, Hold { rate: 50.0, fallback: 0.0 }, Some(7), 0));
    let word = other.divide(0).pop().expect("a word");
    let asked = other.ask(SECOND).expect("there are others");
    assert_eq!((word.share.rate, asked.hold, asked.moved.len()), (50.0, 0.0, 0), "it is a guest, and goes on");
    other.report(&name, &Report { serial: word.serial, ..Report::default() }, SECOND);
    let asked = other.ask(SECOND).expect("there are others");
    assert_eq!((asked.hold, asked.moved[&7].rate), (50.0, 50.0), "and has come with what it had");
    assert!(other.ask(SECOND).is_some_and(|ask| ask.moved.is_empty()), "which is told once");
}

#[test]
fn it_is_divided_by_demand() {
    let mut world = World::new(3, 12, 1.0, 2);
    world.run(2);
    // All that want something talk to one control plane.
    let busy = world.proxies[0].at;
    for proxy in &mut world.proxies {
        proxy.demand = if proxy.at == busy { 300.0 } else { 0.2 };
    }
    world.run(12);
    let used = world.run(20);
    assert!(used > 0.9 && world.keeps_to_it(), "{used}, {} and {} beyond", world.overshoot, world.excess);
    // And where others want it, it goes there.
    world.proxies.iter_mut().for_each(|proxy| proxy.demand = if proxy.at == busy { 0.2 } else { 100.0 });
    world.run(4);
    let used = world.run(20);
    assert!(used > 0.9 && world.keeps_to_it(), "{used}, {} and {} beyond", world.overshoot, world.excess);
}

#[test]
fn proxies_take_along_what_they_have_where_their_control_plane_goes() {
    for count in [1, 3] {
        let mut world = World::new(count, 12, 1.0, 3);
        world.demand(3.0 * RATE);
        world.run(15);
        for turn in 0..6 {
            // One after the other, as an update does it.
            world.crash(turn % count);
            let without = world.run(3);
            world.start(turn % count);
            let used = world.run(10);
            assert!(without > 0.7 && used > 0.8, "{count}: {turn}: {without} {used}");
            assert!(world.keeps_to_it(), "{count}: {turn}: {} and {} beyond", world.overshoot, world.excess);
        }
    }
}

#[test]
fn without_redis_everybody_goes_on_with_what_they_had() {
    let mut world = World::new(2, 12, 0.0, 4);
    world.demand(3.0 * RATE);
    world.run(15);
    world.redis_back = u64::MAX;
    let used = world.run(300);
    assert!(used > 0.95 && world.keeps_to_it(), "{used}, {} and {} beyond", world.overshoot, world.excess);
    // It comes back and knows nothing any more.
    world.book.clear();
    world.redis_back = 0;
    let used = world.run(30);
    assert!(used > 0.95 && world.keeps_to_it(), "{used}, {} and {} beyond", world.overshoot, world.excess);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn together_they_never_pass_the_limit(seed: u64, replicas in 1..5_usize, forgets: bool, part in 0..3_u8) {
        let mut world = World::new(replicas, 10, f64::from(part) / 2.0, seed);
        world.loses = true;
        world.demand(2.0 * RATE);
        for _ in 0..200 {
            let calm = world.rng.u64(0..3);
            world.run(calm);
            world.happen(forgets);
            prop_assert!(world.keeps_to_it(), "seed {seed} {} and {} beyond at {}", world.overshoot, world.excess, world.now / SECOND);
        }
        // And when all is well again, all of it is used.
        (0..replicas).for_each(|index| if !world.replicas[index].up { world.start(index) });
        world.redis_back = 0;
        world.demand(6.0 * RATE);
        world.run(200);
        let used = world.run(20);
        prop_assert!(used > 0.9 && world.keeps_to_it(), "{used}, {} and {} beyond", world.overshoot, world.excess);
    }
}
