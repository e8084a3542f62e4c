//! `apply`, `get` and `delete`.

use outrigger_config::document::{self, Kind};
use serde_json::{Value, json};

use super::args::{Apply, Delete, Format, Get};
use super::bundle;
use super::client::{Ask, Client, read};
use super::failure::Failure;
use super::table::{Align, Cell, Table};
use super::terminal::Terminal;
use super::text::Tone;
use super::yaml;
use crate::api::{AppliedView, DeletedView, DocumentList, ObjectView, ProblemView};

/// `outrigger apply`: everything the files hold, or nothing.
pub(super) async fn apply(
    what: &Apply,
    client: &Client,
    format: Format,
    terminal: &mut Terminal<'_>,
) -> Result<(), Failure> {
    let parts = bundle::read(&what.files, terminal.input)?;
    let ask = Ask::new(&["api", "v1", "apply"]).with("dryRun", what.dry_run.then_some("true"));
    let answer = client.post_yaml(ask, bundle::joined(&parts)).await.map_err(|failure| match failure {
        Failure::Problems(text, mut problems) => {
            bundle::relocate(&mut problems, &parts);
            Failure::Problems(text, problems)
        }
        other => other,
    })?;
    let mut applied: AppliedView = read(&answer)?;
    bundle::relocate(&mut applied.warnings, &parts);
    terminal.problems(&applied.warnings);
    if terminal.value(&answer, format)? {
        return Ok(());
    }
    for change in &applied.applied {
        let tone = if change.result == "unchanged" { Tone::Dim } else { Tone::Good };
        let result = terminal.tone(tone, &change.result);
        let object = terminal.tone(Tone::Plain, &named(&change.object));
        terminal.line(&format!("{object} {result}{}", if what.dry_run { " (dry run)" } else { "" }))?;
    }
    match what.dry_run {
        true => terminal.line("nothing was changed"),
        false => terminal.line(&format!("generation {}", applied.generation)),
    }
}

/// `outrigger get`.
pub(super) async fn get(
    what: &Get,
    client: &Client,
    format: Format,
    terminal: &mut Terminal<'_>,
) -> Result<(), Failure> {
    let (namespace, name) = match what.name.as_deref().map(|name| split(name, what.namespace.as_deref())) {
        Some((namespace, name)) => (namespace, Some(name)),
        None => (what.namespace.as_deref(), None),
    };
    let ask = Ask::new(&["api", "v1", "documents"]).with("kind", what.kind.as_deref()).with("namespace", namespace);
    let mut list: DocumentList = read(&client.get(ask).await?)?;
    if let Some(name) = name {
        list.documents.retain(|document| object(document).name == name);
        if list.documents.is_empty() {
            let kind = what.kind.as_deref().unwrap_or("document");
            return Err(Failure::Refused(format!("there is no {kind} {}", qualified(namespace, name))));
        }
    }
    match format {
        // Documents that `apply` reads back.
        Format::Yaml => {
            let documents: Vec<String> = list.documents.iter().map(yaml::render).collect();
            terminal.print(&documents.join("---\n"))
        }
        Format::Json => {
            let answer = match list.documents.as_slice() {
                [only] if name.is_some() => only.clone(),
                _ => json!(list),
            };
            terminal.value(&answer, format).map(|_| ())
        }
        Format::Table => {
            let left = Align::Left;
            let mut table = Table::new(&[("KIND", left), ("NAMESPACE", left), ("NAME", left), ("ABOUT", left)]);
            for document in &list.documents {
                let ObjectView { kind, namespace, name } = object(document);
                table.row([kind.into(), namespace.into(), name.into(), Cell::toned(about(document), Tone::Dim)]);
            }
            if list.documents.is_empty() {
                terminal.note("there are no such documents");
                return Ok(());
            }
            terminal.print(&table.render(terminal.paint))
        }
    }
}

/// `outrigger delete`.
pub(super) async fn delete(
    what: &Delete,
    client: &Client,
    format: Format,
    terminal: &mut Terminal<'_>,
) -> Result<(), Failure> {
    let objects = match (&what.kind, &what.name) {
        (Some(kind), Some(name)) => vec![find(kind, name, what.namespace.as_deref(), client).await?],
        _ => named_by(what, terminal)?,
    };
    let mut waiting = objects;
    let mut deleted = Vec::new();
    // What others refer to cannot go before them, and files say nothing of that order: whatever was refused is tried
    // again for as long as something else could be deleted.
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut refused = Vec::new();
        let mut last = None;
        for object in waiting {
            let ask = Ask::new(&["api", "v1", "documents", &object.kind, &object.namespace, &object.name]);
            match client.delete(ask).await {
                Ok(answer) => {
                    if format == Format::Table {
                        let word = terminal.tone(Tone::Good, "deleted");
                        let object = terminal.tone(Tone::Plain, &named(&read::<DeletedView>(&answer)?.deleted));
                        terminal.line(&format!("{object} {word}"))?;
                    }
                    deleted.push(answer);
                }
                Err(failure @ Failure::Unreachable(_)) => return Err(failure),
                Err(failure) => {
                    refused.push(object);
                    last = Some(failure);
                }
            }
        }
        match last {
            Some(failure) if refused.len() == before => return Err(failure),
            _ => waiting = refused,
        }
    }
    terminal.value(&json!({ "deleted": deleted }), format).map(|_| ())
}

/// The one document that is meant; without a namespace the name alone must tell it from others.
async fn find(kind: &str, name: &str, namespace: Option<&str>, client: &Client) -> Result<ObjectView, Failure> {
    let (namespace, name) = split(name, namespace);
    let ask = Ask::new(&["api", "v1", "documents"]).with("kind", Some(kind)).with("namespace", namespace);
    let list: DocumentList = read(&client.get(ask).await?)?;
    let mut found: Vec<ObjectView> = list.documents.iter().map(object).filter(|object| object.name == name).collect();
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(Failure::Refused(format!("there is no {kind} {}", qualified(namespace, name)))),
        _ => {
            let namespaces: Vec<_> = found.into_iter().map(|object| object.namespace).collect();
            let namespaces = namespaces.join(", ");
            Err(Failure::Refused(format!("{kind} {name} is in the namespaces {namespaces}; say which with -n")))
        }
    }
}

fn named_by(what: &Delete, terminal: &mut Terminal<'_>) -> Result<Vec<ObjectView>, Failure> {
    let mut objects = Vec::new();
    for part in bundle::read(&what.files, terminal.input)? {
        let documents = document::parse(&part.text, &part.name).map_err(|problems| {
            let problems = problems.0.iter().map(ProblemView::from).collect();
            Failure::Problems(format!("{} was not understood, nothing was deleted", part.name), problems)
        })?;
        objects.extend(documents.iter().map(|document| ObjectView {
            kind: document.kind().as_str().to_owned(),
            namespace: document.name().namespace().to_owned(),
            name: document.name().name().to_owned(),
        }));
    }
    Ok(objects)
}

fn split<'a>(name: &'a str, namespace: Option<&'a str>) -> (Option<&'a str>, &'a str) {
    match name.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (namespace, name),
    }
}

fn qualified(namespace: Option<&str>, name: &str) -> String {
    namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
}

fn named(object: &ObjectView) -> String {
    format!("{} {}/{}", object.kind, object.namespace, object.name)
}

fn object(document: &Value) -> ObjectView {
    let text = |pointer| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let namespace = match text("/metadata/namespace") {
        absent if absent.is_empty() => "default".to_owned(),
        namespace => namespace,
    };
    ObjectView { kind: text("/kind"), namespace, name: text("/metadata/name") }
}

/// What one wants to know of a document at a glance.
fn about(document: &Value) -> String {
    let list = |pointer| document.pointer(pointer).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let text = |value: &Value, key| value.get(key).map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
    let joined = |values: Vec<String>| values.join(", ");
    let ports = || {
        let port = |port: &Value| {
            format!("{}:{}", text(port, "name").unwrap_or_default(), text(port, "port").unwrap_or_default())
        };
        joined(list("/spec/ports").iter().map(port).collect())
    };
    let names = |pointer| joined(list(pointer).iter().filter_map(|target| text(target, "name")).collect());
    match Kind::parse(&object(document).kind) {
        Some(Kind::Service) => ports(),
        Some(Kind::Workload) => {
            let address = document.pointer("/spec/address").and_then(Value::as_str).unwrap_or_default();
            let version = document.pointer("/metadata/labels/version").and_then(Value::as_str);
            let version = version.map(|version| format!(", version {version}")).unwrap_or_default();
            format!("{address}, {}{version}", ports())
        }
        Some(Kind::HttpRoute | Kind::GrpcRoute) => format!("of {}", names("/spec/parentRefs")),
        Some(Kind::RoutePolicy | Kind::BackendPolicy | Kind::RateLimitPolicy) => {
            let targets = names("/spec/targetRefs");
            let mode = document.pointer("/spec/mode").and_then(Value::as_str);
            let mode = mode.map(|mode| format!(", {mode}")).unwrap_or_default();
            format!("on {targets}{mode}")
        }
        Some(Kind::MeshPolicy) | None => String::new(),
    }
}
