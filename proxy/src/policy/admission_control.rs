//! Gives up a share of the requests to a destination that fails ([`crate::cluster::Admission`]; xDS `admission_control`),
//! once for all attempts. Raises [`Reason::AdmissionControl`]; in Observe, alone or beside one that acts, it only notes
//! what it would have done.

use std::task::{Context, Poll};

use tower::{Layer, Service};

use super::{Next, Waiting, refuse};
use crate::clock;
use crate::error::{Error, Reason};
use crate::exchange::Targeted;
use crate::telemetry::Would;

/// Puts [`AdmissionControl`] around a room.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionControlLayer;

/// Lets through or gives up.
#[derive(Clone, Debug)]
pub struct AdmissionControl<S> {
    inner: S,
}

impl<S> Layer<S> for AdmissionControlLayer {
    type Service = AdmissionControl<S>;

    fn layer(&self, inner: S) -> AdmissionControl<S> {
        AdmissionControl { inner }
    }
}

impl<S: Next<Targeted>> Service<Targeted> for AdmissionControl<S> {
    type Response = S::Response;
    type Error = Error;
    type Future = Waiting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, targeted: Targeted) -> Waiting {
        let aim = &targeted.aim;
        // What is rehearsed comes first: it sees what the one that acts gives up, too.
        for admission in [&aim.cluster.rehearsed_admission, &aim.cluster.admission].into_iter().flatten() {
            let now = clock::now();
            if admission.rejects(now, &mut fastrand::Rng::new()) {
                if admission.model().mode.enforces() {
                    let share = admission.share(now) * 100.0;
                    let label = &aim.cluster.label;
                    let detail = format!("{label} fails too often: {share:.0} % of the requests to it are given up");
                    return refuse(Error::new(Reason::AdmissionControl).because(detail));
                }
                aim.trail.note(|notes| notes.would |= Would::ADMISSION_CONTROL);
            }
        }
        self.inner.call(targeted)
    }
}
