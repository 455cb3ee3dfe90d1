//! The core group: namespaces, nodes, pods, and what they are given. Events live in `events`.

use super::{ALL_VERBS, NAMESPACED, Resource, STATUS, Subresource, SubresourceInfo};
use crate::schema;

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
    // Not all at once, as with Kubernetes.
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
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
            part: Subresource::EphemeralContainers,
            name: "ephemeralcontainers",
            kind: ("", "", ""),
            verbs: &["get", "patch", "update"],
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

/// Secrets. Their values are kept beside the document.
pub static SECRETS: Resource = Resource {
    stored_kind: "Secret",
    plural: "secrets",
    singular: "secret",
    kind_name: "Secret",
    schema: &schema::secret::SECRET,
    ..NAMESPACED
};

/// Endpoints.
pub static ENDPOINTS: Resource = Resource {
    stored_kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    kind_name: "Endpoints",
    short_names: &["ep"],
    schema: &schema::endpoints::ENDPOINTS,
    ..NAMESPACED
};

/// Service accounts.
pub static SERVICE_ACCOUNTS: Resource = Resource {
    stored_kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    kind_name: "ServiceAccount",
    short_names: &["sa"],
    subresources: &[SubresourceInfo {
        part: Subresource::Token,
        name: "token",
        kind: ("authentication.k8s.io", "v1", "TokenRequest"),
        verbs: &["create"],
    }],
    schema: &schema::endpoints::SERVICE_ACCOUNT,
    ..NAMESPACED
};

/// Claims of volumes; they are stored only.
pub static PERSISTENT_VOLUME_CLAIMS: Resource = Resource {
    stored_kind: "PersistentVolumeClaim",
    plural: "persistentvolumeclaims",
    singular: "persistentvolumeclaim",
    kind_name: "PersistentVolumeClaim",
    short_names: &["pvc"],
    subresources: &[STATUS],
    schema: &schema::claim::PERSISTENT_VOLUME_CLAIM,
    ..NAMESPACED
};

/// Quotas; they are stored only.
pub static RESOURCE_QUOTAS: Resource = Resource {
    stored_kind: "ResourceQuota",
    plural: "resourcequotas",
    singular: "resourcequota",
    kind_name: "ResourceQuota",
    short_names: &["quota"],
    subresources: &[STATUS],
    schema: &schema::policy::RESOURCE_QUOTA,
    ..NAMESPACED
};

/// Ranges of limits; they are stored only.
pub static LIMIT_RANGES: Resource = Resource {
    stored_kind: "LimitRange",
    plural: "limitranges",
    singular: "limitrange",
    kind_name: "LimitRange",
    short_names: &["limits"],
    schema: &schema::policy::LIMIT_RANGE,
    ..NAMESPACED
};
