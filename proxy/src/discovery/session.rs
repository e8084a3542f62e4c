//! The conversation of one proxy with its control plane, as a pure state machine: answers go in, requests come out, and
//! what is good of the answers goes into [`Accepted`].
//!
//! Listeners and clusters are asked for whole (wildcard), tables and endpoints by the names that those need. Every
//! answer is acknowledged or refused at once, never later: a server may wait for it. A refusal (NACK) lists everything
//! that is wrong with the field it is in; what else came with it is taken all the same. A session outlives its streams:
//! [`Session::open`] begins a new one with the names, and the versions that are accepted, so that nothing is sent
//! twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use outrigger_config::error::Problem;
use outrigger_config::name::ResourceName;
use outrigger_config::resource::ResourceType;
use outrigger_config::xds::transport::{
    Any, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Node, RESOURCE_TYPE_URL,
    Resource as Wrapped, ResourceError, Status,
};
use prost::Message;

use crate::discovery::accepted::{Accepted, Change, Incoming};

/// How long the text of a refusal may be, bytes.
const MAX_REFUSAL: usize = 4096;

/// gRPC's INVALID_ARGUMENT, the code of a refusal.
const INVALID: i32 = 3;
/// gRPC's NOT_FOUND, by which a server says that a resource does not exist (xRFC TP3).
const NOT_FOUND: i32 = 5;

/// Which variant of the protocol a stream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Changes only.
    Delta,
    /// State of the world.
    Sotw,
}

impl Variant {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Variant::Delta => "delta",
            Variant::Sotw => "sotw",
        }
    }
}

/// A request to send.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// On a delta stream.
    Delta(DeltaDiscoveryRequest),
    /// On a stream of the state of the world.
    Sotw(DiscoveryRequest),
}

/// A response that came.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// On a delta stream.
    Delta(DeltaDiscoveryResponse),
    /// On a stream of the state of the world.
    Sotw(DiscoveryResponse),
}

/// What came of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heard {
    /// What to send, in this order.
    pub asks: Vec<Ask>,
    /// What changed of the accepted.
    pub change: Change,
    /// The type, unless it is one that nobody asked for.
    pub kind: Option<ResourceType>,
    /// The version it has, for people.
    pub version: String,
    /// Why it was refused, if it was.
    pub refused: Option<String>,
}

/// The conversation.
#[derive(Debug)]
pub struct Session {
    node: Node,
    variant: Variant,
    introduced: bool,
    types: BTreeMap<ResourceType, Sub>,
}

/// What is said of one type on this stream, and which version of it was accepted last on any.
#[derive(Clone, Debug, Default)]
struct Sub {
    begun: bool,
    names: BTreeSet<ResourceName>,
    nonce: String,
    version: String,
}

impl Session {
    /// A conversation that has not begun.
    pub fn new(node: Node) -> Self {
        Session { node, variant: Variant::Delta, introduced: false, types: BTreeMap::new() }
    }

    /// Begins a stream. What was said on the one before is void, but for what is accepted.
    pub fn open(&mut self, variant: Variant, accepted: &Accepted) -> Vec<Ask> {
        self.variant = variant;
        self.introduced = false;
        for sub in self.types.values_mut() {
            *sub = Sub { version: std::mem::take(&mut sub.version), ..Sub::default() };
        }
        ResourceType::ALL.into_iter().filter_map(|kind| self.subscribe(kind, accepted)).collect()
    }

    /// Takes an answer.
    pub fn hear(&mut self, answer: Answer, accepted: &mut Accepted, now: Instant) -> Heard {
        let (type_url, nonce, version) = match &answer {
            Answer::Delta(one) => (&one.type_url, one.nonce.clone(), one.system_version_info.clone()),
            Answer::Sotw(one) => (&one.type_url, one.nonce.clone(), one.version_info.clone()),
        };
        let Some(kind) = ResourceType::from_type_url(type_url) else {
            tracing::warn!(type_url, "The control plane sent a type that was not asked for");
            return Heard::default();
        };
        let (change, problems) = match answer {
            Answer::Delta(one) => {
                let removed = [one.removed_resources, not_found(&one.resource_errors)].concat();
                let incoming = one.resources.into_iter().map(|one| unwrapped(one, "")).collect();
                accepted.take(kind, incoming, &removed, false, now)
            }
            Answer::Sotw(one) => {
                let complete = matches!(kind, ResourceType::Listener | ResourceType::Cluster);
                let removed = not_found(&one.resource_errors);
                let incoming = one.resources.into_iter().map(|any| incoming(any, &one.version_info));
                match incoming.collect::<Result<_, _>>() {
                    Ok(incoming) => accepted.take(kind, incoming, &removed, complete, now),
                    Err(problem) => (Change::default(), vec![problem]),
                }
            }
        };
        let refused = (!problems.is_empty()).then(|| listed(&problems));
        let sub = self.types.entry(kind).or_default();
        sub.nonce = nonce;
        if refused.is_none() {
            sub.version.clone_from(&version);
        }
        let mut heard =
            Heard { asks: vec![self.reply(kind, refused.clone())], change, kind: Some(kind), version, refused };
        // What is asked for by name follows from what is accepted now.
        for kind in [ResourceType::Assignment, ResourceType::Table] {
            heard.asks.extend(self.subscribe(kind, accepted));
        }
        heard.change.add(accepted.tidy());
        heard
    }

    /// Asks for what is needed of a type and was not asked for yet, and takes back what is not needed any more.
    fn subscribe(&mut self, kind: ResourceType, accepted: &Accepted) -> Option<Ask> {
        let wildcard = matches!(kind, ResourceType::Listener | ResourceType::Cluster);
        let names = accepted.names(kind);
        let sub = self.types.entry(kind).or_default();
        // A first request without names would ask for everything.
        let due = if sub.begun { names != sub.names } else { wildcard || !names.is_empty() };
        if !due {
            return None;
        }
        let first = !std::mem::replace(&mut sub.begun, true);
        let texts = |names: &mut dyn Iterator<Item = &ResourceName>| names.map(ToString::to_string).collect();
        let subscribe = texts(&mut names.difference(&sub.names));
        let unsubscribe = texts(&mut sub.names.difference(&names));
        sub.names = names;
        match self.variant {
            Variant::Delta => {
                let request = DeltaDiscoveryRequest {
                    node: self.introduction(),
                    type_url: kind.type_url().to_owned(),
                    resource_names_subscribe: subscribe,
                    resource_names_unsubscribe: unsubscribe,
                    initial_resource_versions: if first { accepted.versions(kind) } else { BTreeMap::new() },
                    ..DeltaDiscoveryRequest::default()
                };
                Some(Ask::Delta(request))
            }
            Variant::Sotw => Some(self.list(kind, None)),
        }
    }

    /// Accepts or refuses the last answer of a type.
    fn reply(&mut self, kind: ResourceType, refused: Option<String>) -> Ask {
        let error_detail = refused.map(|message| Status { code: INVALID, message, ..Status::default() });
        match self.variant {
            Variant::Delta => Ask::Delta(DeltaDiscoveryRequest {
                node: self.introduction(),
                type_url: kind.type_url().to_owned(),
                response_nonce: self.types.get(&kind).map(|sub| sub.nonce.clone()).unwrap_or_default(),
                error_detail,
                ..DeltaDiscoveryRequest::default()
            }),
            Variant::Sotw => self.list(kind, error_detail),
        }
    }

    /// All that is asked for of a type, the version that is accepted, and the last answer's nonce.
    fn list(&mut self, kind: ResourceType, error_detail: Option<Status>) -> Ask {
        let node = self.introduction();
        let sub = self.types.entry(kind).or_default();
        Ask::Sotw(DiscoveryRequest {
            version_info: sub.version.clone(),
            node,
            resource_names: sub.names.iter().map(ToString::to_string).collect(),
            type_url: kind.type_url().to_owned(),
            response_nonce: sub.nonce.clone(),
            error_detail,
        })
    }

    /// Who asks: said on the first request of a stream.
    fn introduction(&mut self) -> Option<Node> {
        let first = !std::mem::replace(&mut self.introduced, true);
        first.then(|| self.node.clone())
    }
}

/// A resource of a SotW answer, bare or wrapped.
fn incoming(any: Any, version: &str) -> Result<Incoming, Problem> {
    if any.type_url != RESOURCE_TYPE_URL {
        let Any { type_url, value } = any;
        return Ok(Incoming {
            name: String::new(),
            version: version.to_owned(),
            type_url,
            value: Some(value),
            ttl: None,
        });
    }
    let wrapped = Wrapped::decode(any.value)
        .map_err(|error| Problem::invalid("Resource", format!("cannot be unwrapped: {error}")))?;
    Ok(unwrapped(wrapped, version))
}

fn unwrapped(wrapped: Wrapped, version: &str) -> Incoming {
    let (type_url, value) = wrapped.resource.map_or_else(Default::default, |any| (any.type_url, Some(any.value)));
    let ttl = wrapped.ttl.map(|ttl| {
        let seconds = u64::try_from(ttl.seconds).unwrap_or_default();
        Duration::from_secs(seconds.min(365 * 86_400))
            + Duration::from_nanos(u64::try_from(ttl.nanos).unwrap_or_default())
    });
    let version = if wrapped.version.is_empty() { version.to_owned() } else { wrapped.version };
    Incoming { name: wrapped.name, version, type_url, value, ttl }
}

fn not_found(errors: &[ResourceError]) -> Vec<String> {
    let name = |error: &ResourceError| {
        let name = error.resource_name.as_ref()?.name.clone();
        let status = error.error_detail.clone().unwrap_or_default();
        let (code, message) = (status.code, &status.message);
        tracing::warn!(resource = %name, code, %message, "The control plane does not send a resource");
        (status.code == NOT_FOUND).then_some(name)
    };
    errors.iter().filter_map(name).collect()
}

/// Everything that is wrong, in one text.
fn listed(problems: &[Problem]) -> String {
    let mut text = String::new();
    for (index, problem) in problems.iter().enumerate() {
        let more = format!("{}{problem}", if index == 0 { "" } else { "; " });
        if text.len() + more.len() > MAX_REFUSAL - 32 {
            text.push_str(&format!("; and {} more", problems.len() - index));
            break;
        }
        text.push_str(&more);
    }
    text
}

#[cfg(test)]
mod tests;
