//! What to do about a request that did not go well, from its record: whose fault it was, and which document to change.

use outrigger_config::record::{Attempt, Policy, Record};

use super::text::millis;

/// What to do, most useful first; nothing for a request that went well.
pub(super) fn remedies(record: &Record) -> Vec<String> {
    let mut all = Vec::new();
    match record.answer.reason.as_deref() {
        Some("retries_exhausted" | "retry_budget_exhausted") => {
            all.extend(record.attempts.last().and_then(of_attempt));
            all.extend(of_reason(record, record.answer.reason.as_deref().unwrap_or_default()));
        }
        Some(reason) => all.extend(of_reason(record, reason)),
        None if record.answer.status >= 500 || record.attempts.iter().any(|one| one.status >= 500) => {
            all.extend(record.attempts.iter().find(|one| one.status >= 500).and_then(of_attempt));
        }
        None => all.extend(record.attempts.iter().find_map(of_attempt)),
    }
    if record.kept.iter().any(|why| why == "slow")
        && let Some(slowest) = slowest(record)
    {
        let took = millis(slowest.took_ms.unwrap_or_default());
        all.push(format!("{} took {took} to answer attempt {}: look there", slowest.endpoint, slowest.number));
    }
    if !record.would.is_empty() {
        let acts = |policy: &&Policy| policy.observe && record.would.iter().any(|would| policy.about == about(would));
        let observing = record.policies.iter().filter(acts).map(|policy| policy.origin.as_str());
        let observing: Vec<&str> = observing.filter(|origin| !["", "default"].contains(origin)).collect();
        if !observing.is_empty() {
            all.push(format!("set mode: Enforce in {} to have that done", observing.join(", ")));
        }
    }
    all
}

/// What the policy is about that would have done this.
fn about(would: &str) -> &str {
    match would {
        "rate_limit" => "rate limit",
        "breaker" => "limits",
        "hedge" => "retry",
        "eject" => "outlier detection",
        "cache_hit" => "cache",
        "adaptive_concurrency" => "adaptive concurrency",
        "admission_control" => "admission control",
        other => other,
    }
}

fn slowest(record: &Record) -> Option<&Attempt> {
    let took = |one: &&Attempt| one.took_ms.unwrap_or_default();
    record.attempts.iter().max_by(|a, b| took(a).total_cmp(&took(b)))
}

fn of_attempt(attempt: &Attempt) -> Option<String> {
    let to = &attempt.endpoint;
    Some(match (attempt.reason.as_deref(), attempt.status) {
        (Some("connection_refused"), _) => format!("nobody listens at {to}: start that workload, or take it out"),
        (Some("connection_timeout"), _) => format!("{to} does not accept connections in time: is it overloaded?"),
        (Some("connection_terminated"), _) => format!("{to} closed the connection: look for a crash in its log"),
        (Some("http_response_timeout"), _) => format!("{to} did not answer in time: look at what it waits for"),
        (Some("http_protocol_error"), _) => format!("{to} speaks another protocol: check appProtocol of its Service"),
        (_, status @ 500..) => format!("{to} itself answered {status}: its own log says why"),
        _ => return None,
    })
}

fn of_reason(record: &Record, reason: &str) -> Option<String> {
    let change = |about: &str, what: &str| match policy(record, about) {
        Some(policy) => format!("{what} in {} ({})", policy.origin, policy.says),
        None => what.to_owned(),
    };
    Some(match reason {
        "destination_not_found" => match record.missed.first() {
            Some(near) if near.because.starts_with("is another") => {
                format!("call one of the hosts above, or add a Service or HTTPRoute for {:?}", record.host)
            }
            Some(near) => format!("the nearest route is {}, which {}: ask so, or add a rule", near.route, near.because),
            None => format!("add a Service or HTTPRoute for {:?}", record.host),
        },
        "destination_unavailable" => "the route names a backend that is not there: outrigger get service".to_owned(),
        "no_healthy_endpoint" => match record.destination.as_ref().filter(|to| !to.endpoints.is_empty()) {
            Some(to) => {
                format!("none of the {} endpoints takes requests: see candidates", to.endpoints.len() + to.more)
            }
            None => of_subset(record)
                .unwrap_or_else(|| "no workload is selected by the service: outrigger get workload".to_owned()),
        },
        "rate_limited" => change("rate limit", "raise the limit, or send fewer: Retry-After says when; change it"),
        "breaker_requests" | "breaker_pending" | "breaker_connections" => {
            change("limits", "find what the requests under way wait for, or raise the limit")
        }
        "admission_control" => {
            change("admission control", "mend the destination, whose attempts fail, or let more through")
        }
        "adaptive_concurrency" => change(
            "adaptive concurrency",
            "the service is slower than without load: give it more workloads, or change adaptiveConcurrency",
        ),
        "overloaded" => {
            "the proxy itself runs short: give its container more, or raise --memory-limit or the limit of open files; \
             priority: High in a RoutePolicy says which requests go last"
                .to_owned()
        }
        "retries_exhausted" => change("retry", "more attempts help only where failures are by chance: retry.attempts"),
        "retry_budget_exhausted" => {
            "too large a share of the requests fails: mend the destination; retryConstraint and limits.maxRetries of \
             its BackendPolicy say how many retries it bears"
                .to_owned()
        }
        "http_response_timeout" => match record.attempts.last() {
            Some(last) => {
                let detail = of_attempt(last).unwrap_or_else(|| format!("{} was too slow", last.endpoint));
                format!("{detail}; or {}", change("timeouts", "raise the timeout"))
            }
            None => change("timeouts", "raise the timeout"),
        },
        "not_cached" => {
            "the caller said Cache-Control: only-if-cached, and nothing is kept: let it ask without that".to_owned()
        }
        "fault_injected" => change("fault", "nothing is wrong; take the fault out"),
        "downstream_reset" => {
            format!("the caller left after {}: its own timeout is shorter than this took", millis(record.took_ms))
        }
        "http_request_denied" => "mend the caller: no proxy may pass on what it sent".to_owned(),
        "proxy_configuration_error" => "outrigger proxies says what this proxy is missing".to_owned(),
        _ => return record.attempts.last().and_then(of_attempt),
    })
}

/// What would give a request endpoints that was led to nobody.
fn of_subset(record: &Record) -> Option<String> {
    let subset = record.destination.as_ref()?.subset.as_ref()?;
    let fallback = "another fallback in loadBalancing.subsets of its BackendPolicy";
    Some(match subset.asked.as_str() {
        "" => format!("let the route pick a subset, or say {fallback}"),
        asked => format!("give a workload of the service the labels {asked}, or say {fallback}"),
    })
}

fn policy<'a>(record: &'a Record, about: &str) -> Option<&'a Policy> {
    record.policies.iter().find(|policy| policy.about == about && !policy.observe)
}

#[cfg(test)]
mod tests {
    use outrigger_config::record::{Answer, Attempt, Destination, Missed, Policy, Record, Subset};

    use super::remedies;

    fn failed(reason: &str) -> Record {
        let answer = Answer { status: 503, reason: Some(reason.to_owned()), ..Answer::default() };
        Record { answer, host: "catalgo".to_owned(), ..Record::default() }
    }

    #[test]
    fn every_reason_has_something_to_do() {
        for reason in [
            "destination_not_found",
            "destination_unavailable",
            "no_healthy_endpoint",
            "rate_limited",
            "breaker_requests",
            "overloaded",
            "adaptive_concurrency",
            "admission_control",
            "retries_exhausted",
            "retry_budget_exhausted",
            "http_response_timeout",
            "fault_injected",
            "downstream_reset",
            "http_request_denied",
            "not_cached",
        ] {
            assert!(!remedies(&failed(reason)).is_empty(), "{reason}");
        }
        assert!(
            remedies(&Record { answer: Answer { status: 200, ..Answer::default() }, ..Record::default() }).is_empty()
        );
    }

    #[test]
    fn a_subset_that_nobody_is_in_is_named() {
        let remedy = |asked: &str| {
            let subset = Subset { asked: asked.to_owned(), led: "nobody".to_owned(), ..Subset::default() };
            let destination = Some(Destination { subset: Some(subset), ..Destination::default() });
            remedies(&Record { destination, ..failed("no_healthy_endpoint") })[0].clone()
        };
        assert!(remedy("version=v3").starts_with("give a workload of the service the labels version=v3, or"));
        assert!(remedy("").starts_with("let the route pick a subset, or"));
    }

    #[test]
    fn what_bounds_retries_is_called_as_in_documents() {
        let remedy = &remedies(&failed("retry_budget_exhausted"))[0];
        assert!(remedy.contains("retryConstraint") && remedy.contains("limits.maxRetries"), "{remedy}");
    }

    #[test]
    fn the_document_and_the_endpoint_are_named() {
        let limit = Policy {
            about: "limits".to_owned(),
            origin: "BackendPolicy shop/catalog".to_owned(),
            says: "5 requests".to_owned(),
            ..Policy::default()
        };
        let record = Record { policies: vec![limit], ..failed("breaker_requests") };
        assert!(remedies(&record)[0].ends_with("in BackendPolicy shop/catalog (5 requests)"));
        let attempt = Attempt {
            endpoint: "127.0.0.1:9001".to_owned(),
            reason: Some("connection_refused".to_owned()),
            ..Attempt::default()
        };
        let record = Record { attempts: vec![attempt], ..failed("retries_exhausted") };
        assert!(remedies(&record)[0].starts_with("nobody listens at 127.0.0.1:9001"));
        let near = Missed { route: "HTTPRoute shop/beta/0".to_owned(), because: "wants field x-beta=yes".to_owned() };
        let record = Record { missed: vec![near], ..failed("destination_not_found") };
        assert!(remedies(&record)[0].starts_with("the nearest route is HTTPRoute shop/beta/0, which wants field"));
    }
}
