//! Trace context (temporary outline).
#![allow(missing_docs)]
use http::{HeaderMap, HeaderValue};
use outrigger_config::value::Percent;
#[derive(Debug, Clone)]
pub struct Context {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    pub sampled: bool,
    pub state: Option<HeaderValue>,
}
impl Context {
    pub fn extract(_headers: &HeaderMap) -> Option<Context> {
        None
    }
    pub fn decide(_parent: Option<&Context>, _sample: Percent, rng: &mut fastrand::Rng) -> Context {
        Context {
            trace_id: rng.u128(..).to_be_bytes(),
            span_id: rng.u64(..).to_be_bytes(),
            sampled: false,
            state: None,
        }
    }
    pub fn child(&self, rng: &mut fastrand::Rng) -> Context {
        Context { span_id: rng.u64(..).to_be_bytes(), ..self.clone() }
    }
    pub fn inject(&self, _headers: &mut HeaderMap) {}
}
