//! One ADS stream as a pure state machine: requests and views go in, answers come out, `now` is an argument.
//!
//! The session knows the order among the types. Clusters and endpoints are made before the listeners and tables that
//! lead to them; tables and listeners let go before what they led to is taken away (make before break, xDS protocol
//! "Eventual consistency considerations"):
//!
//! - clusters go first, and every changed cluster's endpoints follow even if they did not change, because Envoy
//!   warms a changed cluster only with endpoints that arrive after it, and withholds its ACK until then;
//! - listeners and tables wait until clusters, and the endpoints those need, are acknowledged;
//! - a table goes only after the listeners have settled, a cluster only after both, its endpoints last.
//!
//! Each wait ends after 30 seconds, so that a client that never answers is slow and not stuck. Memory is bounded by
//! what the client asks for, which is bounded too; nothing is queued.

use std::time::Instant;

use outrigger_config::name::MAX_RESOURCE_NAME;
use outrigger_config::resource::ResourceType;
use outrigger_config::xds::transport::{DeltaDiscoveryRequest, DiscoveryRequest, Node};

use crate::ads::client::Client;
use crate::ads::plan::{Draft, Turn};
use crate::ads::status::Report;
use crate::ads::subscription::{PATIENCE, Subscription, Unanswered};
use crate::ads::wire::{Answer, Transport};
use crate::view::View;

/// How many names a stream may be tracked by, over all types.
pub const MAX_NAMES: usize = 65_536;
/// How long those names may be together, bytes.
pub const MAX_NAME_BYTES: usize = 4 * 1024 * 1024;

/// Why a stream is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A request that does not say of which type it is.
    #[error("a request on an aggregated stream must have a type_url")]
    NoType,
    /// The first request does not say who asks.
    #[error("the first request must have a node with an id of 1 to 512 bytes")]
    NoNode,
    /// A later request says that somebody else asks.
    #[error("the node of a stream must not change")]
    NodeChanged,
    /// More names, or longer ones, than a stream may have.
    #[error("a stream may name 65536 resources, of 4096 bytes each and 4 MiB together")]
    TooMuch,
}

/// One stream.
#[derive(Debug)]
pub struct Session {
    transport: Transport,
    client: Option<Client>,
    view: Option<View>,
    subscriptions: [Option<Subscription>; ResourceType::ALL.len()],
    nonce: u64,
}

impl Session {
    /// A stream nobody has spoken on yet.
    pub fn new(transport: Transport) -> Self {
        Session { transport, client: None, view: None, subscriptions: Default::default(), nonce: 0 }
    }

    /// Who asks; known after the first request.
    pub fn client(&self) -> Option<&Client> {
        self.client.as_ref()
    }

    /// Takes a state-of-the-world request.
    pub fn list(&mut self, request: &DiscoveryRequest, now: Instant) -> Result<(), Refusal> {
        self.identify(request.node.as_ref())?;
        let Some(kind) = kind(&request.type_url)? else { return Ok(()) };
        check_names(&request.resource_names)?;
        let subscription = self.subscription(kind, now);
        let heard = subscription.hear(&request.response_nonce, request.error_detail.as_ref(), now);
        subscription.list(&request.resource_names, &request.version_info, heard);
        self.check_weight()
    }

    /// Takes an incremental request.
    pub fn change(&mut self, request: &DeltaDiscoveryRequest, now: Instant) -> Result<(), Refusal> {
        self.identify(request.node.as_ref())?;
        let Some(kind) = kind(&request.type_url)? else { return Ok(()) };
        check_names(&request.resource_names_subscribe)?;
        if request.initial_resource_versions.len() > MAX_NAMES {
            return Err(Refusal::TooMuch);
        }
        let is_first = self.subscriptions[kind as usize].is_none();
        let view = self.view.clone();
        let subscription = self.subscription(kind, now);
        subscription.hear(&request.response_nonce, request.error_detail.as_ref(), now);
        let initial = is_first.then_some(&request.initial_resource_versions);
        subscription.change(&request.resource_names_subscribe, &request.resource_names_unsubscribe, initial);
        if let Some(view) = view.filter(|_| is_first) {
            subscription.find_leaving(None, &view, now);
        }
        self.check_weight()
    }

    /// Takes over a new view. Nothing is sent by this: [`Session::next`] finds what is due.
    pub fn set_view(&mut self, view: View, now: Instant) {
        for subscription in self.subscriptions.iter_mut().flatten() {
            subscription.view_changed(self.view.as_ref(), &view, now);
        }
        self.view = Some(view);
    }

    /// The next response, if one is due and may be sent. To be called until there is none, each time only when the
    /// response can go out: what is due is read from the newest view at this moment.
    pub fn next(&mut self, now: Instant) -> Option<Answer> {
        let view = self.view.clone()?;
        let made = ResourceType::ALL.into_iter().find_map(|kind| self.make(kind, &view, now));
        let answer = made.or_else(|| {
            let order = [ResourceType::Table, ResourceType::Cluster, ResourceType::Assignment];
            order.into_iter().find_map(|kind| self.unmake(kind, &view, now))
        });
        if answer.is_none() {
            self.subscriptions.iter_mut().flatten().for_each(|subscription| subscription.settle(&view));
        }
        answer
    }

    /// When [`Session::next`] is to be asked again if nothing else happens.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        let of_one = |subscription: &Subscription| {
            let waits = subscription.dirty || !subscription.leaving.is_empty();
            let answer = subscription.turn_at().filter(|_| waits);
            let others = [subscription.blocked_since, subscription.leaving_since];
            let others = others.into_iter().flatten().map(|since| since + PATIENCE);
            answer.into_iter().chain(others).filter(|at| *at > now).min()
        };
        self.subscriptions.iter().flatten().filter_map(of_one).min()
    }

    /// How the stream stands.
    pub fn report(&self) -> Report {
        let synced = self.view.as_ref().filter(|_| self.is_settled()).map_or(0, View::generation);
        let started = self.subscriptions.iter().flatten();
        Report { synced, types: started.map(|one| (one.kind, one.report())).collect() }
    }

    fn identify(&mut self, node: Option<&Node>) -> Result<(), Refusal> {
        match (&self.client, node) {
            (Some(_), None) => Ok(()),
            (Some(client), Some(node)) => match Client::read(node) {
                Some(now) if now == *client => Ok(()),
                _ => Err(Refusal::NodeChanged),
            },
            (None, node) => {
                self.client = Some(node.and_then(Client::read).ok_or(Refusal::NoNode)?);
                Ok(())
            }
        }
    }

    fn subscription(&mut self, kind: ResourceType, now: Instant) -> &mut Subscription {
        let transport = self.transport;
        self.subscriptions[kind as usize].get_or_insert_with(|| Subscription::new(kind, transport, now))
    }

    fn check_weight(&self) -> Result<(), Refusal> {
        let weights = self.subscriptions.iter().flatten().map(Subscription::weight);
        let (count, bytes) = weights.fold((0, 0), |sum, weight| (sum.0 + weight.0, sum.1 + weight.1));
        if count > MAX_NAMES || bytes > MAX_NAME_BYTES { Err(Refusal::TooMuch) } else { Ok(()) }
    }

    fn make(&mut self, kind: ResourceType, view: &View, now: Instant) -> Option<Answer> {
        let must_wait = matches!(kind, ResourceType::Listener | ResourceType::Table) && !self.is_warm();
        let subscription = self.subscriptions[kind as usize].as_mut()?;
        if !subscription.dirty {
            return None;
        }
        if must_wait {
            let since = *subscription.blocked_since.get_or_insert(now);
            if now.saturating_duration_since(since) < PATIENCE {
                return None;
            }
        }
        let turn = subscription.turn(now)?;
        subscription.blocked_since = None;
        let draft = subscription.make(view, turn)?;
        if kind == ResourceType::Cluster {
            self.owe_endpoints(&draft, view);
        }
        Some(self.answer(kind, draft, view, now))
    }

    fn unmake(&mut self, kind: ResourceType, view: &View, now: Instant) -> Option<Answer> {
        let quiet = |kind: ResourceType| self.subscriptions[kind as usize].as_ref().is_none_or(Subscription::is_quiet);
        let is_free = match kind {
            ResourceType::Listener => true,
            ResourceType::Table => quiet(ResourceType::Listener),
            ResourceType::Cluster => quiet(ResourceType::Listener) && quiet(ResourceType::Table),
            ResourceType::Assignment => {
                quiet(ResourceType::Listener) && quiet(ResourceType::Table) && quiet(ResourceType::Cluster)
            }
        };
        let subscription = self.subscriptions[kind as usize].as_mut()?;
        let since = subscription.leaving_since?;
        let has_waited = now.saturating_duration_since(since) >= PATIENCE;
        if !(is_free || has_waited) || subscription.turn(now) != Some(Turn::All) {
            return None;
        }
        let draft = subscription.unmake(view)?;
        Some(self.answer(kind, draft, view, now))
    }

    /// Whether clusters, and the endpoints they wait for, are in place.
    fn is_warm(&self) -> bool {
        let clusters = self.subscriptions[ResourceType::Cluster as usize].as_ref();
        let endpoints = self.subscriptions[ResourceType::Assignment as usize].as_ref();
        clusters.is_none_or(|one| one.unanswered.is_empty() && !one.dirty)
            && endpoints.is_none_or(|one| one.forced.is_empty() && !one.unanswered.iter().any(|sent| sent.forced))
    }

    fn is_settled(&self) -> bool {
        let mut started = self.subscriptions.iter().flatten().peekable();
        started.peek().is_some() && started.all(|one| one.is_quiet() && !one.is_refused())
    }

    /// Marks the endpoints of changed clusters to be sent again. An assignment bears its cluster's name.
    fn owe_endpoints(&mut self, clusters: &Draft, view: &View) {
        let Some(endpoints) = self.subscriptions[ResourceType::Assignment as usize].as_mut() else { return };
        for name in &clusters.changed {
            if endpoints.wants(name) && view.get(ResourceType::Assignment, name).is_some() {
                endpoints.forced.insert(name.clone());
                endpoints.dirty = true;
            }
        }
    }

    fn answer(&mut self, kind: ResourceType, draft: Draft, view: &View, now: Instant) -> Answer {
        self.nonce += 1;
        let version = view.version(kind);
        let names = draft.resources.iter().map(|entry| entry.name()).chain(&draft.removed).cloned().collect();
        if let Some(subscription) = &mut self.subscriptions[kind as usize] {
            subscription.sent(Unanswered { nonce: self.nonce, version, names, at: now, forced: draft.forced });
        }
        Answer { kind, nonce: self.nonce, version, resources: draft.resources, removed: draft.removed }
    }
}

/// The type of a request; `None` for one that is not served here, which is never answered.
fn kind(type_url: &str) -> Result<Option<ResourceType>, Refusal> {
    if type_url.is_empty() {
        return Err(Refusal::NoType);
    }
    Ok(ResourceType::from_type_url(type_url))
}

fn check_names(names: &[String]) -> Result<(), Refusal> {
    let is_too_long = |name: &String| name.len() > MAX_RESOURCE_NAME;
    if names.len() > MAX_NAMES || names.iter().any(is_too_long) { Err(Refusal::TooMuch) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
