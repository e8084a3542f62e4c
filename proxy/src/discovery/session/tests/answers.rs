//! What a server sends: what is taken, what is refused, and what is gone.

use std::time::Duration;

use bytes::Bytes;
use outrigger_config::xds::transport::{
    Any, DeltaDiscoveryResponse, DiscoveryResponse, Duration as Ttl, RESOURCE_TYPE_URL, Resource as Wrapped,
};
use prost::Message;

use super::{BOTH, CDS, EDS, LDS, RDS, Script, assignment, broken, cluster, listener, packed, shown, table};
use crate::discovery::session::{Answer, Variant};

/// Case 27.
#[test]
fn one_bad_cluster_leaves_two_good_ones() {
    for variant in BOTH {
        let mut script = Script::new(variant);
        script.send(CDS, vec![packed(&cluster("old"))], &[]);
        let heard = script.send(CDS, vec![packed(&cluster("a")), broken("bad"), packed(&cluster("b"))], &[]);
        let refused = heard.refused.expect("a refusal");
        assert!(refused.contains("CDS bad"), "{refused}");
        let expected: &[&str] = match variant {
            Variant::Delta => &["a", "b", "old"],
            Variant::Sotw => &["a", "b"],
        };
        assert_eq!(script.clusters(), expected);
        let reply = shown(&heard.asks[0]);
        assert!(reply.ends_with("nonce=n2 NACK"), "{reply}");
        if variant == Variant::Sotw {
            assert!(reply.contains("version=v1 "), "the version before: {reply}");
        }
    }
}

#[test]
fn a_bad_version_of_a_good_cluster_leaves_the_good_one() {
    for variant in BOTH {
        let mut script = Script::new(variant);
        script.send(CDS, vec![packed(&cluster("a")), packed(&cluster("b"))], &[]);
        let heard = script.send(CDS, vec![broken("a"), packed(&cluster("b"))], &[]);
        assert!(heard.refused.is_some() && heard.change.is_empty());
        assert_eq!(script.clusters(), ["a", "b"]);
    }
}

#[test]
fn a_refusal_names_everything_and_stays_short() {
    let mut script = Script::new(Variant::Sotw);
    let heard = script.send(CDS, (0..2_000).map(|number| broken(&format!("cluster-{number}"))).collect(), &[]);
    let refused = heard.refused.expect("a refusal");
    assert!(refused.contains("CDS cluster-0") && refused.contains("CDS cluster-1:"), "{refused}");
    assert!(refused.len() <= 4096 && refused.ends_with("more"), "{refused}");
}

/// Case 28, without what the transport refuses.
#[test]
fn twice_the_same_name_another_type_and_noise_are_refused() {
    for variant in BOTH {
        let noise = Any { type_url: CDS.type_url().to_owned(), value: Bytes::from_static(&[0xff; 9]) };
        let other = Any { type_url: EDS.type_url().to_owned(), ..packed(&cluster("b")) };
        for (bad, says) in [(packed(&cluster("a")), "once"), (other, "must be type.googleapis.com"), (noise, "ORG")] {
            let mut script = Script::new(variant);
            script.send(CDS, vec![packed(&cluster("old"))], &[]);
            let heard = script.send(CDS, vec![packed(&cluster("a")), bad], &[]);
            let refused = heard.refused.expect("a refusal");
            assert!(refused.contains(says), "{variant:?}: {refused}");
            assert!(script.clusters().contains(&"a"));
        }
        let mut script = Script::new(variant);
        script.send(CDS, vec![packed(&cluster("old"))], &[]);
        let noise = Any { type_url: CDS.type_url().to_owned(), value: Bytes::from_static(&[0xff; 9]) };
        script.send(CDS, vec![noise], &[]);
        assert_eq!(script.clusters(), ["old"], "a name that cannot be read takes nothing away");
    }
}

/// Case 30.
#[test]
fn what_is_missing_is_gone_only_where_the_answer_is_the_state_of_the_world() {
    let mut script = Script::new(Variant::Sotw);
    script.send_all(&[cluster("a"), cluster("b"), assignment("a", 1), assignment("b", 1)]);
    let heard = script.send(EDS, vec![], &[]);
    assert!(heard.change.is_empty() && shown(&heard.asks[0]).contains("version=v3 names=a,b nonce=n3"));
    let heard = script.send(EDS, vec![packed(&assignment("unasked", 1))], &[]);
    assert!(heard.change.is_empty() && heard.refused.is_none());
    let heard = script.send(CDS, vec![packed(&cluster("b"))], &[]);
    assert!(heard.change.structure);
    assert_eq!(script.clusters(), ["b"]);
    assert_eq!(script.accepted.count(EDS), 1, "its endpoints go with it");
    assert!(!script.send(CDS, vec![packed(&cluster("b"))], &[]).change.structure, "nothing new");
}

#[test]
fn delta_takes_away_what_it_names() {
    let mut script = Script::new(Variant::Delta);
    script.send_all(&[cluster("a"), cluster("b"), assignment("a", 1), listener("l", "t"), table("t", &["a"])]);
    script.send(CDS, vec![], &["b", "never-there"]);
    assert_eq!(script.clusters(), ["a"]);
    // What a listener or a cluster still asks for serves until they do not.
    script.send(RDS, vec![], &["t"]);
    script.send(EDS, vec![], &["a"]);
    assert_eq!((script.accepted.set().tables.len(), script.accepted.set().assignments.len()), (1, 1));
    script.send(LDS, vec![], &["l"]);
    assert_eq!((script.accepted.set().listeners.len(), script.accepted.set().tables.len()), (0, 0));
}

/// Case 32.
#[test]
fn wrapped_resources_are_unwrapped_and_end_with_their_time() {
    for variant in BOTH {
        let mut script = Script::new(variant);
        let (start, ttl) = (script.now, Some(Ttl { seconds: 10, nanos: 0 }));
        let send = |script: &mut Script, resource: Option<Any>| {
            let one = Wrapped { version: "1".into(), name: "a".into(), resource, ttl, ..Wrapped::default() };
            let answer = match variant {
                Variant::Delta => Answer::Delta(DeltaDiscoveryResponse {
                    resources: vec![one],
                    type_url: CDS.type_url().into(),
                    ..DeltaDiscoveryResponse::default()
                }),
                Variant::Sotw => Answer::Sotw(DiscoveryResponse {
                    resources: vec![Any { type_url: RESOURCE_TYPE_URL.into(), value: one.encode_to_vec().into() }],
                    type_url: CDS.type_url().into(),
                    ..DiscoveryResponse::default()
                }),
            };
            script.session.hear(answer, &mut script.accepted, script.now)
        };
        assert!(send(&mut script, Some(packed(&cluster("a")))).change.structure);
        script.now = start + Duration::from_secs(8);
        let heartbeat = send(&mut script, None);
        assert!(heartbeat.change.is_empty() && heartbeat.refused.is_none());
        assert!(script.accepted.expire(start + Duration::from_secs(17)).is_empty());
        assert!(script.accepted.expire(start + Duration::from_secs(18)).structure);
        assert_eq!(script.clusters(), [] as [&str; 0]);
    }
}
