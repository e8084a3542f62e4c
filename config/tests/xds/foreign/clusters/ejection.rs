//! Outlier detection of a cluster.

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use outrigger_config::error::Code;
use outrigger_config::policy::{Mode, SuccessRate};
use outrigger_config::value::Percent;

use super::super::{number, refused, secs};
use super::{base, read};

#[test]
fn outlier_detection_by_consecutive_errors_is_taken() {
    let outlier = cluster::OutlierDetection {
        consecutive_5xx: number(3),
        base_ejection_time: secs(400),
        max_ejection_percent: number(50),
        enforcing_consecutive_5xx: number(0),
        ..Default::default()
    };
    let cluster = cluster::Cluster { outlier_detection: Some(outlier), ..base() };
    let outlier = read(&cluster).expect("taken").outlier.expect("detection");
    assert_eq!((outlier.consecutive_errors, outlier.mode), (Some(3), Mode::Observe));
    assert_eq!(outlier.success_rate, Some(SuccessRate::with_defaults(Mode::Enforce)), "xDS has it on");
    assert_eq!((outlier.failure_percentage, outlier.consecutive_local_errors, outlier.probe_requests), (None, None, 0));
    assert_eq!(outlier.max_ejection, Duration::from_secs(400), "never below the first");
    assert_eq!(outlier.max_percent, Percent::try_new(50.0).expect("a share"));
}

#[test]
fn every_part_of_outlier_detection_is_taken_by_its_own_share() {
    let outlier = cluster::OutlierDetection {
        enforcing_consecutive_5xx: number(0),
        consecutive_gateway_failure: number(2),
        enforcing_consecutive_gateway_failure: number(100),
        split_external_local_origin_errors: true,
        consecutive_local_origin_failure: number(7),
        enforcing_success_rate: number(0),
        enforcing_failure_percentage: number(100),
        failure_percentage_threshold: number(40),
        max_ejection_time_jitter: secs(3),
        ..Default::default()
    };
    let lb = cluster::cluster::CommonLbConfig {
        healthy_panic_threshold: Some(envoy_types::pb::envoy::r#type::v3::Percent { value: 30.5 }),
        ..Default::default()
    };
    let cluster = cluster::Cluster { outlier_detection: Some(outlier.clone()), common_lb_config: Some(lb), ..base() };
    let read_back = read(&cluster).expect("taken");
    assert_eq!(read_back.panic_threshold, Percent::try_new(30.5).expect("a share"));
    let taken = read_back.outlier.expect("detection");
    let rows = (taken.consecutive_errors, taken.consecutive_gateway_errors, taken.consecutive_local_errors);
    assert_eq!((taken.mode, rows), (Mode::Enforce, (None, Some(2), Some(7))));
    assert_eq!((taken.success_rate, taken.max_jitter), (None, Duration::from_secs(3)));
    let part = taken.failure_percentage.expect("a part");
    assert_eq!((part.mode, part.threshold), (Mode::Enforce, Percent::try_new(40.0).expect("a share")));

    let half = cluster::OutlierDetection { enforcing_success_rate: number(50), ..outlier };
    let cluster = cluster::Cluster { outlier_detection: Some(half), ..base() };
    refused("half", read(&cluster), Code::Unsupported, "outlier_detection.enforcing_success_rate");
}
