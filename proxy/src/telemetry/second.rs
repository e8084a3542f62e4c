//! What the cache's second level did: look-ups, stores and invalidations, each by how it ended.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How a look-up in the second level ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// A response for the request is kept there.
    Found,
    /// None is.
    Miss,
    /// There was no answer in time.
    Timeout,
    /// It was not asked: there is no connection, or it failed too often lately.
    Away,
    /// It was not asked: too many ask.
    Crowded,
    /// It was not asked: an invalidation of the same target has not reached it yet.
    Pending,
    /// The connection broke before the answer was whole.
    Lost,
    /// It answered with an error.
    Refused,
    /// Its answer is none to this question, or longer than one may be.
    Garbage,
    /// What is kept there is not what was put there.
    Corrupt,
    /// What is kept there was put there by another version.
    Foreign,
    /// What is kept there is longer than what is ever put there.
    Oversize,
}

impl Lookup {
    /// All there are.
    pub const ALL: [Lookup; 12] = [
        Lookup::Found,
        Lookup::Miss,
        Lookup::Timeout,
        Lookup::Away,
        Lookup::Crowded,
        Lookup::Pending,
        Lookup::Lost,
        Lookup::Refused,
        Lookup::Garbage,
        Lookup::Corrupt,
        Lookup::Foreign,
        Lookup::Oversize,
    ];

    /// Its word in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Lookup::Found => "found",
            Lookup::Miss => "miss",
            Lookup::Timeout => "timeout",
            Lookup::Away => "away",
            Lookup::Crowded => "crowded",
            Lookup::Pending => "pending",
            Lookup::Lost => "lost",
            Lookup::Refused => "refused",
            Lookup::Garbage => "garbage",
            Lookup::Corrupt => "corrupt",
            Lookup::Foreign => "foreign",
            Lookup::Oversize => "oversize",
        }
    }

    /// Its word in `Cache-Status`; none where it says nothing that the rest of the field does not.
    pub fn detail(self) -> Option<&'static str> {
        match self {
            Lookup::Found | Lookup::Miss => None,
            Lookup::Timeout => Some("shared-timeout"),
            Lookup::Away => Some("shared-away"),
            Lookup::Crowded => Some("shared-crowded"),
            Lookup::Pending => Some("shared-pending"),
            Lookup::Lost => Some("shared-lost"),
            Lookup::Refused => Some("shared-refused"),
            Lookup::Garbage => Some("shared-garbage"),
            Lookup::Corrupt => Some("shared-corrupt"),
            Lookup::Foreign => Some("shared-foreign"),
            Lookup::Oversize => Some("shared-oversize"),
        }
    }
}

/// How a change of the second level ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A response was put there.
    Stored,
    /// A response was not put there, since its target was changed while it was under way.
    Outdated,
    /// A change was given up, since too many wait.
    Dropped,
    /// A response was not put there, since it is too long, or of no use to anybody any more.
    Unfit,
    /// A change did not reach it, or was refused.
    Failed,
    /// A response was taken away, or all of a target.
    Removed,
    /// The invalidation of a target was given up, since too many wait.
    Lost,
}

impl Change {
    /// All there are.
    pub const ALL: [Change; 7] = [
        Change::Stored,
        Change::Outdated,
        Change::Dropped,
        Change::Unfit,
        Change::Failed,
        Change::Removed,
        Change::Lost,
    ];

    /// Its word in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Change::Stored => "stored",
            Change::Outdated => "outdated",
            Change::Dropped => "dropped",
            Change::Unfit => "unfit",
            Change::Failed => "failed",
            Change::Removed => "removed",
            Change::Lost => "lost",
        }
    }
}

/// The counters of the second level.
#[derive(Debug, Default)]
pub struct SecondCounters {
    lookups: [AtomicU64; Lookup::ALL.len()],
    changes: [AtomicU64; Change::ALL.len()],
}

impl SecondCounters {
    /// Counts a look-up.
    pub fn looked(&self, how: Lookup) {
        self.lookups[how as usize].fetch_add(1, Relaxed);
    }

    /// Counts a change.
    pub fn changed(&self, how: Change) {
        self.changes[how as usize].fetch_add(1, Relaxed);
    }

    /// How many look-ups ended so.
    pub fn lookups(&self, how: Lookup) -> u64 {
        self.lookups[how as usize].load(Relaxed)
    }

    /// How many changes ended so.
    pub fn changes(&self, how: Change) -> u64 {
        self.changes[how as usize].load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, Lookup, SecondCounters};

    #[test]
    fn every_end_has_a_place_and_a_word_of_its_own() {
        let counters = SecondCounters::default();
        for (index, how) in Lookup::ALL.into_iter().enumerate() {
            counters.looked(how);
            assert_eq!((how as usize, counters.lookups(how)), (index, 1));
            assert!(!Lookup::ALL[..index].iter().any(|other| other.word() == how.word()));
        }
        for (index, how) in Change::ALL.into_iter().enumerate() {
            counters.changed(how);
            assert_eq!((how as usize, counters.changes(how)), (index, 1));
        }
    }
}
