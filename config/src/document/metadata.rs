//! `metadata`: what every document has.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::kind::Kind;
use super::reader::Field;
use crate::error::Problem;
use crate::name::{ObjectName, check_label, check_subdomain};

/// Labels, as selectors look for them.
pub(crate) type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// Who a document is.
#[derive(Debug)]
pub(crate) struct Metadata {
    pub(crate) name: ObjectName,
    pub(crate) labels: Labels,
    pub(crate) created: Option<Created>,
}

/// When a document was made (`creationTimestamp`, as Kubernetes writes it): of one form, so that its text sorts by time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Created(Arc<str>);

impl Created {
    /// A time in UTC by the second, RFC 3339.
    fn parse(text: &str) -> Result<Self, Problem> {
        const FORM: &[u8] = b"0000-00-00T00:00:00Z";
        let fits = |(byte, form): (u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == *form };
        let number = |at: usize| text.get(at..at + 2).and_then(|digits| digits.parse::<u8>().ok());
        let within = |at, least, most| number(at).is_some_and(|number| (least..=most).contains(&number));
        let of_form = text.len() == FORM.len() && text.bytes().zip(FORM).all(fits);
        let fields = [(5, 1, 12), (8, 1, 31), (11, 0, 23), (14, 0, 59), (17, 0, 60)];
        if of_form && fields.into_iter().all(|(at, least, most)| within(at, least, most)) {
            return Ok(Created(text.into()));
        }
        Err(Problem::invalid(text, "must be a time in UTC, such as 2026-11-21T08:30:00Z"))
    }
}

impl Metadata {
    /// `name`, `namespace` (absent: `default`), `labels`, `creationTimestamp`, and `annotations`, which are kept and mean
    /// nothing.
    pub(crate) fn read(field: &Field<'_>, kind: Kind) -> Self {
        let mut fields = field.fields();
        // A Service's name becomes a host name's first label.
        let check: fn(&str) -> Result<(), Problem> = if kind == Kind::Service { check_label } else { check_subdomain };
        let name = fields.required("name").checked(check);
        let namespace = fields.optional("namespace").map_or("default".into(), |field| field.checked(check_label));
        let labels = fields.optional("labels").map(|field| field.labels()).unwrap_or_default();
        if let Some(field) = fields.optional("annotations") {
            field.labels();
        }
        let created = fields.optional("creationTimestamp").and_then(|field| field.parsed(Created::parse));
        fields.finish();
        let name = ObjectName::try_new(&namespace, &name).unwrap_or_else(|_| stand_in());
        Metadata { name, labels, created }
    }
}

/// The name of what has none that could be used; its problem is noted already.
pub(crate) fn stand_in() -> ObjectName {
    ObjectName::parse("unnamed").expect("the stand-in is a valid name")
}
