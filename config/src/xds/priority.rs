//! A request's priority (`RoutingPriority`).

use xds_api::pb::envoy::config::core::v3 as core;

use super::value::unsupported;
use crate::error::Problem;
use crate::policy::Priority;

/// Encodes a priority.
pub(super) fn encode(priority: Priority) -> i32 {
    match priority {
        Priority::Default => core::RoutingPriority::Default.into(),
        Priority::High => core::RoutingPriority::High.into(),
    }
}

/// Decodes a priority.
pub(super) fn decode(message: i32) -> Result<Priority, Problem> {
    match core::RoutingPriority::try_from(message) {
        Ok(core::RoutingPriority::Default) => Ok(Priority::Default),
        Ok(core::RoutingPriority::High) => Ok(Priority::High),
        Err(_) => Err(unsupported("priority", "only DEFAULT and HIGH are supported").with_value(message)),
    }
}
