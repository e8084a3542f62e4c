//! Whatever is done in whatever order, nothing is found of before a change.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::super::super::stored::{Selector, Stored};
use super::super::View;
use super::{Hashes, Says, fake, stored};
use crate::clock;
use crate::telemetry::second::Lookup;

/// One step of two proxies that share a Redis.
#[derive(Clone, Debug)]
enum Step {
    /// One of them asks for a target, for a tenant.
    Look(usize, u8, u8),
    /// What was asked for at one of the steps before has come, and varies by the tenant or not.
    Keep(usize, bool),
    /// One of them changes a target.
    Forget(usize, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..2usize, 0..2u8, 0..3u8).prop_map(|(who, target, tenant)| Step::Look(who, target, tenant)),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(which, varies)| Step::Keep(which, varies)),
        1 => (0..2usize, 0..2u8).prop_map(|(who, target)| Step::Forget(who, target)),
    ]
}

fn of_tenant(tenant: u8) -> HeaderMap {
    // One of them has no such field.
    let value = HeaderValue::from(u16::from(tenant));
    if tenant == 0 { HeaderMap::new() } else { HeaderMap::from_iter([(http::header::ACCEPT, value)]) }
}

/// Plays the steps, each to its end. A body says for whom it is, and after how many changes it was asked for.
async fn play(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let hashes = Arc::<Hashes>::default();
    let fakes = [fake(Says::Keeps(Arc::clone(&hashes)), true).await, fake(Says::Keeps(hashes), true).await];
    let (mut asked, mut changes) = (Vec::new(), [0; 2]);
    for step in steps {
        match step {
            Step::Look(who, target, tenant) => {
                let (request, shown) = (of_tenant(tenant), Arc::from("shown"));
                let until = clock::now() + Duration::from_secs(1);
                let looked = fakes[who].second.look((&[target], &shown), (7, View::Acting), &request, until).await;
                prop_assert!(matches!(looked.how, Lookup::Found | Lookup::Miss), "{:?}", looked.how);
                if let Some(stored) = looked.stored {
                    let body = stored.body.clone().unwrap_or_default();
                    let all = body[1] == u8::MAX;
                    prop_assert!(body[0] == target && (all || body[1] == tenant), "{body:?} for {target}, {tenant}");
                    prop_assert_eq!(usize::from(body[2]), changes[usize::from(target)], "of before a change");
                    prop_assert!(stored.selector.selects(7, &request));
                }
                asked.push((looked.ticket.expect("it answers"), target, tenant, changes[usize::from(target)]));
            }
            Step::Keep(which, varies) if !asked.is_empty() => {
                let (ticket, target, tenant, after) = &asked[which % asked.len()];
                let mut head = HeaderMap::new();
                if varies {
                    head.insert(http::header::VARY, HeaderValue::from_static("accept"));
                }
                let body = [*target, if varies { *tenant } else { u8::MAX }, u8::try_from(*after).expect("few")];
                let selector = Selector::new(7, &of_tenant(*tenant), &head).expect("one to keep");
                let plain = stored(0);
                let (freshness, sent) = (plain.freshness, plain.sent);
                let body = Some(body.to_vec().into());
                let made = Stored::new(selector, freshness, (StatusCode::OK, &head), body, sent, "shown".into());
                ticket.keep(&Arc::new(made));
            }
            Step::Keep(..) => {}
            Step::Forget(who, target) => {
                fakes[who].second.forget(&[target], View::Acting);
                changes[usize::from(target)] += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nobody_is_given_what_is_for_another_or_of_before_a_change(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(play(steps))?;
    }
}
