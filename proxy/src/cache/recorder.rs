//! Takes a response in while it passes to its caller: a copy of its body, up to the longest that is kept.
//!
//! Only a body that came to its end is kept, and only one of the length that was announced. Whatever else becomes of it
//! (it breaks, is too long, has trailers, its caller leaves) nothing is kept, and who waits for it is told.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{self, HeaderMap};

use super::flight::{Landing, Lead};
use super::freshness::Freshness;
use super::second::Ticket;
use super::store::{Coming, Store};
use super::stored::{Selector, Stored};
use crate::body::{End, Watcher};
use crate::clock;

/// A response that will be kept when its body is here.
#[derive(Debug)]
pub struct Recorder {
    store: Arc<Store>,
    key: Box<[u8]>,
    shown: Arc<str>,
    selector: Selector,
    freshness: Freshness,
    head: (StatusCode, HeaderMap),
    sent: Instant,
    lead: Option<Lead>,
    ticket: Option<Ticket>,
    /// The body as far as it came; none where only its coming counts.
    body: Option<BytesMut>,
    passed: usize,
    announced: Option<u64>,
    longest: usize,
    room: Option<Coming>,
}

/// What a response is kept by.
#[derive(Debug)]
pub struct Label {
    /// Its key.
    pub key: Box<[u8]>,
    /// Its key, for people.
    pub shown: Arc<str>,
    /// Which requests it is for.
    pub selector: Selector,
    /// When the request went out.
    pub sent: Instant,
}

impl Recorder {
    /// Takes in a response with this head; none where it is known already that it will not be kept. `longest` bounds its
    /// body; `bodies` says whether that is kept, or only that it came.
    pub fn new(
        store: &Arc<Store>,
        label: Label,
        freshness: Freshness,
        head: (StatusCode, HeaderMap),
        longest: usize,
        bodies: bool,
    ) -> Option<Box<Self>> {
        let announced = head.1.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if announced.is_some_and(|announced| announced > longest as u64) {
            return None;
        }
        let expected = announced.and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        let room = if bodies { Some(store.admit(expected as u64)?) } else { None };
        let Label { key, shown, selector, sent } = label;
        let body = bodies.then(|| BytesMut::with_capacity(expected));
        let store = Arc::clone(store);
        let (lead, ticket, passed) = (None, None, 0);
        Some(Box::new(Recorder {
            store,
            key,
            shown,
            selector,
            freshness,
            head,
            sent,
            lead,
            ticket,
            body,
            passed,
            announced,
            longest,
            room,
        }))
    }

    /// Lands this flight with what becomes of the response.
    pub fn leading(&mut self, lead: Option<Lead>) {
        self.lead = lead;
    }

    /// Keeps the response in the second level too.
    pub fn sharing(&mut self, ticket: Option<Ticket>) {
        self.ticket = ticket;
    }

    /// How long it will be fresh.
    pub fn freshness(&self) -> Freshness {
        self.freshness
    }

    fn take(&mut self, data: &Bytes) -> bool {
        self.passed += data.len();
        if self.passed > self.longest || self.announced.is_some_and(|announced| self.passed as u64 > announced) {
            return false;
        }
        let Some(body) = &mut self.body else { return true };
        // What was announced has its room already.
        let more = if self.announced.is_none() { data.len() as u64 } else { 0 };
        if !self.room.as_mut().is_none_or(|room| room.grow(more, &self.store)) {
            return false;
        }
        body.extend_from_slice(data);
        true
    }

    /// Tells who waits that there is nothing for them.
    fn give_up(&mut self) {
        if let Some(lead) = self.lead.take() {
            self.store.note_unshared(&self.key, clock::now());
            lead.land(Landing::Unshared);
        }
    }

    /// Keeps the response; it is whole.
    pub fn keep(mut self: Box<Self>) {
        if self.announced.is_some_and(|announced| announced != self.passed as u64) {
            return self.give_up();
        }
        let Recorder { store, key, shown, selector, freshness, head, sent, lead, ticket, body, .. } = &mut *self;
        // Of exactly its size: what the buffer grew beyond it would be held as long as the response.
        let body = body.take().map(|body| Bytes::from(Box::<[u8]>::from(&body[..])));
        let head = (head.0, &head.1);
        let stored = Arc::new(Stored::new(selector.clone(), *freshness, head, body, *sent, Arc::clone(shown)));
        store.keep(key, &stored, *sent);
        if let Some(ticket) = ticket {
            ticket.keep(&stored);
        }
        if let Some(lead) = lead.take() {
            lead.land(Landing::Kept(stored));
        }
    }
}

impl Watcher for Recorder {
    fn data(&mut self, data: &Bytes) -> bool {
        let goes_on = self.take(data);
        if !goes_on {
            self.give_up();
        }
        goes_on
    }

    fn end(mut self: Box<Self>, how: End) {
        match how {
            End::Complete => self.keep(),
            // Another one may have better luck: who waits is told by the flight itself.
            End::Failed(_) | End::Dropped => self.lead = None,
        }
    }

    fn trailers(&mut self, _: &HeaderMap) {
        self.give_up();
    }
}
