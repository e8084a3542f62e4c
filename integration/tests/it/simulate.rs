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

#[tokio::test]
async fn what_cannot_be_rehearsed_is_refused_with_a_code_and_help_says_which() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let documents = examples();
    std::fs::write(path("empty.yaml"), "").unwrap();
    std::fs::write(path("bytes.yaml"), [0xff, 0xfe]).unwrap();
    std::fs::write(path("wrong.yaml"), "kind: Nothing\n").unwrap();
    std::fs::write(path("ask.yaml"), "requests: [{ host: catalog }]\n").unwrap();
    std::fs::write(path("long.yaml"), "requests: [{ host: catalog, every: 8760h, times: 200000 }]\n").unwrap();
    for (documents, requests, code, words) in [
        (documents.to_str().unwrap(), "empty.yaml", 2, "no requests"),
        (documents.to_str().unwrap(), "long.yaml", 2, "at most 168 h"),
        (documents.to_str().unwrap(), "absent.yaml", 2, "cannot be read"),
        (&path("bytes.yaml"), "ask.yaml", 2, "cannot be read"),
        (&path("wrong.yaml"), "ask.yaml", 1, "Nothing"),
    ] {
        let ended = outrigger(&["simulate", "-f", documents, "--requests", &path(requests)]).await;
        let said = ended.lines.join("\n");
        assert!(ended.code == Some(code) && said.contains(words), "{requests}: {:?} {said}", ended.code);
    }
    for word in ["simulate", "test"] {
        let help = outrigger(&[word, "--help"]).await.lines.join("\n");
        assert!(help.contains(&format!("Usage: outrigger {word}")) && help.contains("Exit codes: 0"), "{help}");
    }
}
