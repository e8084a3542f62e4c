//! The better of two chosen by chance: least request and peak EWMA.
//!
//! Two random choices avoid both the herd that follows a single best endpoint and the cost of looking at all of them.
//! Among endpoints of equal weight the two are different ones. Among unequal ones each is drawn by weight, and may be
//! the same: then, as long as neither stands out, each endpoint gets exactly the share of its weight, and a request
//! under way counts by weight too.

use std::time::Instant;

use super::Members;
use crate::endpoint::Endpoint;

/// The one with fewer requests under way.
pub fn least_request(members: &Members, rng: &mut fastrand::Rng, accept: impl Fn(&Endpoint) -> bool) -> Option<usize> {
    better(members, rng, accept, |index| members.endpoints()[index].load.active() as f32 * members.share(index))
}

/// The one with the lower expected wait ([`crate::endpoint::Load::score`]).
pub fn peak_ewma(
    members: &Members,
    now: Instant,
    rng: &mut fastrand::Rng,
    accept: impl Fn(&Endpoint) -> bool,
) -> Option<usize> {
    better(members, rng, accept, |index| members.endpoints()[index].load.score(now, members.share(index)))
}

/// The first drawn wins a tie, which keeps ties in proportion.
fn better(
    members: &Members,
    rng: &mut fastrand::Rng,
    accept: impl Fn(&Endpoint) -> bool,
    cost: impl Fn(usize) -> f32,
) -> Option<usize> {
    let first = members.draw(rng, &accept)?;
    let second = match members.endpoints().len() {
        1 => return Some(first),
        // Of two there is only one other, and no chance to ask.
        2 if members.is_uniform() => Some(1 - first).filter(|other| accept(&members.endpoints()[*other])),
        _ if members.is_uniform() => {
            let same = &members.endpoints()[first];
            members.draw(rng, |endpoint| !std::ptr::eq(endpoint, &raw const **same) && accept(endpoint))
        }
        _ => members.draw(rng, &accept),
    };
    match second {
        Some(second) if second != first && cost(second) < cost(first) => Some(second),
        _ => Some(first),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::tests::{members, shares};
    use super::{least_request, peak_ewma};

    fn close(seen: &[f64], expected: &[f64], tolerance: f64) {
        let near = seen.iter().zip(expected).all(|(seen, expected)| (seen - expected).abs() < tolerance);
        assert!(near, "{seen:?} is not {expected:?}");
    }

    #[test]
    fn idle_endpoints_get_the_share_of_their_weight() {
        let (members, now) = (members(&[1, 2, 5]), Instant::now());
        let mut rng = fastrand::Rng::with_seed(7);
        let expected = [0.125, 0.25, 0.625];
        close(&shares(3, 100_000, || least_request(&members, &mut rng, |_| true)), &expected, 0.01);
        close(&shares(3, 100_000, || peak_ewma(&members, now, &mut rng, |_| true)), &expected, 0.01);
    }

    #[test]
    fn the_busier_of_two_is_left_alone() {
        let members = members(&[1, 1]);
        members.endpoints()[0].load.begin();
        let mut rng = fastrand::Rng::with_seed(7);
        close(&shares(2, 1000, || least_request(&members, &mut rng, |_| true)), &[0.0, 1.0], 1e-9);
    }

    #[test]
    fn the_slowest_of_three_wins_no_comparison() {
        let (members, now) = (members(&[1, 1, 1]), Instant::now());
        for (endpoint, millis) in members.endpoints().iter().zip([100, 10, 10]) {
            endpoint.load.begin();
            endpoint.load.end(now, Some(Duration::from_millis(millis)));
        }
        let mut rng = fastrand::Rng::with_seed(7);
        close(&shares(3, 100_000, || peak_ewma(&members, now, &mut rng, |_| true)), &[0.0, 0.5, 0.5], 0.01);
    }

    #[test]
    fn requests_kept_open_spread_by_weight() {
        let members = members(&[1, 3]);
        let mut rng = fastrand::Rng::with_seed(7);
        let spread = shares(2, 4000, || {
            let index = least_request(&members, &mut rng, |_| true)?;
            members.endpoints()[index].load.begin();
            Some(index)
        });
        close(&spread, &[0.25, 0.75], 0.005);
    }
}
