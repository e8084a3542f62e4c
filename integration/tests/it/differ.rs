//! Envoy and our proxy get the same resources and the same calls, and do the same but for what is written down.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use futures_util::StreamExt;
use outrigger_integration::differ::case::{self, Case};
use outrigger_integration::differ::deviation::{self, Verdict};
use outrigger_integration::differ::play::play;
use outrigger_integration::differ::report;
use outrigger_integration::differ::side::{self, Given};
use outrigger_integration::differ::upstream::Upstream;
use outrigger_integration::{binaries, peers};
use serde_json::json;

/// How many cases are played at once: most of their time they wait for a timeout.
const AT_ONCE: usize = 16;

fn folder() -> PathBuf {
    binaries::root().join("integration/differ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_do_the_same_but_for_what_is_written() {
    let (Some(envoy), Some(python)) = (peers::envoy(), peers::python_grpc()) else { return };
    // For whoever works on a few of them.
    let only = std::env::var("OUTRIGGER_DIFFER").unwrap_or_default();
    let cases: Vec<Case> = case::read(&folder()).into_iter().filter(|case| case.name.contains(&only)).collect();
    let deviations = deviation::read(&folder().join("deviations.yaml"));
    let upstream = Upstream::start().await;
    let given = Given::new(&python, &cases, &upstream);
    let (envoy, ours) = tokio::join!(side::envoy(&envoy, &given), side::ours(&given));
    let judged = cases.iter().map(|case| async {
        let (theirs, mine) = tokio::join!(play(case, "envoy", envoy.ports[&case.id], &upstream), async {
            match ours.refused.get(&case.id) {
                Some(problem) => json!({ "refused": problem }),
                None => play(case, "ours", ours.ports[&case.id], &upstream).await,
            }
        },);
        (case.name.clone(), deviation::judge(case, &theirs, &mine, &deviations))
    });
    let verdicts: BTreeMap<String, Verdict> =
        futures_util::stream::iter(judged).buffer_unordered(AT_ONCE).collect().await;
    let told = report::told(&verdicts);
    // To the descriptor itself: the counts are for everyone, not only for who sees a failure.
    let _ = writeln!(std::io::stderr(), "{told}");
    assert!(!verdicts.values().any(|verdict| matches!(verdict, Verdict::Fails(_))), "\n{told}");
}

#[test]
fn the_list_for_those_who_come_from_envoy_is_up_to_date() {
    let deviations = deviation::read(&folder().join("deviations.yaml"));
    let cases = case::read(&folder());
    for deviation in &deviations {
        for pattern in &deviation.cases {
            assert!(cases.iter().any(|case| deviation::is_like(pattern, &case.name)), "no case is like {pattern:?}");
        }
    }
    let (file, text) = (binaries::root().join("integration/differ.md"), report::table(&cases, &deviations));
    if std::env::var_os("OUTRIGGER_WRITE").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    assert!(
        std::fs::read_to_string(&file).is_ok_and(|written| written == text),
        "set OUTRIGGER_WRITE=1 to write it anew"
    );
}
