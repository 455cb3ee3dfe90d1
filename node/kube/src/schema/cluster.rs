//! Namespaces, nodes and ConfigMaps.

use super::meta::OBJECT_META;
use super::{Check, Field, Ty, TypeSchema};

/// A namespace.
pub static NAMESPACE: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.Namespace",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&NAMESPACE_SPEC)).default("{}"),
        Field::new("status", 3, Ty::Any).system(),
    ],
};

/// What must be done before a namespace is gone.
pub static NAMESPACE_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.NamespaceSpec",
    fields: &[Field::new("finalizers", 1, Ty::List(&Ty::Str)).default("[\"kubernetes\"]")],
};

/// A node, as far as people decide about it.
pub static NODE: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.Node",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&NODE_SPEC)).default("{}"),
        Field::new("status", 3, Ty::Any).system(),
    ],
};

/// What people want of a node.
pub static NODE_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.NodeSpec",
    fields: &[
        Field::new("podCIDR", 1, Ty::Str),
        Field::new("podCIDRs", 7, Ty::List(&Ty::Str)).merged_as_set(),
        Field::new("providerID", 3, Ty::Str).immutable("it names the member that the node is"),
        Field::new("unschedulable", 4, Ty::Bool),
        Field::new("taints", 5, Ty::List(&Ty::Object(&TAINT))).stored_by(&["key", "effect"]),
        Field::new("configSource", 6, Ty::Any).not_yet(),
        Field::new("externalID", 2, Ty::Str),
    ],
};

/// What keeps pods away that do not tolerate it.
pub static TAINT: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.Taint",
    fields: &[
        Field::new("key", 1, Ty::Str).required().check(Check::LabelKey),
        Field::new("value", 2, Ty::Str).check(Check::LabelValue),
        Field::new("effect", 3, Ty::Str).required().check(Check::OneOf(&[
            "NoSchedule",
            "PreferNoSchedule",
            "NoExecute",
        ])),
        Field::new("timeAdded", 4, Ty::Time),
    ],
};

/// A ConfigMap.
pub static CONFIG_MAP: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.ConfigMap",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("immutable", 4, Ty::Bool).explicit(),
        Field::new("data", 2, Ty::Map(&Ty::Str)).key_check(Check::ConfigKey),
        Field::new("binaryData", 3, Ty::Map(&Ty::Bytes)).key_check(Check::ConfigKey),
    ],
};
