//! Dates of messages (RFC 9110, 5.6.7).

use std::time::SystemTime;

use http::header::{HeaderMap, HeaderName};

/// A field that is a date, in any of the three forms.
pub fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}
