//! Nothing serves that leads somewhere that is not there yet.

use std::time::Duration;

use super::{CDS, EDS, Script, assignment, cluster, listener, name, packed, table};
use crate::discovery::session::Variant;
use crate::discovery::warming::{FAREWELL, GAP, PATIENCE, Warming};

/// What of the accepted serves, as counts of listeners, tables, clusters.
fn advance(warming: &mut Warming, script: &Script, seconds: u64) -> Option<(usize, usize, usize)> {
    let set = warming.advance(&script.accepted, Duration::from_secs(seconds))?;
    Some((set.listeners.len(), set.tables.len(), set.clusters.len()))
}

#[test]
fn nothing_serves_before_all_of_it_is_there() {
    let (mut script, mut warming) = (Script::new(Variant::Delta), Warming::default());
    for resource in [cluster("a"), listener("l", "t"), table("t", &["a"])] {
        assert_eq!(advance(&mut warming, &script, 0), None);
        script.send_all(&[resource]);
    }
    assert_eq!(advance(&mut warming, &script, 1), None);
    assert_eq!(warming.waiting(Duration::from_secs(1)), ["EDS a"]);
    script.send_all(&[assignment("a", 1)]);
    assert_eq!(advance(&mut warming, &script, 1), Some((1, 1, 1)));
    assert_eq!(advance(&mut warming, &script, 2), None, "nothing new");
}

/// Case 31: 15 s of time with the control plane, and a late one is taken all the same.
#[test]
fn what_never_comes_is_given_up_and_taken_when_it_does() {
    let (mut script, mut warming) = (Script::new(Variant::Sotw), Warming::default());
    script.send_all(&[cluster("a"), listener("l", "t"), listener("m", "u"), table("t", &["a"])]);
    assert_eq!(advance(&mut warming, &script, 3), None);
    assert_eq!(warming.next(Duration::from_secs(3)), Some(Duration::from_secs(3) + PATIENCE));
    assert_eq!(advance(&mut warming, &script, 17), None);
    assert_eq!(
        advance(&mut warming, &script, 18),
        Some((2, 1, 1)),
        "without endpoints, and a listener without a table"
    );
    script.send_all(&[table("u", &["a"]), assignment("a", 1)]);
    assert_eq!(advance(&mut warming, &script, 40), Some((2, 2, 1)));
}

#[test]
fn what_does_not_exist_is_not_waited_for() {
    let (mut script, mut warming) = (Script::new(Variant::Delta), Warming::default());
    script.send_all(&[cluster("a"), listener("l", "t"), table("t", &["a"])]);
    script.send(EDS, vec![], &["a"]);
    assert_eq!(advance(&mut warming, &script, 0), Some((1, 1, 1)));
}

/// Case 33.
#[test]
fn a_table_waits_two_seconds_for_a_cluster_that_nobody_announced() {
    let (mut script, mut warming) = (Script::new(Variant::Delta), Warming::default());
    script.send_all(&[cluster("a"), assignment("a", 1), listener("l", "t"), table("t", &["a"])]);
    assert_eq!(advance(&mut warming, &script, 0), Some((1, 1, 1)));
    script.send_all(&[table("t", &["a", "b"])]);
    assert_eq!(advance(&mut warming, &script, 5), None, "the old table serves");
    assert_eq!(warming.waiting(Duration::from_secs(5)), ["CDS b"]);
    let late = Duration::from_secs(5) + GAP;
    assert!(warming.advance(&script.accepted, late).is_some(), "its other routes are not held up for ever");
    script.send_all(&[table("t", &["a", "b", "a.example"]), cluster("a.example"), assignment("a.example", 1)]);
    assert!(warming.advance(&script.accepted, late).is_some(), "nor again for the same cluster");
    script.send_all(&[cluster("b"), assignment("b", 1)]);
    assert_eq!(advance(&mut warming, &script, 60), Some((1, 1, 3)));
}

#[test]
fn a_new_cluster_serves_when_its_endpoints_are_there() {
    let (mut script, mut warming) = (Script::new(Variant::Delta), Warming::default());
    script.send_all(&[cluster("a"), assignment("a", 1), listener("l", "t"), table("t", &["a"])]);
    advance(&mut warming, &script, 0);
    script.send_all(&[cluster("b"), table("t", &["b"])]);
    assert_eq!(advance(&mut warming, &script, 1), None);
    assert_eq!(advance(&mut warming, &script, 10), None, "longer than for one that nobody announced");
    script.send_all(&[assignment("b", 1)]);
    assert_eq!(advance(&mut warming, &script, 11), Some((1, 1, 2)));
}

#[test]
fn a_cluster_that_is_still_led_to_stays_for_a_while() {
    let (mut script, mut warming) = (Script::new(Variant::Delta), Warming::default());
    script.send_all(&[
        cluster("a"),
        cluster("b"),
        assignment("a", 1),
        assignment("b", 1),
        listener("l", "t"),
        table("t", &["a", "b"]),
    ]);
    assert_eq!(advance(&mut warming, &script, 0), Some((1, 1, 2)));
    script.send(CDS, vec![], &["a", "b"]);
    assert_eq!(advance(&mut warming, &script, 10), None, "both serve, with their endpoints");
    script.send_all(&[table("t", &["b"])]);
    assert_eq!(advance(&mut warming, &script, 11), Some((1, 1, 1)), "one is not led to any more");
    let end = Duration::from_secs(10) + FAREWELL;
    assert_eq!(warming.next(Duration::from_secs(11)), Some(end));
    let set = warming.advance(&script.accepted, end).expect("a change");
    assert_eq!((set.clusters.len(), set.tables.len()), (0, 1));
}

#[test]
fn endpoints_alone_change_nothing_else() {
    let (mut script, mut warming) = (Script::new(Variant::Delta), Warming::default());
    script.send_all(&[cluster("a"), assignment("a", 1), listener("l", "t"), table("t", &["a"])]);
    advance(&mut warming, &script, 0);
    let heard = script.send(EDS, vec![packed(&assignment("a", 2))], &[]);
    assert!(!heard.change.structure && heard.change.assignments.contains(&name("a")));
    warming.note_assignment(&script.accepted, &name("a"));
    assert_eq!(advance(&mut warming, &script, 1), None);
}
