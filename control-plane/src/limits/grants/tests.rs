//! One limit and a hundred proxies: it is used, and never passed.

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger_config::policy::lease::{Lease, PATIENCE};

use self::world::{SECOND, World};
use super::{Grants, Hold, Report};

mod world;

#[test]
fn a_hundred_even_proxies_use_the_limit_and_never_pass_it() {
    let mut world = World::new(100, 1000.0, 100.0, 1.0);
    world.demand(|_| 20.0);
    world.run(5);
    let used = world.run(60);
    assert!(used > 0.95 && world.overshoot <= 0.0, "{used}, {} beyond", world.overshoot);
}

#[test]
fn uneven_demand_gets_what_it_wants() {
    let mut world = World::new(100, 1000.0, 100.0, 1.0);
    // Ten want it all.
    world.demand(|index| if index < 10 { 500.0 } else { 0.1 });
    world.run(5);
    let used = world.run(60);
    assert!(used > 0.9 && world.overshoot <= 0.0, "{used}, {} beyond", world.overshoot);
    // And where there is enough for all, nobody is refused.
    world.demand(|index| if index.is_multiple_of(2) { 12.0 } else { 1.0 });
    world.run(5);
    let used = world.run(60);
    assert!(used > 0.64, "650 of 1000 are wanted");
}

#[test]
fn demand_that_moves_takes_the_limit_along() {
    let mut world = World::new(100, 1000.0, 100.0, 1.0);
    world.run(2);
    let mut used = 0.0;
    for turn in 0..20 {
        world.demand(|index| if index / 5 == turn % 20 { 400.0 } else { 0.0 });
        used += world.run(3) / 20.0;
    }
    assert!(used > 0.8 && world.overshoot <= 0.0, "{used}, {} beyond", world.overshoot);
}

#[test]
fn with_the_control_plane_away_shares_stay_and_become_fallbacks() {
    let mut world = World::new(100, 1000.0, 100.0, 0.5);
    world.demand(|index| if index < 20 { 200.0 } else { 20.0 });
    world.run(20);
    world.goes();
    let first = world.run(6);
    let decaying = world.run(24);
    let later = world.run(60);
    assert!(
        first > 0.9 && (0.5..0.75).contains(&decaying) && (0.4..0.52).contains(&later),
        "{first} {decaying} {later}"
    );
    world.comes_back(0.5);
    world.run(10);
    let used = world.run(30);
    assert!(used > 0.9 && world.overshoot <= 0.0, "{used}, {} beyond", world.overshoot);
}

#[test]
fn proxies_that_come_and_go_never_pass_the_limit_together() {
    let mut world = World::new(100, 1000.0, 100.0, 1.0);
    world.demand(|_| 30.0);
    (50..100).for_each(|index| world.proxies[index].up = false);
    world.run(10);
    let mut used = 0.0;
    for turn in 0..100_usize {
        let (goes, comes, cut, linked) = (turn % 50, 50 + turn % 50, (turn * 7) % 100, (turn * 7 + 50) % 100);
        world.proxies[comes].up = true;
        // One ends, and another is cut off and goes on with what it has.
        world.proxies[goes].up = !turn.is_multiple_of(3);
        if world.proxies[goes].joined && turn.is_multiple_of(3) {
            world.cut(goes);
            world.proxies[goes].lease = None;
        }
        world.cut(cut);
        (world.proxies[linked].linked, world.proxies[goes].linked) = (true, true);
        used += world.run(2) / 100.0;
    }
    assert!(world.overshoot <= 0.0 && used > 0.6, "{used}, {} beyond", world.overshoot);
}

#[test]
fn what_is_held_before_it_is_known_is_not_handed_out() {
    let (mut grants, name): (_, Arc<str>) = (Grants::new((10.0, 5.0), 0.0, 0, 2 * SECOND), "a".into());
    // It has let in ten a second all the time.
    assert!(grants.join(&name, Hold { rate: 10.0, fallback: 0.0 }, None, SECOND));
    grants.report(&name, &Report { demand: Some(100.0), refused: 90.0, serial: 0 }, SECOND);
    let words = grants.divide(3 * SECOND);
    assert!(words.len() == 1 && words[0].share.credit < 1.0, "{words:?}");
}

#[test]
fn nonsense_takes_nothing_from_others() {
    let (mut grants, name): (_, Arc<str>) = (Grants::new((10.0, 5.0), 1.0, 0, 0), "a".into());
    assert!(grants.join(&name, Hold { rate: f64::NAN, fallback: f64::INFINITY }, None, 0));
    let report = Report { demand: Some(f64::INFINITY), refused: f64::NAN, serial: u64::MAX };
    grants.report(&name, &report, 1);
    let words = grants.divide(2);
    assert!(words.iter().all(|word| word.share.rate <= 10.0 && word.share.credit <= 5.0), "{words:?}");
    // One that never answers is told no more in the end.
    let mut told = 0;
    for turn in 0..1000 {
        grants.report(&name, &Report { serial: 0, ..report }, turn * SECOND);
        told += grants.divide(turn * SECOND).len();
    }
    assert!(told <= super::UNANSWERED);
}

#[test]
fn a_word_that_comes_as_late_as_it_may_is_counted_with() {
    let (mut grants, rate): (_, f64) = (Grants::new((100.0, 10.0), 0.2, 0, 0), 100.0);
    let (slow, other): (Arc<str>, Arc<str>) = ("slow".into(), "other".into());
    assert!(grants.join(&slow, Hold::default(), None, 0));
    grants.report(&slow, &Report { demand: Some(1000.0), ..Report::default() }, 0);
    let word = grants.divide(0).pop().expect("a word");
    // Its stream ends before the word is there; the proxy finds out as late as it may, and takes the word.
    grants.leave(&slow, SECOND);
    let mut lease = Lease::new(word.share, SECOND + super::nanos(PATIENCE));
    let mut mine = Lease::new(Default::default(), SECOND);
    assert!(grants.join(&other, Hold::default(), None, SECOND));
    for step in 10..1300 {
        let now = step * SECOND / 10;
        // From when it comes until the proxy is forgotten.
        if (70..1200).contains(&step) {
            assert!(lease.rate(now) + mine.rate(now) <= rate * 1.0001, "at {step}: {lease:?} {mine:?}");
        }
        grants.report(&other, &Report { demand: Some(1000.0), refused: 0.0, serial: u64::MAX }, now);
        grants.divide(now).iter().for_each(|word| mine.renew(word.share, now));
        let _ = lease.take(now);
    }
    assert!(mine.rate(130 * SECOND) > 99.0, "and forgotten in the end");
}

#[test]
fn nobody_is_told_to_let_nothing_in_before_there_is_anything_to_divide() {
    let mut grants = Grants::new((10.0, 5.0), 1.0, 0, 2 * SECOND);
    let (new, old): (Arc<str>, Arc<str>) = ("new".into(), "old".into());
    assert!(grants.join(&new, Hold::default(), None, SECOND));
    assert!(grants.join(&old, Hold { rate: 4.0, fallback: 2.0 }, None, SECOND));
    let report = Report { demand: Some(100.0), ..Report::default() };
    for step in 10..20 {
        let now = step * SECOND / 10;
        [&new, &old].iter().for_each(|member| grants.report(member, &report, now));
        let words = grants.divide(now);
        assert!(words.iter().all(|word| word.member == old && word.share.rate > 3.9), "{words:?}");
    }
    let words = grants.divide(2 * SECOND);
    assert!(words.iter().any(|word| word.member == new && word.share.rate > 1.0), "{words:?}");
}

#[test]
fn where_nothing_changes_only_who_asks_is_answered_and_everybody_with_what_it_had() {
    let mut grants = Grants::new((100.0, 10.0), 1.0, 0, 0);
    let names: Vec<Arc<str>> = (0..10).map(|number| format!("{number}").into()).collect();
    let report = Report { demand: Some(4.0), serial: u64::MAX, ..Report::default() };
    for name in &names {
        assert!(grants.join(name, Hold::default(), None, 0));
        grants.report(name, &report, 0);
    }
    let mut shares = BTreeMap::new();
    for turn in 0..20 {
        names.iter().for_each(|name| grants.report(name, &report, turn * SECOND));
        grants.divide(turn * SECOND).into_iter().for_each(|word| {
            shares.insert(word.member, word.share);
        });
    }
    names.iter().for_each(|name| grants.report(name, &report, 20 * SECOND));
    grants.divide(20 * SECOND);
    assert!(!grants.stirred && grants.due == u64::MAX, "nothing is left to do");
    assert!(grants.divide(21 * SECOND).is_empty());
    grants.report(&names[3], &report, 22 * SECOND);
    let words = grants.divide(22 * SECOND);
    assert!(words.len() == 1 && words[0].member == names[3] && words[0].share.rate == shares[&names[3]].rate);
    grants.report(&names[3], &Report { demand: Some(50.0), ..report }, 23 * SECOND);
    assert!(grants.divide(23 * SECOND).len() > 1, "more for one is less for others");
}

#[test]
fn a_limit_is_divided_among_a_bounded_number() {
    let mut grants = Grants::new((100.0, 10.0), 1.0, 0, 0);
    for number in 0..super::MAX_MEMBERS {
        let name = format!("{number}").into();
        assert!(grants.join(&name, Hold::default(), None, 0));
        grants.leave(&name, 0);
    }
    let last: Arc<str> = "last".into();
    assert!(
        !grants.join(&last, Hold::default(), None, SECOND) && grants.join(&"7".into(), Hold::default(), None, SECOND)
    );
    grants.divide(200 * SECOND);
    assert!(grants.join(&last, Hold::default(), None, 201 * SECOND), "those who went are forgotten");
}
