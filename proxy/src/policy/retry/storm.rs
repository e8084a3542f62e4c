//! A retry storm: a chain of services whose last one always fails, all of whose proxies try again. Simulated with the
//! proxies' own budgets, copies and marks, and a clock of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Request};
use outrigger_config::policy::{Budget as BudgetModel, Retry as Policy};
use proptest::prelude::{ProptestConfig, any, prop, prop_assert, proptest};

use super::copy::Copy;
use crate::body::{Body, Memory};
use crate::carried::{self, Carried};
use crate::cluster::Budget;
use crate::fields::Fields;

/// The proxy of a caller: what it remembers of what came in, and its budget for the next service.
struct Proxy {
    carried: Arc<Carried>,
    budget: Arc<Budget>,
}

struct Chain {
    proxies: Vec<Proxy>,
    policy: Policy,
    /// Of each workload in between: whether it passes on the mark itself; else it does the trace.
    passes_mark: Vec<bool>,
    /// Requests that each service got.
    received: Vec<u64>,
    memory: Arc<Memory>,
}

impl Chain {
    fn new(policy: Policy, passes_mark: Vec<bool>, budget: BudgetModel, epoch: Instant) -> Self {
        let proxy = |_| Proxy { carried: Arc::default(), budget: Arc::new(Budget::new(budget, epoch)) };
        let proxies: Vec<Proxy> = (0..=passes_mark.len()).map(proxy).collect();
        let received = vec![0; proxies.len()];
        Chain { proxies, policy, passes_mark, received, memory: Arc::default() }
    }

    /// A call through the proxy at `hop`, as the outbound rooms make it.
    fn call(&mut self, hop: usize, mut headers: HeaderMap, trace: [u8; 16], now: Instant) {
        let fields = Fields::of(&headers);
        if !fields.any(Fields::MARK) && self.proxies[hop].carried.holds(&trace) {
            carried::mark(&mut headers, 0);
        }
        let budget = Arc::clone(&self.proxies[hop].budget);
        budget.request(now);
        let mut request = Request::new(Body::empty());
        *request.headers_mut() = headers.clone();
        let (copy, _) = Copy::of(Box::new(request), &self.policy, fields, &self.memory);
        let mut retrying = None;
        for attempt in 0..=self.policy.attempts {
            if copy.is_whole() {
                carried::mark(&mut headers, attempt);
            }
            self.serve(hop, &headers, trace, now);
            drop(retrying.take());
            if attempt == self.policy.attempts || copy.again().is_none() {
                return;
            }
            retrying = budget.try_withdraw(now);
            if retrying.is_none() {
                return;
            }
        }
    }

    /// A request at the service behind the proxy at `hop`: it calls on, and fails.
    fn serve(&mut self, hop: usize, headers: &HeaderMap, trace: [u8; 16], now: Instant) {
        self.received[hop] += 1;
        let Some(passes_mark) = self.passes_mark.get(hop).copied() else { return };
        let marked = Fields::of(headers).any(Fields::MARK);
        let _held = marked.then(|| self.proxies[hop + 1].carried.hold(trace));
        let mut passed = HeaderMap::new();
        if passes_mark && marked {
            carried::mark(&mut passed, 0);
        }
        self.call(hop + 1, passed, trace, now);
    }

    /// Requests a second for so many seconds; gives the attempts a request at the last service.
    fn storm(&mut self, rate: u32, seconds: u32, seed: u64, epoch: Instant) -> f64 {
        let mut rng = fastrand::Rng::with_seed(seed);
        for second in 0..seconds {
            let mut arrivals: Vec<f64> = (0..rate).map(|_| rng.f64()).collect();
            arrivals.sort_by(f64::total_cmp);
            for arrival in arrivals {
                let now = epoch + Duration::from_secs_f64(f64::from(second) + arrival);
                self.call(0, HeaderMap::new(), rng.u128(1..).to_be_bytes(), now);
            }
        }
        let last = self.received.last().copied().unwrap_or_default();
        last as f64 / f64::from(rate * seconds)
    }
}

fn policy(attempts: u32) -> Policy {
    Policy { attempts, codes: vec![503], ..Policy::default_policy() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Of services that are called often enough for a share to say anything: from 50 requests a second on.
    #[test]
    fn a_storm_over_three_hops_and_more_makes_at_most_a_fifth_more_attempts(
        attempts in 1_u32..=10,
        passes_mark in prop::collection::vec(any::<bool>(), 2..5),
        rate in 50_u32..200,
        seed in any::<u64>(),
    ) {
        let epoch = Instant::now();
        let mut chain = Chain::new(policy(attempts), passes_mark, BudgetModel::default(), epoch);
        let each = chain.storm(rate, 30, seed, epoch);
        prop_assert!(each <= 1.2, "{each} attempts a request, {:?}", chain.received);
        prop_assert!(each > 1.15, "{each}: the budget is there to be used");
    }
}

#[test]
fn without_the_mark_every_hop_adds_its_fifth() {
    let epoch = Instant::now();
    let nested = Policy { nested: true, ..policy(2) };
    let each = Chain::new(nested, vec![false; 2], BudgetModel::default(), epoch).storm(200, 30, 7, epoch);
    assert!(each > 1.6, "{each}");
}
