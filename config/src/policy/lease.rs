//! A proxy's share of a limit that the control plane has divided: how many requests it may let in, by the share it was
//! told last and by how long ago it was told anything.
//!
//! Tokens come at the rate of the share and wait in a bucket; what was handed over at once is added. Without word from the
//! control plane the share stays for [`HOLD`], and then goes in a straight line to the fallback, which it reaches
//! [`DECAY`] later. Times are nanoseconds since whatever the owner counts from.

use std::time::Duration;

/// How long a share stays as it is without word from the control plane.
pub const HOLD: Duration = Duration::from_secs(6);
/// How long it then takes to become the fallback.
pub const DECAY: Duration = Duration::from_secs(24);
/// How long a proxy takes a control plane for alive that says nothing; a word that comes later is not taken.
pub const PATIENCE: Duration = Duration::from_secs(6);

const SECOND: f64 = 1e9;

/// What a proxy is told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    /// Requests a second.
    pub rate: f64,
    /// Requests a second where the control plane is away for long.
    pub fallback: f64,
    /// How many tokens may wait.
    pub burst: f64,
    /// Tokens that are handed over with this word.
    pub credit: f64,
}

/// What a proxy has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lease {
    share: Share,
    tokens: f64,
    /// When tokens were last counted.
    counted: u64,
    /// When the control plane was last heard.
    heard: u64,
}

impl Lease {
    /// The first share.
    pub fn new(share: Share, now: u64) -> Self {
        let tokens = share.credit.min(share.burst);
        Lease { share, tokens, counted: now, heard: now }
    }

    /// Another share, or the same again: the control plane is there.
    pub fn renew(&mut self, share: Share, now: u64) {
        self.count(now);
        // What a smaller bucket cannot hold is lost: somebody else has it now.
        self.tokens = (self.tokens + share.credit).min(share.burst);
        (self.share, self.heard) = (share, now.max(self.heard));
    }

    /// Takes a token: how many are left. Without one, says when there will be one, if there will.
    pub fn take(&mut self, now: u64) -> Result<f64, Option<Duration>> {
        self.count(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(self.tokens);
        }
        let rate = self.rate(now);
        let wait = (1.0 - self.tokens) / rate;
        Err((rate > 0.0 && wait < 86_400.0).then(|| Duration::from_secs_f64(wait)))
    }

    /// How many requests a second it may let in at `now`.
    pub fn rate(&self, now: u64) -> f64 {
        let away = now.saturating_sub(self.heard);
        let gone = (away.saturating_sub(nanos(HOLD)) as f64 / nanos(DECAY) as f64).min(1.0);
        self.share.rate + (self.share.fallback - self.share.rate) * gone
    }

    /// What it was told last.
    pub fn share(&self) -> Share {
        self.share
    }

    /// Adds the tokens that came since they were last counted.
    fn count(&mut self, now: u64) {
        let now = now.max(self.counted);
        let edges = [self.heard.saturating_add(nanos(HOLD)), self.heard.saturating_add(nanos(HOLD) + nanos(DECAY))];
        // Between the edges the rate is a straight line: its mean is that of its ends.
        let mut from = self.counted;
        for to in edges.into_iter().map(|edge| edge.clamp(self.counted, now)).chain([now]) {
            let mean = (self.rate(from) + self.rate(to)) / 2.0;
            self.tokens += mean * (to.saturating_sub(from)) as f64 / SECOND;
            from = to.max(from);
        }
        self.tokens = self.tokens.min(self.share.burst);
        self.counted = now;
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Lease, Share};

    const SECOND: u64 = 1_000_000_000;

    fn share(rate: f64, fallback: f64, burst: f64, credit: f64) -> Share {
        Share { rate, fallback, burst, credit }
    }

    fn takes(lease: &mut Lease, now: u64) -> usize {
        (0..1_000_000).take_while(|_| lease.take(now).is_ok()).count()
    }

    #[test]
    fn tokens_come_at_the_rate_of_the_share_and_wait_in_the_bucket() {
        let mut lease = Lease::new(share(10.0, 0.0, 5.0, 0.0), 0);
        assert_eq!(takes(&mut lease, 0), 0);
        assert_eq!(lease.take(0), Err(Some(Duration::from_millis(100))));
        assert_eq!(takes(&mut lease, SECOND / 5), 2);
        assert_eq!(takes(&mut lease, 4 * SECOND), 5);
        lease.renew(share(10.0, 0.0, 5.0, 3.0), 4 * SECOND);
        assert_eq!(takes(&mut lease, 4 * SECOND), 3, "what was handed over");
    }

    #[test]
    fn a_smaller_share_counts_from_when_it_is_told() {
        let mut lease = Lease::new(share(100.0, 0.0, 100.0, 0.0), 0);
        lease.renew(share(1.0, 0.0, 2.0, 0.0), SECOND);
        assert_eq!(takes(&mut lease, SECOND), 2);
        assert_eq!(takes(&mut lease, 3 * SECOND), 2);
        lease.renew(share(0.0, 0.0, 2.0, 0.0), 3 * SECOND);
        assert_eq!(lease.take(4 * SECOND), Err(None));
    }

    #[test]
    fn without_word_a_share_stays_and_then_becomes_the_fallback() {
        let lease = Lease::new(share(100.0, 20.0, 1e6, 0.0), 0);
        for (second, rate) in [(0, 100.0), (6, 100.0), (18, 60.0), (30, 20.0), (3600, 20.0)] {
            assert!((lease.rate(second * SECOND) - rate).abs() < 1e-6, "{second}");
        }
        // The same tokens, however often they are counted.
        let expected = 600.0 + 24.0 * 60.0 + 70.0 * 20.0;
        let (mut once, mut often) = (lease, lease);
        (0..1000).for_each(|tenth| assert!(often.take(tenth * SECOND / 10).is_ok() || tenth == 0));
        assert!((f64::from(takes(&mut once, 100 * SECOND) as u32) - expected).abs() <= 1.0);
        assert!((often.tokens + 1000.0 - expected).abs() < 10.0, "{}", often.tokens);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let mut lease = Lease::new(share(1.0, 1.0, 10.0, 1.0), 10 * SECOND);
        assert_eq!(takes(&mut lease, 10 * SECOND), 1);
        assert_eq!(takes(&mut lease, SECOND), 0);
        assert_eq!(takes(&mut lease, 11 * SECOND), 1);
    }
}
