//! What an endpoint is called in front of callers: a digest of its address and its workload.
//!
//! It is the same in every proxy, so that a session begun at one goes on at another, and says nothing by itself. It is
//! no secret: whoever knows an address and a workload's name can check a guess.

use std::net::SocketAddr;

/// The digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub [u8; Token::LENGTH]);

impl Token {
    /// Its length in bytes: no two endpoints of a destination share one by chance.
    pub const LENGTH: usize = 12;

    /// The name of the endpoint of a workload at an address.
    pub fn of(address: SocketAddr, workload: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("outrigger.dev session endpoint v1");
        hasher.update(address.to_string().as_bytes());
        hasher.update(b" ");
        hasher.update(workload.as_bytes());
        let mut token = [0; Self::LENGTH];
        hasher.finalize_xof().fill(&mut token);
        Token(token)
    }
}

#[cfg(test)]
mod tests {
    use super::Token;

    #[test]
    fn the_name_hangs_on_address_and_workload_alone() {
        let address = "10.0.0.1:80".parse().expect("an address");
        let other = "10.0.0.1:81".parse().expect("an address");
        assert_eq!(Token::of(address, "a"), Token::of(address, "a"));
        assert_ne!(Token::of(address, "a"), Token::of(other, "a"));
        assert_ne!(Token::of(address, "a"), Token::of(address, "b"));
    }
}
