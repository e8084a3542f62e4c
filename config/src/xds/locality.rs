//! How much the place of an endpoint counts (`Cluster.common_lb_config`).
//!
//! Envoy keeps requests in a zone only if its bootstrap names its own cluster (`cluster_manager.local_cluster_name`), from
//! whose endpoints it knows where its like stand; our proxy knows its own service.

use xds_api::pb::envoy::config::cluster::v3::cluster::CommonLbConfig;
use xds_api::pb::envoy::config::cluster::v3::cluster::common_lb_config::{
    LocalityConfigSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig,
};
use xds_api::pb::envoy::r#type::v3 as kinds;
use xds_api::pb::google::protobuf as pb;

use crate::cluster::Localities;
use crate::error::Problem;
use crate::value::Percent;

/// What Envoy takes where nothing is said.
const MIN_CLUSTER_SIZE: u32 = 6;

/// Encodes it; nothing where places do not count.
pub(super) fn encode(localities: Localities) -> Option<LocalityConfigSpecifier> {
    match localities {
        Localities::Ignored => None,
        Localities::Weighted => {
            Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig::default()))
        }
        Localities::ZoneAware { percent, min_endpoints } => {
            Some(LocalityConfigSpecifier::ZoneAwareLbConfig(ZoneAwareLbConfig {
                routing_enabled: Some(kinds::Percent { value: f64::from(percent.millionths()) / 10_000.0 }),
                min_cluster_size: Some(pb::UInt64Value { value: min_endpoints.into() }),
                ..Default::default()
            }))
        }
    }
}

/// Decodes it.
pub(super) fn decode(common: Option<&CommonLbConfig>) -> Result<Localities, Problem> {
    let Some(specifier) = common.and_then(|common| common.locality_config_specifier.as_ref()) else {
        return Ok(Localities::Ignored);
    };
    match specifier {
        LocalityConfigSpecifier::LocalityWeightedLbConfig(_) => Ok(Localities::Weighted),
        LocalityConfigSpecifier::ZoneAwareLbConfig(config) => {
            let at = |problem: Problem| {
                let inner = problem.at_field("value").at_field("routing_enabled");
                inner.at_field("zone_aware_lb_config").at_field("common_lb_config")
            };
            let enabled = config.routing_enabled.as_ref().map(|percent| Percent::try_new(percent.value));
            let least = config.min_cluster_size.as_ref().map_or(MIN_CLUSTER_SIZE.into(), |size| size.value);
            Ok(Localities::ZoneAware {
                percent: enabled.transpose().map_err(at)?.unwrap_or(Percent::HUNDRED),
                // Nobody has more.
                min_endpoints: u32::try_from(least).unwrap_or(u32::MAX),
            })
        }
    }
}
