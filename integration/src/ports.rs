//! Free loopback ports. They are taken from below the range that the kernel gives to outgoing connections, so that no
//! connection of another test sits on one between the moment it is found free and the moment it is listened on.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

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
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
