//! The fields of one hop: which of a message's fields a proxy must not pass on (RFC 9110, 7.6.1).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

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

/// Removes the fields of one hop, of a request or a response. An upgrade keeps `Upgrade` and a `Connection` that names nothing else.
pub fn strip(headers: &mut HeaderMap) {
    // One pass over the names, since most messages have none of these.
    let (mut connection, mut te, mut others) = (false, false, false);
    for name in headers.keys() {
        connection |= name == header::CONNECTION;
        te |= name == header::TE;
        others |= name == header::TRANSFER_ENCODING
            || name == header::UPGRADE
            || name == KEEP_ALIVE
            || name == PROXY_CONNECTION;
    }
    if te && headers.get_all(header::TE).iter().all(|value| !names(value, "trailers")) {
        headers.remove(header::TE);
    } else if te {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if !connection && !others {
        return;
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
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, KEEP_ALIVE, PROXY_CONNECTION] {
        headers.remove(name);
    }
    // h2c is a hop's own business, and a way around the rooms behind this one if it is passed on.
    if let Some(upgrade) = upgrade.filter(|value| !value.as_bytes().eq_ignore_ascii_case(b"h2c")) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, upgrade);
    }
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
        super::strip(&mut headers);
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
