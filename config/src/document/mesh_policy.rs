//! `MeshPolicy`: what holds for the workloads of its namespace, or of the whole mesh when it is in [`MESH_NAMESPACE`]
//! and the namespace's own policy does not say it.

use super::reader::Field;
use crate::value::Percent;

/// The namespace whose MeshPolicy is the whole mesh's.
pub const MESH_NAMESPACE: &str = "outrigger-system";

/// The spec of a MeshPolicy. What is absent is as the wider policy has it, and without one as `Telemetry::default`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshPolicy {
    /// The share of traces begun in a proxy that is kept (`tracing.samplePercent`).
    pub sample: Option<Percent>,
    /// Whether each request is logged (`accessLog`: `{}` switches it on, `{enabled: false}` off).
    pub access_log: Option<bool>,
}

impl MeshPolicy {
    pub(super) fn read(field: &Field<'_>) -> Self {
        let mut fields = field.fields();
        let sample = fields.optional("tracing").and_then(|field| {
            let mut fields = field.fields();
            let sample = fields.optional("samplePercent").and_then(|field| field.number(Percent::try_new));
            fields.unsupported(&["alwaysSample", "slowThreshold", "otlp", "propagation"]);
            fields.finish();
            sample
        });
        let access_log = fields.optional("accessLog").map(|field| {
            let mut fields = field.fields();
            let enabled = fields.optional("enabled").is_none_or(|field| field.boolean());
            if let Some(field) = fields.optional("format") {
                field.choice(&[("json", ())]);
            }
            fields.unsupported(&["filter"]);
            fields.finish();
            enabled
        });
        fields.unsupported(&["mode", "metrics", "outbound", "protocolDetection"]);
        fields.finish();
        MeshPolicy { sample, access_log }
    }
}
