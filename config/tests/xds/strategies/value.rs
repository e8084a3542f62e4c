//! Arbitrary values that stand everywhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outrigger_config::name::{ObjectName, ResourceName};
use outrigger_config::policy::{Mode, Origin};
use outrigger_config::value::Percent;
use proptest::prelude::*;

/// Any time longer than none.
pub(super) fn some_time() -> impl Strategy<Value = Duration> {
    (1..100_000_000_u64).prop_map(Duration::from_micros)
}

pub(super) fn policy() -> impl Strategy<Value = (Origin, Mode)> {
    (text().prop_map(Origin), prop_oneof![Just(Mode::Enforce), Just(Mode::Observe)])
}

pub(super) fn name() -> impl Strategy<Value = ResourceName> {
    "[a-z][a-z/]{0,12}".prop_map(|text| ResourceName::try_new(&text).expect("a name"))
}

pub(super) fn object_name() -> impl Strategy<Value = ObjectName> {
    ("[a-z]{1,8}", "[a-z]{1,8}").prop_map(|(namespace, name)| ObjectName::try_new(&namespace, &name).expect("a name"))
}

pub(super) fn header_name() -> impl Strategy<Value = Arc<str>> {
    "[a-z][a-z-]{0,8}".prop_map(Arc::from)
}

pub(super) fn text() -> impl Strategy<Value = Arc<str>> {
    prop_oneof!["[a-z ]{0,10}", "\\PC{0,10}"].prop_map(Arc::from)
}

pub(super) fn percent() -> impl Strategy<Value = Percent> {
    (0..1_000_001u32).prop_map(|millionths| Percent::from_millionths(millionths).expect("at most a million"))
}

pub(super) fn address() -> impl Strategy<Value = SocketAddr> {
    (any::<std::net::IpAddr>(), 1..=u16::MAX).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

/// From a nanosecond up to so many seconds.
pub(super) fn shorter(seconds: u64) -> impl Strategy<Value = Duration> {
    (1..=seconds * 1_000_000_000).prop_map(Duration::from_nanos)
}

/// From so many seconds up to an hour.
pub(super) fn longer(seconds: u64) -> impl Strategy<Value = Duration> {
    (seconds..3600).prop_map(Duration::from_secs)
}
