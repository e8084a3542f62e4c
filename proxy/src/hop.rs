//! The fields of one hop: which of a message's fields a proxy must not pass on (RFC 9110, 7.6.1).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::fields::Fields;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Fields that `Connection` must not be able to remove: they say who asks, what for, and how the message is framed.
fn is_protected(name: &HeaderName) -> bool {
    let text = name.as_str();
    [header::HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE, header::AUTHORIZATION, header::COOKIE].contains(name)
        || text.starts_with("x-forwarded-")
        || text.starts_with("x-envoy-")
        || text.starts_with("grpc-")
        || matches!(text, "traceparent" | "tracestate" | "forwarded" | "x-request-id" | "x-real-ip")
}

/// Removes the fields of one hop, of a request or a response; `fields` are those it has. An upgrade keeps `Upgrade`
/// and a `Connection` that names nothing else.
pub fn strip(headers: &mut HeaderMap, fields: Fields) {
    if fields.any(Fields::TE) {
        if headers.get_all(header::TE).iter().any(|value| names(value, "trailers")) {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        } else {
            headers.remove(header::TE);
        }
    }
    if fields.any(Fields::CONNECTION) {
        let upgrade = strip_named(headers);
        headers.remove(header::CONNECTION);
        if fields.any(Fields::HOP) {
            strip_hop(headers);
        }
        // h2c is a hop's own business, and a way around the rooms behind this one if it is passed on.
        if let Some(upgrade) = upgrade.filter(|value| !value.as_bytes().eq_ignore_ascii_case(b"h2c")) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, upgrade);
        }
    } else if fields.any(Fields::HOP) {
        strip_hop(headers);
    }
}

/// Removes an upgrade's own fields, which [`strip`] keeps: HTTP/2 has no upgrades (RFC 9113, 8.6).
pub fn strip_upgrade(headers: &mut HeaderMap, fields: Fields) {
    if fields.any(Fields::UPGRADE) {
        headers.remove(header::UPGRADE);
        headers.remove(header::CONNECTION);
    }
}

fn strip_hop(headers: &mut HeaderMap) {
    for name in [header::TRANSFER_ENCODING, header::UPGRADE, KEEP_ALIVE, PROXY_CONNECTION] {
        headers.remove(name);
    }
}

/// Removes what `Connection` names; returns the upgrade where it names one.
fn strip_named(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let first = headers.get(header::CONNECTION).map(HeaderValue::as_bytes).unwrap_or_default();
    let plain = first.eq_ignore_ascii_case(b"keep-alive") || first.eq_ignore_ascii_case(b"close");
    // As many names as values: none has a second one. Asking so is cheaper than walking the values of one.
    if plain && headers.keys_len() == headers.len() {
        return None;
    }
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .collect();
    let upgrade = named.contains(&header::UPGRADE).then(|| headers.get(header::UPGRADE).cloned()).flatten();
    for name in &named {
        if !is_protected(name) && *name != header::TE {
            headers.remove(name);
        }
    }
    upgrade
}

fn names(value: &HeaderValue, token: &str) -> bool {
    value.to_str().is_ok_and(|text| text.split(',').any(|one| one.trim().eq_ignore_ascii_case(token)))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    fn strip(fields: &[(&str, &str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        let fields = crate::fields::Fields::of(&headers);
        super::strip(&mut headers, fields);
        let mut left: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?"))).collect();
        left.sort();
        left
    }

    #[test]
    fn the_fields_of_one_hop_stay_behind() {
        assert_eq!(
            strip(&[("connection", "keep-alive, x-mine"), ("keep-alive", "5"), ("x-mine", "1"), ("x-other", "2")]),
            ["x-other: 2"]
        );
        assert_eq!(strip(&[("te", "gzip, trailers")]), ["te: trailers"]);
        assert!(strip(&[("te", "gzip"), ("proxy-connection", "close")]).is_empty());
    }

    #[test]
    fn connection_cannot_remove_what_others_rely_on() {
        let left = strip(&[
            ("connection", "Authorization, X-Forwarded-For"),
            ("authorization", "b"),
            ("x-forwarded-for", "1"),
        ]);
        assert_eq!(left, ["authorization: b", "x-forwarded-for: 1"]);
    }

    #[test]
    fn an_upgrade_keeps_its_fields_unless_it_is_h2c() {
        assert_eq!(
            strip(&[("connection", "Upgrade, x-a"), ("upgrade", "websocket"), ("x-a", "1")]),
            ["connection: upgrade", "upgrade: websocket"]
        );
        assert!(strip(&[("connection", "upgrade"), ("upgrade", "h2c")]).is_empty());
        assert!(strip(&[("upgrade", "websocket")]).is_empty());
    }
}
