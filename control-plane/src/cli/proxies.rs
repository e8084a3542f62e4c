//! `proxies` and `wait`: how far each proxy has got with what it was sent.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::args::{Format, Wait, WaitFor};
use super::client::{Ask, Client, read};
use super::failure::Failure;
use super::table::{Align, Cell, Table};
use super::terminal::Terminal;
use super::text::{Paint, Tone, age, printable};
use crate::api::StatusView;

/// How often `wait` asks.
const INTERVAL: Duration = Duration::from_millis(200);

/// `GET /api/v1/proxies`, as far as it is printed.
#[derive(Debug, Deserialize)]
struct ProxyList {
    generation: u64,
    proxies: Vec<Proxy>,
}

#[derive(Debug, Deserialize)]
struct Proxy {
    node: String,
    client: String,
    transport: String,
    connected: bool,
    connected_seconds: f64,
    synced: bool,
    types: BTreeMap<String, TypeStatus>,
}

#[derive(Debug, Deserialize)]
struct TypeStatus {
    sent: String,
    acked: String,
    age_seconds: f64,
    resources: usize,
    nack: Option<Nack>,
}

#[derive(Debug, Deserialize)]
struct Nack {
    message: String,
    version: String,
    age_seconds: f64,
}

/// `outrigger proxies`.
pub(super) async fn proxies(client: &Client, format: Format, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let (answer, list) = ask(client).await?;
    if terminal.value(&answer, format)? {
        return Ok(());
    }
    if list.proxies.is_empty() {
        terminal.note("no proxy has connected yet");
    } else {
        let table = render(&list, terminal.paint);
        terminal.print(&table)?;
    }
    refused_files(client, terminal).await
}

/// `outrigger wait --for=applied`.
pub(super) async fn wait(
    what: &Wait,
    client: &Client,
    format: Format,
    terminal: &mut Terminal<'_>,
) -> Result<(), Failure> {
    let WaitFor::Applied = what.what;
    let deadline = Instant::now() + what.timeout;
    loop {
        let (answer, list) = ask(client).await?;
        match list.standing(what.proxies) {
            Standing::Applied(text) => {
                if !terminal.value(&answer, format)? {
                    terminal.line(&text)?;
                }
                return refused_files(client, terminal).await;
            }
            Standing::Refused(refusals) => {
                for refusal in &refusals {
                    terminal.note(refusal);
                }
                let text = format!("generation {} is refused; the proxies keep what they had", list.generation);
                return Err(Failure::Refused(text));
            }
            Standing::Behind(reason) if Instant::now() >= deadline => {
                let text = format!("generation {} is not applied everywhere yet; {reason}", list.generation);
                return Err(Failure::Refused(text));
            }
            Standing::Behind(_) => sleep(INTERVAL).await,
        }
    }
}

/// Says what never became a generation: files that the control plane watches and cannot take.
async fn refused_files(client: &Client, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let status: StatusView = read(&client.get(Ask::new(&["api", "v1", "status"])).await?)?;
    if !status.refused_files.is_empty() {
        terminal.problems(&status.refused_files);
        terminal.note("files of the control plane's --documents are refused; what stood before them stands");
    }
    Ok(())
}

async fn ask(client: &Client) -> Result<(Value, ProxyList), Failure> {
    let answer = client.get(Ask::new(&["api", "v1", "proxies"])).await?;
    let list = read(&answer)?;
    Ok((answer, list))
}

/// How the proxies stand to the newest generation.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// All that are connected have it: a sentence that says so.
    Applied(String),
    /// Some have not answered yet, or too few have come: which.
    Behind(String),
    /// Some refuse what they were sent: a line each.
    Refused(Vec<String>),
}

impl ProxyList {
    /// How they stand, when at least `wanted` have to be connected.
    fn standing(&self, wanted: usize) -> Standing {
        let connected: Vec<_> = self.proxies.iter().filter(|proxy| proxy.connected).collect();
        let refusals: Vec<_> = connected.iter().flat_map(|proxy| proxy.refusals()).collect();
        if !refusals.is_empty() {
            return Standing::Refused(refusals);
        }
        let behind: Vec<_> = connected.iter().filter(|proxy| !proxy.synced).map(|proxy| proxy.node.as_str()).collect();
        match (behind.as_slice(), connected.len()) {
            ([], all) if all < wanted => Standing::Behind(format!("{all} connected, {wanted} wanted")),
            ([], 0) => Standing::Applied(format!("generation {} stands; no proxy is connected", self.generation)),
            ([], all) => Standing::Applied(format!(
                "generation {} is applied by all connected proxies: {all} of {all}",
                self.generation
            )),
            (nodes, _) => Standing::Behind(format!("still behind: {}", nodes.join(", "))),
        }
    }
}

impl Proxy {
    /// What it refuses, a line each.
    fn refusals(&self) -> impl Iterator<Item = String> {
        self.types.iter().filter_map(|(kind, status)| {
            let nack = status.nack.as_ref()?;
            let ago = age(nack.age_seconds);
            Some(format!("{} refuses {kind} {} since {ago}: {}", self.node, short(&nack.version), nack.message))
        })
    }

    fn state(&self) -> Cell {
        let refuses = self.types.values().any(|status| status.nack.is_some());
        match (self.connected, refuses, self.synced) {
            (false, ..) => Cell::toned("gone", Tone::Dim),
            (true, true, _) => Cell::toned("refuses", Tone::Bad),
            (true, false, true) => Cell::toned("synced", Tone::Good),
            (true, false, false) => Cell::toned("behind", Tone::Warning),
        }
    }

    /// `9 @ 3f2a91c` when accepted, `9 @ 77b01aa, has 3f2a91c` when not yet, `-` when it never asked.
    fn resources(&self, kind: &str) -> Cell {
        match self.types.get(kind) {
            None => Cell::toned("-", Tone::Dim),
            Some(status) if status.sent.is_empty() => Cell::toned("nothing yet", Tone::Dim),
            Some(status) if status.sent == status.acked => {
                Cell::from(format!("{} @ {}", status.resources, short(&status.sent)))
            }
            Some(status) => {
                let has = if status.acked.is_empty() { "nothing" } else { short(&status.acked) };
                let (resources, sent) = (status.resources, short(&status.sent));
                Cell::toned(format!("{resources} @ {sent}, has {has} since {}", age(status.age_seconds)), Tone::Warning)
            }
        }
    }
}

fn render(list: &ProxyList, paint: Paint) -> String {
    let left = Align::Left;
    let mut table = Table::new(&[
        ("NODE", left),
        ("STATE", left),
        ("CLIENT", left),
        ("XDS", left),
        ("FOR", Align::Right),
        ("CDS", left),
        ("EDS", left),
        ("LDS", left),
        ("RDS", left),
    ]);
    for proxy in &list.proxies {
        let mut row = vec![
            proxy.node.as_str().into(),
            proxy.state(),
            proxy.client.as_str().into(),
            proxy.transport.as_str().into(),
            age(proxy.connected_seconds).into(),
        ];
        row.extend(["CDS", "EDS", "LDS", "RDS"].map(|kind| proxy.resources(kind)));
        table.row(row);
    }
    let mut text = table.render(paint);
    for refusal in list.proxies.iter().flat_map(Proxy::refusals) {
        text.push_str(&paint.tone(Tone::Bad, &printable(&refusal)));
        text.push('\n');
    }
    let connected = list.proxies.iter().filter(|proxy| proxy.connected).count();
    let synced = list.proxies.iter().filter(|proxy| proxy.connected && proxy.synced).count();
    text.push_str(&format!("generation {}: {synced} of {connected} connected proxies are synced\n", list.generation));
    text
}

/// The first seven characters of a version, enough to tell two apart.
fn short(version: &str) -> &str {
    version.get(..7).unwrap_or(version)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Paint, ProxyList, Standing, render};

    fn list(proxies: &[&str]) -> ProxyList {
        let accepted = json!({"sent": "3f2a91c07711aabb", "acked": "3f2a91c07711aabb", "age_seconds": 4.0,
            "resources": 9, "nack": null});
        let proxies = proxies.iter().map(|state| {
            let mut proxy = json!({"node": format!("shop/{state}"), "client": "outrigger", "transport": "delta",
                "connected": *state != "gone", "connected_seconds": 61.5, "synced": *state == "synced",
                "types": {"CDS": accepted, "EDS": accepted, "LDS": accepted, "RDS": accepted}});
            let nack = json!({"message": "no such\u{1b} filter", "version": "77b01aac00000000", "age_seconds": 700.0});
            match *state {
                "behind" => proxy["types"]["RDS"]["sent"] = "77b01aac00000000".into(),
                "new" => {
                    proxy["types"] = json!({"CDS": {"sent": "", "acked": "", "age_seconds": 0.1, "resources": 0,
                    "nack": null}})
                }
                "refusing" => {
                    proxy["types"]["LDS"]["sent"] = "77b01aac00000000".into();
                    proxy["types"]["LDS"]["nack"] = nack;
                }
                _ => {}
            }
            proxy
        });
        let list = json!({"generation": 7, "proxies": proxies.collect::<Vec<_>>()});
        serde_json::from_value(list).expect("the shape of the API")
    }

    #[test]
    fn each_proxy_is_a_row_and_each_refusal_a_line() {
        let list = list(&["synced", "behind", "new", "refusing", "gone"]);
        insta::assert_snapshot!(render(&list, Paint(false)));
    }

    #[test]
    fn applied_means_all_that_are_connected_and_at_least_so_many() {
        let applied = |text: &str| Standing::Applied(text.to_owned());
        let behind = |text: &str| Standing::Behind(text.to_owned());
        assert_eq!(list(&[]).standing(0), applied("generation 7 stands; no proxy is connected"));
        assert_eq!(list(&["gone"]).standing(1), behind("0 connected, 1 wanted"));
        let two = applied("generation 7 is applied by all connected proxies: 2 of 2");
        assert_eq!(list(&["synced", "gone", "synced"]).standing(2), two);
        assert_eq!(list(&["synced", "behind", "new"]).standing(0), behind("still behind: shop/behind, shop/new"));
        assert!(matches!(list(&["synced", "refusing"]).standing(0), Standing::Refused(lines) if lines.len() == 1));
    }
}
