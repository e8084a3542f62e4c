//! The reasons in sentences, for those who meet one for the first time.
//!
//! The words are those of RFC 9209 and our own; the sentence says what happened, from the caller's side. A word that is
//! not known here is printed as it is.

/// What a reason means, as the end of a sentence; none for a word that is not ours.
pub(super) fn explain(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "destination_unavailable" => "the route leads to a service that is not there",
        "destination_not_found" => "no route or service has this name",
        "connection_refused" => "nobody listened at the workload's address",
        "connection_timeout" => "the workload's address did not answer in time",
        "connection_terminated" => "the connection ended before the answer was whole",
        "connection_limit_reached" => "the workload takes no more connections",
        "http_request_denied" => "the request is not one that may be passed on",
        "http_response_timeout" => "the answer took longer than the route allows",
        "http_response_incomplete" => "the answer broke off in the middle",
        "http_protocol_error" => "the other side did not speak proper HTTP",
        "http_request_error" => "the request is not proper HTTP",
        "proxy_configuration_error" => "the configuration cannot serve this request",
        "proxy_internal_error" => "the proxy itself failed",
        "proxy_loop_detected" => "the request came back to where it had been",
        "tls_certificate_error" => "the other side's certificate is not trusted",
        "rate_limited" => "the rate limit was reached",
        "not_cached" => "the caller wanted a kept answer or none, and none is kept",
        "rate_limit_unavailable" => "nobody could say whether the rate limit was reached, and the policy says Deny",
        "retries_exhausted" => "every attempt the route allows has failed",
        "retry_budget_exhausted" => "too many retries at once, so this one was not made",
        "breaker_requests" => "the limit of requests at the same time was reached",
        "breaker_pending" => "the limit of waiting requests was reached",
        "breaker_connections" => "the limit of connections was reached",
        "no_healthy_endpoint" => "no healthy workload was left",
        "fault_injected" => "a fault was injected on purpose",
        "downstream_reset" => "the caller went away before the answer",
        _ => return None,
    })
}

/// Why a request was tried again: `tried again after code_503: the answer was 503`.
pub(super) fn explain_retry(reason: &str) -> String {
    if reason == "hedge" {
        return "a hedge: the one before it took long".to_owned();
    }
    let sentence = match (reason.strip_prefix("code_"), reason.strip_prefix("grpc_"), explain(reason)) {
        (Some(code), ..) => format!(": the answer was {code}"),
        (_, Some(status), _) => format!(": the answer was {}", status.to_ascii_uppercase()),
        (.., Some(sentence)) => format!(": {sentence}"),
        _ => String::new(),
    };
    format!("tried again after {reason}{sentence}")
}

/// Why another attempt was not made.
pub(super) fn explain_withheld(why: &str) -> &str {
    match why {
        "carried" => "the proxy of a caller further up tries the request again itself",
        "method" => "its method, or an upgrade, is not one that may be repeated",
        "body" => "its body is longer than the policy keeps",
        "memory" => "the proxy keeps as many bodies as it may (--replay-memory)",
        "time" => "it could not have ended in the time left",
        "asked" => "the answer asked not to be asked again, or not so soon",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::{explain, explain_retry};
    use crate::graph::REASONS;

    #[test]
    fn every_reason_a_proxy_gives_has_a_sentence() {
        for reason in REASONS {
            assert!(explain(reason).is_some(), "{reason}");
        }
        assert_eq!(explain("my_own"), None);
    }

    #[test]
    fn retries_are_explained_by_what_came_before() {
        let expected = [
            ("code_503", "tried again after code_503: the answer was 503"),
            ("grpc_UNAVAILABLE", "tried again after grpc_UNAVAILABLE: the answer was UNAVAILABLE"),
            ("connection_refused", "tried again after connection_refused: nobody listened at the workload's address"),
            ("my_own", "tried again after my_own"),
        ];
        for (reason, sentence) in expected {
            assert_eq!(explain_retry(reason), sentence);
        }
    }
}
