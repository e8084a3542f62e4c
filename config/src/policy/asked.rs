//! What a rate limit service of another control plane is asked about requests, and by whom: the filter of a listener
//! (xDS `extensions.filters.http.ratelimit.v3`) asks what a route says (`RouteAction.rate_limits`). What counts where is the
//! service's own affair.

use std::sync::Arc;
use std::time::Duration;

use crate::matching::HeaderMatch;
use crate::name::ClusterName;
use crate::policy::rate_limit::OnError;

/// A filter that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitFilter {
    /// Where the service is.
    pub cluster: ClusterName,
    /// Whose limits.
    pub domain: Arc<str>,
    /// Which descriptors it asks about, 0 to 10.
    pub stage: u32,
    /// How long an answer may take.
    pub timeout: Duration,
    /// What happens where there is none.
    pub on_error: OnError,
    /// The status of a refusal, 400 to 599.
    pub status: u16,
    /// The status where there is no answer and that refuses, 400 to 599.
    pub status_on_error: u16,
    /// Whether gRPC callers are meant to be told RESOURCE_EXHAUSTED; this proxy always tells them that.
    pub exhausted: bool,
}

/// What is asked of a request: one descriptor, if each of its actions finds something to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Which filter asks, 0 to 10.
    pub stage: u32,
    /// What makes up the descriptor, in order.
    pub actions: Vec<Action>,
}

/// An entry of a descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `source_cluster`: the workload that the proxy stands beside.
    SourceCluster,
    /// `destination_cluster`: where the route leads; for routes to one cluster.
    DestinationCluster,
    /// `remote_address`: the caller's.
    RemoteAddress,
    /// `masked_remote_address`: so many bits of it, of IPv4 and of IPv6.
    MaskedRemoteAddress(u32, u32),
    /// The value of a request's header field.
    RequestHeader {
        /// The field.
        name: Arc<str>,
        /// What it is called.
        key: Arc<str>,
        /// Whether a request without it says nothing here, instead of having no descriptor.
        optional: bool,
    },
    /// What is always the same.
    GenericKey {
        /// What it is called.
        key: Arc<str>,
        /// What it says.
        value: Arc<str>,
    },
    /// A value where all header matches hold, or where they do not.
    HeaderValueMatch {
        /// What it is called.
        key: Arc<str>,
        /// What it says.
        value: Arc<str>,
        /// Whether they must hold.
        expect: bool,
        /// The matches.
        headers: Vec<HeaderMatch>,
    },
}
