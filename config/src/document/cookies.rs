//! `cookies` of a match: Outrigger's own, since Gateway API has none. Each becomes a match of the header field `cookie`, a
//! regular expression over the whole field, so that Envoy and gRPC do the same.

use std::sync::Arc;

use super::reader::Field;
use crate::error::Problem;
use crate::matching::{HeaderMatch, ValueMatch};
use crate::value::Pattern;

/// The longest name and value.
const MAX_NAME: usize = 128;
const MAX_VALUE: usize = 256;

/// Reads a list of `name`, `value` and `type`; any cookie of the name may have the value.
pub(super) fn read_cookies(field: &Field<'_>) -> Vec<HeaderMatch> {
    let cookies = field.list(|field| {
        let mut fields = field.fields();
        let types = &[("Exact", false), ("RegularExpression", true)];
        let regex = fields.optional("type").and_then(|field| field.choice(types)).unwrap_or(false);
        let name = fields.required("name").parsed(parse_name);
        let value = fields.required("value").parsed(|text| parse_value(text, regex));
        let field = fields.finish();
        let (name, value) = (name?, value?);
        // Both are short enough for a pattern, unless the value is an expression that grows beyond its bound.
        match Pattern::try_new(&pattern(&name, &value)) {
            Ok(pattern) => Some((name, HeaderMatch { name: "cookie".into(), value: ValueMatch::Regex(pattern) })),
            Err(problem) => {
                field.note(problem.at_field("value"));
                None
            }
        }
    });
    let cookies: Vec<_> = cookies.into_iter().flatten().collect();
    field.unique("name", cookies.iter().map(|(name, _)| &**name));
    cookies.into_iter().map(|(_, matches)| matches).collect()
}

/// `a=1; b=2` has both (RFC 6265, 4.2.1).
fn pattern(name: &str, value: &str) -> String {
    format!("(?:[^\\n]*;)?[ \\t]*{}={value}[ \\t]*(?:;[^\\n]*)?", regex::escape(name))
}

/// A token (RFC 9110, 5.6.2).
fn parse_name(text: &str) -> Result<Arc<str>, Problem> {
    let is_token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
    if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(is_token) {
        return Err(Problem::invalid(text, format!("must be the name of a cookie, up to {MAX_NAME} characters")));
    }
    Ok(text.into())
}

/// The value as a regular expression that never leaves its cookie.
fn parse_value(text: &str, regex: bool) -> Result<String, Problem> {
    let allowed = |c: u8| (0x21..0x7f).contains(&c) && c != b';';
    if text.is_empty() || text.len() > MAX_VALUE || !text.bytes().all(allowed) {
        return Err(Problem::invalid(text, format!("must be 1 to {MAX_VALUE} visible characters without ';'")));
    }
    if !regex {
        return Ok(regex::escape(text));
    }
    let bounded = bounded(text);
    Pattern::try_new(&bounded)?;
    if reaches_beyond(&bounded) {
        let reason = "must not match ';', which ends a cookie: say [^;...] for [^...] and its like";
        return Err(Problem::invalid(text, reason));
    }
    Ok(format!("(?:{bounded})"))
}

/// The expression with `[^;\n]` for `.`.
fn bounded(text: &str) -> String {
    let (mut made, mut escaped, mut class) = (String::with_capacity(text.len() + 8), false, false);
    for c in text.chars() {
        match c {
            '.' if !escaped && !class => made.push_str("[^;\\n]"),
            _ => made.push(c),
        }
        class = if escaped { class } else { (class || c == '[') && c != ']' };
        escaped = c == '\\' && !escaped;
    }
    made
}

/// Whether the expression has a class with `;` in it.
fn reaches_beyond(text: &str) -> bool {
    use regex_syntax::hir::{Class, Hir, HirKind};
    fn reaches(tree: &Hir) -> bool {
        match tree.kind() {
            HirKind::Literal(literal) => literal.0.contains(&b';'),
            HirKind::Class(Class::Unicode(class)) => {
                class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&';'))
            }
            HirKind::Class(Class::Bytes(class)) => {
                class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&b';'))
            }
            HirKind::Repetition(inner) => reaches(&inner.sub),
            HirKind::Capture(inner) => reaches(&inner.sub),
            HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(reaches),
            HirKind::Empty | HirKind::Look(_) => false,
        }
    }
    regex_syntax::parse(text).map_or(true, |tree| reaches(&tree))
}

#[cfg(test)]
mod tests {
    use super::{parse_value, pattern};
    use crate::value::Pattern;

    fn matches(value: &str, regex: bool, field: &str) -> bool {
        let value = parse_value(value, regex).expect("a value");
        Pattern::try_new(&pattern("user", &value)).expect("a pattern").is_match(field)
    }

    #[test]
    fn a_cookie_is_found_among_others_and_nowhere_else() {
        for (value, regex, field, expected) in [
            ("ada", false, "user=ada", true),
            ("ada", false, "a=b; user=ada; c=d", true),
            ("ada", false, "a=b;user=ada", true),
            ("ada", false, "user=adam", false),
            ("ada", false, "xuser=ada", false),
            ("ada", false, "a=user=ada", false),
            ("ada", false, "", false),
            ("a.a", false, "user=ada", false),
            ("a.*", true, "user=ada; b=c", true),
            (".*z", true, "user=ada; b=z", false),
            ("a|b", true, "user=b", true),
            ("[.]x", true, "user=.x", true),
            ("\\.x", true, "user=.x", true),
        ] {
            assert_eq!(matches(value, regex, field), expected, "{value} {field}");
        }
    }

    #[test]
    fn an_expression_stays_in_its_cookie() {
        for (value, regex) in [("a;b", false), ("", false), ("[^a]*", true), ("\\S+", true), ("\\W", true), ("(", true)]
        {
            assert!(parse_value(value, regex).is_err(), "{value}");
        }
    }
}
