//! Sends finished spans to a collector over OTLP, as the standard `OTEL_*` variables say.
//!
//! A task of the control runtime takes what waits in the [`SpanSink`], at most [`BATCH`] spans at a time so that
//! converting takes little memory, and sends it. While a collector is slow or away the sink fills, and what does not
//! fit is dropped and counted; nothing here is ever waited for by a request.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::trace::SpanExporter as _;
use outrigger_config::listener::Identity;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::telemetry::convert::{convert, resource, scope};
use crate::telemetry::sink::{BATCH, SpanSink};
use crate::telemetry::span::SpanRecord;

/// How long a span waits at most before it is sent, unless `OTEL_BSP_SCHEDULE_DELAY` says otherwise.
const DELAY: Duration = Duration::from_millis(200);

/// How many workloads one proxy speaks for at once.
const MAX_IDENTITIES: usize = 16;

/// Where spans go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Over which protocol.
    pub protocol: Protocol,
    /// The collector's URL; none where the variables say it, with what else they say.
    pub endpoint: Option<String>,
}

impl Target {
    /// Reads the `OTEL_*` variables; without an endpoint there, spans go to the control plane, if there is one.
    pub fn choose(
        variable: impl Fn(&str) -> Option<String>,
        control_plane: Option<std::net::SocketAddr>,
    ) -> Option<Self> {
        let get = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let off = get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let none = get("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
        if off || none {
            return None;
        }
        let endpoint = get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| get("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let Some(endpoint) = endpoint else {
            let url = |address| format!("http://{address}");
            return control_plane.map(|address| Target { protocol: Protocol::Grpc, endpoint: Some(url(address)) });
        };
        let protocol = get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| get("OTEL_EXPORTER_OTLP_PROTOCOL"));
        let protocol = match protocol.as_deref() {
            Some("grpc") => Protocol::Grpc,
            // Whoever names gRPC's port and no protocol means gRPC.
            None if endpoint.trim_end_matches('/').ends_with(":4317") => Protocol::Grpc,
            _ => Protocol::HttpBinary,
        };
        Some(Target { protocol, endpoint: None })
    }

    fn build(&self) -> Result<SpanExporter, ExporterBuildError> {
        match (self.protocol, &self.endpoint) {
            (Protocol::Grpc, None) => SpanExporter::builder().with_tonic().build(),
            (Protocol::Grpc, Some(url)) => SpanExporter::builder().with_tonic().with_endpoint(url).build(),
            (http, None) => SpanExporter::builder().with_http().with_protocol(http).build(),
            (http, Some(url)) => SpanExporter::builder().with_http().with_protocol(http).with_endpoint(url).build(),
        }
    }
}

/// Sends spans until it is told to stop, and then what is left.
#[derive(Debug)]
pub struct Exporter {
    sink: SpanSink,
    target: Target,
    delay: Duration,
    exporters: Vec<(Option<Arc<Identity>>, SpanExporter)>,
    failing: bool,
}

impl Exporter {
    /// An exporter of what comes into `sink`.
    pub fn new(sink: SpanSink, target: Target, variable: impl Fn(&str) -> Option<String>) -> Self {
        let delay = variable("OTEL_BSP_SCHEDULE_DELAY").and_then(|value| value.trim().parse().ok());
        let delay = delay.map_or(DELAY, |millis: u64| Duration::from_millis(millis.clamp(10, 60_000)));
        Exporter { sink, target, delay, exporters: Vec::new(), failing: false }
    }

    /// Sends until `stop`, and then what is left.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut clock = interval(self.delay);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut spare = Vec::new();
        loop {
            let last = tokio::select! {
                _ = clock.tick() => false,
                () = self.sink.due() => false,
                () = stop.cancelled() => true,
            };
            for slot in 0..self.sink.slots() {
                spare = self.empty(slot, spare).await;
            }
            if last {
                return;
            }
        }
    }

    /// Sends what waits in a slot; returns its memory, to be used again.
    async fn empty(&mut self, slot: usize, spare: Vec<SpanRecord>) -> Vec<SpanRecord> {
        let mut taken = self.sink.take(slot, spare);
        let mut rest = std::mem::take(&mut taken.spans);
        let mut lost = false;
        while !rest.is_empty() {
            let batch: Vec<SpanRecord> = rest.drain(rest.len().saturating_sub(BATCH)..).collect();
            let weight = batch.iter().map(SpanRecord::weight).sum();
            let count = batch.len() as u64;
            // A collector that refused one batch is not asked to take the next at once.
            if lost {
                self.sink.count_dropped(count);
                self.sink.release(&taken, weight);
                continue;
            }
            lost = !self.send(batch).await;
            self.sink.release(&taken, weight);
        }
        rest.shrink_to(8 * BATCH);
        rest
    }

    /// Sends a batch, workload by workload. False if a collector did not take all of it.
    async fn send(&mut self, mut batch: Vec<SpanRecord>) -> bool {
        let mut all = true;
        while let Some(identity) = batch.first().map(|record| record.identity.clone()) {
            let (own, others): (Vec<_>, Vec<_>) =
                batch.into_iter().partition(|record| same(&record.identity, &identity));
            batch = others;
            let (count, scope) = (own.len() as u64, scope());
            let spans = own.into_iter().map(|record| convert(&record, &scope)).collect();
            let sent = match self.exporter(identity) {
                Ok(exporter) => exporter.export(spans).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match sent {
                Ok(()) => self.sink.count_sent(count),
                Err(_) => self.sink.count_dropped(count),
            }
            all &= sent.is_ok();
            self.note(sent.err());
        }
        all
    }

    fn exporter(&mut self, identity: Option<Arc<Identity>>) -> Result<&SpanExporter, ExporterBuildError> {
        let known = self.exporters.iter().position(|(other, _)| same(other, &identity));
        let at = match known {
            Some(at) => at,
            None => {
                let mut exporter = self.target.build()?;
                exporter.set_resource(&resource(identity.as_deref()));
                if self.exporters.len() >= MAX_IDENTITIES {
                    self.exporters.remove(0);
                }
                self.exporters.push((identity, exporter));
                self.exporters.len() - 1
            }
        };
        Ok(&self.exporters[at].1)
    }

    /// Says when it begins to fail and when it works again, not each time.
    fn note(&mut self, error: Option<String>) {
        let failing = error.is_some();
        if failing != std::mem::replace(&mut self.failing, failing) {
            match error {
                Some(error) => {
                    let collector = self.target.endpoint.as_deref().unwrap_or("as OTEL_EXPORTER_OTLP_ENDPOINT says");
                    tracing::warn!(%error, collector, "Spans are not taken, and dropped until they are");
                }
                None => tracing::info!("Spans are taken again"),
            }
        }
    }
}

/// Listeners have a copy of the identity each, and it is mostly the same one.
fn same(one: &Option<Arc<Identity>>, other: &Option<Arc<Identity>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
