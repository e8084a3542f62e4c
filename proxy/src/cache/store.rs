//! Where responses are kept: in memory, for the whole process, up to so many bytes.
//!
//! One entry holds all variants of a key, so that one look-up finds the one for a request, and one removal forgets a
//! target. Who may come in when there is no more room is decided by how often each is asked for (moka's TinyLFU), so
//! that a scan of many targets does not drive out what everybody asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::HeaderMap;
use moka::sync::Cache;

use super::changes::Changes;
use super::stored::{Selector, Stored};
use crate::clock;

/// The most variants of one key that are kept; more drive out the oldest.
pub const MAX_VARIANTS: usize = 32;

/// For how long it is remembered that what a key's requests are answered cannot be shared, so that they do not wait
/// for each other.
const UNSHARED_FOR: Duration = Duration::from_secs(10);

/// What is known of a key.
#[derive(Clone, Debug, Default)]
pub struct Resource {
    /// Newest first.
    variants: Vec<Arc<Stored>>,
    /// Until when requests are not made to wait for each other.
    unshared_until: Option<Instant>,
    /// What is in all keys of a target that has several; 0 while nobody asked for it.
    number: u64,
}

impl Resource {
    /// The variant for a request with these fields, the newest of several.
    pub fn select(&self, scope: u64, request: &HeaderMap) -> Option<&Arc<Stored>> {
        self.variants.iter().find(|stored| stored.selector.selects(scope, request))
    }

    /// The newest variant of a scope, which knows best what its requests are told apart by.
    pub fn newest(&self, scope: u64) -> Option<&Arc<Stored>> {
        self.variants.iter().find(|stored| stored.selector.scope() == scope)
    }

    /// Whether requests need not wait for each other.
    pub fn is_unshared(&self, now: Instant) -> bool {
        self.unshared_until.is_some_and(|until| now < until)
    }

    /// How many variants there are.
    pub fn variants(&self) -> usize {
        self.variants.len()
    }

    fn weight(&self) -> usize {
        128 + self.variants.iter().map(|stored| stored.weight()).sum::<usize>()
    }
}

/// All that is kept.
#[derive(Debug)]
pub struct Store {
    map: Cache<Vec<u8>, Arc<Resource>>,
    changes: Changes,
    capacity: u64,
    evictions: Arc<AtomicU64>,
    /// Bytes of bodies that are on their way in.
    coming: Arc<AtomicU64>,
    /// The number that was given to a target last.
    numbers: AtomicU64,
}

impl Default for Store {
    /// With nothing in it, and no room.
    fn default() -> Self {
        Store::new(0)
    }
}

impl Store {
    /// With room for `capacity` bytes.
    pub fn new(capacity: u64) -> Self {
        let evictions = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&evictions);
        let weigh =
            |key: &Vec<u8>, resource: &Arc<Resource>| u32::try_from(key.len() + resource.weight()).unwrap_or(u32::MAX);
        let map = Cache::builder()
            .name("responses")
            .max_capacity(capacity)
            .weigher(weigh)
            .eviction_listener(move |_, _, cause| {
                if cause.was_evicted() {
                    counted.fetch_add(1, Relaxed);
                }
            })
            .build();
        let (changes, coming, numbers) = (Changes::new(clock::now()), Arc::default(), AtomicU64::new(0));
        Store { map, changes, capacity, evictions, coming, numbers }
    }

    /// The number of the target with this key. One that was forgotten, or driven out, has another, which no target had
    /// before.
    pub fn number(&self, key: &[u8]) -> u64 {
        let known = |resource: &Resource| Some(resource.number).filter(|number| *number != 0);
        if let Some(number) = self.map.get(key).as_deref().and_then(known) {
            return number;
        }
        let mut number = 0;
        self.change(key, |resource| {
            if resource.number == 0 {
                resource.number = self.numbers.fetch_add(1, Relaxed) + 1;
            }
            number = resource.number;
        });
        number
    }

    /// What is known of a key.
    pub fn get(&self, key: &[u8]) -> Option<Arc<Resource>> {
        self.map.get(key)
    }

    /// The longest body that is kept, bytes: one response must not drive out all others.
    pub fn longest(&self, max_bytes: u32) -> usize {
        usize::try_from(self.capacity / 8).unwrap_or(usize::MAX).min(max_bytes as usize)
    }

    /// Keeps a response, in the place of the one for the same requests. Where it was `asked` for before its target was
    /// forgotten it may be of before what made it be forgotten, and is not kept; nor is one that was made before the one
    /// that it would replace.
    pub fn keep(&self, key: &[u8], stored: &Arc<Stored>, asked: Instant) {
        self.change(key, |resource| {
            let is_late = |old: &Arc<Stored>| old.is_superseded_by(&stored.selector) && old.sent > stored.sent;
            // Here, where nobody else changes the key: who forgets it comes before, and was noted, or clears it after.
            if self.changes.since(key, asked) || resource.variants.iter().any(is_late) {
                return;
            }
            resource.variants.retain(|old| !old.is_superseded_by(&stored.selector));
            resource.variants.insert(0, Arc::clone(stored));
            resource.variants.truncate(MAX_VARIANTS);
            // However many there are, together they are no more than one response may be.
            let most = usize::try_from(self.capacity / 4).unwrap_or(usize::MAX);
            while resource.variants.len() > 1 && resource.weight() > most {
                resource.variants.pop();
            }
            resource.unshared_until = None;
        });
    }

    /// Forgets the response for the requests of `selector`.
    pub fn drop_one(&self, key: &[u8], selector: &Selector) {
        self.change(key, |resource| resource.variants.retain(|old| old.selector != *selector));
    }

    /// Forgets everything of a key: at `now` its target was changed.
    pub fn forget(&self, key: &[u8], now: Instant) {
        // First: an answer that is under way may be of before the change.
        self.changes.note(key, now);
        self.change(key, |resource| {
            resource.variants.clear();
            // Another one when it is asked for: nothing is found any more under keys with this one.
            resource.number = 0;
        });
    }

    /// Whether what was asked for then may be of before the key's target was forgotten.
    pub fn is_outdated(&self, key: &[u8], asked: Instant) -> bool {
        self.changes.since(key, asked)
    }

    /// When it was forgotten last: what is asked for before and after is not the same.
    pub fn forgotten(&self, key: &[u8]) -> u64 {
        self.changes.last(key)
    }

    /// Gives the memory of all that is kept back.
    pub fn empty(&self) {
        self.map.invalidate_all();
        self.map.run_pending_tasks();
    }

    /// Notes that what the key's requests are answered cannot be shared.
    pub fn note_unshared(&self, key: &[u8], now: Instant) {
        self.change(key, |resource| resource.unshared_until = Some(now + UNSHARED_FOR));
    }

    fn change(&self, key: &[u8], change: impl FnOnce(&mut Resource)) {
        if self.capacity == 0 {
            return;
        }
        self.map.entry_by_ref(key).and_upsert_with(|entry| {
            let mut resource = entry.map(|entry| Resource::clone(&entry.into_value())).unwrap_or_default();
            change(&mut resource);
            Arc::new(resource)
        });
        // Else what does not fit stays for a while, however much it is.
        self.map.run_pending_tasks();
    }

    /// Takes room for `bytes` of a body that comes in; none while as much is on its way as may be kept.
    pub fn admit(&self, bytes: u64) -> Option<Coming> {
        let take = |coming: u64| Some(coming + bytes).filter(|coming| *coming <= self.capacity);
        self.coming.fetch_update(Relaxed, Relaxed, take).ok()?;
        Some(Coming { coming: Arc::clone(&self.coming), bytes })
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> u64 {
        self.map.weighted_size()
    }

    /// Bytes that may be kept.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Targets of which something is kept.
    pub fn entries(&self) -> u64 {
        self.map.entry_count()
    }

    /// How many were driven out for others.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Relaxed)
    }
}

/// Room that a body takes while it comes in.
#[derive(Debug)]
pub struct Coming {
    coming: Arc<AtomicU64>,
    bytes: u64,
}

impl Coming {
    /// Takes more; false where there is no more.
    pub fn grow(&mut self, bytes: u64, store: &Store) -> bool {
        match store.admit(bytes) {
            Some(mut more) => {
                self.bytes += std::mem::take(&mut more.bytes);
                true
            }
            None => false,
        }
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.coming.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests;
