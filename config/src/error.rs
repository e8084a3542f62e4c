//! What is wrong with an input: where it is, what stands there, why that cannot be, and a stable code.
//!
//! A [`Problem`] is built from the inside out: the deepest reader states the reason, each caller on the way up
//! prepends its field or index, and the outermost adds the document and its place in the file. Nothing here decides
//! what to do about a problem; a caller that finds several returns all of them as [`Problems`].

use std::fmt;

/// Stable identities of problems, as `outrigger analyze`, the API and a document's status print them.
///
/// A code never changes its meaning. `docs` in [`Code::summary`] is what `outrigger analyze --codes` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// The text is not well-formed YAML or JSON, or passes a limit of size or depth.
    Syntax,
    /// The document's `apiVersion` and `kind` name nothing that Outrigger knows.
    UnknownKind,
    /// A field that the kind does not have.
    UnknownField,
    /// A required field is absent.
    MissingField,
    /// A field holds another type than it must.
    WrongType,
    /// A value outside what the field allows.
    InvalidValue,
    /// A reference to something that does not exist.
    DanglingReference,
    /// Two things that cannot both hold.
    Conflict,
    /// References that lead back to where they began.
    Cycle,
    /// Weights of one rule that add up to nothing.
    ZeroWeights,
    /// A timeout that can never fire, because a shorter one surrounds it.
    TimeoutOrder,
    /// Two documents of the same kind, namespace and name.
    Duplicate,
    /// A rule that an earlier one always hides (warning).
    Unreachable,
    /// Something legal that is probably not meant (warning).
    Suspicious,
    /// A feature the documents can name and this version cannot carry out.
    Unsupported,
}

impl Code {
    /// Every code, in the order of its number.
    pub const ALL: [Code; 15] = [
        Code::Syntax,
        Code::UnknownKind,
        Code::UnknownField,
        Code::MissingField,
        Code::WrongType,
        Code::InvalidValue,
        Code::DanglingReference,
        Code::Conflict,
        Code::Cycle,
        Code::ZeroWeights,
        Code::TimeoutOrder,
        Code::Duplicate,
        Code::Unreachable,
        Code::Suspicious,
        Code::Unsupported,
    ];

    /// The code as it is printed: `ORG001` onwards.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Syntax => "ORG001",
            Code::UnknownKind => "ORG002",
            Code::UnknownField => "ORG003",
            Code::MissingField => "ORG004",
            Code::WrongType => "ORG005",
            Code::InvalidValue => "ORG006",
            Code::DanglingReference => "ORG007",
            Code::Conflict => "ORG008",
            Code::Cycle => "ORG009",
            Code::ZeroWeights => "ORG010",
            Code::TimeoutOrder => "ORG011",
            Code::Duplicate => "ORG012",
            Code::Unreachable => "ORG013",
            Code::Suspicious => "ORG014",
            Code::Unsupported => "ORG015",
        }
    }

    /// One line on what the code means.
    pub fn summary(self) -> &'static str {
        match self {
            Code::Syntax => "the text cannot be read as YAML or JSON within the limits of size and depth",
            Code::UnknownKind => "the apiVersion and kind name nothing that Outrigger knows",
            Code::UnknownField => "the kind has no such field",
            Code::MissingField => "a required field is absent",
            Code::WrongType => "the field holds another type than it must",
            Code::InvalidValue => "the value is outside what the field allows",
            Code::DanglingReference => "a reference names something that does not exist",
            Code::Conflict => "two statements cannot both hold",
            Code::Cycle => "references lead back to where they began",
            Code::ZeroWeights => "the weights of a rule add up to zero",
            Code::TimeoutOrder => "a timeout can never fire, because a shorter one surrounds it",
            Code::Duplicate => "two documents have the same kind, namespace and name",
            Code::Unreachable => "an earlier rule always hides this one",
            Code::Suspicious => "legal, and probably not what was meant",
            Code::Unsupported => "this version cannot carry the feature out",
        }
    }

    /// Whether the code refuses the input; a warning lets it pass.
    pub fn is_error(self) -> bool {
        !matches!(self, Code::Unreachable | Code::Suspicious)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A place in a file; lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// The file's name as the user gave it; empty when the text came from no file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind of problem it is.
    pub code: Code,
    /// The document it was found in, as `Kind namespace/name`; empty for a resource that came over xDS.
    pub object: String,
    /// The field, from the document's root: `spec.rules[2].timeouts.request`.
    pub path: String,
    /// The offending value as it was written, shortened to 80 characters; absent where there is none.
    pub value: Option<String>,
    /// Why it cannot be, and what would be valid: a lower-case fragment.
    pub reason: String,
    /// Where in which file; absent for input without a file.
    pub location: Option<Location>,
}

impl Problem {
    /// A problem without a path yet: the caller adds it with [`Problem::at_field`] and [`Problem::at_index`].
    pub fn new(code: Code, reason: impl Into<String>) -> Self {
        Problem { code, object: String::new(), path: String::new(), value: None, reason: reason.into(), location: None }
    }

    /// A value that a field does not allow.
    pub fn invalid(value: impl fmt::Display, reason: impl Into<String>) -> Self {
        Problem::new(Code::InvalidValue, reason).with_value(value)
    }

    /// Adds the offending value, shortened to 80 characters.
    #[must_use]
    pub fn with_value(mut self, value: impl fmt::Display) -> Self {
        let text = value.to_string();
        self.value = Some(match text.char_indices().nth(80) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text,
        });
        self
    }

    /// Prepends a field to the path.
    #[must_use]
    pub fn at_field(mut self, field: &str) -> Self {
        self.path = match self.path.as_str() {
            "" => field.to_owned(),
            rest if rest.starts_with('[') => format!("{field}{rest}"),
            rest => format!("{field}.{rest}"),
        };
        self
    }

    /// Prepends an index to the path.
    #[must_use]
    pub fn at_index(mut self, index: usize) -> Self {
        self.path = match self.path.as_str() {
            "" => format!("[{index}]"),
            rest if rest.starts_with('[') => format!("[{index}]{rest}"),
            rest => format!("[{index}].{rest}"),
        };
        self
    }
}

impl fmt::Display for Problem {
    /// `FILE:LINE:COLUMN: CODE OBJECT: PATH: "VALUE": REASON`, each part only where it is known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = &self.location {
            if !at.file.is_empty() {
                write!(f, "{}:", at.file)?;
            }
            write!(f, "{}:{}: ", at.line, at.column)?;
        }
        write!(f, "{}", self.code)?;
        if !self.object.is_empty() {
            write!(f, " {}", self.object)?;
        }
        f.write_str(": ")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        if let Some(value) = &self.value {
            write!(f, "{value:?}: ")?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Problem {}

/// Everything that is wrong with an input, in the order of the input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them refuses the input.
    pub fn refuses(&self) -> bool {
        self.0.iter().any(|problem| problem.code.is_error())
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Problems(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::{Code, Location, Problem};

    #[test]
    fn a_path_is_built_from_the_inside_out() {
        let problem = Problem::invalid("0s", "must be longer than zero")
            .at_field("request")
            .at_field("timeouts")
            .at_index(2)
            .at_field("rules")
            .at_field("spec");
        assert_eq!(problem.path, "spec.rules[2].timeouts.request");
    }

    #[test]
    fn a_problem_prints_all_it_knows() {
        let mut problem = Problem::invalid("0s", "must be longer than zero").at_field("spec");
        problem.object = "HTTPRoute shop/catalog".into();
        problem.location = Some(Location { file: "shop.yaml".into(), line: 3, column: 9 });
        assert_eq!(
            problem.to_string(),
            "shop.yaml:3:9: ORG006 HTTPRoute shop/catalog: spec: \"0s\": must be longer than zero"
        );
    }

    #[test]
    fn codes_are_numbered_in_order() {
        for (index, code) in Code::ALL.iter().enumerate() {
            assert_eq!(code.as_str(), format!("ORG{:03}", index + 1));
        }
    }
}
