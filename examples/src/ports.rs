//! Free ports on loopback. The operating system is asked for each, but only below the range it hands to outgoing
//! connections: a port of that range could be taken between our asking and the process that is to listen on it, or
//! while a killed instance is away.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};

const LOWEST: u16 = 20_000;

/// Hands out ports, none twice.
pub(crate) struct Ports {
    next: u16,
    end: u16,
}

impl Ports {
    /// Starts somewhere in the range, so that two demos side by side seldom meet.
    pub(crate) fn new() -> Self {
        let end = ephemeral_start().filter(|start| *start > LOWEST + 2_000).unwrap_or(32_768);
        Ports { next: fastrand::u16(LOWEST..end - 1_000), end }
    }

    /// The next port nobody listens on.
    pub(crate) fn take(&mut self) -> Result<u16> {
        while self.next < self.end {
            let port = self.next;
            self.next += 1;
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(port);
            }
        }
        bail!("no free port on 127.0.0.1 between {LOWEST} and {}: stop something that listens there", self.end)
    }
}

fn ephemeral_start() -> Option<u16> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::Ports;

    #[test]
    fn ports_are_free_and_never_handed_out_twice() {
        let mut ports = Ports::new();
        let taken: Vec<u16> = (0..50).map(|_| ports.take().expect("a free port")).collect();
        assert!(taken.windows(2).all(|pair| pair[0] < pair[1]), "{taken:?}");
    }
}
