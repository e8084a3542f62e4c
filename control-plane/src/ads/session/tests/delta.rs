//! Incremental: cases 12, 13 and 15 to 26 of the conformance list.

use std::time::Duration;

use outrigger_config::xds::transport::{DeltaDiscoveryRequest, Node};

use super::script::{CDS, EDS, LDS, RDS, Script};
use crate::ads::plan::MAX_ANSWER;
use crate::ads::session::{Refusal, Session};
use crate::ads::subscription::{MAX_UNANSWERED, PATIENCE};
use crate::ads::wire::Transport;

const NOTHING: [&str; 0] = [];

fn script(text: &str) -> Script {
    Script::new(Transport::Delta, text)
}

/// The versions a client holds that was sent everything of `text`, as words of a request.
fn held(kind: outrigger_config::resource::ResourceType, text: &str) -> String {
    let view = super::script::view(1, text);
    view.entries(kind).map(|entry| format!("{}@{} ", entry.name(), entry.version())).collect()
}

#[test]
fn case_12_a_request_without_type_or_a_first_one_without_node_ends_the_stream() {
    let mut client = script("");
    assert_eq!(client.try_change(DeltaDiscoveryRequest::default()), Err(Refusal::NoType));
    let request = DeltaDiscoveryRequest { type_url: CDS.type_url().to_owned(), ..Default::default() };
    assert_eq!(Session::new(Transport::Delta).change(&request, client.now), Err(Refusal::NoNode));
}

#[test]
fn case_13_a_node_may_not_change() {
    let mut client = script("");
    client.change(CDS, "*");
    let node = Some(Node { id: "shop/a".into(), user_agent_name: "outrigger-proxy".into(), ..Node::default() });
    let request = DeltaDiscoveryRequest { type_url: CDS.type_url().to_owned(), node, ..Default::default() };
    assert_eq!(client.session.change(&request, client.now), Err(Refusal::NodeChanged));
}

#[test]
fn case_15_a_changed_cluster_alone_is_sent_and_then_its_endpoints() {
    let mut client = script("c:a=1 c:b=1 e:a=1 e:b=1");
    client.change(CDS, "");
    client.change(EDS, "a b");
    assert_eq!(client.sent(), ["CDS a b", "EDS a b"]);
    client.ack(CDS, "");
    client.ack(EDS, "");
    client.see(2, "c:a=2 c:b=1 e:a=1 e:b=1");
    assert_eq!(client.sent(), ["CDS a", "EDS a"]);
}

#[test]
fn case_15_endpoints_follow_even_when_earlier_ones_are_unanswered() {
    let mut client = script("c:a=1 e:a=1");
    client.change(CDS, "");
    client.change(EDS, "a");
    client.sent();
    client.ack(CDS, "");
    client.see(2, "c:a=2 e:a=1");
    assert_eq!(client.sent(), ["CDS a", "EDS a"]);
}

#[test]
fn case_16_a_new_cluster_and_its_route_go_out_in_order() {
    let mut client = script("c:a=1 e:a=1 l:out=1 r:t=1");
    for (kind, names) in [(CDS, ""), (EDS, "a"), (LDS, ""), (RDS, "t")] {
        client.change(kind, names);
        client.sent();
        client.ack(kind, "");
    }
    client.see(2, "c:a=1 c:b=1 e:a=1 e:b=1 l:out=1 r:t=2");
    assert_eq!(client.sent(), ["CDS b"]);
    client.change(EDS, "b");
    assert_eq!(client.sent(), ["EDS b"]);
    client.ack(EDS, "");
    assert_eq!(client.sent(), NOTHING);
    client.ack(CDS, "");
    assert_eq!(client.sent(), ["RDS t"]);
}

#[test]
fn case_17_a_cluster_goes_after_its_route_and_endpoints_last() {
    let mut client = script("c:a=1 c:b=1 e:a=1 e:b=1 r:t=1");
    for (kind, names) in [(CDS, ""), (EDS, "a b"), (RDS, "t")] {
        client.change(kind, names);
        client.sent();
        client.ack(kind, "");
    }
    client.see(2, "c:a=1 e:a=1 r:t=2");
    assert_eq!(client.sent(), ["RDS t"]);
    client.ack(RDS, "");
    assert_eq!(client.sent(), ["CDS -b"]);
    client.ack(CDS, "");
    assert_eq!(client.sent(), ["EDS -b"]);
    client.ack(EDS, "");
    assert_eq!(client.sent(), NOTHING);
    assert_eq!(client.session.report().synced, 2);
}

#[test]
fn case_17_a_cluster_goes_in_the_end_though_nobody_answers() {
    let mut client = script("c:a=1 c:b=1 r:t=1");
    client.change(CDS, "");
    client.sent();
    client.ack(CDS, "");
    client.change(RDS, "t");
    client.sent();
    client.see(2, "c:a=1 r:t=2");
    assert_eq!(client.sent(), NOTHING);
    let wake = client.session.wake_at(client.now).expect("a moment");
    assert_eq!(wake, client.now + PATIENCE);
    client.wait(PATIENCE);
    assert_eq!(client.sent(), ["RDS t", "CDS -b"]);
}

#[test]
fn case_18_a_client_that_comes_back_gets_the_difference() {
    let mut client = script("c:a=1 c:b=2");
    let known = held(CDS, "c:a=1 c:b=1 c:gone=1");
    client.change(CDS, &known);
    assert_eq!(client.sent(), ["CDS b"]);
    client.ack(CDS, "");
    assert_eq!(client.sent(), ["CDS -gone"]);
}

#[test]
fn case_19_a_name_asked_for_is_sent_though_its_version_is_known() {
    let mut client = script("e:a=1");
    let known = held(EDS, "e:a=1");
    client.change(EDS, &format!("a {known}"));
    assert_eq!(client.sent(), ["EDS a"]);
}

#[test]
fn case_20_an_unknown_name_is_said_to_be_absent_at_once_and_sent_when_it_exists() {
    let mut client = script("r:t=1");
    client.change(RDS, "new");
    assert_eq!(client.sent(), ["RDS -new"]);
    client.ack(RDS, "");
    client.see(2, "r:t=1 r:new=1");
    assert_eq!(client.sent(), ["RDS new"]);
}

#[test]
fn case_21_unsubscribing_is_not_answered() {
    let mut client = script("r:t=1");
    client.change(RDS, "t");
    client.sent();
    client.ack(RDS, "");
    client.change(RDS, "-nobody");
    client.change(RDS, "-t");
    client.change(RDS, "-t");
    assert_eq!(client.sent(), NOTHING);
    client.see(2, "r:t=2");
    assert_eq!(client.sent(), NOTHING);
}

#[test]
fn case_22_a_name_dropped_from_under_a_wildcard_is_sent_again() {
    let mut client = script("c:A=1 c:B=1");
    client.change(CDS, "* A gone");
    assert_eq!(client.sent(), ["CDS A B -gone"]);
    client.ack(CDS, "");
    client.change(CDS, "-A");
    assert_eq!(client.sent(), ["CDS A"]);
    client.ack(CDS, "");
    client.change(CDS, "-gone");
    assert_eq!(client.sent(), ["CDS -gone"]);
}

#[test]
fn case_23_without_the_star_only_names_count() {
    let mut client = script("c:A=1 c:B=1");
    client.change(CDS, "* A");
    client.sent();
    client.ack(CDS, "");
    client.change(CDS, "-*");
    client.see(2, "c:A=1 c:B=2");
    assert_eq!(client.sent(), NOTHING);
    client.see(3, "c:A=3 c:B=2");
    assert_eq!(client.sent(), ["CDS A"]);
}

#[test]
fn case_24_answers_are_matched_to_their_responses() {
    let mut client = script("r:good=1 r:bad=1");
    client.change(RDS, "good");
    client.sent();
    let first = client.last(RDS).nonce;
    client.change(RDS, "bad");
    assert_eq!(client.sent(), ["RDS bad"]);
    let request = DeltaDiscoveryRequest {
        type_url: RDS.type_url().to_owned(),
        response_nonce: first.to_string(),
        ..Default::default()
    };
    client.try_change(request).expect("valid");
    assert_eq!(client.refused(RDS), None);
    client.nack(RDS, "", "bad is bad");
    assert_eq!(client.refused(RDS).as_deref(), Some("bad is bad"));
    // Accepting something else does not make it good.
    client.see(2, "r:good=2 r:bad=1");
    assert_eq!(client.sent(), ["RDS good"]);
    client.ack(RDS, "");
    assert_eq!(client.refused(RDS).as_deref(), Some("bad is bad"));
    assert_eq!(client.session.report().synced, 0);
    client.see(3, "r:good=2 r:bad=3");
    client.sent();
    client.ack(RDS, "");
    client.sent();
    assert_eq!(client.refused(RDS), None);
    assert_eq!(client.session.report().synced, 3);
}

#[test]
fn case_25_a_client_that_does_not_answer_gets_the_newest_state_once() {
    let mut client = script("e:a=0 e:b=0");
    client.change(EDS, "a b");
    client.sent();
    for generation in 2..1002 {
        client.wait(Duration::from_millis(10));
        client.see(generation, &format!("e:a={generation} e:b=0"));
        assert_eq!(client.sent(), NOTHING);
    }
    client.ack(EDS, "");
    assert_eq!(client.sent(), ["EDS a"]);
    let content = client.last(EDS).resources[0].value().clone();
    assert_eq!(content, "a=1001");
    client.ack(EDS, "");
    assert_eq!(client.sent(), NOTHING);
    assert_eq!(client.session.report().synced, 1001);
}

#[test]
fn case_25_what_is_unanswered_is_bounded() {
    let mut client = script("");
    client.change(RDS, "t");
    for generation in 2..1000 {
        client.wait(PATIENCE);
        client.see(generation, &format!("r:t={generation}"));
        client.sent();
        client.change(RDS, &format!("x{generation}"));
        client.sent();
    }
    let unanswered = client.session.subscriptions[RDS as usize].as_ref().map(|one| one.unanswered.len());
    assert_eq!(unanswered, Some(MAX_UNANSWERED));
}

#[test]
fn case_26_a_client_of_another_replica_is_sent_nothing_again() {
    let text = "c:a=1 c:b=1 l:in=1";
    let mut client = script(text);
    client.change(CDS, &held(CDS, text));
    client.change(LDS, &held(LDS, text));
    // The wildcard is answered, with nothing in it.
    assert_eq!(client.sent(), ["CDS"]);
    client.ack(CDS, "");
    assert_eq!(client.sent(), ["LDS"]);
    client.ack(LDS, "");
    assert_eq!(client.sent(), NOTHING);
    assert_eq!(client.session.report().synced, 1);
}

#[test]
fn a_large_answer_is_cut_and_goes_on_without_waiting() {
    let text: String = (0..24).map(|i| format!("c:s{i}={} ", "x".repeat(MAX_ANSWER / 8))).collect();
    let mut client = script(&text);
    client.change(CDS, "");
    let sent = client.sent();
    assert!(sent.len() >= 3, "{}", sent.len());
    let names: usize = sent.iter().map(|words| words.split(' ').count() - 1).sum();
    assert_eq!(names, 24);
}

#[test]
fn a_stream_may_not_name_without_end() {
    let mut client = script("");
    let name = "n".repeat(4000);
    let outcome = (0..2000).try_for_each(|i| {
        client.try_change(DeltaDiscoveryRequest {
            type_url: EDS.type_url().to_owned(),
            resource_names_subscribe: vec![format!("{name}{i}")],
            ..Default::default()
        })
    });
    assert_eq!(outcome, Err(Refusal::TooMuch));
    let mut client = script("");
    let names = vec!["n".repeat(5000)];
    let type_url = EDS.type_url().to_owned();
    let request = DeltaDiscoveryRequest { type_url, resource_names_subscribe: names, ..Default::default() };
    assert_eq!(client.try_change(request), Err(Refusal::TooMuch));
}

#[test]
fn a_type_that_is_not_served_is_not_answered() {
    let mut client = script("c:a=1");
    let type_url = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret".to_owned();
    client.try_change(DeltaDiscoveryRequest { type_url, ..Default::default() }).expect("passed over");
    assert_eq!(client.sent(), NOTHING);
}
