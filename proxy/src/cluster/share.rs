//! What a destination's limits leave to one endpoint and to retries: the destination's own limit and the narrower one are
//! taken together and given back together.

use std::sync::Arc;
use std::time::Instant;

use outrigger_config::cluster::Localities;
use outrigger_config::endpoint::Health;

use super::{Cluster, RetryPermit, Seat};
use crate::endpoint::Endpoint;
use crate::limits::{Acquired, Limit, Permit};

/// The right to have a connection, of the endpoint and of the destination.
#[derive(Debug)]
#[must_use = "dropping a permit gives it back"]
pub struct ConnectionPermit {
    _own: Permit,
    _shared: Permit,
}

impl Cluster {
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
        if seat.is_beyond() {
            self.limits.note_exceeded(Limit::Requests);
        }
        if self.config.localities != Localities::Ignored {
            self.count_place(endpoint);
        }
        Some(seat)
    }

    /// Why no endpoint was picked: true if some take requests and have as many as they may, which is counted.
    pub fn is_full(&self) -> bool {
        // Whoever is healthy is picked, be it in a panic, unless it is full.
        let healthy = |endpoint: &Arc<Endpoint>| endpoint.health() == Health::Healthy;
        let full = self.limited && self.picker().endpoints().iter().any(healthy);
        if full {
            self.limits.note_refused(Limit::Requests);
        }
        full
    }

    /// The right to make a connection to `endpoint`, and whether it is beyond a limit that is only observed. `None`
    /// while a limit allows none.
    pub fn try_connect(&self, endpoint: &Endpoint) -> Option<(ConnectionPermit, bool)> {
        let (own, beyond) = granted(endpoint.limits.try_acquire(Limit::Connections))?;
        let (shared, beyond_all) = granted(self.limits.try_acquire(Limit::Connections))?;
        Some((ConnectionPermit { _own: own, _shared: shared }, beyond || beyond_all))
    }

    /// Waits for that right. Dropping the future is safe at any time.
    pub async fn connection(&self, endpoint: &Endpoint) -> ConnectionPermit {
        let own = endpoint.limits.connection().await;
        ConnectionPermit { _own: own, _shared: self.limits.connection().await }
    }

    /// Whether no connection may be made to `endpoint` now.
    pub fn is_out_of_connections(&self, endpoint: &Endpoint) -> bool {
        !endpoint.limits.has_room(Limit::Connections) || !self.limits.has_room(Limit::Connections)
    }

    /// Whether a connection to `endpoint` is never to be had.
    pub fn allows_no_connection(&self, endpoint: &Endpoint) -> bool {
        [&self.limits, &endpoint.limits]
            .into_iter()
            .any(|limits| limits.max(Limit::Connections) == Some(0) && !limits.has_room(Limit::Connections))
    }

    /// Closes a connection that rests, to make room for one to `endpoint`: at the endpoint itself where that is full,
    /// else at any. Says whether there was one.
    pub fn make_room(&self, endpoint: &Endpoint) -> bool {
        if !endpoint.limits.has_room(Limit::Connections) {
            return endpoint.pool.shed();
        }
        self.picker().endpoints().iter().any(|endpoint| endpoint.pool.shed())
    }

    /// Asks a connection of another worker, which is busy all the time, to make way for one of `worker` to `endpoint`:
    /// at the endpoint itself where that is full, else at any.
    pub fn make_way(&self, endpoint: &Endpoint, worker: usize, now: Instant) {
        if !endpoint.limits.has_room(Limit::Connections) {
            endpoint.pool.ask_to_yield(worker, now);
            return;
        }
        let _ = self.picker().endpoints().iter().any(|endpoint| endpoint.pool.ask_to_yield(worker, now));
    }

    /// Takes a retry out of the limit on retries and out of the budget, until the permit is dropped.
    pub fn try_retry(&self, now: Instant) -> Option<RetryPermit> {
        if self.limits.max(Limit::Retries).is_none() {
            return self.budget.try_withdraw(now);
        }
        let (limit, beyond) = granted(self.limits.try_acquire(Limit::Retries))?;
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
