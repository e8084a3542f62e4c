//! From text to trees: YAML 1.2 with the core schema, and JSON, which is a part of it.
//!
//! The text comes from anyone, so every cost is bounded before it is paid: bytes, nesting, nodes. Anchors, aliases and
//! tags are refused, which leaves no way to write a small text that means a large tree. A key that stands twice is an
//! error rather than a silent choice.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::mem;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput};
use serde::de::IgnoredAny;
use serde_json::Number;

use super::node::{Entry, Mark, Node, Value};
use crate::error::{Code, Problem};

/// The longest text that is read, bytes.
pub const MAX_BYTES: usize = 4 << 20;
/// The deepest nesting that is read.
pub const MAX_DEPTH: usize = 64;
/// The most values that one text may hold.
pub const MAX_NODES: usize = 500_000;

/// The longest key that is read, bytes: that of a label is at most 317.
const MAX_KEY: usize = 512;

/// The most findings of one document that are kept.
const MAX_FINDINGS: usize = 100;

/// A problem and where it was met. Boxed, because every event of a text may give one and hardly any does.
pub(crate) type Finding = Box<(Mark, Problem)>;

/// One document's tree, or why there is none.
pub(crate) type Tree = Result<Node, Vec<Finding>>;

/// Reads all trees of a text, in order. Documents without content are left out; after one that cannot be read to its
/// end there is nothing to go on with.
pub(crate) fn read(text: &str) -> Vec<Tree> {
    if text.len() > MAX_BYTES {
        let reason = format!("is {} bytes long; at most {MAX_BYTES} are read", text.len());
        return vec![Err(vec![finding(Mark { line: 1, column: 1 }, reason)])];
    }
    let text = join_surrogates(text);
    let mut parser = Parser::new_from_str(&text);
    let (mut trees, mut count) = (Vec::new(), 0);
    loop {
        let mut builder = Builder { nodes: count, ..Builder::default() };
        match builder.document(&mut parser) {
            Ok(false) => return trees,
            Ok(true) => trees.extend(builder.finish()),
            Err(finding) => {
                builder.findings.push(finding);
                trees.push(Err(builder.findings));
                return trees;
            }
        }
        count = builder.nodes;
    }
}

/// Builds one document's tree from the parser's events. The parser and this are loops, not recursions, so that no
/// nesting can exhaust the stack.
#[derive(Default)]
struct Builder {
    open: Vec<Frame>,
    root: Option<Node>,
    findings: Vec<Finding>,
    nodes: usize,
}

/// A list or mapping that has begun and not ended.
enum Frame {
    List(Mark, Vec<Node>),
    Map { mark: Mark, entries: BTreeMap<String, Entry>, key: Option<(Mark, String)> },
}

impl Builder {
    /// Takes events up to the end of a document; `false` when the text has ended instead.
    fn document(&mut self, parser: &mut Parser<'_, StrInput<'_>>) -> Result<bool, Finding> {
        loop {
            let Some(next) = parser.next_event() else { return Ok(false) };
            let (event, span) =
                next.map_err(|error| finding(mark(error.marker()), format!("is not YAML or JSON: {}", error.info())))?;
            let at = mark(&span.start);
            self.refuse(at, &event);
            match event {
                Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => {}
                Event::StreamEnd => return Ok(false),
                Event::DocumentEnd => return Ok(true),
                // Refused above; the null keeps keys and values in step until the document's end.
                Event::Alias(_) => self.value(at, Value::Null)?,
                Event::Scalar(text, style, ..) => self.scalar(at, &text, style)?,
                Event::SequenceStart(..) => self.open(at, Frame::List(at, Vec::new()))?,
                Event::MappingStart(..) => {
                    self.open(at, Frame::Map { mark: at, entries: BTreeMap::new(), key: None })?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(),
            }
        }
    }

    fn refuse(&mut self, at: Mark, event: &Event<'_>) {
        let (anchor, tag) = match event {
            Event::Alias(_) => (true, false),
            Event::Scalar(_, _, anchor, tag) | Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => {
                (*anchor > 0, tag.is_some())
            }
            _ => return,
        };
        if anchor {
            self.note(at, "anchors and aliases are not read; write it out");
        }
        if tag {
            self.note(at, "tags are not read; write the value without one");
        }
    }

    fn scalar(&mut self, at: Mark, text: &str, style: ScalarStyle) -> Result<(), Finding> {
        if let Some(Frame::Map { key: key @ None, .. }) = self.open.last_mut() {
            if text.len() > MAX_KEY {
                return Err(finding(at, format!("a key must be at most {MAX_KEY} bytes long")));
            }
            *key = Some((at, text.to_owned()));
            return Ok(());
        }
        self.value(at, if style == ScalarStyle::Plain { plain(text) } else { Value::Text(text.to_owned()) })
    }

    fn value(&mut self, at: Mark, value: Value) -> Result<(), Finding> {
        self.count(at)?;
        self.put(Node { mark: at, value });
        Ok(())
    }

    fn open(&mut self, at: Mark, frame: Frame) -> Result<(), Finding> {
        self.count(at)?;
        if self.open.len() == MAX_DEPTH {
            return Err(finding(at, format!("is nested more than {MAX_DEPTH} levels deep")));
        }
        // The parser takes many times longer over a list at the root than over one in a mapping.
        if let (None, Frame::List(..)) = (self.open.last(), &frame) {
            return Err(finding(at, "a document must be a mapping, not a list"));
        }
        if let Some(Frame::Map { key: None, .. }) = self.open.last() {
            return Err(finding(at, "a key must be a string, not a list or mapping"));
        }
        self.open.push(frame);
        Ok(())
    }

    fn close(&mut self) {
        let node = match self.open.pop() {
            Some(Frame::List(mark, nodes)) => Node { mark, value: Value::List(nodes) },
            Some(Frame::Map { mark, entries, .. }) => Node { mark, value: Value::Map(entries) },
            None => return,
        };
        self.put(node);
    }

    fn put(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List(_, nodes)) => nodes.push(node),
            Some(Frame::Map { entries, key, .. }) => {
                let Some((at, name)) = key.take() else { return };
                if let Some(first) = entries.get(&name) {
                    let reason =
                        format!("the key {name:?} stands twice in one mapping, first on line {}", first.key.line);
                    self.note(at, reason);
                } else {
                    entries.insert(name, Entry { key: at, node });
                }
            }
        }
    }

    fn note(&mut self, at: Mark, reason: impl Into<String>) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding(at, reason));
        }
    }

    fn count(&mut self, at: Mark) -> Result<(), Finding> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(finding(at, format!("holds more than {MAX_NODES} values")));
        }
        Ok(())
    }

    fn finish(&mut self) -> Option<Tree> {
        if !self.findings.is_empty() {
            return Some(Err(mem::take(&mut self.findings)));
        }
        self.root.take().filter(|root| !matches!(root.value, Value::Null)).map(Ok)
    }
}

/// JSON writes a character beyond U+FFFF as two escapes, which YAML does not know: puts the character itself there.
fn join_surrogates(text: &str) -> Cow<'_, str> {
    let has_escape = text.contains("\\ud") || text.contains("\\uD");
    // In JSON every backslash begins an escape; in YAML it depends on the quotes around it.
    if !has_escape || serde_json::from_str::<IgnoredAny>(text).is_err() {
        return Cow::Borrowed(text);
    }
    let (mut joined, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(start) = rest.find('\\') {
        let pair = rest.get(start..start + 12).and_then(surrogate_pair);
        joined.push_str(&rest[..start]);
        // The letter after a backslash is ASCII in JSON, so that two bytes are two characters.
        let length = match pair {
            Some(character) => {
                joined.push(character);
                12
            }
            None => {
                joined.push_str(&rest[start..start + 2]);
                2
            }
        };
        rest = &rest[start + length..];
    }
    joined.push_str(rest);
    Cow::Owned(joined)
}

/// The character of an escape such as `\ud83d\ude00`.
fn surrogate_pair(escape: &str) -> Option<char> {
    let (high, low) = escape.strip_prefix("\\u")?.split_once("\\u")?;
    let units = [u16::from_str_radix(high, 16).ok()?, u16::from_str_radix(low, 16).ok()?];
    let mut characters = char::decode_utf16(units);
    let character = characters.next()?.ok()?;
    characters.next().is_none().then_some(character)
}

fn finding(at: Mark, reason: impl Into<String>) -> Finding {
    Box::new((at, Problem::new(Code::Syntax, reason)))
}

fn mark(marker: &Marker) -> Mark {
    let bounded = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Mark { line: bounded(marker.line().max(1)), column: bounded(marker.col() + 1) }
}

/// A plain scalar by the core schema of YAML 1.2.2, section 10.3.2. What JSON has no number for stays text.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    number(text).map_or_else(|| Value::Text(text.to_owned()), Value::Number)
}

fn number(text: &str) -> Option<Number> {
    if let Some(octal) = text.strip_prefix("0o") {
        return u64::from_str_radix(octal, 8).ok().filter(|_| !octal.starts_with('+')).map(Number::from);
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok().filter(|_| !hex.starts_with('+')).map(Number::from);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    // `inf`, `nan` and the like are numbers to Rust and text to YAML.
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || !unsigned.bytes().any(|b| b.is_ascii_digit())
        || unsigned.bytes().any(|b| !b.is_ascii_digit() && !b".eE+-".contains(&b))
    {
        return None;
    }
    if let Ok(integer) = text.parse::<i64>() {
        return Some(integer.into());
    }
    if let Ok(integer) = text.parse::<u64>() {
        return Some(integer.into());
    }
    text.parse::<f64>().ok().and_then(Number::from_f64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::read;

    /// The trees of a text as JSON; refused ones as what is wrong.
    fn check(text: &str, expected: &serde_json::Value) {
        let trees = read(text).into_iter().map(|tree| match tree {
            Ok(node) => node.to_json(),
            Err(findings) => findings.into_iter().map(|finding| finding.1.reason).collect(),
        });
        assert_eq!(trees.collect::<serde_json::Value>(), *expected, "{text}");
    }

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        for (text, expected) in [
            ("1", json!(1)),
            ("-1", json!(-1)),
            ("+1", json!(1)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("1.0", json!(1.0)),
            (".5", json!(0.5)),
            ("1e3", json!(1000.0)),
            ("18446744073709551615", json!(u64::MAX)),
            ("true", json!(true)),
            ("~", json!(null)),
            ("", json!(null)),
            // Words that other versions of YAML take for something else.
            ("yes", json!("yes")),
            ("1_000", json!("1_000")),
            ("12:30", json!("12:30")),
            // What JSON has no number for.
            (".inf", json!(".inf")),
            ("inf", json!("inf")),
            ("1e999", json!("1e999")),
            ("0x+1", json!("0x+1")),
            ("-x", json!("-x")),
            ("1.2.3", json!("1.2.3")),
            ("\"1\"", json!("1")),
        ] {
            check(&format!("a: {text}"), &json!([{ "a": expected }]));
        }
    }

    #[test]
    fn json_is_read_as_json() {
        check(
            r#"{"a": "\ud83d\ude00 \\ud83d \/ \n", "\u0062": [1, null, {}]}"#,
            &json!([{"a": "😀 \\ud83d / \n", "b": [1, null, {}]}]),
        );
        check("{\n\t\"a\": 1\n}\n", &json!([{"a": 1}]));
    }

    #[test]
    fn empty_documents_are_left_out() {
        check("# nothing\n---\n---\na: 1\n---\n", &json!([{"a": 1}]));
        check("", &json!([]));
    }

    #[test]
    fn reading_goes_on_after_what_ends_well() {
        check("a: &b 1\n---\na: 1", &json!([["anchors and aliases are not read; write it out"], {"a": 1}]));
    }
}
