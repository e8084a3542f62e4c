//! Path templates (`envoy.extensions.path.match.uri_template.v3`).

use prost_xds::Name;

/// A template; rides in `RouteMatch.path_match_policy`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(prost_path = "prost_xds")]
pub struct UriTemplateMatchConfig {
    /// The template.
    #[prost(string, tag = "1")]
    pub path_template: String,
}

impl UriTemplateMatchConfig {
    /// What Envoy calls the extension.
    pub const EXTENSION: &'static str = "envoy.path.match.uri_template.uri_template_matcher";
}

impl Name for UriTemplateMatchConfig {
    const NAME: &'static str = "UriTemplateMatchConfig";
    const PACKAGE: &'static str = "envoy.extensions.path.match.uri_template.v3";
}
