//! What all policies have in common: mode, targets, origin.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::kind::Kind;
use super::reader::{Field, Fields};
use crate::error::Problem;
use crate::name::ObjectName;
use crate::policy::{Mode, Origin};
use crate::value::MAX_DURATION;

/// What a policy of routes can be for.
pub(super) const TARGETS: &[Kind] = &[Kind::Service, Kind::HttpRoute, Kind::GrpcRoute];

/// The durations of a field where zero would mean nothing.
pub(super) const LONGER_THAN_ZERO: RangeInclusive<Duration> = Duration::from_millis(1)..=MAX_DURATION;

const MODES: &[(&str, Mode)] = &[("Enforce", Mode::Enforce), ("Observe", Mode::Observe)];

/// `mode`, which every policy has; absent: Enforce.
pub(super) fn read_mode(fields: &mut Fields<'_>) -> Mode {
    read_mode_or(fields, Mode::default())
}

/// `mode` of a part of a policy; absent: the policy's.
pub(super) fn read_mode_or(fields: &mut Fields<'_>, outer: Mode) -> Mode {
    fields.optional("mode").and_then(|field| field.choice(MODES)).unwrap_or(outer)
}

/// A part of a policy that cannot be rehearsed: it would have to change the traffic to show anything.
pub(super) fn acting<'a>(fields: &mut Fields<'a>, name: &'static str, mode: Mode) -> Option<Field<'a>> {
    let field = fields.optional(name)?;
    if !mode.enforces() {
        field.unsupported("cannot be observed only; give it a policy of its own in Enforce");
    }
    Some(field)
}

/// The origin of what a document says: `RoutePolicy shop/catalog`.
pub(super) fn origin(kind: Kind, name: &ObjectName) -> Origin {
    Origin(Arc::from(format!("{kind} {name}")))
}

/// A factor with up to three decimals.
pub(super) fn thousandths(factor: f64) -> Result<u32, Problem> {
    let value = factor * 1000.0;
    // In range: checked against it.
    if (1.0..=1_000_000.0).contains(&value) {
        Ok(value.round() as u32)
    } else {
        Err(Problem::invalid(factor, "must be between 0.001 and 1000"))
    }
}
