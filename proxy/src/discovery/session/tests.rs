//! The session against scripted control planes, in both variants: the client's cases of the conformance list (27 to
//! 33), and a model of a server that changes its mind at random.

use std::time::Instant;

use outrigger_config::cluster::{Cluster, Discovery};
use outrigger_config::endpoint::Assignment;
use outrigger_config::listener::{Direction, Listener, TableSource, Telemetry};
use outrigger_config::name::{Domain, ResourceName};
use outrigger_config::resource::{ClientKind, Resource, ResourceType};
use outrigger_config::route::{Route, RouteTable, VirtualHost};
use outrigger_config::xds;
use outrigger_config::xds::transport::{
    Any, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Node, Resource as Wrapped,
};
use prost::Message;

use super::{Answer, Ask, Heard, Session, Variant};
use crate::discovery::accepted::Accepted;

mod stream;
mod answers;
mod warming;
mod random;

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
