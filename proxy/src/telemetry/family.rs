//! Families of Prometheus metrics, built by hand: our counters are our own, and `prometheus` writes them out.

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use crate::telemetry::edge::{BOUNDS, Reading};

/// A family that grows series by series.
#[derive(Debug)]
pub struct Family {
    family: MetricFamily,
    kind: MetricType,
}

impl Family {
    /// Counters; the name ends with `_total`.
    pub fn counter(name: &str, help: &str) -> Self {
        Family::new(name, help, MetricType::COUNTER)
    }

    /// Values that go up and down.
    pub fn gauge(name: &str, help: &str) -> Self {
        Family::new(name, help, MetricType::GAUGE)
    }

    /// Durations, by [`BOUNDS`].
    pub fn histogram(name: &str, help: &str) -> Self {
        Family::new(name, help, MetricType::HISTOGRAM)
    }

    fn new(name: &str, help: &str, kind: MetricType) -> Self {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Family { family, kind }
    }

    /// Adds a series.
    pub fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        let mut metric = labelled(labels);
        if self.kind == MetricType::GAUGE {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        } else {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        }
        self.family.mut_metric().push(metric);
    }

    /// Adds a series of a histogram.
    pub fn add_reading(&mut self, labels: &[(&str, &str)], reading: &Reading) {
        let mut cumulative = 0;
        let bucket = |(bound, count): (f64, u64)| {
            cumulative += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(cumulative);
            bucket
        };
        let buckets = BOUNDS.into_iter().zip(reading.buckets).map(bucket).collect();
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(reading.requests());
        histogram.set_sample_sum(reading.seconds());
        let mut metric = labelled(labels);
        metric.set_histogram(histogram);
        self.family.mut_metric().push(metric);
    }

    /// The family; none if it has no series.
    pub fn finish(self) -> Option<MetricFamily> {
        (!self.family.get_metric().is_empty()).then_some(self.family)
    }
}

/// An empty value is as good as no label, and shorter.
fn labelled(labels: &[(&str, &str)]) -> Metric {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    Metric::from_label(labels.iter().filter(|(_, value)| !value.is_empty()).map(pair).collect())
}
