//! YAML of JSON values, as `-o yaml` prints it and `apply` reads it back.

use std::fmt::Write;

use serde_json::Value;

/// Words that YAML readers of one version or another take for something else than text.
const RESERVED: [&str; 12] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "~", ".nan", ".inf"];

/// The value in block style, with a final newline.
pub(super) fn render(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(value, 0, &mut text),
        Value::Array(list) if !list.is_empty() => block(value, 0, &mut text),
        _ => {
            scalar(value, &mut text);
            text.push('\n');
        }
    }
    text
}

/// A list or map that is not empty, each line indented. The first line is not, where a `- ` stands before it.
fn block(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(map) => {
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 || !text.ends_with("- ") {
                    text.push_str(&" ".repeat(indent));
                }
                text.push_str(&quoted(key));
                text.push(':');
                match value {
                    // A list under a key stands as deep as the key: the habit of Kubernetes' own tools.
                    Value::Array(list) if !list.is_empty() => {
                        text.push('\n');
                        block(value, indent, text);
                    }
                    Value::Object(map) if !map.is_empty() => {
                        text.push('\n');
                        block(value, indent + 2, text);
                    }
                    _ => {
                        text.push(' ');
                        scalar(value, text);
                        text.push('\n');
                    }
                }
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                if index > 0 || !text.ends_with("- ") {
                    text.push_str(&" ".repeat(indent));
                }
                text.push_str("- ");
                match value {
                    Value::Object(map) if !map.is_empty() => block(value, indent + 2, text),
                    Value::Array(list) if !list.is_empty() => block(value, indent + 2, text),
                    _ => {
                        scalar(value, text);
                        text.push('\n');
                    }
                }
            }
        }
        _ => scalar(value, text),
    }
}

fn scalar(value: &Value, text: &mut String) {
    match value {
        Value::String(value) => text.push_str(&quoted(value)),
        // Writing to a string cannot fail. What is not text reads the same in JSON and YAML, `{}` and `[]` included.
        other => drop(write!(text, "{other}")),
    }
}

/// Text as it is where no reader can take it for something else, and in double quotes otherwise.
fn quoted(text: &str) -> String {
    let first = |c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '_');
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '.' | '-' | ' ');
    let plain = text.starts_with(first)
        && text.chars().all(inner)
        && !text.ends_with(' ')
        && !RESERVED.contains(&text.to_ascii_lowercase().as_str());
    if plain {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        // Writing to a string cannot fail.
        let _ = match c {
            '"' | '\\' => write!(quoted, "\\{c}"),
            '\n' => write!(quoted, "\\n"),
            '\t' => write!(quoted, "\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                write!(quoted, "\\u{:04x}", u32::from(c))
            }
            c => write!(quoted, "{c}"),
        };
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::render;

    #[test]
    fn values_read_as_people_write_them() {
        let value = json!({
            "kind": "Service",
            "empty": {}, "none": [], "null": null,
            "spec": {"ports": [{"name": "http", "port": 80}, [1, [2]]], "on": "yes", "ratio": 0.5},
            "text": "a: b", "lines": "a\nb\u{1b}", "number": "80", "path": "/a b",
        });
        let expected = "\
empty: {}
kind: Service
lines: \"a\\nb\\u001b\"
none: []
\"null\": null
number: \"80\"
path: /a b
spec:
  \"on\": \"yes\"
  ports:
  - name: http
    port: 80
  - - 1
    - - 2
  ratio: 0.5
text: \"a: b\"
";
        assert_eq!(render(&value), expected);
        assert_eq!([render(&json!([])), render(&json!("x"))], ["[]\n", "x\n"]);
    }
}
