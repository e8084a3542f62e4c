//! `explain`: the list of requests that can be explained, and the explanation of those of one trace: what happened, why,
//! and what to change.

use std::time::{SystemTime, UNIX_EPOCH};

use outrigger_config::record::{Attempt, Bucket, Concurrency, Destination, Record, Split, Subset};
use serde::Deserialize;

use super::args::{Explain, Format};
use super::client::{Ask, Client, read};
use super::failure::Failure;
use super::remedy::remedies;
use super::table::{Align, Cell, Table};
use super::terminal::Terminal;
use super::text::{Paint, Tone, age, millis, printable};
use super::words::{explain as sentence, explain_retry, explain_withheld};

/// The width of the words before the lines.
const MARGIN: usize = 12;

/// What the API answers.
#[derive(Debug, Deserialize)]
struct List {
    records: Vec<Record>,
}

/// `outrigger explain`.
pub(super) async fn explain(
    what: &Explain,
    client: &Client,
    format: Format,
    terminal: &mut Terminal<'_>,
) -> Result<(), Failure> {
    let limit = if what.last { 1 } else { what.limit };
    let ask = match &what.id {
        Some(id) => Ask::new(&["api", "v1", "explain", id]),
        None => Ask::new(&["api", "v1", "explain"])
            .with("service", what.service.as_deref())
            .with("limit", Some(&limit.to_string())),
    };
    let answer = client.get(ask).await?;
    if terminal.value(&answer, format)? {
        return Ok(());
    }
    let List { records } = read(&answer)?;
    if records.is_empty() {
        let text = "nothing to explain: no request failed, was tried again or took as long as its proxy's --explain-slow says \
             (1s); a record comes within 2 seconds";
        terminal.note(text);
        return Ok(());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as f64;
    if what.id.is_none() && !what.last {
        let table = list(&records, now, terminal.paint);
        return terminal.print(&table);
    }
    for (index, record) in records.iter().enumerate() {
        if index > 0 {
            terminal.line("")?;
        }
        let text = render(record, now, terminal.paint);
        terminal.print(&text)?;
    }
    Ok(())
}

fn list(records: &[Record], now: f64, paint: Paint) -> String {
    let mut table = Table::new(&[
        ("TRACE", Align::Left),
        ("AGE", Align::Right),
        ("SERVICE", Align::Left),
        ("WHAT", Align::Left),
        ("STATUS", Align::Right),
        ("WHY", Align::Left),
        ("ATTEMPTS", Align::Right),
        ("TOOK", Align::Right),
        ("RECORDED", Align::Left),
    ]);
    for record in records {
        let tone = if failed(record) { Tone::Bad } else { Tone::Warning };
        table.row([
            record.trace.as_str().into(),
            age((now - record.at_unix_ms as f64) / 1e3).into(),
            record.service.as_str().into(),
            what(record).into(),
            Cell::toned(status(record), tone),
            record.answer.reason.as_deref().unwrap_or("-").into(),
            record.attempts.len().to_string().into(),
            millis(record.took_ms).into(),
            Cell::toned(record.kept.join(", "), Tone::Dim),
        ]);
    }
    table.render(paint)
}

fn failed(record: &Record) -> bool {
    record.kept.iter().any(|why| why == "failed")
}

/// `GET catalog/items`.
fn what(record: &Record) -> String {
    format!("{} {}{}", record.method, record.host, record.path)
}

fn status(record: &Record) -> String {
    match (record.answer.status, &record.answer.grpc) {
        (0, _) => "none".to_owned(),
        (_, Some(grpc)) => grpc.clone(),
        (status, None) => status.to_string(),
    }
}

/// Lines, each behind what it is about.
struct Page {
    text: String,
    paint: Paint,
}

impl Page {
    fn add(&mut self, about: &str, tone: Tone, lines: impl IntoIterator<Item = String>) {
        for (index, line) in lines.into_iter().enumerate() {
            let about = if index == 0 { about } else { "" };
            let about = self.paint.tone(Tone::Dim, &format!("{about:<MARGIN$}"));
            let line = self.paint.tone(tone, &printable(&line));
            self.text.push_str(format!("{about}{line}").trim_end());
            self.text.push('\n');
        }
    }
}

/// The explanation of one request; `now` in milliseconds since 1970.
fn render(record: &Record, now: f64, paint: Paint) -> String {
    let good = !failed(record);
    let outcome = format!("{} after {}", status(record), millis(record.took_ms));
    let tone = if good { Tone::Good } else { Tone::Bad };
    let head = paint.tone(Tone::Bold, &printable(&what(record)));
    let facts = format!(
        "{} at {}, {} ago, by configuration {}; recorded because: {}; trace {}",
        record.hop,
        record.workload,
        age((now - record.at_unix_ms as f64) / 1e3),
        record.snapshot,
        record.kept.join(", "),
        record.trace
    );
    let text = format!(
        "{head}  {}\n{}\n\n",
        paint.tone(tone, &printable(&outcome)),
        paint.tone(Tone::Dim, &printable(&facts))
    );
    let mut page = Page { text, paint };
    page.add("why", tone, why(record));
    page.add("to change", Tone::Bold, remedies(record));
    if let Some(route) = &record.route {
        page.add("route", Tone::Plain, [format!("{} takes {}", route.name, route.takes)]);
    }
    let not = if record.route.is_some() { "not" } else { "no route" };
    page.add(not, Tone::Plain, record.missed.iter().map(|missed| format!("{} {}", missed.route, missed.because)));
    page.add("buckets", Tone::Plain, record.buckets.iter().map(bucket));
    page.add("at once", Tone::Plain, record.concurrency.iter().map(concurrency));
    page.add("split", Tone::Plain, record.split.as_ref().map(split));
    page.add("attempts", Tone::Plain, record.attempts.iter().map(attempt));
    if let Some(destination) = &record.destination {
        page.add("candidates", Tone::Plain, candidates(destination));
        page.add("limits", Tone::Plain, [limits(destination)]);
    }
    let would = record.would.iter().map(|would| format!("{would} would have acted, and is only observed"));
    page.add("observed", Tone::Warning, would);
    let policies = record
        .policies
        .iter()
        .map(|policy| format!("{}: {} ({}{})", policy.about, policy.says, policy.origin, observed(policy.observe)));
    page.add("policies", Tone::Dim, policies);
    page.text
}

fn why(record: &Record) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(reason) = &record.answer.reason {
        let said = sentence(reason).map(|sentence| format!(": {sentence}")).unwrap_or_default();
        lines.push(format!("{reason}{said}"));
    } else if failed(record) {
        lines.push(format!("the service itself answered {}", status(record)));
    }
    if !record.answer.detail.is_empty() {
        lines.push(record.answer.detail.clone());
    }
    if let Some(why) = &record.withheld {
        lines.push(format!("not tried again, though that might have helped: {}", explain_withheld(why)));
    }
    if lines.is_empty() && record.attempts.len() > 1 {
        lines.push(format!("answered by attempt {}", record.attempts.len()));
    }
    lines
}

fn observed(observe: bool) -> &'static str {
    if observe { ", only observed" } else { "" }
}

fn bucket(one: &Bucket) -> String {
    format!("{}: {} of {} left{}", one.rule, one.left, one.of, observed(one.observe))
}

fn concurrency(one: &Concurrency) -> String {
    let lately = one.lately_ms.map(|lately| format!("; answers took {} lately", millis(lately))).unwrap_or_default();
    let unloaded = one.unloaded_ms.map(|time| format!("; without load {}", millis(time))).unwrap_or_default();
    format!("{} under way of at most {}{lately}{unloaded}{}", one.held, one.max, observed(one.observe))
}

fn split(split: &Split) -> String {
    let parts = split.parts.iter().map(|part| match part.chosen {
        true => format!("→ {} ({})", part.name, part.weight),
        false => format!("{} ({})", part.name, part.weight),
    });
    let by = if split.roll.by_key { "by the request's key" } else { "by chance" };
    format!("{} of {} {by}: {}", split.roll.point, split.roll.of, parts.collect::<Vec<_>>().join(", "))
}

fn attempt(one: &Attempt) -> String {
    let outcome = match (&one.reason, one.status) {
        (Some(reason), 0) => reason.clone(),
        (Some(reason), status) => format!("{status}, {reason}"),
        (None, _) if one.lost => "another attempt answered first".to_owned(),
        (None, 0) => "under way".to_owned(),
        (None, status) => one.grpc.clone().unwrap_or_else(|| status.to_string()),
    };
    let after = one.took_ms.map(|took| format!(" after {}", millis(took))).unwrap_or_default();
    let left = one.left_ms.map(|left| format!(", {} left", millis(left))).unwrap_or_default();
    let probe = if one.probe { ", a probe" } else { "" };
    let cause = one.cause.as_deref().map(|cause| format!("; {}", explain_retry(cause))).unwrap_or_default();
    let (number, at) = (one.number, millis(one.at_ms));
    format!(
        "{number} at {at} to {}: {outcome}{after}; {} under way there{left}{probe}{cause}",
        one.endpoint, one.active
    )
}

fn candidates(destination: &Destination) -> Vec<String> {
    let lines = destination.endpoints.iter().map(|one| {
        let workload = if one.workload.is_empty() { String::new() } else { format!(" {}", one.workload) };
        let latency = one.latency_ms.map(|latency| format!(", expected {}", millis(latency))).unwrap_or_default();
        let priority = if one.priority > 0 { format!(", priority {}", one.priority) } else { String::new() };
        let check = one.check.as_ref().map(|why| format!(", its last check failed ({why})")).unwrap_or_default();
        let weight = one.weight;
        format!(
            "{}{workload}: {}{check}, {} under way{latency}, weight {weight}{priority}",
            one.address, one.state, one.active
        )
    });
    let mut lines: Vec<String> = lines.collect();
    if destination.more > 0 {
        lines.push(format!("and {} more", destination.more));
    }
    let panic = if destination.panic { "; too few are in, so those left out take part" } else { "" };
    let at = millis(destination.at_ms);
    let subset = destination.subset.as_ref().map(subset).unwrap_or_default();
    let (name, balancing) = (&destination.name, &destination.balancing);
    lines.push(format!("of {name}{subset}, as they stood at {at}, chosen by {balancing}{panic}"));
    lines
}

fn subset(subset: &Subset) -> String {
    match (subset.asked.as_str(), subset.because.as_str()) {
        (_, "") => format!(", {}", subset.led),
        ("", because) => format!(", {} ({because})", subset.led),
        (asked, because) => format!(", {} in the place of {asked} ({because})", subset.led),
    }
}

fn limits(destination: &Destination) -> String {
    let limits = destination.limits.iter().map(|limit| format!("{} {} of {}", limit.limit, limit.held, limit.max));
    let retries = format!("{} retries under way, {} left in the budget", destination.retries, destination.budget_left);
    let given_up = Some(destination.given_up_percent).filter(|share| *share > 0.0);
    let given_up = given_up.map(|share| format!("{share} % of the requests given up, since it fails"));
    limits.chain([retries]).chain(given_up).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use outrigger_config::record::{Attempt, Record, Subset};

    use super::{Paint, list, render};

    /// A request that was tried again, as a proxy writes it.
    const RECORD: &str = r#"{"trace":"0af7651916cd43dd8448eb211c80319c","at_unix_ms":1000000,"took_ms":12.5,
        "kept":["failed","retried"],"hop":"outbound","workload":"shop/web-1","service":"web","method":"GET",
        "host":"catalog","path":"/items","snapshot":3,
        "answer":{"status":503,"reason":"retries_exhausted","detail":"connect: refused"},
        "route":{"name":"HTTPRoute shop/catalog/all","takes":"any path"},
        "missed":[{"route":"HTTPRoute shop/catalog/beta","because":"wants field x-beta=yes"}],
        "split":{"roll":{"point":37,"of":100,"by_key":false},"parts":[
            {"name":"catalog-v1","weight":90,"chosen":true},{"name":"catalog-v2","weight":10,"chosen":false}]},
        "destination":{"name":"catalog-v1.shop","at_ms":1.1,"limits":[{"limit":"requests","held":2,"max":1024}],
            "retries":1,"budget_left":99,"given_up_percent":12.5,"balancing":"peak EWMA","more":0,"endpoints":[
            {"address":"127.0.0.1:9001","workload":"catalog-1","state":"ejected","active":0,"latency_ms":2.5,"weight":1},
            {"address":"127.0.0.1:9002","workload":"","state":"healthy","active":1,"latency_ms":null,"weight":1}]},
        "policies":[{"about":"retry","origin":"RoutePolicy shop/catalog","says":"at most 1 on connect-failure, 503"}],
        "attempts":[{"number":1,"endpoint":"127.0.0.1:9001","at_ms":0.1,"took_ms":0.3,"left_ms":1999.9,"active":1,
            "status":503},{"number":2,"cause":"code_503","endpoint":"127.0.0.1:9002","at_ms":12.0,"took_ms":0.4,
            "left_ms":1988.0,"active":1,"status":0,"reason":"connection_refused"}],
        "withheld":"time","buckets":[{"rule":"all","left":3,"of":10}],
        "concurrency":[{"held":7,"max":12,"unloaded_ms":4.0,"lately_ms":6.5},{"held":7,"max":3,"observe":true}],
        "would":["eject"]}"#;

    #[test]
    fn an_explanation_says_what_happened_why_and_what_to_change() {
        let record = Record::read(RECORD.as_bytes()).expect("a record");
        let page = render(&record, 1_003_000.0, Paint(false));
        insta::assert_snapshot!(format!("{page}\n{}", list(&[record], 1_003_000.0, Paint(false))));
    }

    #[test]
    fn no_part_of_a_record_moves_the_cursor() {
        let mut value: serde_json::Value = serde_json::from_str(RECORD).expect("JSON");
        hostile(&mut value);
        let record: Record = serde_json::from_value(value).expect("a record");
        let (page, table) = (render(&record, 0.0, Paint(false)), list(&[record], 0.0, Paint(false)));
        for text in [page, table] {
            assert!(text.contains('\u{fffd}') && !text.contains('\u{1b}') && !text.contains('\r'), "{text:?}");
        }
    }

    /// Every text of it, and what it lacks, as somebody would write it who means harm.
    fn hostile(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => text.push_str("\u{1b}[2J\r"),
            serde_json::Value::Array(all) => all.iter_mut().for_each(hostile),
            serde_json::Value::Object(all) => {
                if all.contains_key("status") {
                    all.insert("grpc".to_owned(), "OK".into());
                }
                all.values_mut().for_each(hostile);
            }
            _ => {}
        }
    }

    #[test]
    fn a_hedge_and_who_lost_to_it_are_said() {
        let mut record = Record::read(RECORD.as_bytes()).expect("a record");
        record.attempts[0] = Attempt { status: 0, took_ms: None, lost: true, ..record.attempts[0].clone() };
        record.attempts[1] = Attempt { cause: Some("hedge".to_owned()), ..record.attempts[1].clone() };
        if let Some(destination) = &mut record.destination {
            destination.endpoints[0].check = Some("status 503 from 127.0.0.1:9001".to_owned());
        }
        let page = render(&record, 1_003_000.0, Paint(false));
        for words in [
            "127.0.0.1:9001: another attempt answered first;",
            "a hedge: the one before it took long",
            "ejected, its last check failed (status 503 from 127.0.0.1:9001)",
        ] {
            assert!(page.contains(words), "{words}: {page}");
        }
    }

    #[test]
    fn the_subset_that_was_chosen_is_said_and_what_it_stands_in_for() {
        let mut record = Record::read(RECORD.as_bytes()).expect("a record");
        let mut page = |asked: &str, because: &str| {
            let (asked, because) = (asked.to_owned(), because.to_owned());
            let subset = Subset { asked, led: "version=v1".to_owned(), because };
            if let Some(destination) = &mut record.destination {
                destination.subset = Some(subset);
            }
            render(&record, 1_003_000.0, Paint(false))
        };
        assert!(page("version=v1", "").contains("of catalog-v1.shop, version=v1, as they stood at"));
        assert!(page("version=v3", "no").contains("shop, version=v1 in the place of version=v3 (no), as they"));
        assert!(page("", "nothing is asked").contains("shop, version=v1 (nothing is asked), as they"));
    }

    #[test]
    fn any_record_can_be_explained() {
        let least = r#"{"trace":"0af7651916cd43dd8448eb211c80319c"}"#;
        assert!(render(&Record::read(least.as_bytes()).expect("a record"), 0.0, Paint(true)).lines().count() >= 2);
    }
}
