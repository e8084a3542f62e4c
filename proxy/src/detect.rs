//! Which protocol a caller speaks: HTTP/2 with prior knowledge begins with its preface (RFC 9113, 3.4), everything
//! else is taken for HTTP/1. Reads no more than the preface is long, and gives a caller that says nothing its time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// How long a caller may take until it has said which protocol it speaks.
pub const PATIENCE: Duration = Duration::from_secs(10);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a caller speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Why it did not become clear what a caller speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undetected {
    /// It left, or is to leave.
    Left,
    /// It said nothing in time.
    Silent,
}

/// Reads ahead until the protocol is clear; returns it with what was read.
pub async fn detect(tcp: &mut TcpStream) -> Result<(Protocol, Bytes), Undetected> {
    let mut ahead = BytesMut::with_capacity(PREFACE.len());
    let known = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(protocol) = judge(&ahead) {
                return Some(protocol);
            }
            let mut rest = [0; PREFACE.len()];
            let room = PREFACE.len() - ahead.len();
            match tcp.read(&mut rest[..room]).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => ahead.extend_from_slice(&rest[..count]),
            }
        }
    });
    match known.await {
        Ok(Some(protocol)) => Ok((protocol, ahead.freeze())),
        Ok(None) => Err(Undetected::Left),
        Err(_) => Err(Undetected::Silent),
    }
}

fn judge(ahead: &[u8]) -> Option<Protocol> {
    let common = ahead.len().min(PREFACE.len());
    match (ahead[..common] == PREFACE[..common], common == PREFACE.len()) {
        (true, true) => Some(Protocol::Http2),
        (true, false) => None,
        (false, _) => Some(Protocol::Http1),
    }
}

#[cfg(test)]
mod tests {
    use super::{PREFACE, Protocol, judge};

    #[test]
    fn only_the_whole_preface_is_http_2() {
        for cut in 0..PREFACE.len() {
            assert_eq!(judge(&PREFACE[..cut]), None);
        }
        assert_eq!(judge(PREFACE), Some(Protocol::Http2));
        assert_eq!(judge(b"PRI * HTTP/1.1"), Some(Protocol::Http1));
        assert_eq!(judge(b"G"), Some(Protocol::Http1));
    }
}
