//! The stage: all processes started and ready, with load on them. Everything a step of the story needs is here.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::Instant;

use crate::arguments::Arguments;
use crate::cast::{Cast, Instance, NAMESPACE, Sidecar, loopback};
use crate::control::Control;
use crate::documents;
use crate::load::{Load, Target};
use crate::paint::Paint;
use crate::report::{Promise, Report};
use crate::stats::Seen;
use crate::supervise::{Fleet, Recipe};
use crate::wire::{Call, Wire};

/// The control plane's name among the processes.
pub(crate) const CONTROL_PLANE: &str = "control-plane";
/// How long starting may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it takes until all customers are in, and in how many steps.
const OPENING: Duration = Duration::from_millis(1_000);
const OPENING_STEPS: u32 = 10;
/// How often the live line is drawn.
const LIVE_STEP: Duration = Duration::from_millis(200);

/// Everything on stage.
pub(crate) struct Stage {
    /// The terminal.
    pub(crate) paint: Paint,
    /// The processes.
    pub(crate) fleet: Fleet,
    /// Who they are.
    pub(crate) cast: Cast,
    /// Connections of the demo's own.
    pub(crate) wire: Wire,
    /// The control plane; none without a mesh.
    pub(crate) control: Option<Control>,
    /// Customers.
    pub(crate) load: Option<Load>,
    /// What was measured.
    pub(crate) report: Report,
    /// Story seconds for each second written down in the script.
    pub(crate) scale: f64,
}

impl Stage {
    /// An empty stage.
    pub(crate) fn new(arguments: &Arguments, directory: PathBuf) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let wire = Wire::new();
        let cast = Cast::on_free_ports()?;
        let mesh = !arguments.no_mesh;
        Ok(Stage {
            paint: Paint::new(),
            fleet: Fleet::new(program, directory),
            control: mesh.then(|| Control::new(wire.clone(), loopback(cast.api))),
            cast,
            wire,
            load: None,
            report: Report::new(mesh, arguments.rate),
            scale: 1.0,
        })
    }

    /// Whether there are sidecars.
    pub(crate) fn mesh(&self) -> bool {
        self.control.is_some()
    }

    /// The control plane's API, where there must be one.
    pub(crate) fn control(&self) -> Result<Control> {
        self.control.clone().context("there is no control plane without a mesh")
    }

    /// Starts every process and waits until all are ready.
    pub(crate) async fn build(&mut self) -> Result<()> {
        if self.mesh() {
            self.fleet.start(self.control_plane_recipe())?;
        }
        for instance in self.cast.instances.clone() {
            self.fleet.start(self.shop_recipe(&instance))?;
        }
        if let Some(control) = self.control.clone() {
            self.until("the control plane is ready", async || control.is_ready().await).await?;
            let generation = control.apply_good(documents::shop(&self.cast)).await.context("the shop's documents")?;
            let sidecars: Vec<Sidecar> = self.cast.sidecars().cloned().collect();
            for sidecar in &sidecars {
                self.fleet.start(self.sidecar_recipe(sidecar))?;
            }
            for sidecar in &sidecars {
                self.until_healthy(sidecar.admin, "/ready", sidecar.workload).await?;
            }
            control.settled(generation, sidecars.len(), PATIENCE).await?;
        }
        for instance in self.cast.instances.clone() {
            if instance.service != "pricing" {
                self.until_healthy(instance.app, "/healthz", instance.name).await?;
            }
        }
        Ok(())
    }

    /// Lets customers in, more and more of them over about a second, as a door would: all at once they would measure
    /// how fast a hundred connections are made.
    pub(crate) async fn open(&mut self, rate: u32) {
        let addresses = match self.mesh() {
            true => vec![loopback(self.cast.gateway.outbound)],
            false => self.cast.direct("storefront", None),
        };
        let target = Target { addresses, host: "storefront", path: "/", headers: Vec::new() };
        let load = Load::start(self.wire.clone(), target, rate / OPENING_STEPS);
        for step in 2..=OPENING_STEPS {
            tokio::time::sleep(OPENING / OPENING_STEPS).await;
            load.set_rate(rate * step / OPENING_STEPS);
        }
        self.load = Some(load);
    }

    async fn until_healthy(&mut self, port: u16, path: &str, name: &str) -> Result<()> {
        let wire = self.wire.clone();
        let probe = async || {
            let call = Call { deadline: Duration::from_millis(500), ..Call::get(loopback(port), "", path) };
            wire.call(call).await.is_ok_and(|answer| answer.status.is_success())
        };
        self.until(&format!("{name} is ready"), probe).await
    }

    /// Waits for something, but not past a process that died or the patience of whoever watches.
    async fn until(&mut self, what: &str, holds: impl AsyncFn() -> bool) -> Result<()> {
        let begun = Instant::now();
        while !holds().await {
            if let Some(casualty) = self.fleet.casualties().first() {
                bail!("{casualty}");
            }
            if begun.elapsed() > PATIENCE {
                bail!("waited {PATIENCE:?} until {what}: see the logs in {}", self.fleet.directory().display());
            }
            self.paint.live(&self.paint.tint(crate::paint::Tone::Dim, &format!("waiting until {what}")));
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        Ok(())
    }

    /// What customers have seen so far.
    pub(crate) fn seen(&self) -> Seen {
        self.load.as_ref().map(Load::seen).unwrap_or_default()
    }

    /// Seconds of the script as time.
    pub(crate) fn time(&self, seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds * self.scale)
    }

    /// Lets time pass, with the live line, and says what customers saw meanwhile.
    pub(crate) async fn watch(&self, time: Duration) -> Seen {
        self.watch_since(&self.seen(), time).await
    }

    /// The same, counted from an earlier reading.
    pub(crate) async fn watch_since(&self, mark: &Seen, time: Duration) -> Seen {
        let begun = Instant::now();
        loop {
            let left = time.saturating_sub(begun.elapsed());
            tokio::time::sleep(left.min(LIVE_STEP)).await;
            let seen = self.seen().since(mark);
            if left <= LIVE_STEP {
                self.paint.unlive();
                return seen;
            }
            let passed = begun.elapsed().as_secs_f64() * 100.0 / time.as_secs_f64();
            self.paint.live(&format!("{}   {}", self.paint.bar(passed, 8), self.paint.sentence(&seen)));
        }
    }

    /// Shows what customers saw in a step and notes it.
    pub(crate) fn callers(&mut self, seen: &Seen) {
        self.paint.seen("callers", seen);
        self.report.note_seen("callers", seen);
        if let Some((reason, count)) = seen.reasons.iter().max_by_key(|(_, count)| **count) {
            let reason: String = reason.chars().take(110).collect();
            self.paint.line("", &format!("{count} × {reason}"));
        }
    }

    /// Judges a promise and shows the verdict.
    pub(crate) fn promise(&mut self, name: &str, wanted: &str, seen: &str, kept: bool) -> Promise {
        let promise = self.report.promise(name, wanted, seen, kept);
        self.paint.verdict(&promise, self.report.mesh);
        promise
    }

    /// How the control plane is started.
    fn control_plane_recipe(&self) -> Recipe {
        let mut arguments = words(&["control-plane", "--log", "warn"]);
        arguments.extend(words(&["--xds", &loopback(self.cast.xds).to_string()]));
        arguments.extend(words(&["--api", &loopback(self.cast.api).to_string()]));
        arguments.push("--store".into());
        arguments.push(self.fleet.directory().join("outrigger.redb").into_os_string());
        let mut environment = Vec::new();
        if let Some(endpoint) = otlp_endpoint() {
            arguments.extend(words(&["--otlp-forward", &endpoint]));
            environment.push((OTLP_ENDPOINT.to_owned(), None));
        }
        Recipe { name: CONTROL_PLANE.into(), arguments, environment }
    }

    fn shop_recipe(&self, instance: &Instance) -> Recipe {
        let mut arguments = words(&["shop", "--service", instance.service, "--name", instance.name]);
        arguments.extend(words(&["--version", instance.version]));
        arguments.extend(words(&["--listen", &loopback(instance.app).to_string()]));
        if let Some(control) = instance.control {
            arguments.extend(words(&["--control", &loopback(control).to_string()]));
        }
        if self.mesh() {
            let outbound = format!("http://{}", loopback(instance.sidecar.outbound));
            arguments.extend(words(&["--outbound", &outbound]));
        } else {
            for service in self.cast.services() {
                let addresses: Vec<String> = self.cast.direct(service, None).iter().map(ToString::to_string).collect();
                arguments.extend(words(&["--direct", &format!("{service}={}", addresses.join(","))]));
            }
        }
        Recipe { name: instance.name.into(), arguments, environment: Vec::new() }
    }

    fn sidecar_recipe(&self, sidecar: &Sidecar) -> Recipe {
        let mut arguments = words(&["proxy", "--workers", "1", "--drain-timeout", "1s", "--log", "warn"]);
        arguments.extend(words(&["--xds", &loopback(self.cast.xds).to_string()]));
        arguments.extend(words(&["--node-id", &format!("{NAMESPACE}/{}", sidecar.workload)]));
        arguments.extend(words(&["--admin", &loopback(sidecar.admin).to_string()]));
        // With a collector of its own it would not tell the control plane, which passes all spans on.
        let environment = vec![(OTLP_ENDPOINT.to_owned(), None)];
        Recipe { name: sidecar_name(sidecar.workload), arguments, environment }
    }
}

const OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Where spans are to go besides the control plane.
pub(crate) fn otlp_endpoint() -> Option<String> {
    std::env::var(OTLP_ENDPOINT).ok().filter(|endpoint| !endpoint.is_empty())
}

/// A sidecar's name among the processes.
pub(crate) fn sidecar_name(workload: &str) -> String {
    format!("{workload}-sidecar")
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}
