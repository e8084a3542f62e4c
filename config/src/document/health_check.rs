//! `healthCheck` of a BackendPolicy: what is asked of each endpoint, how often, and how many answers decide.

use std::time::Duration;

use super::fault::one_of;
use super::policy::{LONGER_THAN_ZERO, read_mode_or};
use super::reader::Field;
use crate::policy::health_check::{HealthCheck, HttpProbe, Probe, StatusRange};
use crate::policy::{Mode, Origin};
use crate::value::Percent;

/// The chance that is added to each interval unless said otherwise.
const JITTER: f64 = 0.1;

/// Reads `healthCheck`; `mode` is the policy's.
pub(super) fn read_health_check(field: &Field<'_>, mode: Mode, origin: &Origin) -> HealthCheck {
    let mut fields = field.fields();
    let mode = read_mode_or(&mut fields, mode);
    let http = fields.optional("http").map(|field| read_http(&field));
    let grpc = fields.optional("grpc").map(|field| read_grpc(&field));
    let tcp = fields.optional("tcp").map(|field| drop(field.fields().finish()));
    let said = [("http", http.is_some()), ("grpc", grpc.is_some()), ("tcp", tcp.is_some())];
    let probe = http.or(grpc).unwrap_or(Probe::Tcp);
    let mut check = HealthCheck::with_defaults(origin.clone(), mode, probe);
    if let Some(field) = fields.optional("interval") {
        check.interval = field.duration(LONGER_THAN_ZERO);
    }
    if let Some(field) = fields.optional("timeout") {
        check.timeout = field.duration(LONGER_THAN_ZERO);
    }
    let jitter = fields.optional("jitterPercent").and_then(|field| field.number(Percent::try_new));
    // Of the interval, as xDS has it as a time. Whole milliseconds, so that it reads as it is meant.
    let jitter = check.interval.mul_f64(jitter.map_or(JITTER, Percent::ratio));
    check.jitter = Duration::from_millis(u64::try_from(jitter.as_millis()).unwrap_or(u64::MAX));
    let mut count = |name, default| fields.optional(name).map_or(default, |field| field.integer(1..=1000));
    check.unhealthy_threshold = count("unhealthyThreshold", check.unhealthy_threshold);
    check.healthy_threshold = count("healthyThreshold", check.healthy_threshold);
    check.port = fields.optional("port").map(|field| field.port()).filter(|port| *port != 0);
    let field = fields.finish();
    one_of(&field, &said);
    if let Err(problem) = check.check() {
        field.note(problem);
    }
    check
}

fn read_http(field: &Field<'_>) -> Probe {
    let mut fields = field.fields();
    let path = fields.optional("path").map_or_else(|| "/".into(), |field| field.text());
    let mut probe = HttpProbe::new(&path);
    if let Some(field) = fields.optional("host") {
        probe.host = field.text();
    }
    if let Some(field) = fields.optional("statuses") {
        let status = |field: &Field<'_>| u16::try_from(field.integer(100..=599)).unwrap_or_default();
        probe.statuses = field.some(status).into_iter().map(StatusRange::only).collect();
    }
    fields.finish();
    // An empty list is noted already.
    if probe.statuses.is_empty() {
        probe.statuses = vec![StatusRange::SUCCESS];
    }
    Probe::Http(probe)
}

fn read_grpc(field: &Field<'_>) -> Probe {
    let mut fields = field.fields();
    let service = fields.optional("service").map(|field| field.text()).unwrap_or_default();
    let authority = fields.optional("authority").map(|field| field.text()).unwrap_or_default();
    fields.finish();
    Probe::Grpc { service, authority }
}
