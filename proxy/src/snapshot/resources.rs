//! The resources that are accepted right now, by type and name: what a snapshot is compiled from.

use std::collections::BTreeMap;

use outrigger_config::cluster::Cluster;
use outrigger_config::endpoint::Assignment;
use outrigger_config::listener::Listener;
use outrigger_config::name::{ClusterName, ListenerName, ResourceName, TableName};
use outrigger_config::resource::{Resource, ResourceType};
use outrigger_config::route::RouteTable;

/// What is accepted right now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceSet {
    /// Where to listen.
    pub listeners: BTreeMap<ListenerName, Listener>,
    /// Which request goes where.
    pub tables: BTreeMap<TableName, RouteTable>,
    /// Destinations.
    pub clusters: BTreeMap<ClusterName, Cluster>,
    /// Their endpoints, by the name that the cluster asks for.
    pub assignments: BTreeMap<ClusterName, Assignment>,
}

impl ResourceSet {
    /// Adds a resource or replaces the one of its name. Listeners of gRPC clients have no address and are left out.
    pub fn insert(&mut self, resource: Resource) {
        let name = resource.name().clone();
        match resource {
            Resource::Listener(listener) => drop(self.listeners.insert(name, listener)),
            Resource::Table(table) => drop(self.tables.insert(name, table)),
            Resource::Cluster(cluster) => drop(self.clusters.insert(name, cluster)),
            Resource::Assignment(assignment) => drop(self.assignments.insert(name, assignment)),
            Resource::ApiListener(_) => {}
        }
    }

    /// Takes a resource out, if it is there.
    pub fn remove(&mut self, kind: ResourceType, name: &ResourceName) {
        match kind {
            ResourceType::Listener => drop(self.listeners.remove(name)),
            ResourceType::Table => drop(self.tables.remove(name)),
            ResourceType::Cluster => drop(self.clusters.remove(name)),
            ResourceType::Assignment => drop(self.assignments.remove(name)),
        }
    }
}

impl FromIterator<Resource> for ResourceSet {
    fn from_iter<I: IntoIterator<Item = Resource>>(resources: I) -> Self {
        let mut set = ResourceSet::default();
        resources.into_iter().for_each(|resource| set.insert(resource));
        set
    }
}

#[cfg(test)]
mod tests {
    use outrigger_config::cluster::{Cluster, Discovery};
    use outrigger_config::listener::ApiListener;
    use outrigger_config::name::ResourceName;
    use outrigger_config::resource::{Resource, ResourceType};

    use super::ResourceSet;

    #[test]
    fn a_resource_replaces_the_one_of_its_name_until_it_is_removed() {
        let name = ResourceName::try_new("shop/catalog/http").expect("a name");
        let mut cluster = Cluster::new(name.clone(), Discovery::Eds(name.clone()));
        let mut set: ResourceSet = [Resource::Cluster(cluster.clone())].into_iter().collect();
        cluster.host = "catalog".into();
        set.insert(Resource::Cluster(cluster.clone()));
        assert_eq!(set.clusters.get(&name), Some(&cluster));
        set.remove(ResourceType::Listener, &name);
        assert_eq!(set.clusters.len(), 1);
        set.remove(ResourceType::Cluster, &name);
        set.insert(Resource::ApiListener(ApiListener { name: name.clone(), table: name }));
        assert_eq!(set, ResourceSet::default());
    }
}
