//! Loopback ports. What this process serves itself listens where the kernel likes ([`listen`]). A process that is still
//! to be started is told a port that is free now ([`free`]): those are taken from below the range that the kernel gives
//! to outgoing connections, so that no connection of another test sits on one before it is listened on.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::net::TcpListener;

/// The first port that is tried, and how many there are (`ip_local_port_range` begins at 32768).
const FIRST: u16 = 11_000;
const COUNT: u16 = 21_000;

/// A loopback address with a port nobody listens on; no two calls of a process get the same one.
pub fn free() -> SocketAddr {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    // Another test process beside this one begins elsewhere.
    let next = NEXT.get_or_init(|| AtomicU16::new(fastrand::u16(..COUNT)));
    loop {
        let port = FIRST + next.fetch_add(1, Ordering::Relaxed) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A listener on a port of the kernel's choice, and its address.
pub async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a port left");
    let address = listener.local_addr().expect("a bound socket has an address");
    (listener, address)
}
