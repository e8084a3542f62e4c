//! One type on one stream: what the client asks for, what it was sent, and what it has said to that.
//!
//! This file is the half that listens: requests change the subscription, acknowledge or refuse. The half that speaks
//! is `plan.rs`. Everything is level-triggered: no update is ever queued here, only the fact that something may be
//! due (`dirty`), and the newest view is read when it can be sent.
//!
//! What the client holds is tracked by name and version (`holding`), as if everything sent had been accepted: a refused
//! resource is not sent again before its content changes, and `refused` remembers it for the status.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_config::resource::ResourceType;
use outrigger_config::xds::transport::Status;

use crate::ads::holding::Holding;
use crate::ads::status::{Nack, TypeReport};
use crate::ads::wire::Transport;
use crate::view::{Entry, Version, View};

/// How long an answer may stay unanswered, or a change wait for another type, before sending goes on without it.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How many unanswered responses of a type are remembered; of more, the oldest are forgotten.
pub(super) const MAX_UNANSWERED: usize = 32;
/// How much of a client's words about a refusal is kept, bytes.
pub(super) const MAX_NACK_TEXT: usize = 512;

/// The name that stands for everything.
const WILDCARD: &str = "*";

/// A response that the client has neither accepted nor refused.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) nonce: u64,
    pub(super) version: Version,
    pub(super) names: Vec<Arc<str>>,
    pub(super) at: Instant,
    /// It carries resources that something else waits for ([`Subscription::forced`]).
    pub(super) forced: bool,
}

/// One type on one stream.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) kind: ResourceType,
    pub(super) transport: Transport,
    /// Everything of the type is asked for.
    pub(super) wildcard: bool,
    /// What is asked for by name.
    pub(super) names: BTreeSet<Arc<str>>,
    /// An explicit name was given once, so that an empty list no longer means everything.
    named_once: bool,
    /// Names that must be answered whatever was sent before: newly asked for, or endpoints of a changed cluster.
    pub(super) forced: BTreeSet<Arc<str>>,
    /// A wildcard was asked for and must be answered, even by nothing.
    pub(super) owed: bool,
    /// The version a client says it already has of everything (state of the world, on its first request).
    pub(super) claim: Option<Version>,
    /// What the client holds.
    pub(super) holding: Holding,
    /// What the client holds and the view no longer has, with its last content.
    pub(super) leaving: BTreeMap<Arc<str>, Option<Arc<Entry>>>,
    pub(super) leaving_since: Option<Instant>,
    /// Something may be due.
    pub(super) dirty: bool,
    /// The last response was cut because of its size: the rest follows without waiting.
    pub(super) cut: bool,
    /// Since when something due waits for clusters and endpoints to be in place.
    pub(super) blocked_since: Option<Instant>,
    pub(super) unanswered: VecDeque<Unanswered>,
    last_nonce: u64,
    last_sent: Option<Version>,
    last_acked: Option<Version>,
    at: Instant,
    nack: Option<Nack>,
    refused: BTreeSet<Arc<str>>,
}

/// How a request stands to the responses before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It answers none, or the newest: what it says counts.
    Current,
    /// It was written before the newest response arrived.
    Stale,
}

impl Subscription {
    pub(super) fn new(kind: ResourceType, transport: Transport, now: Instant) -> Self {
        Subscription {
            kind,
            transport,
            wildcard: false,
            names: BTreeSet::new(),
            named_once: false,
            forced: BTreeSet::new(),
            owed: false,
            claim: None,
            holding: Holding::new(kind),
            leaving: BTreeMap::new(),
            leaving_since: None,
            dirty: false,
            cut: false,
            blocked_since: None,
            unanswered: VecDeque::new(),
            last_nonce: 0,
            last_sent: None,
            last_acked: None,
            at: now,
            nack: None,
            refused: BTreeSet::new(),
        }
    }

    /// Whether a response is the whole of what is subscribed to, so that absence is deletion.
    pub(super) fn is_whole(&self) -> bool {
        self.transport == Transport::Sotw && self.has_legacy_wildcard()
    }

    /// Whether an empty first request asks for everything: of listeners and clusters alone. Of other types Envoy and
    /// gRPC send an empty list to say that they want nothing.
    fn has_legacy_wildcard(&self) -> bool {
        matches!(self.kind, ResourceType::Cluster | ResourceType::Listener)
    }

    pub(super) fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// Everything was sent and answered.
    pub(super) fn is_quiet(&self) -> bool {
        self.unanswered.is_empty() && !self.dirty && self.leaving.is_empty()
    }

    /// How many names are asked for, and their length together: what a stream's bounds are about. Whatever else is
    /// kept by name is in the view too, or was claimed once in a request of bounded size.
    pub(super) fn weight(&self) -> (usize, usize) {
        (self.names.len(), self.names.iter().map(|name| name.len()).sum())
    }

    /// Takes a request's answer to a response: by nonce alone, and a refusal by the presence of its error alone.
    pub(super) fn hear(&mut self, nonce: &str, error: Option<&Status>, now: Instant) -> Heard {
        // The first request of a type answers nothing, though some clients repeat a nonce of an earlier stream.
        if nonce.is_empty() || self.last_nonce == 0 {
            return Heard::Current;
        }
        let nonce = nonce.parse().unwrap_or(0);
        let is_newest = nonce == self.last_nonce;
        if !is_newest && self.transport == Transport::Sotw {
            return Heard::Stale;
        }
        if let Some(position) = self.unanswered.iter().position(|response| response.nonce == nonce) {
            // Answers come in order: an older response that is still unanswered will stay so.
            let answered = self.unanswered.drain(..=position).next_back();
            if let Some(answered) = answered {
                self.answered(answered, error, now);
            }
        }
        if is_newest { Heard::Current } else { Heard::Stale }
    }

    fn answered(&mut self, response: Unanswered, error: Option<&Status>, now: Instant) {
        match error {
            None => {
                self.last_acked = Some(response.version);
                if self.is_whole() {
                    self.refused.clear();
                }
                for name in &response.names {
                    self.refused.remove(name);
                }
            }
            Some(error) => {
                let message = cut(&error.message, MAX_NACK_TEXT).to_owned();
                tracing::warn!(kind = self.kind.short(), version = %response.version, message, "refused by the client");
                self.nack = Some(Nack { message, version: response.version.to_string(), at: now });
                self.refused.extend(response.names);
            }
        }
        if error.is_none() && self.refused.is_empty() {
            self.nack = None;
        }
    }

    /// Takes the list of a state-of-the-world request: the whole subscription, as the client now has it.
    pub(super) fn list(&mut self, names: &[String], version: &str, heard: Heard) {
        if heard == Heard::Stale {
            // Applying what it adds keeps a client that is always one response behind from starving (envoy#10363).
            // What it leaves out it will leave out again when it answers the newest response.
            self.add(names);
            return;
        }
        if names.is_empty() {
            if self.has_legacy_wildcard() && !self.named_once {
                let is_first = self.last_nonce == 0 && !self.wildcard;
                self.ask_for_everything();
                if is_first {
                    self.claim = Version::parse(version);
                }
            } else {
                self.wildcard = false;
                self.names.clear();
                self.forget_unwanted();
            }
            return;
        }
        let wanted: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        self.names.retain(|name| wanted.contains(&**name));
        self.wildcard &= wanted.contains(WILDCARD);
        self.add(names);
        self.forget_unwanted();
    }

    /// Takes the changes of an incremental request; `initial` is what a client says it holds on its first request.
    pub(super) fn change(
        &mut self,
        subscribe: &[String],
        unsubscribe: &[String],
        initial: Option<&BTreeMap<String, String>>,
    ) {
        if initial.is_some() && subscribe.is_empty() && self.has_legacy_wildcard() {
            self.ask_for_everything();
        }
        for name in subscribe.iter().filter(|name| *name != WILDCARD) {
            // Every name is answered, also one that was asked for before: the client may have dropped it since.
            self.forced.insert(name.as_str().into());
        }
        self.dirty |= !subscribe.is_empty();
        self.add(subscribe);
        for (name, version) in initial.into_iter().flatten() {
            if self.wants(name) {
                self.holding.insert(name.as_str().into(), Version::parse(version));
                self.dirty = true;
            }
        }
        for name in unsubscribe {
            if name == WILDCARD {
                self.wildcard = false;
                self.owed = false;
            } else if self.names.remove(name.as_str()) && self.wildcard {
                // The client drops it, and has it again from the wildcard only if it is sent again.
                self.forced.insert(name.as_str().into());
                self.dirty = true;
            }
        }
        if !unsubscribe.is_empty() {
            self.forget_unwanted();
        }
    }

    /// Takes over a new view: what the client holds and the view no longer has is leaving.
    pub(super) fn view_changed(&mut self, old: Option<&View>, new: &View, now: Instant) {
        if old.is_some_and(|old| old.version(self.kind) == new.version(self.kind)) {
            return;
        }
        self.dirty = true;
        self.find_leaving(old, new, now);
    }

    /// Finds what the client holds and the view does not have.
    pub(super) fn find_leaving(&mut self, old: Option<&View>, new: &View, now: Instant) {
        let kind = self.kind;
        if self.transport == Transport::Sotw && !self.is_whole() {
            // There is no way to say that one of these is gone; it is sent again when it comes back.
            self.holding.retain(|name| new.get(kind, name).is_some());
            return;
        }
        self.leaving.retain(|name, _| new.get(kind, name).is_none());
        for name in self.holding.names() {
            if new.get(kind, name).is_none() && !self.leaving.contains_key(name) {
                let content = old.and_then(|old| old.get(kind, name)).cloned();
                self.leaving.insert(name.clone(), content);
            }
        }
        self.leaving_since = match self.leaving.is_empty() {
            true => None,
            false => self.leaving_since.or(Some(now)),
        };
    }

    /// Takes note that everything due was sent and answered. A client of everything holds the view then.
    pub(super) fn settle(&mut self, view: &View) {
        if self.wildcard && self.is_quiet() {
            self.holding.settle(view);
        }
    }

    /// Remembers a response as sent.
    pub(super) fn sent(&mut self, response: Unanswered) {
        self.last_nonce = response.nonce;
        self.last_sent = Some(response.version);
        self.at = response.at;
        self.unanswered.push_back(response);
        if self.unanswered.len() > MAX_UNANSWERED {
            self.unanswered.pop_front();
        }
    }

    /// Remembers that the client holds everything at `version` already.
    pub(super) fn already_has(&mut self, version: Version) {
        self.last_sent = Some(version);
        self.last_acked = Some(version);
    }

    /// Whether the client refuses something now.
    pub(super) fn is_refused(&self) -> bool {
        self.nack.is_some()
    }

    /// How the type stands.
    pub(super) fn report(&self) -> TypeReport {
        let text = |version: Option<Version>| version.map(|version| version.to_string()).unwrap_or_default();
        TypeReport {
            sent: text(self.last_sent),
            acked: text(self.last_acked),
            at: self.at,
            resources: self.holding.len(),
            nack: self.nack.clone(),
        }
    }

    fn ask_for_everything(&mut self) {
        if !self.wildcard {
            self.wildcard = true;
            self.owed = true;
            self.dirty = true;
        }
    }

    fn add(&mut self, names: &[String]) {
        for name in names {
            if name == WILDCARD {
                self.ask_for_everything();
            } else if !self.names.contains(name.as_str()) {
                let name: Arc<str> = name.as_str().into();
                self.forced.insert(name.clone());
                self.names.insert(name);
                self.dirty = true;
            }
        }
        self.named_once |= !names.is_empty();
    }

    fn forget_unwanted(&mut self) {
        let Subscription { wildcard, names, .. } = self;
        let wanted = |name: &Arc<str>| *wildcard || names.contains(name);
        self.forced.retain(wanted);
        self.holding.retain(wanted);
        self.leaving.retain(|name, _| wanted(name));
        self.refused.retain(wanted);
        if self.leaving.is_empty() {
            self.leaving_since = None;
        }
        if self.refused.is_empty() {
            self.nack = None;
        }
        if !self.wildcard {
            self.owed = false;
        }
    }
}

/// The longest beginning of `text` that is no longer than `limit` bytes.
fn cut(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
