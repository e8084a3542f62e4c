//! `proxies` and `wait`: how far each proxy has got with what it was sent.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::args::{Format, Wait};
use super::client::{Ask, Client, read};
use super::failure::Failure;
use super::table::{Align, Cell, Table};
use super::terminal::Terminal;
use super::text::{Paint, Tone, age, printable};

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
        return Ok(());
    }
    let table = render(&list, terminal.paint);
    terminal.print(&table)
}

/// `outrigger wait --for=applied`.
pub(super) async fn wait(
    what: &Wait,
    client: &Client,
    format: Format,
    terminal: &mut Terminal<'_>,
) -> Result<(), Failure> {
    let super::args::WaitFor::Applied = what.what;
    let deadline = Instant::now() + what.timeout;
    loop {
        let (answer, list) = ask(client).await?;
        let connected: Vec<_> = list.proxies.iter().filter(|proxy| proxy.connected).collect();
        let refusals: Vec<String> = connected.iter().flat_map(|proxy| proxy.refusals()).collect();
        if !refusals.is_empty() {
            for refusal in &refusals {
                terminal.note(refusal);
            }
            let text = format!("generation {} is refused; the proxies keep what they had", list.generation);
            return Err(Failure::Refused(text));
        }
        let behind: Vec<_> = connected.iter().filter(|proxy| !proxy.synced).map(|proxy| proxy.node.as_str()).collect();
        if behind.is_empty() && connected.len() >= what.proxies {
            if !terminal.value(&answer, format)? {
                let (generation, all) = (list.generation, connected.len());
                terminal
                    .line(&format!("generation {generation} is applied by all connected proxies: {all} of {all}"))?;
            }
            return Ok(());
        }
        if Instant::now() >= deadline {
            let reason = match behind.as_slice() {
                [] => format!("{} connected, {} wanted", connected.len(), what.proxies),
                nodes => format!("still behind: {}", nodes.join(", ")),
            };
            let text = format!("generation {} is not applied everywhere yet; {reason}", list.generation);
            return Err(Failure::Refused(text));
        }
        sleep(INTERVAL).await;
    }
}

async fn ask(client: &Client) -> Result<(Value, ProxyList), Failure> {
    let answer = client.get(Ask::new(&["api", "v1", "proxies"])).await?;
    let list = read(&answer)?;
    Ok((answer, list))
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
