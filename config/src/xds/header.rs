//! Header fields that are added, set or removed (`envoy.config.core.v3.HeaderValueOption`).
//!
//! A value is a format to Envoy, with commands between percent signs, so that `%` is written twice. Commands of other
//! control planes are refused: the proxy would send their text instead of what they stand for.

use std::sync::Arc;

use xds_api::pb::envoy::config::core::v3 as core;

use super::value::{each, missing, refuse, unsupported};
use crate::error::Problem;
use crate::header::{HeaderChanges, HeaderField, Headers};

use core::header_value_option::HeaderAppendAction;

/// What is added and set, and what is removed, as every message that changes header fields has them.
pub(super) type Lists = (Vec<core::HeaderValueOption>, Vec<String>);

/// Encodes changes.
pub(super) fn encode(changes: &HeaderChanges) -> Lists {
    let set = changes.set.iter().map(|field| option(field, HeaderAppendAction::OverwriteIfExistsOrAdd));
    let add = changes.add.iter().map(|field| option(field, HeaderAppendAction::AppendIfExistsOrAdd));
    (set.chain(add).collect(), changes.remove.iter().map(ToString::to_string).collect())
}

/// Decodes the changes of both directions, which every message with such has under the same names.
pub(super) fn decode(
    (request_add, request_remove): (&[core::HeaderValueOption], &[String]),
    (response_add, response_remove): (&[core::HeaderValueOption], &[String]),
) -> Result<Headers, Problem> {
    Ok(Headers {
        request: read("request_headers_to_add", request_add, "request_headers_to_remove", request_remove)?,
        response: read("response_headers_to_add", response_add, "response_headers_to_remove", response_remove)?,
    })
}

fn read(
    field: &str,
    options: &[core::HeaderValueOption],
    removed: &str,
    names: &[String],
) -> Result<HeaderChanges, Problem> {
    let mut changes = HeaderChanges::default();
    for (action, header) in each(field, options, |option| Ok((action(option)?, read_field(option)?)))? {
        match action {
            HeaderAppendAction::OverwriteIfExistsOrAdd => changes.set.push(header),
            _ => changes.add.push(header),
        }
    }
    changes.remove = names.iter().map(|name| name.to_ascii_lowercase().into()).collect();
    let at = |problem: Problem| match problem.path.strip_prefix("remove") {
        Some(rest) => Problem { path: format!("{removed}{rest}"), ..problem },
        None => problem.at_field(field),
    };
    changes.check().map_err(at)?;
    Ok(changes)
}

/// One field that is set or added.
pub(super) fn option((name, value): &HeaderField, action: HeaderAppendAction) -> core::HeaderValueOption {
    core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: name.to_string(),
            value: value.replace('%', "%%"),
            ..Default::default()
        }),
        append_action: action.into(),
        ..Default::default()
    }
}

/// Reads the field of an option.
pub(super) fn read_field(option: &core::HeaderValueOption) -> Result<HeaderField, Problem> {
    let header = option.header.as_ref().ok_or_else(|| missing("header"))?;
    let inner = |problem: Problem| problem.at_field("header");
    refuse(!header.raw_value.is_empty(), "raw_value").map_err(inner)?;
    let parts: Vec<&str> = header.value.split("%%").collect();
    if parts.iter().any(|part| part.contains('%')) {
        let reason = "format commands are not supported; write '%%' for '%'";
        return Err(inner(unsupported("value", reason).with_value(&header.value)));
    }
    Ok((Arc::from(header.key.to_ascii_lowercase()), parts.join("%").into()))
}

#[allow(deprecated)] // Deprecated, and still what many control planes send.
fn action(option: &core::HeaderValueOption) -> Result<HeaderAppendAction, Problem> {
    match (option.append, HeaderAppendAction::try_from(option.append_action)) {
        (Some(append), _) if append.value => Ok(HeaderAppendAction::AppendIfExistsOrAdd),
        (Some(_), _) => Ok(HeaderAppendAction::OverwriteIfExistsOrAdd),
        (None, Ok(action @ (HeaderAppendAction::AppendIfExistsOrAdd | HeaderAppendAction::OverwriteIfExistsOrAdd))) => {
            Ok(action)
        }
        _ => Err(unsupported("append_action", "only APPEND_IF_EXISTS_OR_ADD and OVERWRITE_IF_EXISTS_OR_ADD are")
            .with_value(option.append_action)),
    }
}
