//! A stream: how it begins, and what it says of itself when it begins anew.

use outrigger_config::xds::transport::{DeltaDiscoveryRequest, DiscoveryRequest, DiscoveryResponse};

use super::{BOTH, CDS, EDS, LDS, Script, all, assignment, cluster, listener, packed, table};
use crate::discovery::session::{Answer, Ask, Heard, Variant};

#[test]
fn a_stream_begins_with_who_asks_and_the_two_wildcards() {
    for variant in BOTH {
        let script = Script::new(variant);
        let introduces = |ask: &Ask| match ask {
            Ask::Delta(DeltaDiscoveryRequest { node, .. }) | Ask::Sotw(DiscoveryRequest { node, .. }) => node.is_some(),
        };
        let nodes: Vec<_> = script.asked.iter().map(introduces).collect();
        assert_eq!(nodes, [true, false], "the node is said once");
        let kinds: Vec<_> = all(&script.asked).iter().map(|ask| ask[..3].to_owned()).collect();
        assert_eq!(kinds, ["CDS", "LDS"], "no first request without names for the others");
    }
}

#[test]
fn what_clusters_and_listeners_need_is_asked_for_by_name() {
    let mut script = Script::new(Variant::Sotw);
    let heard = script.send(CDS, vec![packed(&cluster("a")), packed(&cluster("b"))], &[]);
    assert_eq!(all(&heard.asks), ["CDS version=v1 names= nonce=n1", "EDS version= names=a,b nonce="]);
    let heard = script.send(LDS, vec![packed(&listener("l", "t"))], &[]);
    assert_eq!(all(&heard.asks), ["LDS version=v2 names= nonce=n2", "RDS version= names=t nonce="]);
    script.send(EDS, vec![packed(&assignment("a", 1)), packed(&assignment("b", 1))], &[]);
    let heard = script.send(CDS, vec![packed(&cluster("b")), packed(&cluster("c"))], &[]);
    assert_eq!(all(&heard.asks), ["CDS version=v4 names= nonce=n4", "EDS version=v3 names=b,c nonce=n3"]);

    let mut script = Script::new(Variant::Delta);
    let heard = script.send(CDS, vec![packed(&cluster("a")), packed(&cluster("b"))], &[]);
    assert_eq!(all(&heard.asks), ["CDS + - initial= nonce=n1", "EDS +a,b - initial= nonce="]);
    let heard = script.send(CDS, vec![packed(&cluster("c"))], &["a"]);
    assert_eq!(all(&heard.asks), ["CDS + - initial= nonce=n2", "EDS +c -a initial= nonce="]);
}

/// Case 29, the part of it that is not the transport's.
#[test]
fn a_new_stream_says_what_is_accepted() {
    let resources =
        [cluster("a"), cluster("b"), assignment("a", 1), assignment("b", 1), listener("l", "t"), table("t", &["a"])];
    let mut script = Script::new(Variant::Delta);
    script.send_all(&resources);
    let before = script.accepted.set().clone();
    script.reopen();
    assert_eq!(
        all(&script.asked),
        [
            "CDS + - initial=a@v1,b@v1 nonce=",
            "EDS +a,b - initial=a@v2,b@v2 nonce=",
            "LDS + - initial=l@v3 nonce=",
            "RDS +t - initial=t@v4 nonce="
        ]
    );
    assert_eq!(*script.accepted.set(), before);
    let mut script = Script::new(Variant::Sotw);
    script.send_all(&resources);
    script.reopen();
    assert_eq!(
        all(&script.asked),
        [
            "CDS version=v1 names= nonce=",
            "EDS version=v2 names=a,b nonce=",
            "LDS version=v3 names= nonce=",
            "RDS version=v4 names=t nonce="
        ]
    );
}

#[test]
fn a_type_that_nobody_asked_for_is_passed_over() {
    let mut script = Script::new(Variant::Sotw);
    let answer = Answer::Sotw(DiscoveryResponse { type_url: "type.googleapis.com/x.Y".into(), ..Default::default() });
    assert_eq!(script.session.hear(answer, &mut script.accepted, script.now), Heard::default());
}
