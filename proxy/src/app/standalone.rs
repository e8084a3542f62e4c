//! Static mode: the documents of one file, without a control plane.
//!
//! The file is the whole mesh; this proxy stands beside one of its workloads, and its configuration is exactly what a
//! control plane with the same documents would send.

use std::path::Path;

use outrigger_config::document::{self, Document};
use outrigger_config::mesh::Mesh;
use outrigger_config::name::ObjectName;

use crate::app::Error;
use crate::snapshot::ResourceSet;

/// Reads the documents, and makes the resources of the workload `node`, or of the only one with a sidecar.
pub(super) fn read(path: &Path, node: Option<&ObjectName>) -> Result<(ObjectName, ResourceSet), Error> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable { file: file.clone(), source })?;
    resources(document::parse(&text, &file).map_err(Error::Documents)?, &file, node)
}

/// The same of documents that are read already; `file` is what they are called.
pub(crate) fn resources(
    documents: Vec<Document>,
    file: &str,
    node: Option<&ObjectName>,
) -> Result<(ObjectName, ResourceSet), Error> {
    let (mesh, warnings) = Mesh::try_new(documents).map_err(Error::Documents)?;
    for warning in &warnings.0 {
        tracing::warn!(%warning, "Configuration");
    }
    let node = choose(&mesh, file, node)?;
    let resources = mesh.shared(node.namespace()).into_iter().chain(mesh.own(&node)).collect();
    Ok((node, resources))
}

fn choose(mesh: &Mesh, file: &str, node: Option<&ObjectName>) -> Result<ObjectName, Error> {
    let with_sidecar: Vec<&ObjectName> = mesh.workloads().filter(|name| mesh.has_sidecar(name)).collect();
    let list = || with_sidecar.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match (node, with_sidecar.as_slice()) {
        (Some(node), known) if known.contains(&node) => Ok(node.clone()),
        (Some(node), []) => Err(Error::Usage(format!(
            "{file} has no Workload with outbound or appPort, so nothing for --node-id {node} to listen on"
        ))),
        (Some(node), _) => Err(Error::Usage(format!(
            "--node-id {node} is no Workload of {file} with outbound or appPort; there are: {}",
            list()
        ))),
        (None, [only]) => Ok((*only).clone()),
        (None, []) => {
            Err(Error::Usage(format!("{file} has no Workload with outbound or appPort: nothing to listen on")))
        }
        (None, _) => Err(Error::Usage(format!("{file} has several workloads; choose with --node-id: {}", list()))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use outrigger_config::name::ObjectName;

    use super::read;

    fn workload(name: &str, more: &str) -> String {
        format!(
            "
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: {{ name: {name}, namespace: shop }}
spec: {{ address: 127.0.0.1{more} }}
---"
        )
    }

    /// The workload that is chosen, or why none is.
    fn chosen(text: &str, node: Option<&str>) -> String {
        let folder = std::env::temp_dir().join(format!("outrigger-standalone-{}", fastrand::u64(..)));
        std::fs::create_dir(&folder).expect("a folder");
        let file: PathBuf = folder.join("mesh.yaml");
        std::fs::write(&file, text).expect("a file");
        let node = node.map(|node| ObjectName::parse(node).expect("a name"));
        let read = read(&file, node.as_ref());
        std::fs::remove_dir_all(&folder).expect("a folder");
        match read {
            Ok((node, resources)) => format!("{node} with {} listeners", resources.listeners.len()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_workload_is_the_one_that_is_named_or_the_only_one() {
        let (web, job) = (workload("web", ", outbound: [{ port: 15001 }]"), workload("job", ""));
        let other = workload("cart", ", outbound: [{ port: 15002 }, { port: 15003 }]");
        let all = [&*web, &*job, &*other].concat();
        for (text, node, expected) in [
            (&web, None, "shop/web with 1 listeners"),
            (&[&*web, &*job].concat(), None, "shop/web with 1 listeners"),
            (&all, Some("shop/cart"), "shop/cart with 2 listeners"),
            (&all, None, "choose with --node-id: shop/cart, shop/web"),
            (&all, Some("shop/job"), "there are: shop/cart, shop/web"),
            (&job, None, "nothing to listen on"),
            (&job, Some("shop/job"), "nothing for --node-id shop/job to listen on"),
            (&"kind: Nothing".to_owned(), None, "ORG"),
        ] {
            let said = chosen(text, node);
            assert!(said.ends_with(expected) || expected == "ORG" && said.contains("ORG"), "{said}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = read("/no/such/file.yaml".as_ref(), None).expect_err("no file");
        assert!(error.to_string().starts_with("/no/such/file.yaml cannot be read"), "{error}");
    }
}
