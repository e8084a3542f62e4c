//! The query of a request to the admin port: `name=value` pairs, percent-encoded.

/// The pairs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// Of a request that may have none.
    pub(super) fn new(query: Option<&'a str>) -> Self {
        Query(query.unwrap_or_default())
    }

    /// The first value under a name, decoded; bytes that are no text become the replacement character.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let pair = |pair: &'a str| pair.split_once('=').unwrap_or((pair, ""));
        self.0.split('&').map(pair).find(|(key, _)| decode(key) == name).map(|(_, value)| decode(value))
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        let escaped = hex.filter(|_| *first == b'%').and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::Query;

    #[test]
    fn values_are_decoded() {
        let query = Query::new(Some("a=1&filter=info%2Coutrigger%5Fproxy=debug&b&a=2&c=x+y%2&d=%zz"));
        for (name, value) in [
            ("a", Some("1")),
            ("filter", Some("info,outrigger_proxy=debug")),
            ("b", Some("")),
            ("c", Some("x y%2")),
            ("d", Some("%zz")),
            ("e", None),
        ] {
            assert_eq!(query.get(name).as_deref(), value, "{name}");
        }
        assert_eq!(Query::new(None).get("a"), None);
    }
}
