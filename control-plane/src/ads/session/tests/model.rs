//! A session and a client that do everything at random, against two truths: when all is said the client holds exactly
//! what it asked for, and at no time does a table lead to a cluster that the client does not hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use outrigger_config::resource::ResourceType;
use outrigger_config::xds::transport::{DeltaDiscoveryRequest, DiscoveryRequest, Node, Status};

use super::script::{CDS, EDS, LDS, RDS, view};
use crate::ads::session::Session;
use crate::ads::wire::{Answer, Transport};

const CLUSTERS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// The mesh: some clusters, and a table that leads to some of them.
#[derive(Clone, Debug)]
struct Mesh {
    clusters: BTreeMap<&'static str, u32>,
    routes: BTreeSet<&'static str>,
    listener: u32,
}

impl Mesh {
    fn random(rng: &mut fastrand::Rng) -> Self {
        let mut clusters = BTreeMap::new();
        for name in CLUSTERS {
            if rng.u32(..3) > 0 {
                clusters.insert(name, rng.u32(..2));
            }
        }
        let routes = clusters.keys().copied().filter(|_| rng.bool()).collect();
        Mesh { clusters, routes, listener: rng.u32(..2) }
    }

    fn text(&self) -> String {
        let mut text = format!("l:out={} r:t={} ", self.listener, Vec::from_iter(self.routes.clone()).join("+"));
        for (name, version) in &self.clusters {
            text += &format!("c:{name}={version} e:{name}={version} ");
        }
        text
    }
}

/// Type, nonce, whether it refuses, names added, names dropped.
type Written = (ResourceType, u64, bool, Vec<String>, Vec<String>);

struct Client {
    session: Session,
    transport: Transport,
    now: Instant,
    /// Sent by the server, and not read yet.
    wire: VecDeque<Answer>,
    /// Written by the client, and not read yet.
    back: VecDeque<Written>,
    holds: BTreeMap<ResourceType, BTreeMap<String, String>>,
    wants: BTreeMap<ResourceType, BTreeSet<String>>,
}

impl Client {
    fn new(transport: Transport) -> Self {
        let (holds, wants) = (BTreeMap::new(), BTreeMap::new());
        let (wire, back) = (VecDeque::new(), VecDeque::new());
        Client { session: Session::new(transport), transport, now: Instant::now(), wire, back, holds, wants }
    }

    fn see(&mut self, generation: u64, mesh: &Mesh) {
        self.session.set_view(view(generation, &mesh.text()), self.now);
    }

    /// The client changes what it wants of a type by name.
    fn want(&mut self, kind: ResourceType, names: BTreeSet<String>) {
        let before = self.wants.remove(&kind).unwrap_or_default();
        let added = names.difference(&before).cloned().collect();
        let dropped: Vec<String> = before.difference(&names).cloned().collect();
        if let Some(holds) = self.holds.get_mut(&kind) {
            holds.retain(|name, _| names.contains(name));
        }
        self.wants.insert(kind, names);
        self.back.push_back((kind, 0, false, added, dropped));
    }

    fn server_reads(&mut self) {
        let Some((kind, nonce, refuses, added, dropped)) = self.back.pop_front() else { return };
        let node = Some(Node { id: "shop/a".into(), ..Node::default() });
        let type_url = kind.type_url().to_owned();
        let error_detail = refuses.then(|| Status { message: "at random".into(), ..Status::default() });
        let response_nonce = if nonce == 0 { String::new() } else { nonce.to_string() };
        match self.transport {
            Transport::Delta => {
                let (resource_names_subscribe, resource_names_unsubscribe) = (added, dropped);
                let request = DeltaDiscoveryRequest {
                    node,
                    type_url,
                    resource_names_subscribe,
                    resource_names_unsubscribe,
                    response_nonce,
                    error_detail,
                    ..Default::default()
                };
                self.session.change(&request, self.now)
            }
            Transport::Sotw => {
                // What was wanted when it was written is what stands in `added` then.
                let request = DiscoveryRequest {
                    node,
                    type_url,
                    resource_names: added,
                    response_nonce,
                    error_detail,
                    ..Default::default()
                };
                self.session.list(&request, self.now)
            }
        }
        .expect("a valid request");
    }

    fn server_writes(&mut self) {
        self.wire.extend(self.session.next(self.now));
    }

    fn reads(&mut self, refuses: bool) {
        let Some(answer) = self.wire.pop_front() else { return };
        let kind = answer.kind;
        let by_name = matches!(kind, EDS | RDS);
        if !refuses {
            let wants = self.wants.get(&kind).cloned().unwrap_or_default();
            let holds = self.holds.entry(kind).or_default();
            if self.transport == Transport::Sotw && !by_name {
                holds.clear();
            }
            for entry in &answer.resources {
                if !by_name || wants.contains(&**entry.name()) {
                    holds.insert(entry.name().to_string(), String::from_utf8_lossy(entry.value()).into_owned());
                }
            }
            for name in &answer.removed {
                holds.remove(&**name);
            }
        }
        let names = self.wants.get(&kind).into_iter().flatten().cloned().collect();
        let list = if self.transport == Transport::Sotw { names } else { Vec::new() };
        self.back.push_back((kind, answer.nonce, refuses, list, Vec::new()));
        if kind == CDS && !refuses {
            // It asks for the endpoints of the clusters it has.
            let clusters: BTreeSet<String> =
                self.holds.get(&CDS).into_iter().flatten().map(|one| one.0.clone()).collect();
            if self.wants.get(&EDS) != Some(&clusters) {
                self.ask(EDS, clusters);
            }
        }
    }

    fn ask(&mut self, kind: ResourceType, names: BTreeSet<String>) {
        match self.transport {
            Transport::Delta => self.want(kind, names),
            Transport::Sotw => {
                self.wants.insert(kind, names.clone());
                if let Some(holds) = self.holds.get_mut(&kind) {
                    holds.retain(|name, _| names.contains(name));
                }
                self.back.push_back((kind, 0, false, names.into_iter().collect(), Vec::new()));
            }
        }
    }

    /// No table leads to a cluster that is not there.
    fn check(&self, seed: u64) {
        let clusters = self.holds.get(&CDS).cloned().unwrap_or_default();
        let Some(table) = self.holds.get(&RDS).and_then(|tables| tables.get("t")) else { return };
        let (_, targets) = table.split_once('=').expect("NAME=CONTENT");
        for target in targets.split('+').filter(|target| !target.is_empty()) {
            assert!(clusters.contains_key(target), "seed {seed}: the table leads to {target}, which is not there");
        }
    }

    fn settle(&mut self, seed: u64) {
        for _ in 0..1000 {
            while !self.back.is_empty() {
                self.server_reads();
            }
            self.server_writes();
            if self.wire.is_empty() {
                return;
            }
            self.reads(false);
            self.check(seed);
        }
        panic!("seed {seed}: it never ends");
    }
}

fn run(seed: u64, transport: Transport) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut client = Client::new(transport);
    let mut generation = 1;
    let mut mesh = Mesh::random(&mut rng);
    client.see(generation, &mesh);
    for (kind, names) in [(CDS, ""), (EDS, ""), (LDS, ""), (RDS, "t")] {
        if rng.bool() {
            client.settle(seed);
        }
        client.ask(kind, names.split_whitespace().map(str::to_owned).collect());
    }
    for _ in 0..120 {
        // Far below the patience, which allows what the model forbids.
        client.now += Duration::from_millis(rng.u64(..20));
        match rng.u32(..12) {
            0 | 1 => {
                generation += 1;
                mesh = Mesh::random(&mut rng);
                client.see(generation, &mesh);
            }
            2..=4 => client.server_reads(),
            5..=7 => client.server_writes(),
            // A refusal leaves the client with what it had, on which a route may then lead to nowhere: the model
            // refuses endpoints alone.
            8 => {
                let refuses = client.wire.front().is_some_and(|answer| answer.kind == EDS);
                client.reads(refuses);
            }
            _ => client.reads(false),
        }
        client.check(seed);
    }
    client.settle(seed);
    // What was refused is sent again with its next change only.
    generation += 1;
    mesh.clusters.values_mut().for_each(|version| *version += 10);
    client.see(generation, &mesh);
    client.settle(seed);

    let expected = view(generation, &mesh.text());
    for kind in ResourceType::ALL {
        let content = |entry: &crate::view::Entry| String::from_utf8_lossy(entry.value()).into_owned();
        let wanted: BTreeMap<String, String> =
            expected.entries(kind).map(|entry| (entry.name().to_string(), content(entry))).collect();
        assert_eq!(client.holds.get(&kind).cloned().unwrap_or_default(), wanted, "seed {seed} {transport:?} {kind:?}");
    }
    assert_eq!(client.session.report().synced, generation, "seed {seed} {transport:?}");
}

#[test]
fn a_delta_client_ends_with_what_there_is_and_never_leads_nowhere() {
    (0..2000).for_each(|seed| run(seed, Transport::Delta));
}

#[test]
fn a_sotw_client_ends_with_what_there_is_and_never_leads_nowhere() {
    (0..2000).for_each(|seed| run(seed, Transport::Sotw));
}
