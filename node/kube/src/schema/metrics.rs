//! What nodes and pods use now: measured when somebody asks, and never stored.

use super::meta::OBJECT_META;
use super::{Field, Ty, TypeSchema};

/// What a node uses.
pub static NODE_METRICS: TypeSchema = TypeSchema {
    name: "io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetrics",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("timestamp", 2, Ty::Time).required(),
        Field::new("window", 3, Ty::Str).required(),
        Field::new("usage", 4, Ty::Map(&Ty::Quantity)).required(),
    ],
};

/// What the containers of a pod use.
pub static POD_METRICS: TypeSchema = TypeSchema {
    name: "io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetrics",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("timestamp", 2, Ty::Time).required(),
        Field::new("window", 3, Ty::Str).required(),
        Field::new("containers", 4, Ty::List(&Ty::Object(&CONTAINER_METRICS))).required(),
    ],
};

/// What a container uses.
pub static CONTAINER_METRICS: TypeSchema = TypeSchema {
    name: "io.k8s.metrics.pkg.apis.metrics.v1beta1.ContainerMetrics",
    fields: &[Field::new("name", 1, Ty::Str).required(), Field::new("usage", 2, Ty::Map(&Ty::Quantity)).required()],
};
