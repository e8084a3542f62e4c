//! The session against scripted control planes, in both variants: the client's cases of the conformance list (27 to
//! 33), and a model of a server that changes its mind at random.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use outrigger_config::cluster::{Cluster, Discovery};
use outrigger_config::endpoint::Assignment;
use outrigger_config::listener::{Direction, Listener, TableSource, Telemetry};
use outrigger_config::name::{Domain, ResourceName};
use outrigger_config::resource::{ClientKind, Resource, ResourceType};
use outrigger_config::route::{Route, RouteTable, VirtualHost};
use outrigger_config::xds;
use outrigger_config::xds::transport::{
    Any, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Duration as Ttl, Node,
    RESOURCE_TYPE_URL, Resource as Wrapped,
};
use proptest::prelude::*;
use prost::Message;

use super::{Answer, Ask, Heard, Session, Variant};
use crate::discovery::accepted::Accepted;
use crate::discovery::warming::{FAREWELL, GAP, PATIENCE, Warming};

fn name(text: &str) -> ResourceName {
    ResourceName::try_new(text).expect("a name")
}

fn cluster(text: &str) -> Resource {
    Resource::Cluster(Cluster::new(name(text), Discovery::Eds(name(text))))
}

fn assignment(text: &str, port: u16) -> Resource {
    let endpoint = outrigger_config::endpoint::Endpoint::at(([127, 0, 0, 1], port).into());
    Resource::Assignment(Assignment::try_new(name(text), vec![endpoint]).expect("endpoints"))
}

fn listener(text: &str, table: &str) -> Resource {
    Resource::Listener(Listener {
        name: name(text),
        address: ([127, 0, 0, 1], 15001).into(),
        direction: Direction::Outbound,
        table: TableSource::Rds(name(table)),
        identity: None,
        telemetry: Telemetry::default(),
        adaptive: None,
        rehearsed_adaptive: None,
        limits: Vec::new(),
    })
}

/// One host and one route for each cluster.
fn table(text: &str, clusters: &[&str]) -> Resource {
    let host = |cluster: &&str| VirtualHost {
        name: (*cluster).into(),
        domains: vec![Domain::parse(cluster).expect("a domain")],
        routes: vec![Route::forward("all", name(cluster))],
        counts: Default::default(),
    };
    Resource::Table(RouteTable { name: name(text), hosts: clusters.iter().map(host).collect() })
}

fn packed(resource: &Resource) -> Any {
    let value = xds::encode(resource, ClientKind::Outrigger).expect("a proxy's resource");
    Any { type_url: resource.resource_type().type_url().to_owned(), value }
}

/// A cluster that says a name and cannot be.
fn broken(text: &str) -> Any {
    // Field 1, the name; field 2, the type: a number that is none.
    let mut value = vec![0x0a, u8::try_from(text.len()).expect("short")];
    value.extend_from_slice(text.as_bytes());
    value.extend_from_slice(&[0x10, 0x63]);
    Any { type_url: ResourceType::Cluster.type_url().to_owned(), value: value.into() }
}

/// A proxy and its control plane's script.
struct Script {
    session: Session,
    accepted: Accepted,
    variant: Variant,
    asked: Vec<Ask>,
    now: Instant,
    nonce: u32,
}

impl Script {
    fn new(variant: Variant) -> Self {
        let node = Node { id: "shop/web".to_owned(), ..Node::default() };
        let (mut session, accepted) = (Session::new(node), Accepted::default());
        let asked = session.open(variant, &accepted);
        Script { session, accepted, variant, asked, now: Instant::now(), nonce: 0 }
    }

    fn reopen(&mut self) {
        self.asked = self.session.open(self.variant, &self.accepted);
    }

    /// An answer of a type, with a version of its own.
    fn send(&mut self, kind: ResourceType, resources: Vec<Any>, removed: &[&str]) -> Heard {
        self.nonce += 1;
        let (nonce, version) = (format!("n{}", self.nonce), format!("v{}", self.nonce));
        let type_url = kind.type_url().to_owned();
        let answer = match self.variant {
            Variant::Delta => Answer::Delta(DeltaDiscoveryResponse {
                system_version_info: version.clone(),
                resources: resources.into_iter().map(|any| wrapped(any, &version)).collect(),
                type_url,
                nonce,
                removed_resources: removed.iter().map(ToString::to_string).collect(),
                ..DeltaDiscoveryResponse::default()
            }),
            Variant::Sotw => Answer::Sotw(DiscoveryResponse {
                version_info: version,
                resources,
                type_url,
                nonce,
                ..DiscoveryResponse::default()
            }),
        };
        let heard = self.session.hear(answer, &mut self.accepted, self.now);
        self.asked.extend(heard.asks.iter().cloned());
        heard
    }

    fn send_all(&mut self, resources: &[Resource]) {
        for kind in ResourceType::ALL {
            let of_kind: Vec<_> = resources.iter().filter(|one| one.resource_type() == kind).map(packed).collect();
            if !of_kind.is_empty() {
                let heard = self.send(kind, of_kind, &[]);
                assert_eq!(heard.refused, None);
            }
        }
    }

    fn clusters(&self) -> Vec<&str> {
        self.accepted.set().clusters.keys().map(ResourceName::as_str).collect()
    }
}

/// A resource as delta has it, under the name that it says.
fn wrapped(any: Any, version: &str) -> Wrapped {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Named {
        #[prost(string, tag = "1")]
        name: String,
    }
    let name = Named::decode(any.value.clone()).map(|named| named.name).unwrap_or_default();
    Wrapped { version: version.to_owned(), name, resource: Some(any), ..Wrapped::default() }
}

/// Type, version, names, nonce, whether it refuses.
fn shown(ask: &Ask) -> String {
    match ask {
        Ask::Sotw(DiscoveryRequest {
            version_info, resource_names, type_url, response_nonce, error_detail, ..
        }) => {
            let kind = ResourceType::from_type_url(type_url).expect("a type").short();
            let refuses = if error_detail.is_some() { " NACK" } else { "" };
            format!("{kind} version={version_info} names={} nonce={response_nonce}{refuses}", resource_names.join(","))
        }
        Ask::Delta(ask) => {
            let kind = ResourceType::from_type_url(&ask.type_url).expect("a type").short();
            let refuses = if ask.error_detail.is_some() { " NACK" } else { "" };
            let initial: Vec<_> =
                ask.initial_resource_versions.iter().map(|(name, version)| format!("{name}@{version}")).collect();
            format!(
                "{kind} +{} -{} initial={} nonce={}{refuses}",
                ask.resource_names_subscribe.join(","),
                ask.resource_names_unsubscribe.join(","),
                initial.join(","),
                ask.response_nonce
            )
        }
    }
}

fn all(asks: &[Ask]) -> Vec<String> {
    asks.iter().map(shown).collect()
}

const BOTH: [Variant; 2] = [Variant::Delta, Variant::Sotw];
const CDS: ResourceType = ResourceType::Cluster;
const EDS: ResourceType = ResourceType::Assignment;
const LDS: ResourceType = ResourceType::Listener;
const RDS: ResourceType = ResourceType::Table;

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

#[test]
fn a_type_that_nobody_asked_for_is_passed_over() {
    let mut script = Script::new(Variant::Sotw);
    let answer = Answer::Sotw(DiscoveryResponse { type_url: "type.googleapis.com/x.Y".into(), ..Default::default() });
    assert_eq!(script.session.hear(answer, &mut script.accepted, script.now), Heard::default());
}

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

/// What a server might have: of each type some names, each with a variant.
type World = BTreeMap<(ResourceType, usize), u16>;

fn world() -> impl Strategy<Value = World> {
    let key = (0_usize..4, 0_usize..4).prop_map(|(kind, number)| (ResourceType::ALL[kind], number));
    prop::collection::btree_map(key, 1_u16..4, 0..12)
}

fn made(kind: ResourceType, number: usize, shape: u16) -> Resource {
    let text = format!("r{number}");
    match kind {
        CDS => {
            let mut one = Cluster::new(name(&text), Discovery::Eds(name(&text)));
            one.connect_timeout = Duration::from_secs(u64::from(shape));
            Resource::Cluster(one)
        }
        EDS => assignment(&text, shape),
        LDS => listener(&text, &format!("r{}", shape)),
        RDS => table(&text, &[&*format!("r{shape}")]),
    }
}

/// A correct server: it sends what the proxy asks for and does not have, and says what is gone.
#[derive(Default)]
struct Server {
    /// Types of which it has told nothing on this stream.
    untold: Vec<ResourceType>,
    sent: BTreeMap<(ResourceType, usize), u16>,
}

impl Server {
    fn wanted(script: &Script, kind: ResourceType, number: usize) -> bool {
        matches!(kind, LDS | CDS) || script.accepted.names(kind).contains(&name(&format!("r{number}")))
    }

    fn serve(&mut self, script: &mut Script, world: &World, bad: Option<ResourceType>) {
        // Twice: what is asked for by name follows from the first pass.
        for kind in [CDS, LDS, EDS, RDS, EDS, RDS] {
            self.sent.retain(|(other, number), _| *other != kind || Self::wanted(script, kind, *number));
            let of_kind =
                world.iter().filter(|((other, number), _)| *other == kind && Self::wanted(script, kind, *number));
            let gone: Vec<_> =
                self.sent.keys().filter(|key| key.0 == kind && !world.contains_key(key)).copied().collect();
            let changed: Vec<_> = of_kind.clone().filter(|(key, shape)| self.sent.get(key) != Some(shape)).collect();
            let delta = script.variant == Variant::Delta;
            let untold = self.untold.contains(&kind);
            self.untold.retain(|other| *other != kind);
            if changed.is_empty() && gone.is_empty() && !untold && (delta || bad != Some(kind)) {
                continue;
            }
            let chosen: Vec<_> = if delta { changed } else { of_kind.collect() };
            let mut resources: Vec<_> =
                chosen.iter().map(|((_, number), shape)| packed(&made(kind, *number, **shape))).collect();
            if bad == Some(kind) {
                resources.push(Any { value: broken("bad").value, type_url: kind.type_url().into() });
            }
            let removed: Vec<_> = gone.iter().map(|(_, number)| format!("r{number}")).collect();
            let removed: Vec<_> = removed.iter().map(String::as_str).collect();
            let chosen: Vec<_> = chosen.into_iter().map(|(key, shape)| (*key, *shape)).collect();
            script.send(kind, resources, &removed);
            self.sent.extend(chosen);
            self.sent.retain(|key, _| !gone.contains(key));
        }
    }
}

proptest! {
    /// Whatever a server goes through, with resources that are wrong and streams that break: in the end the proxy has
    /// what the server has and the proxy needs.
    #[test]
    fn the_proxy_ends_up_with_what_the_server_has(
        steps in prop::collection::vec((world(), prop::option::of(0_usize..4), any::<bool>()), 1..8),
        delta: bool,
    ) {
        let mut script = Script::new(if delta { Variant::Delta } else { Variant::Sotw });
        let mut server = Server::default();
        for (world, bad, breaks) in &steps {
            if *breaks {
                script.reopen();
                // A new stream of delta says what it has; of SotW it is told anew.
                if !delta {
                    server.sent.clear();
                    server.untold = vec![CDS, LDS];
                }
            }
            server.serve(&mut script, world, bad.map(|kind| ResourceType::ALL[kind]));
        }
        let (last, ..) = steps.last().expect("a step");
        server.serve(&mut script, last, None);
        for kind in ResourceType::ALL {
            for ((_, number), shape) in last.iter().filter(|((other, _), _)| *other == kind) {
                if Server::wanted(&script, kind, *number) {
                    let has = script.accepted.set();
                    let name = name(&format!("r{number}"));
                    let same = match made(kind, *number, *shape) {
                        Resource::Cluster(one) => has.clusters.get(&name) == Some(&one),
                        Resource::Assignment(one) => has.assignments.get(&name) == Some(&one),
                        Resource::Listener(one) => has.listeners.get(&name) == Some(&one),
                        Resource::Table(one) => has.tables.get(&name) == Some(&one),
                        Resource::ApiListener(_) => false,
                    };
                    prop_assert!(same, "{} {}", kind.short(), name);
                }
            }
        }
        prop_assert_eq!(script.accepted.set().clusters.len(), last.keys().filter(|(kind, _)| *kind == CDS).count());
        prop_assert_eq!(script.accepted.set().listeners.len(), last.keys().filter(|(kind, _)| *kind == LDS).count());
    }

    /// Noise in place of an answer: nothing panics, and whatever is accepted is whole.
    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..60), kind in 0_usize..4, delta: bool) {
        let mut script = Script::new(if delta { Variant::Delta } else { Variant::Sotw });
        let kind = ResourceType::ALL[kind];
        let noise = Any { type_url: kind.type_url().into(), value: bytes.into() };
        let heard = script.send(kind, vec![noise.clone(), noise], &[]);
        prop_assert!(heard.refused.is_some() || matches!(kind, EDS | RDS));
        prop_assert!(!heard.asks.is_empty());
    }
}
