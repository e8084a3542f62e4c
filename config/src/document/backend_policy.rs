//! `BackendPolicy`: how a service is balanced over, what it bears and when an endpoint of it is left out, carried out by
//! the caller's proxy. Its targets are Services or single ports; the policy of a port counts before that of its Service.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::admission::read_admission;
use super::health_check::read_health_check;
use super::kind::Kind;
use super::load_balancing::{LoadBalancing, read_load_balancing};
use super::outlier::read_outlier;
use super::policy::{LONGER_THAN_ZERO, acting, read_mode, read_mode_or};
use super::reader::{Field, Fields};
use super::reference::TargetRef;
use super::session::read_session;
use crate::error::{Code, Problem};
use crate::name::ObjectName;
use crate::policy::{
    AdmissionControl, Budget, HealthCheck, Limits, Mode, Origin, Outlier, PerEndpoint, Priority, Session, Thresholds,
};
use crate::value::Percent;

/// The spec of a BackendPolicy. What is absent has the default that holds without any policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendPolicy {
    /// Whether it acts; its parts may be observed all the same.
    pub mode: Mode,
    /// What it is for.
    pub targets: Vec<TargetRef>,
    /// How an endpoint is chosen.
    pub load_balancing: Box<LoadBalancing>,
    /// How much of it may be used at once; what it does not name is unlimited.
    pub limits: Option<Limits>,
    /// When a failing endpoint is left out.
    pub outlier: Option<Outlier>,
    /// How each endpoint is asked whether it is well.
    pub health_check: Option<HealthCheck>,
    /// How much is given up at once while it fails.
    pub admission: Option<Box<AdmissionControl>>,
    /// How many retries it bears.
    pub budget: Option<Budget>,
    /// How long making a connection may take.
    pub connect_timeout: Option<Duration>,
    /// How long an idle connection is kept.
    pub idle_timeout: Option<Duration>,
    /// What keeps a caller at its endpoint.
    pub session: Option<Box<Session>>,
}

const ANY_COUNT: RangeInclusive<u32> = 0..=u32::MAX;

impl BackendPolicy {
    pub(super) fn read(field: &Field<'_>, owner: &ObjectName, origin: &Origin) -> Self {
        let mut fields = field.fields();
        let mode = read_mode(&mut fields);
        let targets = fields.required("targetRefs").some(|field| TargetRef::read(field, owner, &[Kind::Service]));
        let load_balancing = acting(&mut fields, "loadBalancing", mode);
        let load_balancing = load_balancing.map(|field| Box::new(read_load_balancing(&field))).unwrap_or_default();
        let limits = fields.optional("limits").map(|field| read_limits(&field, mode, origin));
        let outlier = fields.optional("outlierDetection").map(|field| read_outlier(&field, mode, origin));
        let health_check = fields.optional("healthCheck").map(|field| read_health_check(&field, mode, origin));
        let admission = fields.optional("admissionControl");
        let admission = admission.map(|field| Box::new(read_admission(&field, mode, origin)));
        let budget = acting(&mut fields, "retryConstraint", mode).map(|field| read_budget(&field));
        let (connect_timeout, idle_timeout) = match acting(&mut fields, "timeouts", mode) {
            Some(field) => read_timeouts(&field),
            None => (None, None),
        };
        let session = acting(&mut fields, "sessionPersistence", mode).map(|field| Box::new(read_session(&field)));
        fields.unsupported(&["tls"]);
        let field = fields.finish();
        let parts = [
            ("limits", limits.as_ref().is_some_and(|limits| limits.mode.enforces())),
            ("outlierDetection", outlier.as_ref().is_some_and(Outlier::enforces)),
            ("healthCheck", health_check.as_ref().is_some_and(|check| check.mode.enforces())),
            ("admissionControl", admission.as_ref().is_some_and(|control| control.mode.enforces())),
        ];
        for (part, _) in parts.into_iter().filter(|(_, acts)| *acts && !mode.enforces()) {
            let reason = "has a part that acts in a policy that is only observed; give it a policy of its own";
            field.note(Problem::new(Code::Conflict, reason).at_field(part));
        }
        BackendPolicy {
            mode,
            targets,
            load_balancing,
            limits,
            outlier,
            health_check,
            admission,
            budget,
            connect_timeout,
            idle_timeout,
            session,
        }
    }
}

fn read_limits(field: &Field<'_>, mode: Mode, origin: &Origin) -> Limits {
    let mut fields = field.fields();
    let mode = read_mode_or(&mut fields, mode);
    let usual = read_thresholds(&mut fields, Thresholds::default());
    // As much as the others, so that a route that is made High is never unlimited by that.
    let high = fields.optional("high").map_or(usual, |field| {
        let mut fields = field.fields();
        let high = read_thresholds(&mut fields, usual);
        fields.finish();
        high
    });
    let per_endpoint = fields.optional("perEndpoint").map(|field| read_per_endpoint(&field)).unwrap_or_default();
    fields.finish();
    Limits { origin: origin.clone(), mode, per_endpoint, ..Limits::default() }
        .with(Priority::Default, usual)
        .with(Priority::High, high)
}

/// What is not named is as in `otherwise`.
fn read_thresholds(fields: &mut Fields<'_>, otherwise: Thresholds) -> Thresholds {
    let mut count = |name| fields.optional(name).map(|field| field.integer(ANY_COUNT));
    Thresholds {
        max_connections: count("maxConnections").or(otherwise.max_connections),
        max_pending_requests: count("maxPendingRequests").or(otherwise.max_pending_requests),
        max_requests: count("maxRequests").or(otherwise.max_requests),
        max_retries: count("maxRetries").or(otherwise.max_retries),
    }
}

fn read_per_endpoint(field: &Field<'_>) -> PerEndpoint {
    let mut fields = field.fields();
    let max_connections = fields.optional("maxConnections").map(|field| field.integer(ANY_COUNT));
    let max_requests = fields.optional("maxRequests").map(|field| field.integer(ANY_COUNT));
    fields.finish();
    PerEndpoint { max_connections, max_requests }
}

/// The shape of GEP-3388, and `minConcurrent`: retries at once that are always allowed.
fn read_budget(field: &Field<'_>) -> Budget {
    let mut budget = Budget::default();
    let mut fields = field.fields();
    if let Some(field) = fields.optional("budget") {
        let mut fields = field.fields();
        if let Some(percent) = fields.optional("percent").and_then(|field| field.number(Percent::try_new)) {
            budget.percent = percent;
        }
        if let Some(field) = fields.optional("interval") {
            budget.interval = field.duration(Duration::from_secs(1)..=Duration::from_secs(60));
        }
        fields.finish();
    }
    if let Some(field) = fields.optional("minRetryRate") {
        let mut fields = field.fields();
        let count = fields.required("count").integer(0..=1_000_000);
        let second = Duration::from_secs(1);
        let interval =
            fields.optional("interval").map_or(second, |field| field.duration(second..=Duration::from_secs(3600)));
        fields.finish();
        // The model counts by the second; a part of one is rounded up, so that a small rate is never none.
        budget.min_per_second = count.div_ceil(u32::try_from(interval.as_secs()).unwrap_or(u32::MAX).max(1));
    }
    if let Some(field) = fields.optional("minConcurrent") {
        budget.min_concurrent = field.integer(0..=1_000_000);
    }
    fields.finish();
    budget
}

fn read_timeouts(field: &Field<'_>) -> (Option<Duration>, Option<Duration>) {
    let mut fields = field.fields();
    let connect = fields.optional("connect").map(|field| field.duration(LONGER_THAN_ZERO));
    let idle = fields.optional("idle").map(|field| field.duration(LONGER_THAN_ZERO));
    fields.finish();
    (connect, idle)
}
