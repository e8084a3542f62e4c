//! What a hash balancer keys a request by (xDS `RouteAction.hash_policy`): the first of the route's keys that the
//! request has.

use std::net::SocketAddr;

use http::{HeaderMap, header};
use outrigger_config::route::HashKey;
use xxhash_rust::xxh3::xxh3_64;

/// The request's key, where the route asks for one and the request has it.
pub fn key(keys: &[HashKey], fields: &HeaderMap, peer: SocketAddr) -> Option<u64> {
    keys.iter().find_map(|key| match key {
        HashKey::Header(name) => fields.get(&**name).map(|value| xxh3_64(value.as_bytes())),
        HashKey::Cookie(name) => cookie(fields, name).map(|value| xxh3_64(value.as_bytes())),
        HashKey::SourceIp => Some(match peer.ip().to_canonical() {
            std::net::IpAddr::V4(ip) => xxh3_64(&ip.octets()),
            std::net::IpAddr::V6(ip) => xxh3_64(&ip.octets()),
        }),
    })
}

/// The value of a request's cookie; of several of one name, the first.
pub fn cookie<'a>(fields: &'a HeaderMap, name: &str) -> Option<&'a str> {
    fields
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};
    use outrigger_config::route::HashKey;

    use super::key;

    #[test]
    fn the_first_key_that_is_there_counts() {
        let keys = [HashKey::Header("x-user".into()), HashKey::Cookie("sid".into()), HashKey::SourceIp];
        let peer = "10.0.0.1:5".parse().expect("an address");
        let mut fields = HeaderMap::new();
        let by_peer = key(&keys, &fields, peer);
        assert_eq!(by_peer, key(&keys, &fields, "10.0.0.1:6".parse().expect("an address")));
        fields.insert(header::COOKIE, HeaderValue::from_static("a=1; sid=7; b=2"));
        let by_cookie = key(&keys, &fields, peer);
        fields.insert("x-user", HeaderValue::from_static("7"));
        assert_eq!(key(&keys, &fields, peer), by_cookie, "the same value hashes alike");
        assert_ne!(by_cookie, by_peer);
        assert_eq!(key(&[], &fields, peer), None);
    }
}
