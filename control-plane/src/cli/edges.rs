//! `stat` and `edges`: the graph as tables.

use std::collections::BTreeMap;

use super::args::{Edges, Format, Stat, WindowChoice};
use super::client::{Ask, Client, read};
use super::failure::Failure;
use super::table::{Align, Cell, Table};
use super::terminal::Terminal;
use super::text::{Paint, Tone, percent};
use crate::graph::{Edge, GraphView, Service, Window, Windows};

/// Below this share of success a number is red; between it and [`FINE`] yellow.
const BAD: f64 = 0.99;

/// From this share of success on a number is green.
const FINE: f64 = 0.999;

/// The most reasons a row lists.
const MAX_REASONS: usize = 3;

/// A table of edges: who calls whom, how often, how well and how fast in the window, why calls failed or were tried
/// again in the last minute, and what policies in Observe would have done. Every line is ended.
pub fn render(edges: &[Edge], window: WindowChoice, paint: Paint) -> String {
    let mut columns = vec![("FROM", Align::Left), ("TO", Align::Left), ("VERSION", Align::Left)];
    columns.extend(NUMBERS);
    let mut table = Table::new(&columns);
    for edge in edges {
        let mut row: Vec<Cell> = vec![
            edge.source.as_str().into(),
            qualified(&edge.destination, &edge.namespace, &edge.source_namespace).into(),
            dash(&edge.version),
        ];
        row.extend(numbers(choose(&edge.windows, window)));
        row.push(reasons(&edge.reasons, &edge.retry_reasons, &edge.observed));
        table.row(row);
    }
    table.render(paint)
}

/// A table of services, made like that of edges.
pub fn render_services(services: &[Service], window: WindowChoice, paint: Paint) -> String {
    let mut columns = vec![("SERVICE", Align::Left), ("NAMESPACE", Align::Left), ("VERSION", Align::Left)];
    columns.extend(NUMBERS);
    let mut table = Table::new(&columns);
    for service in services {
        let mut row: Vec<Cell> =
            vec![service.service.as_str().into(), dash(&service.namespace), dash(&service.version)];
        row.extend(numbers(choose(&service.windows, window)));
        row.push(reasons(&service.reasons, &BTreeMap::new(), &service.observed));
        table.row(row);
    }
    table.render(paint)
}

/// `outrigger edges`.
pub(super) async fn edges(
    what: &Edges,
    client: &Client,
    format: Format,
    terminal: &mut Terminal<'_>,
) -> Result<(), Failure> {
    let answer = client.get(Ask::new(&["api", "v1", "graph"])).await?;
    let mut graph: GraphView = read(&answer)?;
    graph.edges.retain(|edge| {
        let service = what.service.as_ref().is_none_or(|name| edge.source == *name || edge.destination == *name);
        service && what.namespace.as_ref().is_none_or(|namespace| edge.namespace == *namespace)
    });
    if terminal.value(&serde_json::json!({ "edges": graph.edges }), format)? {
        return Ok(());
    }
    if graph.edges.is_empty() {
        terminal.note("no traffic between services in the last minute");
        return Ok(());
    }
    let table = render(&graph.edges, what.window, terminal.paint);
    terminal.print(&table)
}

/// `outrigger stat`.
pub(super) async fn stat(
    what: &Stat,
    client: &Client,
    format: Format,
    terminal: &mut Terminal<'_>,
) -> Result<(), Failure> {
    let answer = client.get(Ask::new(&["api", "v1", "graph"])).await?;
    let mut graph: GraphView = read(&answer)?;
    graph.services.retain(|service| {
        let named = what.service.as_ref().is_none_or(|name| service.service == *name);
        named && what.namespace.as_ref().is_none_or(|namespace| service.namespace == *namespace)
    });
    if terminal.value(&serde_json::json!({ "services": graph.services }), format)? {
        return Ok(());
    }
    if graph.services.is_empty() {
        let of = what.service.as_ref().map(|service| format!(" of {service}")).unwrap_or_default();
        terminal.note(&format!("no traffic{of} in the last minute"));
        return Ok(());
    }
    let table = render_services(&graph.services, what.window, terminal.paint);
    terminal.print(&table)
}

const NUMBERS: [(&str, Align); 7] = [
    ("REQ/S", Align::Right),
    ("SUCCESS", Align::Right),
    ("P50", Align::Right),
    ("P95", Align::Right),
    ("P99", Align::Right),
    ("RETRIES", Align::Right),
    ("WHY (LAST MINUTE)", Align::Left),
];

fn numbers(window: &Window) -> Vec<Cell> {
    let millis = |value: Option<f64>| match value {
        None => dash(""),
        Some(millis) => super::text::millis(millis).into(),
    };
    let success = match window.success {
        None => dash(""),
        Some(share) => {
            let tone = match share {
                _ if share >= FINE => Tone::Good,
                _ if share >= BAD => Tone::Warning,
                _ => Tone::Bad,
            };
            Cell::toned(percent(share), tone)
        }
    };
    let retries = match window.retries {
        0 => dash(""),
        count => Cell::toned(count.to_string(), Tone::Warning),
    };
    vec![
        format!("{:.1}", window.rate).into(),
        success,
        millis(window.p50_ms),
        millis(window.p95_ms),
        millis(window.p99_ms),
        retries,
    ]
}

/// The commonest reasons; those of retries and of policies in Observe are marked, for the caller saw nothing of them.
fn reasons(failed: &BTreeMap<String, u64>, retried: &BTreeMap<String, u64>, observed: &BTreeMap<String, u64>) -> Cell {
    let marked = |mark: &'static str| move |(reason, count): (&String, &u64)| (*count, format!("{mark}{reason}"));
    let unseen = retried.iter().map(marked("retried ")).chain(observed.iter().map(marked("would ")));
    let mut all: Vec<_> = failed.iter().map(marked("")).chain(unseen).collect();
    all.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let more = all.len().saturating_sub(MAX_REASONS);
    all.truncate(MAX_REASONS);
    let mut words: Vec<_> = all.into_iter().map(|(count, reason)| format!("{reason} {count}")).collect();
    if more > 0 {
        words.push(format!("{more} more"));
    }
    let tone = if failed.is_empty() { Tone::Dim } else { Tone::Warning };
    Cell::toned(words.join(", "), tone)
}

fn choose(windows: &Windows, window: WindowChoice) -> &Window {
    match window {
        WindowChoice::TenSeconds => &windows.ten_seconds,
        WindowChoice::Minute => &windows.minute,
    }
}

/// The name alone where both ends are in one namespace, as everywhere else in the tool.
fn qualified(name: &str, namespace: &str, from: &str) -> String {
    if namespace.is_empty() || namespace == from { name.to_owned() } else { format!("{namespace}/{name}") }
}

fn dash(text: &str) -> Cell {
    if text.is_empty() { Cell::toned("-", Tone::Dim) } else { text.into() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Edge, Paint, Window, WindowChoice, Windows, render};

    fn window(requests: u64, success: Option<f64>, retries: u64) -> Window {
        let millis = |value| success.map(|_| value);
        Window {
            requests,
            rate: requests as f64 / 10.0,
            success,
            p50_ms: millis(1.25),
            p95_ms: millis(42.0),
            p99_ms: millis(1250.0),
            retries,
        }
    }

    fn edge(source: &str, destination: &str, version: &str, window: Window, reasons: &[(&str, u64)]) -> Edge {
        Edge {
            source: source.into(),
            source_namespace: "shop".into(),
            destination: destination.into(),
            namespace: if destination == "bank" { "money" } else { "shop" }.into(),
            version: version.into(),
            windows: Windows { ten_seconds: window.clone(), minute: window },
            reasons: reasons.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect(),
            codes: BTreeMap::new(),
            retry_reasons: [("code_503".to_owned(), 31)].into(),
            observed: if version == "v2" { [("rate_limit".to_owned(), 7)].into() } else { BTreeMap::new() },
        }
    }

    #[test]
    fn edges_are_a_table() {
        let many = [("connection_refused", 3), ("rate_limited", 12), ("http_response_timeout", 2), ("x", 1)];
        let edges = [
            edge("storefront", "catalog", "v1", window(2000, Some(1.0), 0), &[]),
            edge("storefront", "recommend", "v2", window(150, Some(0.9987), 31), &[]),
            edge("storefront", "bank", "", window(15, Some(0.5), 0), &many),
            edge("cart", "catalog", "v1", window(0, None, 0), &[]),
        ];
        insta::assert_snapshot!(render(&edges, WindowChoice::TenSeconds, Paint(false)));
    }
}
