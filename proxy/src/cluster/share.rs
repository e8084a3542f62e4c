//! What a destination's limits leave to a priority, to one endpoint and to retries: the destination's own limit and the
//! narrower one are taken together and given back together. An endpoint's limits are for all its requests.

use std::sync::Arc;
use std::time::Instant;

use outrigger_config::cluster::Localities;
use outrigger_config::endpoint::Health;
use outrigger_config::policy::Priority;

use super::{Ask, Cluster, RetryPermit, Seat};
use crate::endpoint::Endpoint;
use crate::limits::{Acquired, Limit, Limits, Permit};
use crate::pool::Pool;

/// The right to have a connection, of the endpoint and of the destination.
#[derive(Debug)]
#[must_use = "dropping a permit gives it back"]
pub struct ConnectionPermit {
    _own: Permit,
    _shared: Permit,
}

impl Cluster {
    /// What requests of this priority use and may use.
    pub fn limits(&self, priority: Priority) -> &Arc<Limits> {
        &self.limits[priority as usize]
    }

    /// The priorities that its requests have: Default, and High once there was one.
    pub fn priorities(&self) -> impl Iterator<Item = Priority> {
        Priority::ALL.into_iter().filter(|one| *one == Priority::Default || self.limits(*one).is_used())
    }

    /// Whether the requests of each endpoint are limited.
    pub fn limits_requests(&self) -> bool {
        self.limited
    }

    pub(super) fn seat(&self, endpoint: &Arc<Endpoint>, must: bool, now: Instant) -> Option<Seat> {
        self.seat_within(endpoint, must, u32::MAX, now)
    }

    /// A seat, unless `most` are taken.
    pub(super) fn seat_within(&self, endpoint: &Arc<Endpoint>, must: bool, most: u32, now: Instant) -> Option<Seat> {
        let seat = Seat::take(endpoint, self.limited, must, most, now)?;
        if self.config.localities != Localities::Ignored {
            self.count_place(endpoint);
        }
        Some(seat)
    }

    /// Why none of the endpoints that are asked for was picked: true if some take requests and have as many as they may,
    /// which is counted.
    pub fn is_full(&self, ask: Ask, priority: Priority) -> bool {
        // Whoever is healthy is picked, be it in a panic, unless it is full.
        let healthy = |endpoint: &Arc<Endpoint>| endpoint.health() == Health::Healthy;
        let full = self.limited && self.candidates(ask, |endpoints| endpoints.iter().any(healthy));
        if full {
            self.limits(priority).note_refused(Limit::Requests);
        }
        full
    }

    /// The right to make a connection to `endpoint`, and whether it is beyond a limit that is only observed. `None`
    /// while a limit allows none.
    pub fn try_connect(&self, priority: Priority, endpoint: &Endpoint) -> Option<(ConnectionPermit, bool)> {
        let (own, beyond) = granted(endpoint.limits.try_acquire(Limit::Connections))?;
        let (shared, beyond_all) = granted(self.limits(priority).try_acquire(Limit::Connections))?;
        Some((ConnectionPermit { _own: own, _shared: shared }, beyond || beyond_all))
    }

    /// Waits for that right. Dropping the future is safe at any time. While it waits for one half it holds nothing of the
    /// other, which requests of another priority, or to another endpoint, may have a use for.
    pub async fn connection(&self, priority: Priority, endpoint: &Endpoint) -> ConnectionPermit {
        let (own, shared) = (&endpoint.limits, self.limits(priority));
        loop {
            let one = own.connection().await;
            if let Some(other) = shared.spare_connection() {
                return ConnectionPermit { _own: one, _shared: other };
            }
            drop(one);
            let other = shared.connection().await;
            if let Some(one) = own.spare_connection() {
                return ConnectionPermit { _own: one, _shared: other };
            }
        }
    }

    /// Whether no connection may be made to `endpoint` now.
    pub fn is_out_of_connections(&self, priority: Priority, endpoint: &Endpoint) -> bool {
        !endpoint.limits.has_room(Limit::Connections) || !self.limits(priority).has_room(Limit::Connections)
    }

    /// Whether a connection to `endpoint` is never to be had.
    pub fn allows_no_connection(&self, priority: Priority, endpoint: &Endpoint) -> bool {
        [self.limits(priority), &endpoint.limits]
            .into_iter()
            .any(|limits| limits.max(Limit::Connections) == Some(0) && !limits.has_room(Limit::Connections))
    }

    /// Whether a connection that comes to rest there had better be closed, since somebody waits to make another.
    pub fn wants_room(&self, priority: Priority, endpoint: &Endpoint) -> bool {
        let waits = |priority| self.limits(priority).held(Limit::Pending) > 0;
        (waits(priority) && self.is_out_of_connections(priority, endpoint))
            || (waits(priority.other()) && !endpoint.limits.has_room(Limit::Connections))
    }

    /// Closes a connection that rests, to make room for one to `endpoint`: at the endpoint itself where that is full,
    /// else one of this priority at any. Says whether there was one.
    pub fn make_room(&self, priority: Priority, endpoint: &Endpoint) -> bool {
        if !endpoint.limits.has_room(Limit::Connections) {
            return endpoint.pools.all().any(Pool::shed);
        }
        self.picker().endpoints().iter().any(|endpoint| endpoint.pools.of(priority).shed())
    }

    /// Asks a connection of another worker, which is busy all the time, to make way for one of `worker` to `endpoint`:
    /// at the endpoint itself where that is full, else one of this priority at any.
    pub fn make_way(&self, priority: Priority, endpoint: &Endpoint, worker: usize, now: Instant) {
        if !endpoint.limits.has_room(Limit::Connections) {
            let _ = endpoint.pools.all().any(|pool| pool.ask_to_yield(worker, now));
            return;
        }
        let ask = |endpoint: &Arc<Endpoint>| endpoint.pools.of(priority).ask_to_yield(worker, now);
        let _ = self.picker().endpoints().iter().any(ask);
    }

    /// Takes a retry out of the limit on retries and out of the budget, until the permit is dropped.
    pub fn try_retry(&self, priority: Priority, now: Instant) -> Option<RetryPermit> {
        let limits = self.limits(priority);
        if limits.max(Limit::Retries).is_none() {
            return self.budget.try_withdraw(now);
        }
        let (limit, beyond) = granted(limits.try_acquire(Limit::Retries))?;
        Some(self.budget.try_withdraw(now)?.within(limit, beyond))
    }
}

fn granted(answer: Acquired) -> Option<(Permit, bool)> {
    match answer {
        Acquired::Granted(permit) => Some((permit, false)),
        Acquired::WouldRefuse(permit) => Some((permit, true)),
        Acquired::Refused => None,
    }
}
