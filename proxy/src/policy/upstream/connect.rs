//! Gets an attempt the connection it goes on, within the limits of its destination: a new one, or, where the limit allows
//! no more, whatever comes free first while the attempt waits in line. Raises [`Reason::BreakerPending`] and
//! [`Reason::BreakerConnections`] where there is no room to wait, and the connection reasons.

use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;

use crate::attempt::Attempt;
use crate::clock;
use crate::cluster::{Acquired, ConnectionPermit, Limit, Permit};
use crate::error::{Error, Reason};
use crate::exchange::Aim;
use crate::pool::{self, H1, H2Stream};
use crate::telemetry::Would;

/// A connection of the worker's own, or one that comes free while the limit on connections allows none.
pub(super) async fn h1(attempt: &Attempt) -> Result<H1, Error> {
    let (aim, endpoint) = (attempt.aim(), attempt.endpoint());
    let timeout = aim.cluster.config.connect_timeout;
    let permit = match aim.cluster.try_connect(aim.priority(), endpoint) {
        Some((permit, beyond)) => {
            note_beyond(aim, beyond);
            permit
        }
        None => {
            let _pending = wait_in_line(attempt)?;
            let mut free = attempt.pool().wait_h1(aim.trail.connection.worker).fuse();
            let mut permit = pin!(aim.cluster.connection(aim.priority(), endpoint));
            loop {
                // One may come to rest elsewhere without a look at who waits.
                aim.cluster.make_room(aim.priority(), endpoint);
                tokio::select! {
                    Ok(connection) = &mut free => {
                        attempt.waits_in_line(false);
                        return Ok(connection);
                    }
                    permit = &mut permit => break permit,
                    () = tokio::time::sleep(LOOK * TURN) => {}
                }
            }
        }
    };
    let connection = pool::connect::h1(endpoint.address, timeout, permit).await;
    // What comes of it is its endpoint's, be it a refusal. Not sooner: whoever is cut as he begins to connect had no time
    // left to hold against anybody.
    attempt.waits_in_line(false);
    connection
}

/// The right to a connection, which waits in line where a limit allows none; for whoever has no connection to wait for.
pub(crate) async fn right(attempt: &Attempt) -> Result<ConnectionPermit, Error> {
    let (aim, endpoint) = (attempt.aim(), attempt.endpoint());
    if let Some((permit, beyond)) = aim.cluster.try_connect(aim.priority(), endpoint) {
        note_beyond(aim, beyond);
        return Ok(permit);
    }
    let _pending = wait_in_line(attempt)?;
    let permit = aim.cluster.connection(aim.priority(), endpoint).await;
    attempt.waits_in_line(false);
    Ok(permit)
}

/// A place on a connection, and whether others made that connection before.
pub(super) async fn h2(attempt: &Attempt) -> Result<(H2Stream, bool), Error> {
    let (aim, endpoint) = (attempt.aim(), attempt.endpoint());
    let (timeout, worker) = (aim.cluster.config.connect_timeout, aim.trail.connection.worker);
    // Whoever waits counts as waiting, be it for a turn.
    let full = aim.cluster.is_out_of_connections(aim.priority(), endpoint);
    let mut pending = if full { Some(wait_in_line(attempt)?) } else { None };
    // One caller connects, the others of this worker wait for it: a burst must not open a connection each.
    let Ok(Some(turn)) = tokio::time::timeout(timeout, attempt.pool().connect_turn(worker)).await else {
        let detail = format!("another request's connection to {} took too long", endpoint.address);
        return Err(Error::new(Reason::ConnectionTimeout).because(detail));
    };
    if let Some(stream) = attempt.pool().take_h2(worker) {
        attempt.waits_in_line(false);
        return Ok((stream, true));
    }
    let permit = match aim.cluster.try_connect(aim.priority(), endpoint) {
        Some((permit, beyond)) => {
            note_beyond(aim, beyond);
            permit
        }
        None => {
            drop(turn);
            if pending.is_none() {
                pending = Some(wait_in_line(attempt)?);
            }
            match room_on_h2(attempt).await {
                Ok(stream) => {
                    attempt.waits_in_line(false);
                    return Ok((stream, true));
                }
                Err(permit) => permit,
            }
        }
    };
    let connection = pool::connect::h2(endpoint.address, timeout, permit).await;
    attempt.waits_in_line(false);
    drop(pending);
    Ok((attempt.pool().share_h2(worker, connection?), false))
}

/// How often whoever waits looks for a stream that came free.
const LOOK: Duration = Duration::from_millis(2);

/// After so many looks another worker's busy connection is asked to make way: workers without any take turns with it.
const TURN: u32 = 50;

/// A stream that comes free, or the right to make another connection.
async fn room_on_h2(attempt: &Attempt) -> Result<H2Stream, ConnectionPermit> {
    let (aim, endpoint) = (attempt.aim(), attempt.endpoint());
    let worker = aim.trail.connection.worker;
    let mut look = 0_u32;
    loop {
        if let Some(stream) = attempt.pool().take_h2(worker) {
            return Ok(stream);
        }
        if look.is_multiple_of(TURN) && !aim.cluster.make_room(aim.priority(), endpoint) && look > 0 {
            aim.cluster.make_way(aim.priority(), endpoint, worker, clock::now());
        }
        tokio::select! {
            permit = aim.cluster.connection(aim.priority(), endpoint) => return Err(permit),
            () = tokio::time::sleep(LOOK) => look = look.wrapping_add(1),
        }
    }
}

fn note_beyond(aim: &Aim, beyond: bool) {
    if beyond {
        aim.trail.note(|notes| notes.would |= Would::BREAKER);
    }
}

/// A place among those who wait for a connection; the route's timeout says how long. Where the limit allows no
/// connection at all, waiting is vain.
fn wait_in_line(attempt: &Attempt) -> Result<Permit, Error> {
    let aim = attempt.aim();
    if aim.cluster.allows_no_connection(aim.priority(), attempt.endpoint()) {
        let detail = format!("the limit of {} allows no connection", aim.cluster.label);
        return Err(Error::new(Reason::BreakerConnections).because(detail));
    }
    match aim.limits().try_acquire(Limit::Pending) {
        Acquired::Granted(permit) | Acquired::WouldRefuse(permit) => {
            attempt.waits_in_line(true);
            Ok(permit)
        }
        Acquired::Refused => Err(Error::new(Reason::BreakerPending)
            .because(format_args!("{} has as many requests waiting as its limit allows", aim.cluster.label))),
    }
}
