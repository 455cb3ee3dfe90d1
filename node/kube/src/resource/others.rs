//! What is stored for others to act on: disruption budgets, networking, roles, slices, Leases and classes.

use super::{CLUSTER, NAMESPACED, Resource, STATUS};
use crate::schema;

/// Disruption budgets; they are stored only.
pub static POD_DISRUPTION_BUDGETS: Resource = BUDGET_ROW;

/// Disruption budgets as older clients know them.
pub static POD_DISRUPTION_BUDGETS_V1BETA1: Resource =
    Resource { version: "v1beta1", schema: &schema::policy::POD_DISRUPTION_BUDGET_V1BETA1, ..BUDGET_ROW };

const BUDGET_ROW: Resource = Resource {
    stored_kind: "PodDisruptionBudget.policy",
    group: "policy",
    plural: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    kind_name: "PodDisruptionBudget",
    short_names: &["pdb"],
    subresources: &[STATUS],
    schema: &schema::policy::POD_DISRUPTION_BUDGET,
    ..NAMESPACED
};

/// Slices of endpoints.
pub static ENDPOINT_SLICES: Resource = Resource {
    stored_kind: "EndpointSlice.discovery.k8s.io",
    group: "discovery.k8s.io",
    plural: "endpointslices",
    singular: "endpointslice",
    kind_name: "EndpointSlice",
    schema: &schema::endpoints::ENDPOINT_SLICE,
    ..NAMESPACED
};

/// Leases.
pub static LEASES: Resource = Resource {
    stored_kind: "Lease.coordination.k8s.io",
    group: "coordination.k8s.io",
    plural: "leases",
    singular: "lease",
    kind_name: "Lease",
    schema: &schema::endpoints::LEASE,
    ..NAMESPACED
};

/// Ingresses; they are stored only.
pub static INGRESSES: Resource = Resource {
    stored_kind: "Ingress.networking.k8s.io",
    group: "networking.k8s.io",
    plural: "ingresses",
    singular: "ingress",
    kind_name: "Ingress",
    short_names: &["ing"],
    subresources: &[STATUS],
    schema: &schema::networking::INGRESS,
    ..NAMESPACED
};

/// Classes of Ingresses.
pub static INGRESS_CLASSES: Resource = Resource {
    stored_kind: "IngressClass.networking.k8s.io",
    group: "networking.k8s.io",
    plural: "ingressclasses",
    singular: "ingressclass",
    kind_name: "IngressClass",
    schema: &schema::networking::INGRESS_CLASS,
    ..CLUSTER
};

/// Network policies; they are stored only.
pub static NETWORK_POLICIES: Resource = Resource {
    stored_kind: "NetworkPolicy.networking.k8s.io",
    group: "networking.k8s.io",
    plural: "networkpolicies",
    singular: "networkpolicy",
    kind_name: "NetworkPolicy",
    short_names: &["netpol"],
    schema: &schema::networking::NETWORK_POLICY,
    ..NAMESPACED
};

/// Roles.
pub static ROLES: Resource = Resource {
    stored_kind: "Role.rbac.authorization.k8s.io",
    group: "rbac.authorization.k8s.io",
    plural: "roles",
    singular: "role",
    kind_name: "Role",
    schema: &schema::rbac::ROLE,
    ..NAMESPACED
};

/// Who has which role.
pub static ROLE_BINDINGS: Resource = Resource {
    stored_kind: "RoleBinding.rbac.authorization.k8s.io",
    group: "rbac.authorization.k8s.io",
    plural: "rolebindings",
    singular: "rolebinding",
    kind_name: "RoleBinding",
    schema: &schema::rbac::ROLE_BINDING,
    ..NAMESPACED
};

/// Roles of the cluster.
pub static CLUSTER_ROLES: Resource = Resource {
    stored_kind: "ClusterRole.rbac.authorization.k8s.io",
    group: "rbac.authorization.k8s.io",
    plural: "clusterroles",
    singular: "clusterrole",
    kind_name: "ClusterRole",
    schema: &schema::rbac::CLUSTER_ROLE,
    ..CLUSTER
};

/// Who has which role of the cluster.
pub static CLUSTER_ROLE_BINDINGS: Resource = Resource {
    stored_kind: "ClusterRoleBinding.rbac.authorization.k8s.io",
    group: "rbac.authorization.k8s.io",
    plural: "clusterrolebindings",
    singular: "clusterrolebinding",
    kind_name: "ClusterRoleBinding",
    schema: &schema::rbac::CLUSTER_ROLE_BINDING,
    ..CLUSTER
};

/// Classes of volumes; they are stored only.
pub static STORAGE_CLASSES: Resource = Resource {
    stored_kind: "StorageClass.storage.k8s.io",
    group: "storage.k8s.io",
    plural: "storageclasses",
    singular: "storageclass",
    kind_name: "StorageClass",
    short_names: &["sc"],
    schema: &schema::claim::STORAGE_CLASS,
    ..CLUSTER
};

/// Priorities by name; they are stored only.
pub static PRIORITY_CLASSES: Resource = Resource {
    stored_kind: "PriorityClass.scheduling.k8s.io",
    group: "scheduling.k8s.io",
    plural: "priorityclasses",
    singular: "priorityclass",
    kind_name: "PriorityClass",
    short_names: &["pc"],
    schema: &schema::policy::PRIORITY_CLASS,
    ..CLUSTER
};
