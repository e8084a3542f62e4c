//! What a control plane knows of the others that divide a limit with it: how old that is, and what is still to be told.
//!
//! Times are nanoseconds since whatever the owner counts from.

use std::collections::BTreeMap;
use std::time::Duration;

use super::member::{Hold, nanos};

/// How long without an answer a control plane knows what its proxies have taken along to others; of later it does not, and
/// takes nothing for free that went.
const AWAY: Duration = Duration::from_secs(5);
/// In which time each of them is answered at least twice: once to say what it has, and once to hear what is too much.
const ROUND: Duration = Duration::from_secs(3);
/// Control planes of which proxies take something along from one question to the next; there are never so many.
const MOST_LEFT: usize = 64;

/// What is known of the others.
#[derive(Debug, Default)]
pub struct Common {
    /// When they last answered, and since when all had said what they have, if they have.
    answered: u64,
    settled: Option<u64>,
    /// When all who answer had last been told by each other what proxies have taken along.
    known: u64,
    /// What proxies took along that came from others, by whose it was, and nobody has been told yet.
    moved: BTreeMap<u64, Hold>,
}

impl Common {
    /// There is nobody yet that could have taken anything along.
    pub fn new(now: u64) -> Self {
        Common { answered: now, known: now, ..Common::default() }
    }

    /// They have answered, whether or not all had said what they have; says whether what had not been known for long is known
    /// again.
    pub fn answered(&mut self, is_settled: bool, now: u64) -> bool {
        if now > self.answered.saturating_add(nanos(AWAY)) || !is_settled {
            self.settled = None;
        }
        self.answered = now;
        let settled = is_settled.then(|| *self.settled.get_or_insert(now));
        if settled.is_none_or(|since| now < since.saturating_add(nanos(ROUND))) {
            return false;
        }
        now > std::mem::replace(&mut self.known, now).saturating_add(nanos(AWAY))
    }

    /// Whether all had said what they have when they answered last.
    pub fn is_settled(&self) -> bool {
        self.settled.is_some()
    }

    /// Of when it is known, at `now`, what those hold who are out of reach: they may have taken it along to others.
    pub fn as_of(&self, now: u64) -> u64 {
        if now > self.known.saturating_add(nanos(AWAY)) { self.known } else { now }
    }

    /// A proxy has come with what it had from another.
    pub fn took(&mut self, from: u64, hold: Hold) {
        if self.moved.len() < MOST_LEFT || self.moved.contains_key(&from) {
            let all = self.moved.entry(from).or_default();
            *all = Hold { rate: all.rate + hold.rate, fallback: all.fallback + hold.fallback };
        }
    }

    /// What is to be told, once.
    pub fn moved(&mut self) -> BTreeMap<u64, Hold> {
        std::mem::take(&mut self.moved)
    }
}

#[cfg(test)]
mod tests {
    use super::Common;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn what_went_is_not_held_to_be_free_before_all_have_been_heard() {
        let mut common = Common::new(0);
        assert_eq!((common.as_of(5 * SECOND), common.as_of(6 * SECOND)), (5 * SECOND, 0));
        // Redis is back, and knows nothing at first.
        assert!(!common.answered(false, 100 * SECOND) && !common.is_settled());
        assert!(!common.answered(true, 101 * SECOND) && common.is_settled());
        assert!(!common.answered(true, 103 * SECOND));
        assert_eq!(common.as_of(103 * SECOND), 0);
        assert!(common.answered(true, 104 * SECOND), "known again");
        assert_eq!(common.as_of(104 * SECOND), 104 * SECOND);
        assert!(!common.answered(true, 105 * SECOND), "and still");
        // One that was away for long begins anew.
        assert!(!common.answered(true, 200 * SECOND));
        assert_eq!(common.as_of(200 * SECOND), 105 * SECOND);
    }
}
