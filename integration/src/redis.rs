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

    /// Sends it a command, and returns its answer.
    pub async fn command<T: redis::FromRedisValue>(&self, words: &[&[u8]]) -> T {
        let client = redis::Client::open(self.url()).expect("a URL of ours");
        let mut connection = client.get_multiplexed_async_connection().await.expect("it listens");
        let mut command = redis::cmd(std::str::from_utf8(words[0]).expect("a command's name"));
        command.arg(&words[1..]);
        command.query_async(&mut connection).await.expect("an answer of this type")
    }

    /// The keys that it holds.
    pub async fn keys(&self) -> Vec<Vec<u8>> {
        self.command(&[b"KEYS", b"*"]).await
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
