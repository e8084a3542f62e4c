//! Walking a tree: typed values out, every problem noted with its place.
//!
//! A reader never stops at a problem. It notes it and goes on with a stand-in, so that one pass finds everything that is
//! wrong with a document. A document with a noted problem is never used, so no stand-in ever leaves `document`.
//!
//! A field that is null counts as absent, as Kubernetes has it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::node::{Entry, Mark, Node, Value, join};
use super::suggestion::{hint, nearest};
use crate::error::{Code, Location, Problem};
use crate::value::{format_duration, parse_duration};

/// The most problems of one document that are kept, so that a hostile one does not cost its length many times over.
const MAX_PROBLEMS: usize = 1000;

/// The problems of one document, and what each of them says about where it is.
#[derive(Debug)]
pub(crate) struct Log {
    file: Arc<str>,
    object: String,
    problems: RefCell<Vec<(Mark, Problem)>>,
}

impl Log {
    pub(crate) fn new(file: Arc<str>, object: String) -> Self {
        Log { file, object, problems: RefCell::default() }
    }

    pub(crate) fn note(&self, mark: Mark, mut problem: Problem) {
        let mut problems = self.problems.borrow_mut();
        if problems.len() == MAX_PROBLEMS {
            return;
        }
        problem.object.clone_from(&self.object);
        problem.location = Some(Location { file: self.file.to_string(), line: mark.line, column: mark.column });
        problems.push((mark, problem));
    }

    /// The problems in the order of the text.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|(mark, _)| *mark);
        problems.into_iter().map(|(_, problem)| problem).collect()
    }
}

/// A value that is there, or should be: with its path, and the log for what is wrong with it.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    /// Absent only for a required field that is missing, which is noted already: such a field reads as stand-ins.
    node: Option<&'a Node>,
    mark: Mark,
    path: String,
    log: &'a Log,
}

impl<'a> Field<'a> {
    /// The root of a document.
    pub(crate) fn root(node: &'a Node, log: &'a Log) -> Self {
        Field { node: Some(node), mark: node.mark, path: String::new(), log }
    }

    /// Notes a problem of this field, or of the field in it that the problem's path names.
    pub(crate) fn note(&self, mut problem: Problem) {
        let place = self.node.map(|node| node.locate(&problem.path));
        if problem.value.is_none()
            && let Some(value) = place.and_then(Node::scalar)
        {
            problem = problem.with_value(value);
        }
        problem.path = match (problem.path.as_str(), self.path.as_str()) {
            ("", path) => path.to_owned(),
            (inner, "") => inner.to_owned(),
            (inner, path) if inner.starts_with('[') => format!("{path}{inner}"),
            (inner, path) => format!("{path}.{inner}"),
        };
        self.log.note(place.map_or(self.mark, |node| node.mark), problem);
    }

    /// Whether it is there; one that should be and is not is noted already.
    pub(crate) fn is_there(&self) -> bool {
        self.node.is_some()
    }

    /// Notes that this version cannot do what the field asks for.
    pub(crate) fn unsupported(&self, reason: &str) {
        self.note(Problem::new(Code::Unsupported, reason));
    }

    /// A mapping with fields that are known one by one.
    pub(crate) fn fields(&self) -> Fields<'a> {
        let entries = match self.node.map(|node| &node.value) {
            Some(Value::Map(entries)) => Some(entries),
            _ => {
                self.wrong_type("a mapping");
                None
            }
        };
        Fields { entries, known: Vec::new(), unsupported: &[], at: self.clone() }
    }

    /// A list, each item read by `read`.
    pub(crate) fn list<T>(&self, read: impl Fn(&Field<'a>) -> T) -> Vec<T> {
        let Some(Value::List(nodes)) = self.node.map(|node| &node.value) else {
            self.wrong_type("a list");
            return Vec::new();
        };
        let item = |(index, node): (usize, &'a Node)| {
            read(&Field { node: Some(node), mark: node.mark, path: format!("{}[{index}]", self.path), log: self.log })
        };
        nodes.iter().enumerate().map(item).collect()
    }

    /// A list with at least one item.
    pub(crate) fn some<T>(&self, read: impl Fn(&Field<'a>) -> T) -> Vec<T> {
        let items = self.list(read);
        if items.is_empty() && matches!(self.node.map(|node| &node.value), Some(Value::List(_))) {
            self.note(Problem::new(Code::MissingField, "needs at least one item"));
        }
        items
    }

    /// A mapping of strings to strings.
    pub(crate) fn labels(&self) -> BTreeMap<Arc<str>, Arc<str>> {
        let Some(Value::Map(entries)) = self.node.map(|node| &node.value) else {
            self.wrong_type("a mapping of strings");
            return BTreeMap::new();
        };
        let label = |(key, entry): (&'a String, &'a Entry)| {
            let path = join(&self.path, key);
            let value = Field { node: Some(&entry.node), mark: entry.node.mark, path, log: self.log };
            (key.as_str().into(), value.text())
        };
        entries.iter().map(label).collect()
    }

    /// The same, with at least one.
    pub(crate) fn some_labels(&self) -> BTreeMap<Arc<str>, Arc<str>> {
        let labels = self.labels();
        if labels.is_empty() && matches!(self.node.map(|node| &node.value), Some(Value::Map(_))) {
            self.note(Problem::new(Code::MissingField, "needs at least one item"));
        }
        labels
    }

    /// A string.
    pub(crate) fn text(&self) -> Arc<str> {
        self.string().unwrap_or_default().into()
    }

    /// A string that `parse` makes something of.
    pub(crate) fn parsed<T>(&self, parse: impl Fn(&str) -> Result<T, Problem>) -> Option<T> {
        parse(self.string()?).map_err(|problem| self.note(problem)).ok()
    }

    /// A string that `check` allows.
    pub(crate) fn checked(&self, check: impl Fn(&str) -> Result<(), Problem>) -> Arc<str> {
        self.parsed(|text| check(text).map(|()| text.into())).unwrap_or_default()
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.string()?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let allowed = match &known[..] {
                [only] => format!("must be {only}"),
                several => format!("must be one of {}", several.join(", ")),
            };
            let meant = nearest(text, &known).map(|word| format!("; did you mean {word:?}?")).unwrap_or_default();
            self.note(Problem::invalid(text, allowed + &meant));
        }
        found
    }

    /// A whole number in a range.
    pub(crate) fn integer(&self, range: RangeInclusive<u32>) -> u32 {
        self.bounded(&range).unwrap_or(*range.start())
    }

    /// A port; 0, which none is, stands in for a wrong one.
    pub(crate) fn port(&self) -> u16 {
        self.bounded(&(1..=65535)).and_then(|port| u16::try_from(port).ok()).unwrap_or_default()
    }

    /// Yes or no.
    pub(crate) fn boolean(&self) -> bool {
        match self.node.map(|node| &node.value) {
            Some(Value::Bool(value)) => *value,
            _ => {
                self.wrong_type("true or false");
                false
            }
        }
    }

    /// A number that `parse` makes something of.
    pub(crate) fn number<T>(&self, parse: impl Fn(f64) -> Result<T, Problem>) -> Option<T> {
        let Some(Value::Number(number)) = self.node.map(|node| &node.value) else {
            self.wrong_type("a number");
            return None;
        };
        parse(number.as_f64()?).map_err(|problem| self.note(problem)).ok()
    }

    /// A duration in a range.
    pub(crate) fn duration(&self, range: RangeInclusive<Duration>) -> Duration {
        let Some(duration) = self.parsed(parse_duration) else { return *range.start() };
        if !range.contains(&duration) {
            let (least, most) = (format_duration(*range.start()), format_duration(*range.end()));
            self.note(Problem::new(Code::InvalidValue, format!("must be between {least} and {most}")));
            // One that the checks of the policy have nothing more to say of.
            return *range.start();
        }
        duration
    }

    /// Whether the value is a string or a number: for the few fields that may be either.
    pub(crate) fn is_number(&self) -> bool {
        matches!(self.node.map(|node| &node.value), Some(Value::Number(_)))
    }

    fn bounded(&self, range: &RangeInclusive<u32>) -> Option<u32> {
        let Some(Value::Number(number)) = self.node.map(|node| &node.value) else {
            self.wrong_type("a whole number");
            return None;
        };
        let found = number.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|one| range.contains(one));
        if found.is_none() {
            let reason = format!("must be a whole number between {} and {}", range.start(), range.end());
            self.note(Problem::invalid(number, reason));
        }
        found
    }

    fn string(&self) -> Option<&'a str> {
        match self.node.map(|node| &node.value) {
            Some(Value::Text(text)) => Some(text),
            _ => {
                self.wrong_type("a string");
                None
            }
        }
    }

    /// Notes the items of a list that have another's `field`; an empty one is a stand-in, and noted already.
    pub(crate) fn unique<T: Ord + Default>(&self, field: &str, items: impl Iterator<Item = T>) {
        let mut seen = BTreeSet::new();
        for (index, item) in items.enumerate() {
            if item != T::default() && !seen.insert(item) {
                let problem = Problem::new(Code::Conflict, format!("another one has the same {field}"));
                self.note(problem.at_field(field).at_index(index));
            }
        }
    }

    fn wrong_type(&self, wanted: impl Display) {
        let Some(node) = self.node else { return };
        let quotes = match node.value {
            Value::Bool(_) | Value::Number(_) if wanted.to_string() == "a string" => "; put it in quotes",
            _ => "",
        };
        self.note(Problem::new(Code::WrongType, format!("must be {wanted}, not {}{quotes}", node.type_name())));
    }
}

/// The fields of a mapping. Each that is asked for is known by that; [`Fields::finish`] refuses the others.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    entries: Option<&'a BTreeMap<String, Entry>>,
    known: Vec<&'static str>,
    unsupported: &'static [&'static str],
    at: Field<'a>,
}

impl<'a> Fields<'a> {
    /// A field that may be absent.
    pub(crate) fn optional(&mut self, name: &'static str) -> Option<Field<'a>> {
        self.known.push(name);
        self.get(name)
    }

    /// A field that must be there.
    pub(crate) fn required(&mut self, name: &'static str) -> Field<'a> {
        if let Some(field) = self.optional(name) {
            return field;
        }
        let missing = self.field(name, None, self.at.mark);
        // Where the mapping itself is wrong, that is said already.
        if self.entries.is_some() {
            missing.note(Problem::new(Code::MissingField, "is required"));
        }
        missing
    }

    /// Fields that documents can have and this version cannot carry out.
    pub(crate) fn unsupported(&mut self, names: &'static [&'static str]) {
        self.unsupported = names;
        for field in names.iter().filter_map(|name| self.get(name)) {
            field.unsupported("this version cannot carry it out; take it out");
        }
    }

    /// Refuses the fields that nobody asked for, and gives the mapping back for problems of the whole.
    pub(crate) fn finish(self) -> Field<'a> {
        for (name, entry) in self.entries.into_iter().flatten() {
            if !self.known.contains(&name.as_str()) && !self.unsupported.contains(&name.as_str()) {
                let reason = format!("there is no such field here; {}", hint(name, &self.known));
                self.field(name, None, entry.key).note(Problem::new(Code::UnknownField, reason));
            }
        }
        self.at
    }

    fn get(&self, name: &str) -> Option<Field<'a>> {
        let node = &self.entries?.get(name)?.node;
        (!matches!(node.value, Value::Null)).then(|| self.field(name, Some(node), node.mark))
    }

    fn field(&self, name: &str, node: Option<&'a Node>, mark: Mark) -> Field<'a> {
        Field { node, mark, path: join(&self.at.path, name), log: self.at.log }
    }
}
