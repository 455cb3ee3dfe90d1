//! What nodes and pods use now: measured when somebody asks, and never stored.

use super::{CLUSTER, NAMESPACED, Resource};
use crate::schema;

const READ: &[&str] = &["get", "list"];
const GROUP: &str = "metrics.k8s.io";
const VERSION: &str = "v1beta1";

/// What nodes use. It shares its plural with the nodes themselves, so it has no singular that would be theirs, too.
pub static NODE_METRICS: Resource = Resource {
    group: GROUP,
    version: VERSION,
    plural: "nodes",
    kind_name: "NodeMetrics",
    verbs: READ,
    schema: &schema::metrics::NODE_METRICS,
    ..CLUSTER
};

/// What pods use.
pub static POD_METRICS: Resource = Resource {
    group: GROUP,
    version: VERSION,
    plural: "pods",
    kind_name: "PodMetrics",
    verbs: READ,
    schema: &schema::metrics::POD_METRICS,
    ..NAMESPACED
};
