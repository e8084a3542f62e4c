//! How a service reaches the others: by name, through one address.
//!
//! In the mesh that address is the sidecar's outbound listener and the name goes into `Host` (or `:authority`). Without
//! a mesh each name has its instances and the caller takes them in turn, as a plain client would; it retries nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::Uri;
use tonic::transport::{Channel, Endpoint};

use crate::wire::{Answer, Call, Wire};

use super::passage::Passage;

/// Where calls go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the sidecar, which knows the rest.
    Sidecar(SocketAddr),
    /// To the instances, by service.
    Direct(BTreeMap<String, Vec<SocketAddr>>),
}

/// Makes a service's outgoing calls.
pub(crate) struct Caller {
    wire: Wire,
    way: Way,
    turns: BTreeMap<String, AtomicUsize>,
    channels: BTreeMap<SocketAddr, Channel>,
}

impl Caller {
    /// A caller over `way`; gRPC connections to `grpc` are opened when first used.
    pub(crate) fn new(way: Way, grpc: &str) -> Result<Self> {
        let mut channels = BTreeMap::new();
        let addresses = match &way {
            Way::Sidecar(address) => vec![*address],
            Way::Direct(instances) => instances.get(grpc).cloned().unwrap_or_default(),
        };
        for address in addresses {
            let origin: Uri = format!("http://{grpc}").parse()?;
            let endpoint = Endpoint::from_shared(format!("http://{address}"))?
                .origin(origin)
                .tcp_nodelay(true)
                .connect_timeout(Duration::from_secs(2))
                .timeout(Duration::from_secs(3));
            channels.insert(address, endpoint.connect_lazy());
        }
        // A turn for each service: a shared one would fall into step with a page that always asks for the same three.
        let turns = match &way {
            Way::Sidecar(_) => BTreeMap::new(),
            Way::Direct(instances) => instances.keys().map(|service| (service.clone(), AtomicUsize::new(0))).collect(),
        };
        Ok(Caller { wire: Wire::new(), way, turns, channels })
    }

    fn address(&self, service: &str) -> Result<SocketAddr> {
        match &self.way {
            Way::Sidecar(address) => Ok(*address),
            Way::Direct(instances) => {
                let instances = instances.get(service).map(Vec::as_slice).unwrap_or_default();
                let turn = self.turns.get(service).filter(|_| !instances.is_empty());
                let Some(turn) = turn else { bail!("nobody said where {service} is") };
                // Only fairness depends on the order of the turns.
                Ok(instances[turn.fetch_add(1, Ordering::Relaxed) % instances.len()])
            }
        }
    }

    /// Asks `service` for `path`; any status but 200 is an error that says which.
    pub(crate) async fn get(&self, service: &str, path: &str, passage: &Passage) -> Result<Answer> {
        let address = self.address(service)?;
        let headers = passage.fields();
        let deadline = Duration::from_secs(4);
        let call = Call { headers, deadline, ..Call::get(address, service, path) };
        let answer = self.wire.call(call).await.with_context(|| format!("{service} did not answer"))?;
        if answer.status != http::StatusCode::OK {
            let why = answer.field("proxy-status");
            bail!("{service} answered {}{}{why}", answer.status.as_u16(), if why.is_empty() { "" } else { ": " });
        }
        Ok(answer)
    }

    /// The gRPC connection to use for the next call to `service`.
    pub(crate) fn channel(&self, service: &str) -> Result<Channel> {
        let address = self.address(service)?;
        self.channels.get(&address).cloned().with_context(|| format!("no gRPC connection to {service}"))
    }
}
