//! What is due to a client for one type: the half of a [`Subscription`] that speaks.
//!
//! Two questions, asked by the session in this order: what is to be made ([`Subscription::make`]: additions, changes
//! and names that must be answered), and what may be taken away ([`Subscription::unmake`]). Each reads the newest view
//! and returns at most one answer, no longer than [`MAX_ANSWER`] where the transport allows a part. When to ask, and
//! what must be in place before, is the session's business.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use outrigger_config::resource::ResourceType;

use crate::ads::holding::Holding;
use crate::ads::subscription::{MAX_UNANSWERED, PATIENCE, Subscription};
use crate::ads::wire::Transport;
use crate::view::{Entry, View};

/// How much an answer may weigh before it is cut, bytes. tonic keeps each stream's buffer at the size of the largest
/// answer it has sent: with 1 MiB a proxy that sees 1,000 services cost 1 MB, which is for ever.
pub(super) const MAX_ANSWER: usize = 48 * 1024;
/// What a resource weighs beside its name and content: type, version and lengths.
const OVERHEAD: usize = 100;

/// How much may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Whatever is due.
    All,
    /// Only names that must be answered.
    Forced,
}

/// What is to be sent, before it has a nonce.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) resources: Vec<Arc<Entry>>,
    pub(super) removed: Vec<Arc<str>>,
    /// Names whose content the client did not have.
    pub(super) changed: Vec<Arc<str>>,
    /// It carries resources that something else waits for.
    pub(super) forced: bool,
    weight: usize,
}

impl Draft {
    fn is_full(&self) -> bool {
        self.weight >= MAX_ANSWER
    }

    fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.removed.is_empty()
    }

    fn remove(&mut self, name: Arc<str>) {
        self.weight += name.len() + OVERHEAD;
        self.removed.push(name);
    }
}

impl Subscription {
    /// What may be sent now, if anything may. One unanswered response at a time is the rule, because a client that
    /// applies slowly would otherwise be buried (istio#25685). The exceptions: to an incremental client the rest of a
    /// response that was cut, its own questions, and the endpoints of changed clusters, which it needs to go on; and
    /// any client that has not answered for [`PATIENCE`].
    pub(super) fn turn(&self, now: Instant) -> Option<Turn> {
        let Some(last) = self.unanswered.back() else { return Some(Turn::All) };
        if now.saturating_duration_since(last.at) >= PATIENCE {
            return Some(Turn::All);
        }
        if self.unanswered.len() >= MAX_UNANSWERED {
            return None;
        }
        let is_asked = self.transport == Transport::Delta && !self.forced.is_empty();
        // A state-of-the-world client can only speak of the newest response, so that it gets no second one before.
        let goes_on = self.transport == Transport::Delta && self.cut;
        if goes_on { Some(Turn::All) } else { is_asked.then_some(Turn::Forced) }
    }

    /// The time from which everything may be sent, where that is not yet so.
    pub(super) fn turn_at(&self) -> Option<Instant> {
        self.unanswered.back().map(|last| last.at + PATIENCE)
    }

    /// What is to be added or changed, if anything is; clears `dirty` when nothing is left.
    pub(super) fn make(&mut self, view: &View, turn: Turn) -> Option<Draft> {
        if self.is_whole() { self.make_whole(view) } else { self.make_part(view, turn) }
    }

    /// What is to be taken away, if anything is.
    pub(super) fn unmake(&mut self, view: &View) -> Option<Draft> {
        if self.is_whole() {
            self.leaving.clear();
            self.leaving_since = None;
            self.owed = true;
            return self.make_whole(view);
        }
        let mut draft = Draft::default();
        self.remove_leaving(&mut draft);
        (!draft.is_empty()).then_some(draft)
    }

    /// State of the world, clusters and listeners: everything, if anything changed.
    fn make_whole(&mut self, view: &View) -> Option<Draft> {
        let kind = self.kind;
        if self.claim.take() == Some(view.version(kind)) && self.owed && self.names.is_empty() {
            // A client that comes back with what is current keeps it.
            self.holding.settle(view);
            self.already_has(view.version(kind));
            self.owed = false;
            self.dirty = false;
            return None;
        }
        let mut draft = Draft { forced: !self.forced.is_empty(), ..Draft::default() };
        for entry in view.entries(kind).filter(|entry| self.wants(entry.name())) {
            if self.is_new(entry) {
                draft.changed.push(entry.name().clone());
            }
            draft.resources.push(entry.clone());
        }
        let asked = self.forced.iter().any(|name| view.get(kind, name).is_some());
        // Absence is deletion here. A listener goes at once; a cluster stays in the list until nothing needs it.
        let gone = kind == ResourceType::Listener && !self.leaving.is_empty();
        let is_due = self.owed || asked || gone || !draft.changed.is_empty();
        self.owed = false;
        self.dirty = false;
        self.forced.clear();
        if !is_due {
            return None;
        }
        if gone {
            self.leaving.clear();
            self.leaving_since = None;
        }
        draft.resources.extend(self.leaving.values().flatten().cloned());
        self.holding = Holding::new(kind);
        for entry in &draft.resources {
            self.holding.insert(entry.name().clone(), Some(entry.version()));
        }
        Some(draft)
    }

    /// Incremental, and state of the world for the other types: what changed, and what was asked for.
    fn make_part(&mut self, view: &View, turn: Turn) -> Option<Draft> {
        let mut draft = Draft::default();
        self.answer_forced(view, &mut draft);
        if turn == Turn::Forced {
            return (!draft.is_empty()).then_some(draft);
        }
        self.add_changed(view, &mut draft);
        if self.kind == ResourceType::Listener {
            // In one response with what is added: a listener may take over the address of one that goes.
            self.remove_leaving(&mut draft);
        }
        self.cut = draft.is_full();
        self.dirty = draft.is_full();
        let is_owed = std::mem::take(&mut self.owed) && self.transport == Transport::Delta;
        (is_owed || !draft.is_empty()).then_some(draft)
    }

    fn answer_forced(&mut self, view: &View, draft: &mut Draft) {
        while !draft.is_full() {
            let Some(name) = self.forced.pop_first() else { break };
            match view.get(self.kind, &name) {
                Some(entry) => {
                    draft.forced = true;
                    self.put(entry, draft);
                }
                // Said at once, whoever still waits for it: the client asked.
                None if self.transport == Transport::Delta => {
                    draft.forced = true;
                    self.leaving.remove(&name);
                    self.holding.remove(&name);
                    draft.remove(name);
                }
                // State of the world cannot say it; the client's own timer tells it.
                None => {}
            }
        }
        if self.leaving.is_empty() {
            self.leaving_since = None;
        }
    }

    fn add_changed(&mut self, view: &View, draft: &mut Draft) {
        if self.wildcard {
            for entry in view.entries(self.kind) {
                if draft.is_full() {
                    return;
                }
                if self.is_new(entry) {
                    self.put(entry, draft);
                }
            }
        } else {
            let kind = self.kind;
            let names: BTreeSet<Arc<str>> = std::mem::take(&mut self.names);
            for entry in names.iter().filter_map(|name| view.get(kind, name)) {
                if draft.is_full() {
                    break;
                }
                if self.is_new(entry) {
                    self.put(entry, draft);
                }
            }
            self.names = names;
        }
    }

    fn is_new(&self, entry: &Entry) -> bool {
        self.holding.get(entry.name()) != Some(Some(entry.version()))
    }

    fn put(&mut self, entry: &Arc<Entry>, draft: &mut Draft) {
        let before = self.holding.insert(entry.name().clone(), Some(entry.version()));
        if before != Some(Some(entry.version())) {
            draft.changed.push(entry.name().clone());
        }
        draft.weight += entry.name().len() + entry.value().len() + OVERHEAD;
        draft.resources.push(entry.clone());
    }

    fn remove_leaving(&mut self, draft: &mut Draft) {
        while !draft.is_full() {
            let Some((name, _)) = self.leaving.pop_first() else { break };
            self.holding.remove(&name);
            draft.remove(name);
        }
        if self.leaving.is_empty() {
            self.leaving_since = None;
        }
    }
}
