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
}

impl Metadata {
    /// `name`, `namespace` (absent: `default`), `labels` and `annotations`, which are kept and mean nothing.
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
        fields.finish();
        Metadata { name: ObjectName::try_new(&namespace, &name).unwrap_or_else(|_| stand_in()), labels }
    }
}

/// The name of what has none that could be used; its problem is noted already.
pub(crate) fn stand_in() -> ObjectName {
    ObjectName::parse("unnamed").expect("the stand-in is a valid name")
}
