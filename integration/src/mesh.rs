//! A whole mesh: documents, perhaps a control plane, and a proxy for every workload that has one.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::client::{Ask, Client, Reply, get};
use crate::control_plane::ControlPlane;
use crate::documents::Documents;
use crate::proxy::{Proxy, Start};
use crate::wire::Wire;

/// The workload whose proxy the tests mostly call through.
pub const CALLER: &str = "web";
/// The service behind it in a mesh of one.
pub const SERVICE: &str = "catalog";

/// A running mesh.
#[derive(Debug)]
pub struct Mesh {
    documents: Documents,
    control_plane: Option<ControlPlane>,
    proxies: BTreeMap<String, Proxy>,
}

impl Mesh {
    /// The smallest: one service `catalog` at these addresses, spoken to in `protocol`, and the proxy of its caller.
    pub async fn of(protocol: &str, addresses: &[SocketAddr]) -> Mesh {
        Mesh::standalone(small(protocol, addresses)).await
    }

    /// These documents and the proxy of [`CALLER`] alone, without a control plane.
    pub async fn standalone(documents: Documents) -> Mesh {
        Mesh::standalone_of(documents, CALLER).await
    }

    /// These documents and the proxy of `workload` alone, without a control plane.
    pub async fn standalone_of(documents: Documents, workload: &str) -> Mesh {
        let proxy = Start::standalone(&documents, workload).ready().await;
        Mesh { documents, control_plane: None, proxies: BTreeMap::from([(workload.to_owned(), proxy)]) }
    }

    /// A control plane with these documents, and the proxy of every workload that has one.
    pub async fn steered(documents: Documents) -> Mesh {
        Mesh::steered_with(documents, |start| start).await
    }

    /// As [`Mesh::steered`]; `adapt` sees how each proxy is started.
    pub async fn steered_with(documents: Documents, adapt: impl Fn(Start) -> Start) -> Mesh {
        let control_plane = ControlPlane::start().await;
        control_plane.apply(documents.text()).await;
        let mut proxies = BTreeMap::new();
        for workload in documents.with_proxies() {
            proxies.insert(workload.to_owned(), adapt(Start::steered(control_plane.xds(), workload)).start());
        }
        for proxy in proxies.values_mut() {
            proxy.until_ready().await;
        }
        Mesh { documents, control_plane: Some(control_plane), proxies }
    }

    /// Where the caller's proxy listens.
    pub fn address(&self) -> SocketAddr {
        self.documents.outbound(CALLER)
    }

    /// The documents it began with.
    pub fn documents(&self) -> &Documents {
        &self.documents
    }

    /// Its control plane.
    pub fn control_plane(&mut self) -> &mut ControlPlane {
        self.control_plane.as_mut().expect("the mesh has a control plane")
    }

    /// The proxy of a workload.
    pub fn proxy(&mut self, workload: &str) -> &mut Proxy {
        self.proxies.get_mut(workload).unwrap_or_else(|| panic!("{workload} has no proxy"))
    }

    /// The caller's proxy.
    pub fn caller(&mut self) -> &mut Proxy {
        self.proxy(CALLER)
    }

    /// Takes a proxy out of the mesh: to wait for its end.
    pub fn take(&mut self, workload: &str) -> Proxy {
        self.proxies.remove(workload).unwrap_or_else(|| panic!("{workload} has no proxy"))
    }

    /// Applies further documents and waits until the caller's proxy has taken them.
    pub async fn apply(&mut self, documents: &str) {
        self.control_plane().apply(documents).await;
        self.control_plane().synced(CALLER).await;
    }

    /// A connection to the caller's proxy, byte for byte.
    pub async fn wire(&self) -> Wire {
        Wire::connect(self.address()).await
    }

    /// A connection to the caller's proxy with HTTP/1.1.
    pub async fn http1(&self) -> Client {
        Client::http1(self.address()).await
    }

    /// A connection to the caller's proxy with HTTP/2.
    pub async fn http2(&self) -> Client {
        Client::http2(self.address()).await
    }

    /// One GET of [`SERVICE`] over a connection of its own.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(get(SERVICE, path)).await
    }

    /// One request over a connection of its own.
    pub async fn send(&self, ask: Ask) -> Reply {
        self.http1().await.send(ask).await
    }

    /// So many GETs of `path` over one connection.
    pub async fn many(&self, path: &str, count: usize) -> Vec<Reply> {
        let mut client = self.http1().await;
        let mut replies = Vec::with_capacity(count);
        for _ in 0..count {
            replies.push(client.send(get(SERVICE, path)).await);
        }
        replies
    }
}

/// The documents of the smallest mesh.
pub fn small(protocol: &str, addresses: &[SocketAddr]) -> Documents {
    Documents::new().service(SERVICE, protocol, addresses).caller(CALLER)
}
