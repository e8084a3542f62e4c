//! What `outrigger simulate` and `outrigger test` say is what the proxy's own code decides, and the same each time.

use std::path::PathBuf;

use outrigger_integration::binaries;
use outrigger_integration::process::{Ended, Process};

fn examples() -> PathBuf {
    binaries::root().join("examples/policies")
}

async fn outrigger(arguments: &[&str]) -> Ended {
    Process::run(binaries::cli(), arguments.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>()).await
}

/// The example's outage with a seed.
async fn outage(more: &[&str]) -> Ended {
    let (documents, requests) = (examples(), examples().join("requests/outage.yaml"));
    let all = ["simulate", "-f", documents.to_str().unwrap(), "--requests", requests.to_str().unwrap()];
    outrigger(&[&all, more].concat()).await
}

#[tokio::test]
async fn the_same_seed_says_the_same_and_another_does_not() {
    let (first, again, other) = (outage(&[]).await, outage(&[]).await, outage(&["--seed", "2"]).await);
    assert_eq!(first.code, Some(0), "{:#?}", first.lines);
    assert_eq!(first.lines, again.lines);
    assert_ne!(first.lines, other.lines);
    assert!(first.lines[0].starts_with("4200 requests in 20."), "{:#?}", first.lines);
}

#[tokio::test]
async fn every_decision_can_be_read_and_the_sum_is_theirs() {
    let played = outage(&["-o", "json"]).await;
    let values: Vec<serde_json::Value> = played.lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (sum, records) = values.split_last().unwrap();
    assert_eq!((records.len(), sum["summary"]["requests"].as_u64()), (4200, Some(4200)));
    let attempts: usize = records.iter().map(|record| record["attempts"].as_array().unwrap().len()).sum();
    assert_eq!(sum["summary"]["attempts"].as_u64(), Some(attempts as u64));
    let retried = |record: &&serde_json::Value| record["attempts"].as_array().unwrap().len() > 1;
    let served = records.iter().filter(retried).filter(|record| record["answer"]["status"] == 200).count();
    assert!(served > 0, "retries hide the outage");
    let failed = records.iter().filter(|record| record["answer"]["status"] != 200).count();
    assert!(failed < 42, "{failed} of 4200 failed, though another endpoint was there");
    assert!(sum["summary"]["would"]["rate_limit"].as_u64() > Some(0), "200 a second, where 100 would be let in: {sum}");
}

#[tokio::test]
async fn the_tests_of_the_examples_hold() {
    let folder = examples();
    let ended = outrigger(&["test", "-f", folder.to_str().unwrap()]).await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.lines);
    assert!(ended.lines.iter().filter(|line| line.starts_with("ok ")).count() >= 10, "{:#?}", ended.lines);
}

#[tokio::test]
async fn a_test_that_does_not_hold_says_what_was_expected_and_what_was() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(examples().join("catalog.yaml"), folder.path().join("catalog.yaml")).unwrap();
    let wrong = "cases:\n- name: wrong\n  request: { host: catalog }\n  expect: { status: 503, attempts: 2, backend: catalog-v1 }\n";
    std::fs::write(folder.path().join("a.test.yaml"), wrong).unwrap();
    let path = folder.path().to_str().unwrap();
    let ended = outrigger(&["test", "-f", path]).await;
    let said = ended.lines.join("\n");
    assert_eq!(ended.code, Some(1), "{said}");
    for words in
        ["FAILED", "status: expected 503, was 200", "attempts: expected 2, was 1", "0 of 1 hold", "1 of 1 tests failed"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("backend: expected"), "what holds is not said: {said}");
    std::fs::write(folder.path().join("a.test.yaml"), "cases: [{ name: a, request: {}, expct: {} }]").unwrap();
    let ended = outrigger(&["test", "-f", path]).await;
    assert_eq!(ended.code, Some(2), "{:#?}", ended.lines);
    assert!(ended.lines.join("\n").contains("cases[0]: unknown field `expct`"), "{:#?}", ended.lines);
    assert_eq!(outrigger(&["simulate", "-f", path]).await.code, Some(2), "there are no requests");
    assert_eq!(outrigger(&["simulate", "--help"]).await.code, Some(0));
}
