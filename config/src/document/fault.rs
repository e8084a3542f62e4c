//! `fault` of a RoutePolicy: a delay, an abort and a throttle, each for a share of the requests, or as requests ask themselves.

use super::matches::read_headers;
use super::policy::LONGER_THAN_ZERO;
use super::reader::{Field, Fields};
use crate::error::{Code, Problem};
use crate::policy::fault::{Abort, AbortWith, Delay, Fault, Scope, Throttle};
use crate::policy::{GrpcCodes, Mode, Origin};
use crate::value::Percent;

/// Reads a fault; absent `scope`: Request, absent `percent`: all.
pub(super) fn read_fault(field: &Field<'_>, mode: Mode, origin: &Origin) -> Fault {
    let mut fields = field.fields();
    let scopes = &[("Request", Scope::Request), ("Attempt", Scope::Attempt)];
    let scope = fields.optional("scope").and_then(|field| field.choice(scopes)).unwrap_or_default();
    let headers = fields.optional("headers").map(|field| read_headers(&field)).unwrap_or_default();
    let delay = fields.optional("delay").map(|field| read_delay(&field));
    let abort = fields.optional("abort").map(|field| read_abort(&field));
    let throttle = fields.optional("throttle").map(|field| read_throttle(&field));
    let field = fields.finish();
    if delay.is_none() && abort.is_none() && throttle.is_none() {
        field.note(Problem::new(Code::MissingField, "needs a delay, an abort or a throttle"));
    }
    Fault { origin: origin.clone(), mode, scope, headers, delay, abort, throttle }
}

fn read_throttle(field: &Field<'_>) -> Throttle {
    let mut fields = field.fields();
    // 4 TiB a second is no bound any more.
    let kib_per_second = fields.optional("kibPerSecond").map(|field| field.integer(1..=u32::MAX));
    let from_header = read_from_header(&mut fields);
    let percent = read_percent(&mut fields);
    one_of(&fields.finish(), &[("kibPerSecond", kib_per_second.is_some()), ("fromHeader", from_header)]);
    Throttle { kib_per_second, percent }
}

fn read_delay(field: &Field<'_>) -> Delay {
    let mut fields = field.fields();
    let fixed = fields.optional("fixed").map(|field| field.duration(LONGER_THAN_ZERO));
    let from_header = read_from_header(&mut fields);
    let percent = read_percent(&mut fields);
    one_of(&fields.finish(), &[("fixed", fixed.is_some()), ("fromHeader", from_header)]);
    Delay { fixed, percent }
}

fn read_abort(field: &Field<'_>) -> Abort {
    let mut fields = field.fields();
    let status = fields.optional("status").map(|field| u16::try_from(field.integer(200..=599)).unwrap_or_default());
    let grpc = fields.optional("grpcStatus").map(|field| field.parsed(parse_grpc_code).unwrap_or(1));
    let from_header = read_from_header(&mut fields);
    let percent = read_percent(&mut fields);
    let said = [("status", status.is_some()), ("grpcStatus", grpc.is_some()), ("fromHeader", from_header)];
    one_of(&fields.finish(), &said);
    let with = match (status, grpc) {
        (Some(status), _) => AbortWith::Status(status),
        (None, Some(grpc)) => AbortWith::Grpc(grpc),
        (None, None) => AbortWith::Header,
    };
    Abort { with, percent }
}

fn read_from_header(fields: &mut Fields<'_>) -> bool {
    fields.optional("fromHeader").is_some_and(|field| field.boolean())
}

fn read_percent(fields: &mut Fields<'_>) -> Percent {
    fields.optional("percent").and_then(|field| field.number(Percent::try_new)).unwrap_or(Percent::HUNDRED)
}

/// Exactly one of several fields says it.
pub(super) fn one_of(field: &Field<'_>, said: &[(&str, bool)]) {
    let names: Vec<&str> = said.iter().map(|(name, _)| *name).collect();
    match said.iter().filter(|(_, there)| *there).count() {
        0 => field.note(Problem::new(Code::MissingField, format!("needs one of {}", names.join(", ")))),
        1 => {}
        _ => field.note(Problem::new(Code::Conflict, format!("takes only one of {}", names.join(", ")))),
    }
}

/// A gRPC status that is no success.
pub(super) fn parse_grpc_code(name: &str) -> Result<u8, Problem> {
    let number = GrpcCodes::number(name).filter(|number| *number != 0);
    let reason = || format!("must be one of {}", GrpcCodes::NAMES[1..].join(", "));
    number.ok_or_else(|| Problem::invalid(name, reason()))
}
