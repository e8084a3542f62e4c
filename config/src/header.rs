//! Changes to a message's header fields (Gateway API `HTTPHeaderFilter`, xDS `HeaderValueOption`).
//!
//! What belongs to one hop, says where a message goes or how long it is, is nobody's to change here: a proxy would
//! break the framing or its own routing by it. Every name stands in one list once, so that the order never matters.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};

use crate::error::{Code, Problem};

/// A field and what it says.
pub type HeaderField = (Arc<str>, Arc<str>);

/// What is changed. Names are lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    /// Fields that get this value in the place of every other.
    pub set: Vec<HeaderField>,
    /// Fields that get this value beside those they have.
    pub add: Vec<HeaderField>,
    /// Fields that are taken out.
    pub remove: Vec<Arc<str>>,
}

/// What is changed in both directions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// In the request, before it is sent.
    pub request: HeaderChanges,
    /// In the response, when it comes back.
    pub response: HeaderChanges,
}

/// The fields of one hop (RFC 9110, 7.6.1), of a message's framing, and those that the proxy answers for itself.
const REFUSED: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The longest value, as in Gateway API.
const MAX_VALUE: usize = 4096;

impl Headers {
    /// These changes and then `later` ones, as one.
    #[must_use]
    pub fn then(&self, later: &Headers) -> Headers {
        Headers { request: self.request.then(&later.request), response: self.response.then(&later.response) }
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.request.is_empty() && self.response.is_empty()
    }

    /// Both hold together.
    pub fn check(&self) -> Result<(), Problem> {
        self.request.check().map_err(|problem| problem.at_field("request").at_field("headers"))?;
        self.response.check().map_err(|problem| problem.at_field("response").at_field("headers"))
    }
}

impl HeaderChanges {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    /// Every field may be changed, and none in two ways.
    pub fn check(&self) -> Result<(), Problem> {
        for (list, fields) in [("set", &self.set), ("add", &self.add)] {
            for (index, (name, value)) in fields.iter().enumerate() {
                let at = |problem: Problem| problem.at_index(index).at_field(list);
                check_name(name).map_err(|problem| at(problem.at_field("name")))?;
                check_value(value).map_err(|problem| at(problem.at_field("value")))?;
            }
        }
        for (index, name) in self.remove.iter().enumerate() {
            check_name(name).map_err(|problem| problem.at_index(index).at_field("remove"))?;
        }
        self.check_lists()
    }

    /// No field stands in two lists, or twice in one.
    pub fn check_lists(&self) -> Result<(), Problem> {
        let names = |fields: &[HeaderField]| fields.iter().map(|(name, _)| Arc::clone(name)).collect::<Vec<_>>();
        let mut seen: BTreeSet<Arc<str>> = BTreeSet::new();
        for (list, names) in [("set", names(&self.set)), ("add", names(&self.add)), ("remove", self.remove.clone())] {
            for (index, name) in names.iter().enumerate() {
                // Several values may be added to one field.
                let again = list == "add" && names[..index].contains(name);
                if !again && !seen.insert(Arc::clone(name)) {
                    let reason = "is changed twice; a field stands in one of set, add and remove";
                    return Err(Problem::new(Code::Conflict, reason).with_value(name).at_index(index).at_field(list));
                }
            }
        }
        Ok(())
    }

    /// These changes and then `later` ones, as one. A field may be removed and added to in it, in this order.
    #[must_use]
    pub fn then(&self, later: &HeaderChanges) -> HeaderChanges {
        let gone = |name: &Arc<str>| later.remove.contains(name) || later.set.iter().any(|(set, _)| set == name);
        let kept = |fields: &[HeaderField], more: &[HeaderField]| {
            fields.iter().filter(|(name, _)| !gone(name)).chain(more).cloned().collect()
        };
        let earlier = self.remove.iter().filter(|name| !gone(name));
        HeaderChanges {
            set: kept(&self.set, &later.set),
            add: kept(&self.add, &later.add),
            remove: earlier.chain(&later.remove).cloned().collect(),
        }
    }

    /// The names of all fields that are changed.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.set.iter().chain(&self.add).map(|(name, _)| name).chain(&self.remove)
    }
}

/// Whether a field of this name may be changed.
pub fn check_name(name: &str) -> Result<(), Problem> {
    if name.starts_with(':') {
        return Err(Problem::invalid(name, "a pseudo-field cannot be changed; URLRewrite changes host and path"));
    }
    let lower = name.to_ascii_lowercase();
    if lower == "host" {
        return Err(Problem::invalid(name, "Host cannot be changed as a field; use URLRewrite with a hostname"));
    }
    if REFUSED.contains(&lower.as_str()) {
        let reason = "belongs to one connection or says how a message is framed, which is the proxy's to decide";
        return Err(Problem::invalid(name, reason));
    }
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(_) if name.len() <= 256 => Ok(()),
        _ => Err(Problem::invalid(name, "must be the name of a header field, 1 to 256 characters")),
    }
}

/// Whether a field may have this value.
pub fn check_value(value: &str) -> Result<(), Problem> {
    if value.is_empty() || value.len() > MAX_VALUE || HeaderValue::from_str(value).is_err() || value.trim() != value {
        let reason = format!("must be 1 to {MAX_VALUE} visible characters, without blanks around them");
        return Err(Problem::invalid(value, reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{HeaderChanges, HeaderField, check_name, check_value};

    fn fields(names: &[&str]) -> Vec<HeaderField> {
        names.iter().map(|name| ((*name).into(), "1".into())).collect()
    }

    #[test]
    fn what_frames_or_routes_a_message_cannot_be_changed() {
        for name in ["Host", ":path", "Connection", "transfer-encoding", "TE", "upgrade", "content-length", "", "a b"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        for name in ["x-user", "Cookie", "authorization", "x-forwarded-for"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_value_can_stand_on_the_wire() {
        for value in ["", "a\r\nb: c", " a", "a\u{7f}"] {
            assert!(check_value(value).is_err(), "{value:?}");
        }
        assert!(check_value("50% \"off\", today").is_ok());
    }

    #[test]
    fn a_field_is_changed_in_one_way() {
        let twice = |set: &[&str], add: &[&str], remove: &[&str]| {
            let remove = remove.iter().map(|name| (*name).into()).collect();
            HeaderChanges { set: fields(set), add: fields(add), remove }.check().err().map(|problem| problem.path)
        };
        assert_eq!(twice(&["a"], &["b", "b"], &["c"]), None);
        assert_eq!(twice(&["a", "a"], &[], &[]).as_deref(), Some("set[1]"));
        assert_eq!(twice(&["a"], &["b", "a"], &[]).as_deref(), Some("add[1]"));
        assert_eq!(twice(&["a"], &[], &["b", "a"]).as_deref(), Some("remove[1]"));
    }
}
