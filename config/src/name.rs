//! Names: of objects, of xDS resources and of hosts. Each is checked once, here, and cannot be confused with another.

use std::fmt;
use std::sync::Arc;

use crate::error::Problem;

/// The longest xDS resource name that is accepted, bytes.
pub const MAX_RESOURCE_NAME: usize = 4096;

/// A DNS label of RFC 1123: 1-63 of `a-z 0-9 -`, beginning and ending with a letter or digit.
pub fn check_label(value: &str) -> Result<(), Problem> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inner = value.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if value.len() <= 63 && inner && edge(value.chars().next()) && edge(value.chars().next_back()) {
        return Ok(());
    }
    Err(Problem::invalid(
        value,
        "must be 1 to 63 lower-case letters, digits or '-', beginning and ending with a letter or digit",
    ))
}

/// A DNS name of RFC 1123: labels joined by dots, at most 253 bytes.
pub fn check_subdomain(value: &str) -> Result<(), Problem> {
    if value.is_empty() || value.len() > 253 || value.split('.').any(|label| check_label(label).is_err()) {
        return Err(Problem::invalid(value, "must be a lower-case DNS name of at most 253 characters"));
    }
    Ok(())
}

/// Namespace and name of an object: `shop/catalog`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    namespace: Arc<str>,
    name: Arc<str>,
}

impl ObjectName {
    /// Checks both parts: the namespace a label, the name a DNS name.
    pub fn try_new(namespace: &str, name: &str) -> Result<Self, Problem> {
        check_label(namespace).map_err(|problem| problem.at_field("namespace"))?;
        check_subdomain(name).map_err(|problem| problem.at_field("name"))?;
        Ok(ObjectName { namespace: namespace.into(), name: name.into() })
    }

    /// Reads `namespace/name`; a bare `name` is in namespace `default`.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        match text.split_once('/') {
            Some((namespace, name)) => ObjectName::try_new(namespace, name),
            None => ObjectName::try_new("default", text),
        }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name inside the namespace.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The name of an xDS resource, opaque to everything but the translation that made it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceName(Arc<str>);

impl ResourceName {
    /// Refuses an empty name and one longer than [`MAX_RESOURCE_NAME`].
    pub fn try_new(name: &str) -> Result<Self, Problem> {
        if name.is_empty() {
            return Err(Problem::invalid(name, "must not be empty"));
        }
        if name.len() > MAX_RESOURCE_NAME {
            return Err(Problem::invalid(name, format!("must be at most {MAX_RESOURCE_NAME} bytes long")));
        }
        Ok(ResourceName(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of an xDS Listener.
pub type ListenerName = ResourceName;
/// The name of an xDS RouteConfiguration.
pub type TableName = ResourceName;
/// The name of an xDS Cluster.
pub type ClusterName = ResourceName;

/// A host a virtual host answers for, as xDS `VirtualHost.domains` has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Domain {
    /// `*`: every host.
    Any,
    /// `*.example.com`: the text after the `*`, here `.example.com`.
    Suffix(Arc<str>),
    /// The host itself, lower case; with a port only where the port is part of the match.
    Exact(Arc<str>),
}

impl Domain {
    /// Reads a domain; prefix wildcards (`www.*`) are refused.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let lower = text.to_ascii_lowercase();
        if lower == "*" {
            return Ok(Domain::Any);
        }
        let (body, suffix) = match lower.strip_prefix('*') {
            Some(rest) => (rest, true),
            None => (lower.as_str(), false),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
        if body.is_empty() || body.len() > 261 || !body.chars().all(plain) {
            return Err(Problem::invalid(text, "must be a host name, '*' or '*.' followed by a host name"));
        }
        Ok(if suffix { Domain::Suffix(body.into()) } else { Domain::Exact(body.into()) })
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Domain::Any => f.write_str("*"),
            Domain::Suffix(suffix) => write!(f, "*{suffix}"),
            Domain::Exact(host) => f.write_str(host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Domain, ObjectName, check_label};

    #[test]
    fn labels_follow_rfc_1123() {
        for good in ["a", "a-b", "0", &"a".repeat(63)] {
            assert!(check_label(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", &"a".repeat(64)] {
            assert!(check_label(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bare_object_name_is_in_the_default_namespace() {
        assert_eq!(ObjectName::parse("web").expect("valid").to_string(), "default/web");
        assert_eq!(ObjectName::parse("shop/web").expect("valid").to_string(), "shop/web");
    }

    #[test]
    fn domains_print_as_they_were_written() {
        for text in ["*", "*.example.com", "example.com", "[::1]:80"] {
            assert_eq!(Domain::parse(text).expect("valid").to_string(), text);
        }
        for bad in ["", "a b", "www.*", "a@b", "a/b"] {
            assert!(Domain::parse(bad).is_err(), "{bad}");
        }
    }
}
