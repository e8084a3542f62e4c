//! This proxy's share of a limit that the control plane divides ([`Lease`]), shared by all workers, and what is to be
//! reported of it. A lock is held for a few sums, never over an await.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use outrigger_config::policy::gcra::Level;
use outrigger_config::policy::lease::{Lease, Share};
use outrigger_config::policy::rate_limit::OnError;
use parking_lot::Mutex;

/// When to come again where nobody can say.
const SOME_TIME: Duration = Duration::from_secs(1);

/// A share, and the requests that asked for it.
#[derive(Debug)]
pub struct Leased {
    /// The share, and which control plane told it.
    lease: Mutex<Option<(Lease, u64)>>,
    /// What holds before the first share comes.
    on_error: OnError,
    /// What is told then.
    burst: u32,
    allowed: AtomicU64,
    refused: AtomicU64,
}

impl Leased {
    /// Without a share yet: until it comes every request is let in, or none.
    pub fn new(on_error: OnError, burst: u32) -> Self {
        Leased { lease: Mutex::default(), on_error, burst, allowed: AtomicU64::new(0), refused: AtomicU64::new(0) }
    }

    /// Takes a token: what is left then. Without one, says when to come again.
    pub fn take(&self, now: u64) -> Result<Level, Duration> {
        let taken = match &mut *self.lease.lock() {
            Some((lease, _)) => {
                let taken = lease.take(now);
                let next = if lease.rate(now) > 0.0 { 1.0 / lease.rate(now) } else { SOME_TIME.as_secs_f64() };
                let level = |left: f64| Level { left: left as u32, next: Duration::from_secs_f64(next.min(86_400.0)) };
                taken.map(level).map_err(|wait| wait.unwrap_or(SOME_TIME))
            }
            None if self.on_error == OnError::Allow => Ok(Level { left: self.burst, next: Duration::ZERO }),
            None => Err(SOME_TIME),
        };
        let count = if taken.is_ok() { &self.allowed } else { &self.refused };
        count.fetch_add(1, Relaxed);
        taken
    }

    /// Takes a share that the control plane `grantor` tells.
    pub fn renew(&self, share: Share, grantor: u64, now: u64) {
        match &mut *self.lease.lock() {
            Some((lease, from)) => {
                lease.renew(share, now);
                *from = grantor;
            }
            none => *none = Some((Lease::new(share, now), grantor)),
        }
    }

    /// What it holds now, requests a second, what where no control plane is heard for long, and which told it so; nothing
    /// before there is a share.
    pub fn held(&self, now: u64) -> (f64, f64, u64) {
        let held = |(lease, from): &(Lease, u64)| (lease.rate(now), lease.share().fallback, *from);
        self.lease.lock().as_ref().map(held).unwrap_or_default()
    }

    /// The last share that was told.
    pub fn share(&self) -> Option<Share> {
        self.lease.lock().as_ref().map(|(lease, _)| lease.share())
    }

    /// How many requests a second it may let in; none before there is a share.
    pub fn rate(&self, now: u64) -> Option<f64> {
        self.lease.lock().as_ref().map(|(lease, _)| lease.rate(now))
    }

    /// Whether any request came since what came was last drained.
    pub fn is_asked(&self) -> bool {
        self.allowed.load(Relaxed) > 0 || self.refused.load(Relaxed) > 0
    }

    /// Requests let in and refused since this was last asked.
    pub fn drain(&self) -> (u64, u64) {
        (self.allowed.swap(0, Relaxed), self.refused.swap(0, Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use outrigger_config::policy::lease::Share;
    use outrigger_config::policy::rate_limit::OnError;

    use super::Leased;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn before_the_first_share_the_policy_says_what_holds() {
        let (open, shut) = (Leased::new(OnError::Allow, 5), Leased::new(OnError::Deny, 5));
        assert!((0..100).all(|_| open.take(0).is_ok() && shut.take(0) == Err(Duration::from_secs(1))));
        assert_eq!((open.drain(), shut.drain(), open.drain()), ((100, 0), (0, 100), (0, 0)));
        assert_eq!((open.share(), open.rate(0)), (None, None));
    }

    #[test]
    fn what_it_holds_is_what_has_become_of_its_share() {
        let leased = Leased::new(OnError::Deny, 5);
        assert_eq!(leased.held(0), (0.0, 0.0, 0));
        leased.renew(Share { rate: 100.0, fallback: 20.0, burst: 50.0, credit: 0.0 }, 7, 0);
        assert_eq!((leased.held(SECOND), leased.held(18 * SECOND)), ((100.0, 20.0, 7), (60.0, 20.0, 7)));
        leased.renew(Share { rate: 0.0, fallback: 20.0, burst: 50.0, credit: 0.0 }, 8, 20 * SECOND);
        assert_eq!((leased.held(20 * SECOND), leased.held(32 * SECOND)), ((0.0, 20.0, 8), (5.0, 20.0, 8)));
    }

    #[test]
    fn eight_threads_take_no_more_than_the_share() {
        let leased = Leased::new(OnError::Deny, 5);
        leased.renew(Share { rate: 100.0, fallback: 0.0, burst: 50.0, credit: 20.0 }, 0, 0);
        let taken = std::thread::scope(|scope| {
            let take = || (0..1000).filter(|turn| leased.take(turn % 2 * SECOND / 10).is_ok()).count();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum::<usize>()
        });
        assert_eq!(taken, 30);
        let (allowed, refused) = leased.drain();
        assert_eq!((allowed, allowed + refused), (30, 8000));
    }
}
