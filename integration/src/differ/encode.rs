//! xDS from Envoy's JSON to bytes. Python's protobuf does it, with Envoy's own descriptions of its messages, so that no
//! code of ours has a part in what both sides get.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use serde_json::Value;

use crate::peers;

/// The bytes of each message. A message that Envoy's own words do not allow fails with its name.
pub fn encode(python: &Path, messages: &[Value]) -> Vec<Bytes> {
    let mut child = Command::new(python)
        .arg(peers::script("xds_encode.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let text = serde_json::to_vec(messages).expect("values are JSON");
    let mut input = child.stdin.take().expect("it has an input");
    // It reads everything before it writes anything.
    input.write_all(&text).expect("it takes its input");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "a resource is wrong: {}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("it writes text");
    let encoded: Vec<Bytes> = lines.lines().map(bytes_of).collect();
    assert_eq!(encoded.len(), messages.len(), "a line for each message");
    encoded
}

fn bytes_of(line: &str) -> Bytes {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).expect("a digit");
    line.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
