//! Static mode: the documents of one file, without a control plane.
//!
//! The file is the whole mesh; this proxy stands beside one of its workloads, and its configuration is exactly what a
//! control plane with the same documents would send.

use std::path::Path;

use outrigger_config::document;
use outrigger_config::mesh::Mesh;
use outrigger_config::name::ObjectName;

use crate::app::Error;
use crate::snapshot::ResourceSet;

/// Reads the documents, and makes the resources of the workload `node`, or of the only one with a sidecar.
pub(super) fn read(path: &Path, node: Option<&ObjectName>) -> Result<(ObjectName, ResourceSet), Error> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable { file: file.clone(), source })?;
    let documents = document::parse(&text, &file).map_err(Error::Documents)?;
    let (mesh, warnings) = Mesh::try_new(documents).map_err(Error::Documents)?;
    for warning in &warnings.0 {
        tracing::warn!(%warning, "Configuration");
    }
    let node = choose(&mesh, &file, node)?;
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
