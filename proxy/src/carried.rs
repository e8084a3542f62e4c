//! Which requests a layer above already tries again, remembered while they are under way.
//!
//! If every proxy of a call chain tried again, a failing service would get attempts to the power of the chain's length. So a
//! proxy that does marks its attempts ([`MARK`]), and one whose request is marked leaves what was sent to it. Between
//! what comes in and what the workload then calls stands the workload: some pass the mark on with other fields, most
//! pass on only the trace. So the proxy on the way in remembers the trace of a marked request until it is over, and on
//! the way out marks what belongs to such a trace. A workload that passes on neither cannot be told from one that calls
//! of its own accord.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;

/// The field that marks an attempt, and says which it is, from 1.
pub const MARK: HeaderName = HeaderName::from_static("x-outrigger-attempt");

/// Traces that are remembered; a marked request beyond them is as good as not marked.
const MOST: usize = 65_536;

const SHARDS: usize = 16;

type Trace = [u8; 16];

/// The traces of marked requests under way.
#[derive(Debug, Default)]
pub struct Carried {
    count: AtomicUsize,
    shards: [Mutex<HashMap<Trace, u32>>; SHARDS],
}

/// A marked request under way; forgotten when dropped.
#[derive(Debug)]
pub struct Held {
    carried: Arc<Carried>,
    trace: Trace,
}

/// Marks an attempt, the first being 0.
pub fn mark(headers: &mut HeaderMap, attempt: u32) {
    const FIRST: HeaderValue = HeaderValue::from_static("1");
    headers.insert(MARK, if attempt == 0 { FIRST } else { HeaderValue::from(attempt + 1) });
}

impl Carried {
    /// Remembers a trace until the guard is dropped; none if too many are remembered already.
    pub fn hold(self: &Arc<Self>, trace: Trace) -> Option<Held> {
        let more = |count: usize| (count < MOST).then_some(count + 1);
        self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        *self.shard(&trace).lock().entry(trace).or_default() += 1;
        Some(Held { carried: Arc::clone(self), trace })
    }

    /// Whether a request of this trace is under way. Costs a look at a counter while there is none at all.
    pub fn holds(&self, trace: &Trace) -> bool {
        self.count.load(Ordering::Relaxed) > 0 && self.shard(trace).lock().contains_key(trace)
    }

    fn shard(&self, trace: &Trace) -> &Mutex<HashMap<Trace, u32>> {
        // The last byte of a trace id is random, whoever made it (W3C level 2).
        &self.shards[usize::from(trace[15]) % SHARDS]
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut shard = self.carried.shard(&self.trace).lock();
        if let Some(count) = shard.get_mut(&self.trace) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&self.trace);
            }
        }
        drop(shard);
        self.carried.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Carried, MOST};

    #[test]
    fn a_trace_is_remembered_as_long_as_one_of_its_requests_lasts() {
        let carried = Arc::new(Carried::default());
        let (trace, other) = ([7; 16], [8; 16]);
        assert!(!carried.holds(&trace));
        let (first, second) = (carried.hold(trace), carried.hold(trace));
        assert!(carried.holds(&trace) && !carried.holds(&other));
        drop(first);
        assert!(carried.holds(&trace));
        drop(second);
        assert!(!carried.holds(&trace));
    }

    #[test]
    fn there_is_a_bound_to_what_is_remembered() {
        let carried = Arc::new(Carried::default());
        let held: Vec<_> = (0..MOST as u128 + 5).map(|trace| carried.hold(trace.to_be_bytes())).collect();
        assert_eq!(held.iter().flatten().count(), MOST);
        drop(held);
        assert!(carried.hold([1; 16]).is_some());
    }
}
