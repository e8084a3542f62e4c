//! State of the world: cases 1 to 17 of the conformance list.

use outrigger_config::resource::ResourceType;
use outrigger_config::xds::transport::{DiscoveryRequest, Node};

use super::script::{CDS, EDS, LDS, RDS, Script};
use crate::ads::session::{Refusal, Session};
use crate::ads::wire::Transport;

const SHOP: &str = "c:a=1 c:b=1 e:a=1 e:b=1 l:in=1 l:out=1 r:t=1 r:u=1";
const NOTHING: [&str; 0] = [];

fn script(text: &str) -> Script {
    Script::new(Transport::Sotw, text)
}

#[test]
fn case_01_a_first_cds_request_without_names_gets_everything() {
    let mut client = script(SHOP);
    client.list(CDS, "");
    assert_eq!(client.sent(), ["CDS a b"]);
    let answer = client.last(CDS);
    assert!(answer.nonce > 0);
    assert_eq!(answer.version.to_string().len(), 16);
}

#[test]
fn case_02_an_ack_is_not_answered() {
    let mut client = script(SHOP);
    client.list(CDS, "");
    client.sent();
    client.ack(CDS, "");
    assert_eq!(client.sent(), NOTHING);
    assert_eq!(client.acked(CDS), client.last(CDS).version.to_string());
}

#[test]
fn case_03_a_nack_is_kept_and_answered_only_by_new_content() {
    let mut client = script(SHOP);
    client.list(CDS, "");
    client.sent();
    let nonce = client.last(CDS).nonce.to_string();
    let long = "é".repeat(400);
    client.nack(CDS, "", &long);
    assert_eq!(client.sent(), NOTHING);
    assert_eq!(client.refused(CDS).map(|text| text.len()), Some(512));
    // The same request once more changes nothing.
    client.list_as(CDS, "", &nonce, "");
    assert_eq!(client.sent(), NOTHING);
    client.see(2, "c:a=2 c:b=1");
    assert_eq!(client.sent(), ["CDS a b"]);
    client.ack(CDS, "");
    assert_eq!(client.refused(CDS), None);
}

#[test]
fn case_04_a_nack_is_known_by_its_error_and_not_by_its_version() {
    let mut client = script(SHOP);
    client.list(RDS, "t");
    client.sent();
    // The script repeats the version that was sent.
    client.nack(RDS, "t", "no");
    assert_eq!(client.refused(RDS).as_deref(), Some("no"));
    assert_eq!(client.acked(RDS), "");
}

#[test]
fn case_05_an_added_name_is_served_though_nothing_changed() {
    let mut client = script(SHOP);
    client.list(EDS, "a");
    assert_eq!(client.sent(), ["EDS a"]);
    client.ack(EDS, "a");
    assert_eq!(client.sent(), NOTHING);
    client.list(EDS, "a b");
    assert_eq!(client.sent(), ["EDS b"]);
}

#[test]
fn case_06_a_name_that_is_dropped_and_added_again_is_sent_again() {
    let mut client = script(SHOP);
    client.list(EDS, "a b");
    client.sent();
    client.ack(EDS, "a b");
    client.list(EDS, "a");
    assert_eq!(client.sent(), NOTHING);
    client.list(EDS, "a b");
    assert_eq!(client.sent(), ["EDS b"]);
}

#[test]
fn case_07_an_empty_list_after_names_clears_the_subscription() {
    for kind in [EDS, RDS, LDS, CDS] {
        let mut client = script("c:a=1 e:a=1 l:a=1 r:a=1");
        client.list(kind, "a");
        client.sent();
        client.ack(kind, "a");
        client.list(kind, "");
        assert_eq!(client.sent(), NOTHING, "{kind:?}");
        client.see(2, "c:a=2 e:a=2 l:a=2 r:a=2");
        assert_eq!(client.sent(), NOTHING, "{kind:?}");
    }
}

#[test]
fn case_08_a_first_empty_list_means_everything_for_listeners_and_clusters_alone() {
    for (kind, expected) in [(EDS, None), (RDS, None), (LDS, Some("LDS in out")), (CDS, Some("CDS a b"))] {
        let mut client = script(SHOP);
        client.list(kind, "");
        assert_eq!(client.sent().first().map(String::as_str), expected, "{kind:?}");
    }
}

#[test]
fn case_09_a_stale_request_adds_names_and_acknowledges_nothing() {
    let mut client = script(SHOP);
    client.list(EDS, "a");
    client.sent();
    let stale = client.last(EDS).nonce.to_string();
    client.ack(EDS, "a");
    client.see(2, "e:a=2 e:b=1");
    assert_eq!(client.sent(), ["EDS a"]);
    let acked = client.acked(EDS);
    client.list_as(EDS, "b", &stale, "");
    assert_eq!(client.acked(EDS), acked);
    client.ack(EDS, "a b");
    assert_eq!(client.sent(), ["EDS b"]);
    assert_ne!(client.acked(EDS), acked);
}

#[test]
fn case_10_a_star_and_a_name_then_the_name_then_nothing() {
    let mut client = script("l:A=1 l:B=1");
    client.list(LDS, "* A");
    assert_eq!(client.sent(), ["LDS A B"]);
    client.ack(LDS, "* A");
    client.see(2, "l:A=2 l:B=2");
    assert_eq!(client.sent(), ["LDS A B"]);
    client.ack(LDS, "A");
    client.see(3, "l:A=2 l:B=3");
    assert_eq!(client.sent(), NOTHING);
    client.see(4, "l:A=4 l:B=3");
    assert_eq!(client.sent(), ["LDS A"]);
    client.ack(LDS, "");
    client.see(5, "l:A=5 l:B=5");
    assert_eq!(client.sent(), NOTHING);
}

#[test]
fn case_11_a_client_that_comes_back_is_sent_what_it_names() {
    let mut before = script(SHOP);
    before.list(CDS, "");
    before.sent();
    let version = before.last(CDS).version.to_string();

    let mut client = script(SHOP);
    client.list_as(EDS, "a", "", &version);
    assert_eq!(client.sent(), ["EDS a"]);
    // All clusters at the version of all clusters: there is nothing to say.
    client.list_as(CDS, "", "", &version);
    assert_eq!(client.sent(), NOTHING);
    assert_eq!(client.acked(CDS), version);
    client.see(2, "c:a=2 c:b=1");
    assert_eq!(client.sent(), ["CDS a b"]);

    let mut other = script("c:a=9");
    other.list_as(CDS, "", "", &version);
    assert_eq!(other.sent(), ["CDS a"]);
}

#[test]
fn case_12_a_request_without_type_or_a_first_one_without_node_ends_the_stream() {
    let mut client = script(SHOP);
    assert_eq!(client.try_list(DiscoveryRequest::default()), Err(Refusal::NoType));
    let mut session = Session::new(Transport::Sotw);
    let request = DiscoveryRequest { type_url: CDS.type_url().to_owned(), ..DiscoveryRequest::default() };
    assert_eq!(session.list(&request, client.now), Err(Refusal::NoNode));
}

#[test]
fn case_13_a_node_may_be_left_out_later_and_may_not_change() {
    let mut client = script(SHOP);
    client.list(CDS, "");
    let now = client.now;
    let without = DiscoveryRequest { type_url: EDS.type_url().to_owned(), ..DiscoveryRequest::default() };
    assert_eq!(client.session.list(&without, now), Ok(()));
    let other = Some(Node { id: "shop/b".into(), ..Node::default() });
    let changed = DiscoveryRequest { node: other, ..without };
    assert_eq!(client.session.list(&changed, now), Err(Refusal::NodeChanged));
}

#[test]
fn case_14_a_name_that_does_not_exist_is_answered_when_it_does() {
    for kind in ResourceType::ALL {
        let mut client = script("c:x=1 e:x=1 l:x=1 r:x=1");
        client.list(kind, "new");
        assert_eq!(client.sent(), NOTHING, "{kind:?}");
        client.see(2, "c:x=1 c:new=1 e:x=1 e:new=1 l:x=1 l:new=1 r:x=1 r:new=1");
        assert_eq!(client.sent(), [format!("{} new", kind.short())], "{kind:?}");
    }
}

#[test]
fn case_15_a_changed_cluster_is_followed_by_its_endpoints() {
    let clusters =
        |of_7: &str| -> String { (0..100).map(|i| format!("c:s{i}={} ", if i == 7 { of_7 } else { "1" })).collect() };
    let endpoints: String = (0..100).map(|i| format!("e:s{i}=1 ")).collect();
    let names: String = (0..100).map(|i| format!("s{i} ")).collect();
    let mut client = script(&(clusters("1") + &endpoints));
    client.list(CDS, "");
    client.list(EDS, &names);
    client.sent();
    client.ack(CDS, "");
    client.ack(EDS, &names);
    client.see(2, &(clusters("2") + &endpoints));
    let sent = client.sent();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].split(' ').count(), 101);
    assert_eq!(sent[1], "EDS s7");
    // Envoy repeats its EDS request while the cluster warms; that is no new question.
    client.ack(EDS, &names);
    client.list(EDS, &names);
    assert_eq!(client.sent(), NOTHING);
}

#[test]
fn case_16_a_new_cluster_and_its_route_go_out_in_order() {
    let mut client = script("c:a=1 e:a=1 l:out=1 r:t=1");
    for (kind, names) in [(CDS, ""), (EDS, "a"), (LDS, ""), (RDS, "t")] {
        client.list(kind, names);
        client.sent();
        client.ack(kind, names);
    }
    assert_eq!(client.sent(), NOTHING);
    client.see(2, "c:a=1 c:b=1 e:a=1 e:b=1 l:out=1 r:t=2");
    assert_eq!(client.sent(), ["CDS a b"]);
    // Envoy asks for the endpoints once it has the cluster, and acknowledges the cluster once it has the endpoints.
    client.list(EDS, "a b");
    assert_eq!(client.sent(), ["EDS b"]);
    client.ack(EDS, "a b");
    assert_eq!(client.sent(), NOTHING);
    client.ack(CDS, "");
    assert_eq!(client.sent(), ["RDS t"]);
}

#[test]
fn case_17_a_cluster_goes_after_its_route() {
    let mut client = script("c:a=1 c:b=1 e:a=1 e:b=1 r:t=1");
    for (kind, names) in [(CDS, ""), (EDS, "a b"), (RDS, "t")] {
        client.list(kind, names);
        client.sent();
        client.ack(kind, names);
    }
    client.see(2, "c:a=1 e:a=1 r:t=2");
    assert_eq!(client.sent(), ["RDS t"]);
    // A change that comes meanwhile keeps the cluster in the list.
    client.see(3, "c:a=3 e:a=1 r:t=2");
    assert_eq!(client.sent(), ["CDS a b", "EDS a"]);
    client.ack(CDS, "");
    client.ack(EDS, "a b");
    assert_eq!(client.sent(), NOTHING);
    client.ack(RDS, "t");
    assert_eq!(client.sent(), ["CDS a"]);
    client.ack(CDS, "");
    client.list(EDS, "a");
    assert_eq!(client.sent(), NOTHING);
    assert_eq!(client.session.report().synced, 3);
}

#[test]
fn the_last_of_everything_goes_as_an_empty_list() {
    let mut client = script("c:a=1 l:a=1");
    client.list(CDS, "");
    client.list(LDS, "");
    client.sent();
    client.ack(CDS, "");
    client.sent();
    client.ack(LDS, "");
    client.see(2, "");
    assert_eq!(client.sent(), ["LDS"]);
    client.ack(LDS, "");
    assert_eq!(client.sent(), ["CDS"]);
}
