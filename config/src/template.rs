//! Path templates: `/users/{id}/orders`, where each name in braces stands for one segment that is not empty.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::error::Problem;

/// What Envoy's `uri_template` matcher takes: so many variables, with names of so many characters.
const MAX_VARIABLES: usize = 5;
const MAX_NAME: usize = 16;
const MAX_LENGTH: usize = 1024;

/// A template, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Arc<str>);

impl Template {
    /// Reads a template.
    pub fn try_new(text: &str) -> Result<Self, Problem> {
        let invalid = |reason: String| Err(Problem::invalid(text, reason));
        if !text.starts_with('/') || text.len() > MAX_LENGTH {
            return invalid(format!("must begin with '/' and be at most {MAX_LENGTH} characters long"));
        }
        let mut names = BTreeSet::new();
        for segment in text.split('/').skip(1) {
            let Some(name) = variable(segment) else {
                if !segment.bytes().all(is_literal) || matches!(segment, "." | "..") {
                    return invalid(format!("{segment:?} is neither a plain segment nor {{name}}"));
                }
                continue;
            };
            let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
            if !begins || name.len() > MAX_NAME || !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
                return invalid(format!(
                    "{segment:?} needs a name of a letter and up to {} letters, digits and '_'",
                    MAX_NAME - 1
                ));
            }
            if !names.insert(name) {
                return invalid(format!("{segment:?} stands in it twice"));
            }
        }
        let inner = text.trim_end_matches('/').get(1..).unwrap_or_default();
        if inner.split('/').any(str::is_empty) {
            return invalid("must be a normal path: without '//'".into());
        }
        match names.len() {
            0 => invalid("has no {name}; use Exact".into()),
            1..=MAX_VARIABLES => Ok(Template(text.into())),
            _ => invalid(format!("may have {MAX_VARIABLES} names")),
        }
    }

    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a path fits, segment for segment.
    pub fn is_match(&self, path: &str) -> bool {
        let (mut wanted, mut given) = (self.0.split('/'), path.split('/'));
        loop {
            match (wanted.next(), given.next()) {
                (None, None) => return true,
                (Some(wanted), Some(given)) if variable(wanted).is_some() => {
                    if given.is_empty() {
                        return false;
                    }
                }
                (Some(wanted), Some(given)) if wanted == given => {}
                _ => return false,
            }
        }
    }

    /// The same as a regular expression of the whole path, for whoever knows no templates.
    pub fn to_regex(&self) -> String {
        let segment = |segment| variable(segment).map_or_else(|| regex::escape(segment), |_| "[^/]+".to_owned());
        self.0.split('/').map(segment).collect::<Vec<_>>().join("/")
    }

    /// How many characters stand for themselves: of two templates that fit, the one with more is the narrower.
    pub fn literal_length(&self) -> usize {
        self.0.split('/').filter(|segment| variable(segment).is_none()).map(|segment| segment.len() + 1).sum()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name that a segment stands for.
fn variable(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// The characters of a segment (RFC 3986, `pchar`) that need no escape.
fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()+,;:@=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::Template;
    use crate::value::Pattern;

    #[test]
    fn a_name_stands_for_one_segment() {
        let template = Template::try_new("/users/{id}/orders/{order}").expect("a template");
        for (path, fits) in [
            ("/users/7/orders/8", true),
            ("/users/a%2Fb/orders/*", true),
            ("/users//orders/8", false),
            ("/users/7/orders/", false),
            ("/users/7/orders/8/", false),
            ("/users/7/orders", false),
            ("/users/7/8/orders/9", false),
        ] {
            assert_eq!(template.is_match(path), fits, "{path}");
        }
        assert_eq!(template.literal_length(), 14);
    }

    #[test]
    fn what_could_be_misread_is_none() {
        for text in [
            "",
            "users/{id}",
            "/users",
            "/{}",
            "/{1a}",
            "/{a-b}",
            "/x{id}",
            "/{id}y",
            "/{a}/{a}",
            "/*/{a}",
            "/{a}/**",
            "/a//{b}",
            "/../{a}",
            "/{a=*}",
            "/{a}/{b}/{c}/{d}/{e}/{f}",
            "/{a}{b}",
            "/{seventeenletters0}",
        ] {
            assert!(Template::try_new(text).is_err(), "{text}");
        }
        assert!(Template::try_new("/{a}/").is_ok());
    }

    proptest! {
        #[test]
        fn its_regular_expression_says_the_same(
            template in "(/([ab.+]{1,2}|\\{x\\})){0,2}/\\{y\\}/?", path in "(/[ab.+]{0,2}){1,4}/?"
        ) {
            let Ok(template) = Template::try_new(&template) else { return Ok(()) };
            let regex = Pattern::try_new(&template.to_regex()).expect("a pattern");
            prop_assert_eq!(template.is_match(&path), regex.is_match(&path), "{} {}", template, path);
        }
    }
}
