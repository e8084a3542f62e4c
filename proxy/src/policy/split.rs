//! Chooses the destination among a route's weighted backends, once for all attempts (xDS `WeightedCluster`):
//! the one where the request's session is, or by what the route says that equal requests have in common, or by chance.
//! Raises [`Reason::DestinationUnavailable`] where the chosen one is not there.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use tower::{Layer, Service};

use super::{CheckFuture, Next, refuse};
use crate::affinity;
use crate::decision::Roll;
use crate::error::{Error, Reason};
use crate::exchange::{Routed, Targeted};
use crate::route::Target;
use crate::session;

/// Puts [`Split`] around a room.
#[derive(Clone, Copy, Debug)]
pub struct SplitLayer;

/// Chooses a destination.
#[derive(Clone, Debug)]
pub struct Split<S> {
    inner: S,
}

impl<S> Layer<S> for SplitLayer {
    type Service = Split<S>;

    fn layer(&self, inner: S) -> Split<S> {
        Split { inner }
    }
}

impl<S: Next<Targeted>> Service<Routed> for Split<S> {
    type Response = S::Response;
    type Error = Error;
    type Future = CheckFuture<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, routed: Routed) -> Self::Future {
        let route = Arc::clone(&routed.route);
        let Some(targets) = &route.targets else {
            let detail = "the route neither answers nor leads anywhere";
            return refuse(Error::new(Reason::ProxyConfigurationError).because(detail));
        };
        let peer = routed.trail.connection.peer;
        let fields = routed.http.headers();
        let kept = route.config.session.as_ref().and_then(|policy| {
            let here = |target: &Target| {
                target.cluster.as_ref().is_some_and(|one| session::belongs(policy, fields, one, target.ask))
            };
            targets.iter().position(here).map(|index| targets.start_of(index))
        });
        let key = kept.is_none().then(|| affinity::key(&route.config.sticky, fields, peer)).flatten();
        let by_key = kept.or_else(|| key.map(|key| targets.roll_for(key)));
        let point = by_key.unwrap_or_else(|| targets.roll(&mut fastrand::Rng::new()));
        let target = targets.at(point);
        let roll = Roll { point, by_key: by_key.is_some() };
        match &target.cluster {
            Some(cluster) => {
                Either::Left(self.inner.call(Targeted::new(routed, Arc::clone(cluster), target, Some(roll))))
            }
            None => {
                routed.trail.note(|notes| {
                    notes.roll = Some(roll);
                    notes.edge = Some(Arc::clone(&target.edge));
                });
                refuse(
                    Error::new(Reason::DestinationUnavailable)
                        .because(format_args!("the route leads to {}, which is not there", target.name)),
                )
            }
        }
    }
}
