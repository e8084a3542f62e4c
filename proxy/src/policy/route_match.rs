//! Finds the route that takes a request, in the snapshot that serves it. Reads the snapshot once; nothing behind this
//! room reads it again, so that a request sees one configuration from here to its end.
//!
//! Mirrors xDS `RouteConfiguration`. Raises [`Reason::DestinationNotFound`] and, while the listener's table has not
//! come yet, [`Reason::ProxyConfigurationError`].

use std::sync::Arc;
use std::task::{Context, Poll};

use tower::{Layer, Service};

use super::{Next, Waiting, refuse};
use crate::error::{Error, Reason};
use crate::exchange::{Request, Routed};
use crate::explain;
use crate::fields::Fields;
use crate::gradient::Gradients;
use crate::rls::Asking;
use crate::route::{Facts, Found, Route};

/// Puts [`RouteMatch`] around a room.
#[derive(Clone, Copy, Debug)]
pub struct RouteMatchLayer;

/// Finds the route of a request.
#[derive(Clone, Debug)]
pub struct RouteMatch<S> {
    inner: S,
}

impl<S> Layer<S> for RouteMatchLayer {
    type Service = RouteMatch<S>;

    fn layer(&self, inner: S) -> RouteMatch<S> {
        RouteMatch { inner }
    }
}

impl<S: Next<Routed>> Service<Request> for RouteMatch<S> {
    type Response = S::Response;
    type Error = Error;
    type Future = Waiting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Waiting {
        match find(&request) {
            Ok(Taken { route, gradients, asking }) => {
                let Request { http, trail, authority, .. } = request;
                self.inner.call(Routed { http, trail, authority, route, gradients, asking })
            }
            Err(error) => refuse(error),
        }
    }
}

/// What of the snapshot serves a request.
struct Taken {
    route: Arc<Route>,
    gradients: Option<Arc<Gradients>>,
    asking: Option<Arc<[Asking]>>,
}

fn find(request: &Request) -> Result<Taken, Error> {
    let snapshot = request.trail.connection.shared.snapshots.load();
    let Some(table) = snapshot.table_for(&request.trail.connection.entrance.name) else {
        request.trail.note(|notes| notes.snapshot = snapshot.number);
        return Err(Error::new(Reason::ProxyConfigurationError).because("this listener has no routes yet"));
    };
    let facts = Facts::of(&request.http, &request.authority, request.trail.grpc);
    match table.find(&facts) {
        Found::Route(route) => {
            request.trail.note(|notes| {
                notes.snapshot = snapshot.number;
                notes.route = Some(Arc::clone(route));
            });
            if request.trail.fields.any(Fields::EXPLAIN) {
                explain::note_missed(&request.trail, table, Some(route), &facts);
            }
            let listener = &request.trail.connection.entrance.name;
            let asking = if route.asked.is_empty() { None } else { snapshot.asking_for(listener) };
            Ok(Taken {
                route: Arc::clone(route),
                gradients: snapshot.gradients_for(listener).map(Arc::clone),
                asking: asking.map(Arc::clone),
            })
        }
        missed => {
            request.trail.note(|notes| notes.snapshot = snapshot.number);
            explain::note_missed(&request.trail, table, None, &facts);
            Err(match missed {
                Found::NoHost => Error::new(Reason::DestinationNotFound)
                    .because(format_args!("no service is called {:?}", facts.authority)),
                _ => Error::new(Reason::DestinationNotFound)
                    .because(format_args!("no route of {:?} takes {} {}", facts.authority, facts.method, facts.path)),
            })
        }
    }
}
