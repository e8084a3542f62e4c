//! A proxy that a limit is divided among, as its control plane knows it: what it was told, what it is known to have, and
//! what it counts with while it is out of reach. Times are nanoseconds since whatever the owner counts from.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use outrigger_config::policy::lease::{DECAY, HOLD, PATIENCE, Share};

/// How long a proxy that is out of reach counts with something, at last with its fallback; then it is held to be no more.
pub const FORGET: Duration = Duration::from_secs(120);
/// How much later than its stream ended a proxy may have heard the last word of it: as long as it takes a silent stream
/// for alive, and a little for those who are slow.
const MARGIN: Duration = PATIENCE.saturating_add(Duration::from_secs(2));
/// Words that a proxy may have left unanswered; then it is told nothing new.
pub const UNANSWERED: usize = 32;

/// One proxy and one limit.
#[derive(Debug, Default)]
pub struct Member {
    /// Requests a second that it would let in, and by how many the limit was divided last.
    pub demand: f64,
    /// See `demand`.
    pub divided: f64,
    /// Requests it refused since it was last told something.
    pub short: f64,
    /// What it was told last.
    pub told: Share,
    /// The number of that.
    pub serial: u64,
    /// What it is known to have.
    pub known: Hold,
    /// What it was told and has not answered, by serial.
    pub unanswered: VecDeque<(u64, Hold)>,
    /// Since when it is out of reach.
    pub gone: Option<u64>,
    /// Whether it is owed a word.
    pub owed: bool,
    /// What it has is still another control plane's to count.
    pub guest: Option<Guest>,
}

/// Who comes from another control plane with a share of that, and has not answered a word of this one yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Whose share it has.
    pub from: u64,
    /// Until when it may take that along.
    pub until: u64,
}

/// A rate and a fallback.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Hold {
    /// Requests a second.
    pub rate: f64,
    /// Requests a second where the control plane is away for long.
    pub fallback: f64,
}

/// What a proxy says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Report {
    /// Requests a second that it would let in; nothing where it only says what it knows.
    pub demand: Option<f64>,
    /// Requests that it refused since it last said so.
    pub refused: f64,
    /// The serial of the last word that it knows; 0 is none.
    pub serial: u64,
}

/// What a proxy is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// Who.
    pub member: Arc<str>,
    /// What it has to answer.
    pub serial: u64,
    /// Its share from now on.
    pub share: Share,
}

impl Member {
    /// Takes what it says it knows; whether what may be in force with it is other than before.
    pub fn answered(&mut self, serial: u64) -> bool {
        let before = self.outstanding();
        while let Some((told, hold)) = self.unanswered.front()
            && *told <= serial
        {
            self.known = *hold;
            self.unanswered.pop_front();
        }
        self.outstanding() != before
    }

    /// The most of what may be in force with it.
    pub fn outstanding(&self) -> Hold {
        let told = self.unanswered.iter().map(|(_, hold)| hold);
        told.fold(self.known, |most, hold| Hold {
            rate: most.rate.max(hold.rate),
            fallback: most.fallback.max(hold.fallback),
        })
    }

    /// What one that is out of reach, or a guest, counts with.
    pub fn reserved(&self, now: u64) -> Option<f64> {
        if self.guest.is_some() {
            return Some(0.0);
        }
        let gone = self.gone?;
        let Hold { rate, fallback } = self.outstanding();
        Some(if now <= gone.saturating_add(span()) { rate.max(fallback) } else { fallback })
    }

    /// Whether it is there, and its share is to be found here.
    pub fn is_present(&self) -> bool {
        self.gone.is_none() && self.guest.is_none()
    }
}

/// After how long only the fallback of a proxy is left.
pub fn span() -> u64 {
    nanos(HOLD) + nanos(DECAY) + nanos(MARGIN)
}

/// As a number.
pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
