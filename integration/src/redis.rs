//! A Redis of a test's own, on a free port, that keeps nothing on disk.

use std::net::SocketAddr;
use std::process::Command;

use crate::peers;
use crate::ports;
use crate::process::Process;
use crate::wait;
use crate::wire::Wire;

/// A running Redis.
#[derive(Debug)]
pub struct Redis {
    address: SocketAddr,
    process: Process,
}

impl Redis {
    /// Starts one and waits until it takes connections; none where it is not installed, which its test has said then.
    pub async fn start() -> Option<Redis> {
        let program = peers::redis()?;
        let address = ports::free();
        let mut command = Command::new(program);
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &address.port().to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        let process = Process::start("redis", &mut command);
        wait::until("redis to listen", async || tokio::net::TcpStream::connect(address).await.ok()).await;
        Some(Redis { address, process })
    }

    /// What to connect to.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Sends it a signal: `STOP` makes it hang, `CONT` go on.
    pub fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    /// Runs a script in it.
    pub async fn eval(&self, script: &str) {
        let mut wire = Wire::connect(self.address).await;
        wire.send(format!("*3\r\n$4\r\nEVAL\r\n${}\r\n{script}\r\n$1\r\n0\r\n", script.len())).await;
        let answer = wire.read_until(b"\r\n").await;
        assert!(!answer.starts_with(b"-"), "{}", String::from_utf8_lossy(&answer));
    }

    /// Kills it.
    pub fn kill(self) {
        drop(self.process);
    }
}
