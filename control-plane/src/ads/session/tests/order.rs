//! The order among types, where the conformance list says nothing of its own.

use std::time::Duration;

use super::script::{CDS, EDS, LDS, RDS, Script};
use crate::ads::plan::MAX_ANSWER;
use crate::ads::subscription::PATIENCE;
use crate::ads::wire::Transport;

const NOTHING: [&str; 0] = [];

#[test]
fn a_proxy_that_asks_for_everything_at_once_is_answered_in_order() {
    let mut client = Script::new(Transport::Delta, "c:a=1 e:a=1 l:in=1 r:t=1");
    for (kind, names) in [(RDS, "t"), (LDS, ""), (EDS, "a"), (CDS, "")] {
        client.change(kind, names);
    }
    assert_eq!(client.sent(), ["CDS a", "EDS a"]);
    client.ack(CDS, "");
    client.ack(EDS, "");
    assert_eq!(client.sent(), ["LDS in", "RDS t"]);
    client.ack(LDS, "");
    client.ack(RDS, "");
    assert_eq!(client.sent(), NOTHING);
    assert_eq!(client.session.report().synced, 1);
}

#[test]
fn a_grpc_client_walks_from_its_listener_to_its_endpoints() {
    let mut client = Script::new(Transport::Sotw, "l:pricing=1 r:t=1 c:p=1 e:p=1 l:other=1 c:q=1");
    for (kind, name, expected) in
        [(LDS, "pricing", "LDS pricing"), (RDS, "t", "RDS t"), (CDS, "p", "CDS p"), (EDS, "p", "EDS p")]
    {
        client.list(kind, name);
        assert_eq!(client.sent(), [expected]);
        client.ack(kind, name);
        assert_eq!(client.sent(), NOTHING);
    }
    // Somebody else's resources are no news.
    client.see(2, "l:pricing=1 r:t=1 c:p=1 e:p=1 l:other=2 c:q=2");
    assert_eq!(client.sent(), NOTHING);
    assert_eq!(client.session.report().synced, 2);
}

#[test]
fn a_route_waits_for_its_cluster_no_longer_than_patience() {
    let mut client = Script::new(Transport::Delta, "c:a=1 r:t=1");
    client.change(CDS, "");
    client.change(RDS, "t");
    client.sent();
    client.wait(PATIENCE - Duration::from_millis(1));
    assert_eq!(client.sent(), NOTHING);
    client.wait(Duration::from_millis(1));
    assert_eq!(client.sent(), ["RDS t"]);
}

#[test]
fn an_old_wait_does_not_shorten_a_new_one() {
    let mut client = Script::new(Transport::Delta, "c:a=1 r:t=1");
    client.change(CDS, "");
    client.change(RDS, "t");
    client.sent();
    client.wait(PATIENCE);
    assert_eq!(client.sent(), ["RDS t"]);
    client.ack(CDS, "");
    client.ack(RDS, "");
    assert_eq!(client.sent(), NOTHING);
    client.see(2, "c:a=2 r:t=2");
    assert_eq!(client.sent(), ["CDS a"]);
    client.ack(CDS, "");
    assert_eq!(client.sent(), ["RDS t"]);
}

#[test]
fn a_sotw_client_takes_a_large_answer_in_parts() {
    let name = |i| format!("s{i}");
    let names: Vec<String> = (0..24).map(name).collect();
    let text: String = (0..24).map(|i| format!("e:s{i}={} ", "x".repeat(MAX_ANSWER / 8))).collect();
    let mut client = Script::new(Transport::Sotw, &text);
    client.list(EDS, &names.join(" "));
    let mut received = Vec::new();
    for _ in 0..4 {
        let sent = client.sent();
        assert!(sent.len() <= 1);
        received.extend(sent.iter().flat_map(|words| words.split(' ').skip(1).map(str::to_owned)));
        client.ack(EDS, &names.join(" "));
    }
    received.sort();
    received.dedup();
    assert_eq!(received.len(), 24);
    assert_eq!(client.session.report().synced, 1);
}

#[test]
fn a_client_that_refuses_its_clusters_still_gets_its_routes() {
    let mut client = Script::new(Transport::Delta, "c:a=1 r:t=1");
    client.change(CDS, "");
    client.change(RDS, "t");
    client.sent();
    client.nack(CDS, "", "no");
    assert_eq!(client.sent(), ["RDS t"]);
}

#[test]
fn a_listener_that_goes_leaves_in_the_response_that_brings_the_next() {
    let mut client = Script::new(Transport::Delta, "l:old=1");
    client.change(LDS, "");
    client.sent();
    client.ack(LDS, "");
    client.see(2, "l:new=1");
    assert_eq!(client.sent(), ["LDS new -old"]);
}

#[test]
fn a_table_goes_after_the_listener_that_used_it() {
    let mut client = Script::new(Transport::Delta, "l:in=1 r:t=1");
    client.change(LDS, "");
    client.change(RDS, "*");
    client.sent();
    client.ack(LDS, "");
    client.ack(RDS, "");
    client.see(2, "");
    assert_eq!(client.sent(), ["LDS -in"]);
    client.ack(LDS, "");
    assert_eq!(client.sent(), ["RDS -t"]);
}

#[test]
fn what_comes_back_before_it_was_taken_away_stays() {
    for transport in [Transport::Delta, Transport::Sotw] {
        let mut client = Script::new(transport, "c:a=1 c:b=1 r:t=1");
        for (kind, names) in [(CDS, ""), (RDS, "t")] {
            match transport {
                Transport::Delta => client.change(kind, names),
                Transport::Sotw => client.list(kind, names),
            }
            client.sent();
            client.ack(kind, names);
        }
        client.see(2, "c:a=1 r:t=2");
        assert_eq!(client.sent(), ["RDS t"]);
        client.see(3, "c:a=1 c:b=1 r:t=2");
        client.ack(RDS, "t");
        assert_eq!(client.sent(), NOTHING);
        assert_eq!(client.session.report().synced, 3);
    }
}

#[test]
fn endpoints_go_on_changing_while_clusters_are_unanswered() {
    let mut client = Script::new(Transport::Delta, "c:a=1 e:a=1");
    client.change(CDS, "");
    client.change(EDS, "a");
    client.sent();
    client.ack(EDS, "");
    client.see(2, "c:a=1 e:a=2");
    assert_eq!(client.sent(), ["EDS a"]);
}
