//! Sheds requests while the process runs short (Envoy's overload manager): those of priority Default before those of
//! High, first some and then all. Raises [`Reason::Overloaded`] with `Retry-After`; in Observe it only notes what it
//! would have done. What asks for a service's health is never shed, or the proxy's want would look like the service's.

use std::task::{Context, Poll};

use http::{HeaderMap, Method, StatusCode};
use tower::{Layer, Service};

use super::{Next, Waiting, refuse};
use crate::error::{Error, Reason};
use crate::exchange::Routed;
use crate::telemetry::Would;

/// After how many seconds a caller may come again, at least and at most; by chance, so that they do not come together.
const RETRY_AFTER: [u64; 2] = [1, 5];

/// Paths by which people and orchestrators ask for health.
const HEALTH: [&str; 6] = ["/healthz", "/livez", "/readyz", "/health", "/live", "/ready"];

/// What every method of gRPC's health service begins with.
const GRPC_HEALTH: &str = "/grpc.health.v1.Health/";

/// Puts [`Shed`] around a room.
#[derive(Clone, Copy, Debug)]
pub struct ShedLayer;

/// Sheds requests.
#[derive(Clone, Debug)]
pub struct Shed<S> {
    inner: S,
}

impl<S> Layer<S> for ShedLayer {
    type Service = Shed<S>;

    fn layer(&self, inner: S) -> Shed<S> {
        Shed { inner }
    }
}

impl<S: Next<Routed>> Service<Routed> for Shed<S> {
    type Response = S::Response;
    type Error = Error;
    type Future = Waiting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, routed: Routed) -> Waiting {
        if !routed.trail.connection.shared.overload.is_calm()
            && let Err(error) = check(&routed)
        {
            return refuse(error);
        }
        self.inner.call(routed)
    }
}

fn check(routed: &Routed) -> Result<(), Error> {
    let overload = &routed.trail.connection.shared.overload;
    let priority = routed.route.config.priority;
    if !overload.actions().sheds(priority, fastrand::u8(..))
        || asks_for_health(routed.http.method(), routed.http.uri().path())
    {
        return Ok(());
    }
    overload.note_shed(priority);
    if !overload.bounds().mode.enforces() {
        routed.trail.note(|notes| notes.would |= Would::SHED);
        return Ok(());
    }
    routed.count_for_first();
    let (resource, pressure) = overload.sheds_for();
    let detail = format!("this proxy uses {:.0} % of its {}", pressure * 100.0, resource.as_str());
    let [least, most] = RETRY_AFTER;
    let error = Error::new(Reason::Overloaded).because(detail);
    Err(error.refusing(StatusCode::SERVICE_UNAVAILABLE, Some(fastrand::u64(least..=most)), HeaderMap::new()))
}

pub(super) fn asks_for_health(method: &Method, path: &str) -> bool {
    path.starts_with(GRPC_HEALTH) || (matches!(*method, Method::GET | Method::HEAD) && HEALTH.contains(&path))
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::asks_for_health;

    #[test]
    fn health_is_asked_for_by_well_known_paths() {
        for (method, path, asks) in [
            (Method::GET, "/healthz", true),
            (Method::HEAD, "/ready", true),
            (Method::POST, "/healthz", false),
            (Method::GET, "/healthz/../buy", false),
            (Method::POST, "/grpc.health.v1.Health/Check", true),
            (Method::GET, "/", false),
        ] {
            assert_eq!(asks_for_health(&method, path), asks, "{method} {path}");
        }
    }
}
