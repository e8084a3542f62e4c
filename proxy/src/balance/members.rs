//! The endpoints of a picker with their weights, and the weighted draw that the chance-based methods share.

use std::sync::Arc;

use crate::endpoint::Endpoint;

/// How often chance may meet an endpoint that is not accepted before all are looked at.
const TRIES: usize = 4;

/// Endpoints and their weights as they were when the picker was built.
#[derive(Debug)]
pub struct Members {
    endpoints: Box<[Arc<Endpoint>]>,
    weights: Box<[u32]>,
    /// Running sums of the weights; empty where all weights are equal.
    sums: Box<[u64]>,
    mean: f32,
}

impl Members {
    /// Takes the weights down.
    pub fn new(endpoints: Vec<Arc<Endpoint>>) -> Self {
        let weights: Box<[u32]> = endpoints.iter().map(|endpoint| endpoint.weight().max(1)).collect();
        let add = |sum: &mut u64, weight: &u32| {
            *sum += u64::from(*weight);
            Some(*sum)
        };
        let sums: Box<[u64]> = weights.iter().scan(0, add).collect();
        let mean = sums.last().map_or(1.0, |total| *total as f32 / weights.len() as f32);
        let uniform = weights.windows(2).all(|pair| pair[0] == pair[1]);
        Members { endpoints: endpoints.into(), weights, sums: if uniform { Box::default() } else { sums }, mean }
    }

    /// The endpoints.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// Their weights, in the same order.
    pub fn weights(&self) -> &[u32] {
        &self.weights
    }

    /// Whether all weights are equal.
    pub fn is_uniform(&self) -> bool {
        self.sums.is_empty()
    }

    /// How much one request under way counts at `index`: 1 for an endpoint of mean weight, less for a heavier one.
    pub fn share(&self, index: usize) -> f32 {
        if self.is_uniform() { 1.0 } else { self.mean / self.weights[index] as f32 }
    }

    /// The first accepted one of `near`, the indexes that follow a key's place in a long table.
    ///
    /// Neighbours there are endpoints by chance: where a few looks for each find nobody, hardly anybody is accepted, and
    /// those are looked at one by one, beginning where the key says.
    pub fn follow(
        &self,
        hash: u64,
        near: impl Iterator<Item = usize>,
        accept: impl Fn(usize, &Endpoint) -> bool,
    ) -> Option<usize> {
        let accepts = |index: &usize| accept(*index, &self.endpoints[*index]);
        near.take(self.few_looks()).find(&accepts).or_else(|| {
            // In range: a remainder of their number.
            let first = (hash % self.endpoints.len().max(1) as u64) as usize;
            (first..self.endpoints.len()).chain(0..first).find(&accepts)
        })
    }

    /// How many looks are a few for each.
    pub fn few_looks(&self) -> usize {
        self.endpoints.len().saturating_mul(4)
    }

    /// One of the accepted endpoints by chance, by weight.
    ///
    /// Drawing again after a refusal keeps the proportions among the accepted; only when chance keeps failing are all
    /// endpoints looked at.
    pub fn draw(&self, rng: &mut fastrand::Rng, accept: impl Fn(&Endpoint) -> bool) -> Option<usize> {
        if self.endpoints.is_empty() {
            return None;
        }
        for _ in 0..TRIES {
            let index = self.any(rng);
            if accept(&self.endpoints[index]) {
                return Some(index);
            }
        }
        self.search(rng, accept)
    }

    fn any(&self, rng: &mut fastrand::Rng) -> usize {
        match self.sums.last() {
            None => rng.usize(0..self.endpoints.len()),
            Some(total) => {
                let point = rng.u64(0..*total);
                self.sums.partition_point(|sum| *sum <= point)
            }
        }
    }

    fn search(&self, rng: &mut fastrand::Rng, accept: impl Fn(&Endpoint) -> bool) -> Option<usize> {
        // Whether an endpoint is accepted may change between the passes: whatever the second one meets last stands.
        let accepted = || (0..self.endpoints.len()).filter(|index| accept(&self.endpoints[*index]));
        let total: u64 = accepted().map(|index| u64::from(self.weights[index])).sum();
        if total == 0 {
            return None;
        }
        let mut point = rng.u64(0..total);
        let mut last = None;
        for index in accepted() {
            last = Some(index);
            match point.checked_sub(u64::from(self.weights[index])) {
                Some(rest) => point = rest,
                None => break,
            }
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::tests::{members, shares};
    use crate::endpoint::Endpoint;

    fn last_octet(endpoint: &Endpoint) -> u8 {
        match endpoint.address.ip() {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(_) => 0,
        }
    }

    #[test]
    fn draws_follow_the_weights_among_the_accepted() {
        let members = members(&[1, 2, 3, 4, 90]);
        let mut rng = fastrand::Rng::with_seed(1);
        let all = shares(5, 100_000, || members.draw(&mut rng, |_| true));
        for (share, expected) in all.iter().zip([0.01, 0.02, 0.03, 0.04, 0.9]) {
            assert!((share - expected).abs() < 0.005, "{all:?}");
        }
        // The heavy one is out, so that chance mostly fails and the search decides.
        let rest = shares(5, 100_000, || members.draw(&mut rng, |endpoint| last_octet(endpoint) != 4));
        for (share, expected) in rest.iter().zip([0.1, 0.2, 0.3, 0.4, 0.0]) {
            assert!((share - expected).abs() < 0.01, "{rest:?}");
        }
    }

    #[test]
    fn nobody_is_drawn_from_nobody() {
        let mut rng = fastrand::Rng::with_seed(1);
        assert_eq!(members(&[]).draw(&mut rng, |_| true), None);
        assert_eq!(members(&[1, 2]).draw(&mut rng, |_| false), None);
    }

    #[test]
    fn a_request_weighs_less_on_a_heavier_endpoint() {
        let members = members(&[1, 3]);
        assert!((members.share(0) - 2.0).abs() < 1e-6 && (members.share(1) - 2.0 / 3.0).abs() < 1e-6);
        assert!(!members.is_uniform());
    }
}
