//! Where a proxy listens, and by which table it serves what comes in (xDS `Listener` with one HTTP connection manager).

use std::net::SocketAddr;
use std::sync::Arc;

use crate::endpoint::Locality;
use crate::error::{Code, Problem};
use crate::name::{ListenerName, ObjectName, TableName};
use crate::policy::AdaptiveConcurrency;
use crate::policy::asked::LimitFilter;
use crate::route::RouteTable;
use crate::value::Percent;

/// Which way requests pass (xDS `TrafficDirection`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the workload beside the proxy.
    Inbound,
    /// From the workload beside the proxy, or from anyone for a gateway.
    Outbound,
}

/// Where the table comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableSource {
    /// Over RDS, under this name.
    Rds(TableName),
    /// Written into the listener.
    Inline(RouteTable),
}

/// Who the proxy stands beside, for spans and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The workload.
    pub workload: ObjectName,
    /// `service.name` of its spans: the workload's service, or its own name where it has none.
    pub service: Arc<str>,
    /// `service.version` of its spans; empty where it has none.
    pub version: Arc<str>,
    /// Where it stands.
    pub locality: Locality,
}

/// What a listener's spans and logs are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// The share of traces begun here that is kept; a caller's decision counts first (parent-based).
    pub sample: Percent,
    /// Whether each request is logged as a line of JSON.
    pub access_log: bool,
}

impl Default for Telemetry {
    /// 1 % of the traces that begin here, no access log.
    fn default() -> Self {
        Telemetry { sample: Percent::from_millionths(10_000).unwrap_or(Percent::ZERO), access_log: false }
    }
}

/// Where a proxy listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The resource's name.
    pub name: ListenerName,
    /// The address and port.
    pub address: SocketAddr,
    /// Which way requests pass.
    pub direction: Direction,
    /// By which table they are served.
    pub table: TableSource,
    /// Who the proxy stands beside; absent for a listener that another control plane made.
    pub identity: Option<Identity>,
    /// What its spans and logs are like.
    pub telemetry: Telemetry,
    /// As many requests at once as what is behind it bears (`adaptive_concurrency`).
    pub adaptive: Option<AdaptiveConcurrency>,
    /// The same in Observe, beside one that acts.
    pub rehearsed_adaptive: Option<AdaptiveConcurrency>,
    /// Who is asked whether requests are within their limits, where another control plane says so.
    pub limits: Vec<LimitFilter>,
}

/// A listener of a gRPC client: no address, only the table under the name that was asked for
/// (xDS `Listener.api_listener`, gRFC A27).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiListener {
    /// The name the client asks for, as in `xds:///NAME`.
    pub name: ListenerName,
    /// The table it is sent to.
    pub table: TableName,
}

impl Listener {
    /// The parts hold together.
    pub fn check(&self) -> Result<(), Problem> {
        if self.address.port() == 0 {
            return Err(Problem::invalid(0, "must be a port between 1 and 65535").at_field("port"));
        }
        if let Some(adaptive) = &self.adaptive {
            adaptive.check().map_err(|problem| problem.at_field("adaptiveConcurrency"))?;
        }
        if let Some(rehearsed) = &self.rehearsed_adaptive {
            if rehearsed.mode.enforces() {
                return Err(Problem::new(Code::Conflict, "must be in Observe").at_field("rehearsed"));
            }
            rehearsed.check().map_err(|problem| problem.at_field("rehearsed"))?;
        }
        match &self.table {
            TableSource::Inline(table) => table.check(),
            TableSource::Rds(_) => Ok(()),
        }
    }
}
