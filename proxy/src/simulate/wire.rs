//! What stands in a rehearsal where the network would be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Version};
use parking_lot::Mutex;

use super::scenario::Outcome;
use super::script::Scripts;
use crate::attempt::{Attempt, Lease};
use crate::body::Body;
use crate::clock;
use crate::error::{Error, Reason};
use crate::policy::upstream::{self, Answered, Wire};
use crate::pool::Interim;

/// After how long even whoever says nothing is given up, so that every rehearsal ends.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// Endpoints that follow their scripts.
#[derive(Clone, Debug)]
pub(super) struct Scripted(Arc<Stage>);

#[derive(Debug)]
struct Stage {
    began: Instant,
    scripts: Mutex<(Scripts, fastrand::Rng)>,
}

impl Scripted {
    pub(super) fn new(scripts: Scripts, rng: fastrand::Rng, began: Instant) -> Self {
        Scripted(Arc::new(Stage { began, scripts: Mutex::new((scripts, rng)) }))
    }
}

impl Wire for Scripted {
    async fn exchange(
        &self,
        attempt: &Attempt,
        http: Box<http::Request<Body>>,
        version: Version,
        _: Option<Interim>,
    ) -> Result<Answered, Error> {
        // HTTP/2 shares a connection; one of HTTP/1 is an attempt's alone, as long as it lasts.
        let lease = match version {
            Version::HTTP_2 => Lease::Scripted(None),
            _ => match upstream::connect::right(attempt).await {
                Ok(permit) => Lease::Scripted(Some(permit)),
                Err(error) => return Err(error.with_unsent(http)),
            },
        };
        let since = clock::now().saturating_duration_since(self.0.began);
        let (outcome, took) = {
            let (scripts, rng) = &mut *self.0.scripts.lock();
            scripts.meet(attempt.endpoint(), since, rng)
        };
        let address = attempt.endpoint().address;
        let (status, grpc) = match outcome {
            // A gRPC service that answers 200 says how it went.
            Outcome::Status(200) if attempt.aim().trail.grpc => (200, Some(0)),
            Outcome::Status(status) => (status, None),
            Outcome::Grpc(status) => (200, Some(status)),
            Outcome::Refused => {
                let error =
                    Error::new(Reason::ConnectionRefused).because(format_args!("{address}: as the script says"));
                return Err(error.with_unsent(http));
            }
            Outcome::Timeout => {
                tokio::time::sleep(attempt.aim().cluster.config.connect_timeout).await;
                let error =
                    Error::new(Reason::ConnectionTimeout).because(format_args!("{address}: as the script says"));
                return Err(error.with_unsent(http));
            }
            Outcome::Reset => {
                tokio::time::sleep(took).await;
                return Err(Error::new(Reason::ConnectionTerminated).because("as the script says"));
            }
            Outcome::Silent => {
                tokio::time::sleep(FOR_EVER).await;
                return Err(Error::new(Reason::ConnectionTerminated).because("it said nothing for an hour"));
            }
        };
        tokio::time::sleep(took).await;
        let mut response = http::Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        if let Some(grpc) = grpc {
            response.headers_mut().insert("grpc-status", HeaderValue::from(u16::from(grpc)));
        }
        Ok((response, lease))
    }
}
