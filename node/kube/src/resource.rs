//! The resources that the API serves: one row for each resource and version. Routes, discovery, messages and the kinds
//! in keys all follow from it. The rows live in the modules below.

use skein_crdt_state::Kind;

use crate::schema::{self, TypeSchema};

mod core;
mod events;
mod metrics;
mod others;
mod reviews;
mod workloads;

pub use self::core::{
    CONFIG_MAPS, ENDPOINTS, LIMIT_RANGES, NAMESPACES, NODES, PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_QUOTAS, SECRETS,
    SERVICE_ACCOUNTS, SERVICES,
};
pub use events::{EVENTS, EVENTS_GROUP_EVENTS};
pub use metrics::{NODE_METRICS, POD_METRICS};
pub use others::{
    CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ENDPOINT_SLICES, INGRESS_CLASSES, INGRESSES, LEASES, NETWORK_POLICIES,
    POD_DISRUPTION_BUDGETS, POD_DISRUPTION_BUDGETS_V1BETA1, PRIORITY_CLASSES, ROLE_BINDINGS, ROLES, STORAGE_CLASSES,
};
pub use reviews::{
    LOCAL_SUBJECT_ACCESS_REVIEWS, SELF_SUBJECT_ACCESS_REVIEWS, SELF_SUBJECT_REVIEWS, SELF_SUBJECT_RULES_REVIEWS,
    SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS,
};
pub use workloads::{
    CONTROLLER_REVISIONS, CRON_JOBS, CRON_JOBS_V1BETA1, DAEMON_SETS, DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS,
    HORIZONTAL_POD_AUTOSCALERS_V1, JOBS, REPLICA_SETS, STATEFUL_SETS,
};

/// One resource of the API in one version: `deployments` of `apps/v1`.
#[derive(Debug)]
pub struct Resource {
    /// The kind that its objects are stored under, `Deployment.apps`. Two versions of one resource share it.
    pub stored_kind: &'static str,
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// `v1`.
    pub version: &'static str,
    /// `deployments`.
    pub plural: &'static str,
    /// `deployment`.
    pub singular: &'static str,
    /// `Deployment`.
    pub kind_name: &'static str,
    /// What kubectl takes for it: `deploy`.
    pub short_names: &'static [&'static str],
    /// Whether `kubectl get all` shows it.
    pub in_all: bool,
    /// Whether its objects are in a namespace.
    pub namespaced: bool,
    /// Its verbs, in alphabetical order.
    pub verbs: &'static [&'static str],
    /// What may follow a name.
    pub subresources: &'static [SubresourceInfo],
    /// What its objects look like.
    pub schema: &'static TypeSchema,
}

/// What may follow an object's name in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subresource {
    /// `/status`: the object; read only, since every status is computed.
    Status,
    /// `/scale`.
    Scale,
    /// `/log`.
    Log,
    /// `/ephemeralcontainers`: the pod, of which a write changes these alone.
    EphemeralContainers,
    /// `/eviction`.
    Eviction,
    /// `/attach`: a connection with a container's own process.
    Attach,
    /// `/exec`: a connection with a command that is run in a container.
    Exec,
    /// `/portforward`: connections to ports.
    PortForward,
    /// `/token`: a new token of an account.
    Token,
}

/// One subresource of a resource.
#[derive(Debug)]
pub struct SubresourceInfo {
    /// Which.
    pub part: Subresource,
    /// `scale`.
    pub name: &'static str,
    /// The group, version and kind of what it answers with; an empty version: those of its resource.
    pub kind: (&'static str, &'static str, &'static str),
    /// Its verbs.
    pub verbs: &'static [&'static str],
}

impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        (self.group, self.version, self.plural) == (other.group, other.version, other.plural)
    }
}

impl Eq for Resource {}

impl Resource {
    /// The kind in keys.
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind::new(self.stored_kind)
    }

    /// `apps/v1`, or `v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `deployments.apps`, or `pods`: how messages name the resource.
    #[must_use]
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Whether it has a verb.
    #[must_use]
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// A subresource of it.
    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&'static SubresourceInfo> {
        self.subresources.iter().find(|info| info.name == name)
    }
}

/// Finds a resource by group, version and plural name.
#[must_use]
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    all().find(|r| r.group == group && r.version == version && r.plural == plural)
}

/// Finds a resource by the kind that its objects are stored under; of several versions the one that they are stored in.
#[must_use]
pub fn of_kind(kind: &Kind) -> Option<&'static Resource> {
    SERVED.iter().copied().find(|r| r.stored_kind == kind.as_str())
}

/// All resources, also those whose objects are not stored.
pub fn all() -> impl Iterator<Item = &'static Resource> {
    SERVED.iter().chain(REVIEWS).chain(MEASURED).copied()
}

/// The resources whose objects can be listed. The first row of a kind is the version that it is stored in.
pub static SERVED: &[&Resource] = &[
    &CONFIG_MAPS,
    &ENDPOINTS,
    &EVENTS,
    &LIMIT_RANGES,
    &NAMESPACES,
    &NODES,
    &PERSISTENT_VOLUME_CLAIMS,
    &PODS,
    &RESOURCE_QUOTAS,
    &SECRETS,
    &SERVICE_ACCOUNTS,
    &SERVICES,
    &CONTROLLER_REVISIONS,
    &DAEMON_SETS,
    &DEPLOYMENTS,
    &REPLICA_SETS,
    &STATEFUL_SETS,
    &HORIZONTAL_POD_AUTOSCALERS,
    &HORIZONTAL_POD_AUTOSCALERS_V1,
    &CRON_JOBS,
    &JOBS,
    &CRON_JOBS_V1BETA1,
    &POD_DISRUPTION_BUDGETS,
    &POD_DISRUPTION_BUDGETS_V1BETA1,
    &INGRESSES,
    &INGRESS_CLASSES,
    &NETWORK_POLICIES,
    &CLUSTER_ROLES,
    &CLUSTER_ROLE_BINDINGS,
    &ROLES,
    &ROLE_BINDINGS,
    &ENDPOINT_SLICES,
    &LEASES,
    &STORAGE_CLASSES,
    &PRIORITY_CLASSES,
    &EVENTS_GROUP_EVENTS,
];

/// Questions about who may do what and who somebody is, which are answered at once and never stored.
pub static REVIEWS: &[&Resource] = &[
    &SELF_SUBJECT_REVIEWS,
    &TOKEN_REVIEWS,
    &SELF_SUBJECT_ACCESS_REVIEWS,
    &SELF_SUBJECT_RULES_REVIEWS,
    &SUBJECT_ACCESS_REVIEWS,
    &LOCAL_SUBJECT_ACCESS_REVIEWS,
];

/// What is measured when somebody asks. Its group comes last: clients that are asked for pods mean those of the core group.
pub static MEASURED: &[&Resource] = &[&NODE_METRICS, &POD_METRICS];

const ALL_VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const STATUS: SubresourceInfo =
    SubresourceInfo { part: Subresource::Status, name: "status", kind: ("", "", ""), verbs: &["get"] };
const SCALE: SubresourceInfo = SubresourceInfo {
    part: Subresource::Scale,
    name: "scale",
    kind: ("autoscaling", "v1", "Scale"),
    verbs: &["get", "patch", "update"],
};
/// What most rows have in common.
const NAMESPACED: Resource = Resource {
    stored_kind: "",
    group: "",
    version: "v1",
    plural: "",
    singular: "",
    kind_name: "",
    short_names: &[],
    in_all: false,
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[],
    schema: &schema::cluster::CONFIG_MAP,
};
/// The same for what is in no namespace.
const CLUSTER: Resource = Resource { namespaced: false, ..NAMESPACED };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_rows_name_the_same_path() {
        let rows: Vec<_> = all().map(|r| (r.group, r.version, r.plural)).collect();
        let distinct: std::collections::BTreeSet<_> = rows.iter().collect();
        assert_eq!(rows.len(), distinct.len());
    }

    #[test]
    fn a_row_is_complete() {
        for row in SERVED {
            let schema = row.schema.name.rsplit('.').next();
            assert_eq!(schema, Some(row.kind_name), "{}", row.plural);
            assert_eq!(row.singular, row.kind_name.to_lowercase());
            let kind = row.stored_kind.split('.').next();
            assert!(kind == Some(row.kind_name) && !row.plural.is_empty(), "{}", row.plural);
        }
    }

    #[test]
    fn a_stored_kind_is_found_again() {
        for resource in SERVED {
            let stored = of_kind(&resource.kind()).map(|stored| (stored.kind_name, stored.plural));
            assert_eq!(stored, Some((resource.kind_name, resource.plural)));
        }
        assert_eq!(of_kind(&HORIZONTAL_POD_AUTOSCALERS_V1.kind()), Some(&HORIZONTAL_POD_AUTOSCALERS));
        assert_eq!(of_kind(&Kind::new("Slot.skein.dev")), None);
    }
}
