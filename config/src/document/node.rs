//! A tree of values that know where they stand in their file: what YAML and JSON have in common.

use std::collections::BTreeMap;

use serde_json::Number;

/// A line and a column, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) mark: Mark,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(BTreeMap<String, Entry>),
}

/// A value under a key, with the key's own place: what an unknown field is reported by.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Mark,
    pub(crate) node: Node,
}

impl Node {
    /// What the value is, as a message names it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// A scalar as text, for a message; nothing for lists, mappings and null.
    pub(crate) fn scalar(&self) -> Option<String> {
        match &self.value {
            Value::Bool(value) => Some(value.to_string()),
            Value::Number(value) => Some(value.to_string()),
            Value::Text(value) => Some(value.clone()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The tree without its places.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(value) => serde_json::Value::Number(value.clone()),
            Value::Text(value) => value.as_str().into(),
            Value::List(nodes) => nodes.iter().map(Node::to_json).collect(),
            Value::Map(entries) => entries.iter().map(|(key, entry)| (key.clone(), entry.node.to_json())).collect(),
        }
    }

    /// The node that a path such as `spec.rules[2].name` leads to, or the deepest one on the way there.
    pub(crate) fn locate(&self, path: &str) -> &Node {
        self.walk(path).0
    }

    /// The node that a path leads to, all the way.
    pub(crate) fn at(&self, path: &str) -> Option<&Node> {
        let (node, rest) = self.walk(path);
        rest.is_empty().then_some(node)
    }

    /// The deepest node on a path, and what is left of the path there.
    fn walk<'a>(&self, path: &'a str) -> (&Node, &'a str) {
        let (mut node, mut path) = (self, path);
        while let Some((step, rest)) = Step::first(path) {
            let next = match (&node.value, step) {
                (Value::Map(entries), Step::Field(name)) => entries.get(name).map(|entry| &entry.node),
                (Value::List(nodes), Step::Index(index)) => nodes.get(index),
                _ => None,
            };
            let Some(next) = next else { break };
            (node, path) = (next, rest);
        }
        (node, path)
    }
}

/// One step of a path.
enum Step<'a> {
    Field(&'a str),
    Index(usize),
}

impl<'a> Step<'a> {
    /// Splits the first step off: `name`, `[2]` or `["a.b"]`.
    fn first(path: &'a str) -> Option<(Self, &'a str)> {
        let path = path.strip_prefix('.').unwrap_or(path);
        if let Some(quoted) = path.strip_prefix("[\"") {
            let (name, rest) = quoted.split_once("\"]")?;
            return Some((Step::Field(name), rest));
        }
        if let Some(indexed) = path.strip_prefix('[') {
            let (index, rest) = indexed.split_once(']')?;
            return Some((Step::Index(index.parse().ok()?), rest));
        }
        let end = path.find(['.', '[']).unwrap_or(path.len());
        (end > 0).then(|| (Step::Field(&path[..end]), &path[end..]))
    }
}

/// A field's path below another's: `spec.ports`, or `metadata.labels["a.b/c"]` where a plain join would mislead.
pub(crate) fn join(path: &str, field: &str) -> String {
    let plain = !field.is_empty() && field.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    match (path.is_empty(), plain) {
        (true, true) => field.to_owned(),
        (false, true) => format!("{path}.{field}"),
        (_, false) => format!("{path}[\"{field}\"]"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Mark, Node, Value, join};

    fn node(line: u32, value: Value) -> Node {
        Node { mark: Mark { line, column: 1 }, value }
    }

    fn map(line: u32, entries: Vec<(&str, Node)>) -> Node {
        let entry = |(key, node): (&str, Node)| (key.to_owned(), Entry { key: Mark::default(), node });
        node(line, Value::Map(entries.into_iter().map(entry).collect()))
    }

    #[test]
    fn a_path_leads_to_its_node_or_as_near_as_it_can() {
        let label = map(4, vec![("a.b/c", node(5, Value::Null))]);
        let root = map(1, vec![("rules", node(2, Value::List(vec![node(3, Value::Null), label])))]);
        for (path, line) in [
            ("", 1),
            ("rules", 2),
            ("rules[0]", 3),
            ("rules[1][\"a.b/c\"]", 5),
            ("rules[1].name", 4),
            ("rules[2].name", 2),
            ("spec.rules", 1),
            ("rules[x]", 2),
        ] {
            assert_eq!(root.locate(path).mark.line, line, "{path}");
        }
        assert!(root.at("rules[1]").is_some() && root.at("rules[2]").is_none());
    }

    #[test]
    fn paths_quote_what_a_plain_join_would_hide() {
        assert_eq!(join("", "spec"), "spec");
        assert_eq!(join("metadata.labels", "app"), "metadata.labels.app");
        assert_eq!(join("metadata.labels", "a.b/c"), "metadata.labels[\"a.b/c\"]");
    }
}
