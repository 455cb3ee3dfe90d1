//! The resources that the API serves: one row for each resource and version. Routes, discovery, messages and the kinds
//! in keys all follow from it.

use skein_crdt_state::Kind;

use crate::schema::{self, TypeSchema};

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
    /// `/eviction`.
    Eviction,
    /// `/attach`: a connection with a container's own process.
    Attach,
    /// `/exec`: a connection with a command that is run in a container.
    Exec,
    /// `/portforward`: connections to ports.
    PortForward,
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

/// All resources, reviews included.
pub fn all() -> impl Iterator<Item = &'static Resource> {
    SERVED.iter().chain(REVIEWS).copied()
}

const ALL_VERBS: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const READ: &[&str] = &["get", "list", "watch"];
const STATUS: SubresourceInfo =
    SubresourceInfo { part: Subresource::Status, name: "status", kind: ("", "", ""), verbs: &["get"] };
const SCALE: SubresourceInfo = SubresourceInfo {
    part: Subresource::Scale,
    name: "scale",
    kind: ("autoscaling", "v1", "Scale"),
    verbs: &["get", "patch", "update"],
};

/// Namespaces.
pub static NAMESPACES: Resource = Resource {
    stored_kind: "Namespace",
    group: "",
    version: "v1",
    plural: "namespaces",
    singular: "namespace",
    kind_name: "Namespace",
    short_names: &["ns"],
    in_all: false,
    namespaced: false,
    verbs: ALL_VERBS,
    subresources: &[STATUS],
    schema: &schema::cluster::NAMESPACE,
};

/// Nodes. They come by joining and go by leaving, so nobody creates or deletes them here.
pub static NODES: Resource = Resource {
    stored_kind: "Node",
    group: "",
    version: "v1",
    plural: "nodes",
    singular: "node",
    kind_name: "Node",
    short_names: &["no"],
    in_all: false,
    namespaced: false,
    verbs: &["get", "list", "patch", "update", "watch"],
    subresources: &[STATUS],
    schema: &schema::cluster::NODE,
};

/// Pods.
pub static PODS: Resource = Resource {
    stored_kind: "Pod",
    group: "",
    version: "v1",
    plural: "pods",
    singular: "pod",
    kind_name: "Pod",
    short_names: &["po"],
    in_all: true,
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[
        SubresourceInfo {
            part: Subresource::Attach,
            name: "attach",
            kind: ("", "v1", "PodAttachOptions"),
            verbs: &["create", "get"],
        },
        SubresourceInfo {
            part: Subresource::Eviction,
            name: "eviction",
            kind: ("policy", "v1", "Eviction"),
            verbs: &["create"],
        },
        SubresourceInfo {
            part: Subresource::Exec,
            name: "exec",
            kind: ("", "v1", "PodExecOptions"),
            verbs: &["create", "get"],
        },
        SubresourceInfo { part: Subresource::Log, name: "log", kind: ("", "", ""), verbs: &["get"] },
        SubresourceInfo {
            part: Subresource::PortForward,
            name: "portforward",
            kind: ("", "v1", "PodPortForwardOptions"),
            verbs: &["create", "get"],
        },
        STATUS,
    ],
    schema: &schema::pod::POD,
};

/// Deployments.
pub static DEPLOYMENTS: Resource = Resource {
    stored_kind: "Deployment.apps",
    group: "apps",
    version: "v1",
    plural: "deployments",
    singular: "deployment",
    kind_name: "Deployment",
    short_names: &["deploy"],
    in_all: true,
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[SCALE, STATUS],
    schema: &schema::workload::DEPLOYMENT,
};

/// ReplicaSets.
pub static REPLICA_SETS: Resource = Resource {
    stored_kind: "ReplicaSet.apps",
    group: "apps",
    version: "v1",
    plural: "replicasets",
    singular: "replicaset",
    kind_name: "ReplicaSet",
    short_names: &["rs"],
    in_all: true,
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[SCALE, STATUS],
    schema: &schema::workload::REPLICA_SET,
};

/// ConfigMaps.
pub static CONFIG_MAPS: Resource = Resource {
    stored_kind: "ConfigMap",
    group: "",
    version: "v1",
    plural: "configmaps",
    singular: "configmap",
    kind_name: "ConfigMap",
    short_names: &["cm"],
    in_all: false,
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[],
    schema: &schema::cluster::CONFIG_MAP,
};

/// Services; they are stored only.
pub static SERVICES: Resource = Resource {
    stored_kind: "Service",
    group: "",
    version: "v1",
    plural: "services",
    singular: "service",
    kind_name: "Service",
    short_names: &["svc"],
    in_all: true,
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[STATUS],
    schema: &schema::service::SERVICE,
};

/// Events, as the core group shows them. They are what nodes report, so they are only read.
pub static EVENTS: Resource = Resource {
    stored_kind: "Event",
    group: "",
    version: "v1",
    plural: "events",
    singular: "event",
    kind_name: "Event",
    short_names: &["ev"],
    in_all: false,
    namespaced: true,
    verbs: READ,
    subresources: &[],
    schema: &schema::event::EVENT,
};

/// The same events, as their own group shows them.
pub static EVENTS_GROUP_EVENTS: Resource = Resource {
    stored_kind: "Event",
    group: "events.k8s.io",
    version: "v1",
    plural: "events",
    singular: "event",
    kind_name: "Event",
    short_names: &["ev"],
    in_all: false,
    namespaced: true,
    verbs: READ,
    subresources: &[],
    schema: &schema::event::EVENTS_GROUP_EVENT,
};

/// "May I do this?"
pub static SELF_SUBJECT_ACCESS_REVIEWS: Resource = review(
    "authorization.k8s.io",
    "selfsubjectaccessreviews",
    "selfsubjectaccessreview",
    "SelfSubjectAccessReview",
    &schema::review::ACCESS_REVIEW,
);

/// "What may I do?"
pub static SELF_SUBJECT_RULES_REVIEWS: Resource = review(
    "authorization.k8s.io",
    "selfsubjectrulesreviews",
    "selfsubjectrulesreview",
    "SelfSubjectRulesReview",
    &schema::review::RULES_REVIEW,
);

/// "Who am I?"
pub static SELF_SUBJECT_REVIEWS: Resource = review(
    "authentication.k8s.io",
    "selfsubjectreviews",
    "selfsubjectreview",
    "SelfSubjectReview",
    &schema::review::SUBJECT_REVIEW,
);

/// The resources whose objects can be listed. The first row of a kind is the version that it is stored in.
pub static SERVED: &[&Resource] =
    &[&CONFIG_MAPS, &EVENTS, &NAMESPACES, &NODES, &PODS, &SERVICES, &DEPLOYMENTS, &REPLICA_SETS, &EVENTS_GROUP_EVENTS];

/// Questions about the asker, which are answered at once and never stored.
pub static REVIEWS: &[&Resource] = &[&SELF_SUBJECT_REVIEWS, &SELF_SUBJECT_ACCESS_REVIEWS, &SELF_SUBJECT_RULES_REVIEWS];

const fn review(
    group: &'static str,
    plural: &'static str,
    singular: &'static str,
    kind_name: &'static str,
    schema: &'static TypeSchema,
) -> Resource {
    Resource {
        stored_kind: "",
        group,
        version: "v1",
        plural,
        singular,
        kind_name,
        short_names: &[],
        in_all: false,
        namespaced: false,
        verbs: &["create"],
        subresources: &[],
        schema,
    }
}

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
    fn a_stored_kind_is_found_again() {
        for resource in SERVED.iter().filter(|r| r.group != "events.k8s.io") {
            assert_eq!(of_kind(&resource.kind()), Some(*resource));
        }
        assert_eq!(of_kind(&Kind::new("Slot.skein.dev")), None);
    }
}
