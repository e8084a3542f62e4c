//! Takes a whole message, walks it and files what it holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::convert::{self, Sender};
use super::forward::Forwarder;
use super::wire::{self, Malformed};
use crate::graph::Answers;
use crate::signals::Signals;

/// `AGGREGATION_TEMPORALITY_DELTA`: each point says what happened since the one before. What only ever grows is refused:
/// without its past it says nothing of the last seconds.
const DELTA: u64 = 1;

/// How many messages are read at the same time. Each may take twice [`super::MAX_MESSAGE`], compressed and not; in JSON
/// a little more than three times, with the protobuf of it.
const PLACES: usize = 32;

/// How long a message waits for a place.
const PATIENCE: Duration = Duration::from_secs(1);

/// How much of a message was left out; the rest was taken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// Spans or data points.
    pub count: u64,
}

/// What arrived since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Spans that made sense, kept or not.
    pub spans: u64,
    /// Spans that were too large or had no identity.
    pub rejected_spans: u64,
    /// Data points that went into the graph.
    pub points: u64,
    /// Data points of ours that made no sense.
    pub rejected_points: u64,
    /// Messages that were no OTLP.
    pub malformed: u64,
}

/// Where every message ends, whatever it came over. Cloning it shares it.
#[derive(Clone, Debug)]
pub struct Receiver {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    signals: Signals,
    forwarder: Option<Forwarder>,
    places: Semaphore,
    spans: AtomicU64,
    rejected_spans: AtomicU64,
    points: AtomicU64,
    rejected_points: AtomicU64,
    malformed: AtomicU64,
}

/// The metrics the graph is made of.
#[derive(Clone, Copy, Debug)]
enum Measured {
    /// What a proxy sent, by where it went.
    Edge,
    /// What arrived at the service beside the proxy.
    Service,
    /// What a proxy sent again.
    Retries,
    /// What a proxy would have done, were its policies not in Observe.
    Observed,
}

impl Measured {
    fn by_name(name: &[u8]) -> Option<Self> {
        match name {
            b"http.client.request.duration" => Some(Measured::Edge),
            b"http.server.request.duration" => Some(Measured::Service),
            b"outrigger.retries" => Some(Measured::Retries),
            b"outrigger.observed" => Some(Measured::Observed),
            _ => None,
        }
    }

    /// The field of `Metric` that holds such data.
    fn field(self) -> u32 {
        match self {
            Measured::Edge | Measured::Service => 9,
            Measured::Retries | Measured::Observed => 7,
        }
    }
}

impl Receiver {
    /// Files what arrives in `signals`, and hands traces to `forwarder` as they came.
    pub fn new(signals: Signals, forwarder: Option<Forwarder>) -> Self {
        let inner = Inner {
            signals,
            forwarder,
            places: Semaphore::new(PLACES),
            spans: AtomicU64::new(0),
            rejected_spans: AtomicU64::new(0),
            points: AtomicU64::new(0),
            rejected_points: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
        };
        Receiver { inner: Arc::new(inner) }
    }

    /// Takes an `ExportTraceServiceRequest`. When it is malformed, what stood before the fault has been taken in.
    pub fn traces(&self, message: &Bytes) -> Result<Rejected, Malformed> {
        let mut rejected = 0;
        let walked = self.walk_traces(message, &mut rejected);
        self.count(walked, rejected, &self.inner.rejected_spans)?;
        if let Some(forwarder) = &self.inner.forwarder {
            forwarder.send(message.clone());
        }
        Ok(Rejected { count: rejected })
    }

    /// Takes an `ExportMetricsServiceRequest` that arrived at `now`. Metrics the graph has no use for are passed over.
    pub fn metrics(&self, message: &Bytes, now: Instant) -> Result<Rejected, Malformed> {
        let mut rejected = 0;
        let walked = self.walk_metrics(message, now, &mut rejected);
        self.count(walked, rejected, &self.inner.rejected_points)?;
        Ok(Rejected { count: rejected })
    }

    /// Takes an `ExportLogsServiceRequest`: what our proxies record of their decisions. Logs of others are passed over.
    pub fn logs(&self, message: &Bytes) -> Result<Rejected, Malformed> {
        let mut rejected = 0;
        let walked = self.walk_logs(message, &mut rejected);
        walked.inspect_err(|_| self.count_malformed())?;
        Ok(Rejected { count: rejected })
    }

    /// What arrived since the start. The numbers are read one after the other and may be a message apart.
    pub fn counters(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            spans: read(&self.inner.spans),
            rejected_spans: read(&self.inner.rejected_spans),
            points: read(&self.inner.points),
            rejected_points: read(&self.inner.rejected_points),
            malformed: read(&self.inner.malformed),
        }
    }

    /// Traces sent on and traces lost on the way there; none when nothing is forwarded.
    pub fn forwarded(&self) -> Option<super::forward::Counters> {
        self.inner.forwarder.as_ref().map(Forwarder::counters)
    }

    /// A place to read a message in; none when too many are being read.
    pub(super) async fn place(&self) -> Option<SemaphorePermit<'_>> {
        timeout(PATIENCE, self.inner.places.acquire()).await.ok()?.ok()
    }

    /// Counts a message that did not even become protobuf.
    pub(super) fn count_malformed(&self) {
        self.inner.malformed.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self, walked: Result<(), Malformed>, rejected: u64, counter: &AtomicU64) -> Result<(), Malformed> {
        // Statistics: nothing is ordered by them.
        counter.fetch_add(rejected, Ordering::Relaxed);
        walked.inspect_err(|_| self.count_malformed())
    }

    fn walk_traces(&self, message: &Bytes, rejected: &mut u64) -> Result<(), Malformed> {
        for resource_spans in wire::all(message, 1) {
            let resource_spans = resource_spans?;
            let sender = Sender::from_otlp(wire::one(&resource_spans, 1)?).ok_or(Malformed)?;
            for scope_spans in wire::all(&resource_spans, 2) {
                for span in wire::all(&scope_spans?, 2) {
                    match convert::span(span?, &sender) {
                        Some((trace_id, span)) => {
                            self.inner.spans.fetch_add(1, Ordering::Relaxed);
                            self.inner.signals.traces(|traces| traces.record(trace_id, span));
                        }
                        None => *rejected += 1,
                    }
                }
            }
        }
        Ok(())
    }

    fn walk_logs(&self, message: &Bytes, rejected: &mut u64) -> Result<(), Malformed> {
        for resource_logs in wire::all(message, 1) {
            let resource_logs = resource_logs?;
            let sender = Sender::from_otlp(wire::one(&resource_logs, 1)?).ok_or(Malformed)?;
            if !sender.is_proxy {
                continue;
            }
            for scope_logs in wire::all(&resource_logs, 2) {
                for log in wire::all(&scope_logs?, 2) {
                    let text = convert::decision(log?);
                    let kept = text.is_some_and(|text| self.inner.signals.decisions(|all| all.record(&text)));
                    *rejected += u64::from(!kept);
                }
            }
        }
        Ok(())
    }

    fn walk_metrics(&self, message: &Bytes, now: Instant, rejected: &mut u64) -> Result<(), Malformed> {
        for resource_metrics in wire::all(message, 1) {
            let resource_metrics = resource_metrics?;
            let sender = Sender::from_otlp(wire::one(&resource_metrics, 1)?).ok_or(Malformed)?;
            if !sender.is_proxy {
                continue;
            }
            for scope_metrics in wire::all(&resource_metrics, 2) {
                for metric in wire::all(&scope_metrics?, 2) {
                    self.metric(&metric?, &sender, now, rejected)?;
                }
            }
        }
        Ok(())
    }

    fn metric(&self, metric: &Bytes, sender: &Sender, now: Instant, rejected: &mut u64) -> Result<(), Malformed> {
        let name = wire::one(metric, 1)?.unwrap_or_default();
        let Some(measured) = Measured::by_name(&name) else { return Ok(()) };
        let Some(data) = wire::one(metric, measured.field())? else { return Ok(()) };
        let is_delta = wire::number(&data, 2)? == DELTA;
        for point in wire::all(&data, 1) {
            let point = point?;
            let recorded = is_delta
                && match measured {
                    Measured::Edge => self.edge(point, sender, now),
                    Measured::Service => self.service(point, sender, now),
                    Measured::Retries => self.retries(point, sender, now),
                    Measured::Observed => self.observed(point, sender, now),
                };
            if recorded {
                self.inner.points.fetch_add(1, Ordering::Relaxed);
            } else {
                *rejected += 1;
            }
        }
        Ok(())
    }

    fn edge(&self, point: Bytes, sender: &Sender, now: Instant) -> bool {
        let Some(seen) = convert::requests(point, sender, false) else { return false };
        let answers = answers(&seen);
        self.inner.signals.graph(|graph| graph.record_edge(sender.edge(seen.to.clone()), &answers, now));
        true
    }

    fn service(&self, point: Bytes, sender: &Sender, now: Instant) -> bool {
        let Some(seen) = convert::requests(point, sender, true) else { return false };
        let answers = answers(&seen);
        self.inner.signals.graph(|graph| graph.record_service(seen.to.clone(), &answers, now));
        true
    }

    fn retries(&self, point: Bytes, sender: &Sender, now: Instant) -> bool {
        let Some(seen) = convert::retries(point) else { return false };
        let edge = sender.edge(seen.to);
        self.inner.signals.graph(|graph| graph.record_retries(edge, &seen.reason, seen.count, now));
        true
    }

    fn observed(&self, point: Bytes, sender: &Sender, now: Instant) -> bool {
        let Some(seen) = convert::observed(point) else { return false };
        self.inner.signals.graph(|graph| match seen.inbound {
            true => graph.record_service_observed(seen.to, &seen.what, seen.count, now),
            false => graph.record_edge_observed(sender.edge(seen.to), &seen.what, seen.count, now),
        });
        true
    }
}

fn answers(seen: &convert::Requests) -> Answers<'_> {
    Answers {
        bounds: &seen.bounds,
        counts: &seen.counts,
        code: seen.code,
        grpc: seen.grpc.as_deref(),
        reason: seen.reason.as_deref(),
    }
}

#[cfg(test)]
mod tests;
