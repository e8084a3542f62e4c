//! What is printed for people works: the documents in README, of the examples and of the benchmark.

use std::path::Path;

use outrigger_config::document::parse;
use outrigger_config::mesh::Mesh;
use outrigger_integration::binaries;

/// The blocks of YAML in a page of Markdown.
fn blocks(page: &str) -> Vec<String> {
    let rest = page.split("```yaml\n").skip(1);
    rest.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[track_caller]
fn makes_a_mesh(text: &str, file: &Path) {
    let documents = parse(text, &file.display().to_string()).unwrap_or_else(|problems| panic!("{problems}"));
    let (_, warnings) = Mesh::try_new(documents).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(warnings.is_empty(), "{warnings}");
}

#[test]
fn the_documents_in_readme_make_a_mesh() {
    let file = binaries::root().join("README.md");
    let blocks = blocks(&std::fs::read_to_string(&file).unwrap());
    assert_eq!(blocks.len(), 3, "a mesh, policies for it, and what is traced");
    let version = |version: &str| {
        format!(
            "
---
apiVersion: outrigger.dev/v1alpha1
kind: Service
metadata: {{ name: catalog-{version}, namespace: shop }}
spec: {{ selector: {{ app: catalog }}, ports: [{{ name: http, port: 80 }}] }}
---
"
        )
    };
    makes_a_mesh(&blocks[0], &file);
    makes_a_mesh(&(blocks[0].clone() + &version("v1") + &version("v2") + &blocks[1] + "\n---\n" + &blocks[2]), &file);
}

#[test]
fn the_documents_of_the_examples_and_the_benchmark_make_meshes() {
    let mut count = 0;
    for folder in ["examples/mesh", "examples/policies", "integration/bench/configs"] {
        for entry in std::fs::read_dir(binaries::root().join(folder)).unwrap() {
            let file = entry.unwrap().path();
            if file.is_dir() {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            if text.contains("outrigger.dev/v1alpha1") {
                makes_a_mesh(&text, &file);
                count += 1;
            }
        }
    }
    assert!(count >= 4, "{count} files");
}
