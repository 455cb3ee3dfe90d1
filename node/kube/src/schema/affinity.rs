//! Where pods would rather be, or must be: on nodes with some labels, and apart from pods like themselves.

use super::meta::LABEL_SELECTOR;
use super::{Check, Field, Ty, TypeSchema};

const LIST: Ty = Ty::List(&Ty::Any);
const NODE_OPERATORS: &[&str] = &["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];

/// What draws a pod to nodes or keeps it from them.
pub static AFFINITY: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.Affinity",
    fields: &[
        Field::new("nodeAffinity", 1, Ty::Object(&NODE_AFFINITY)),
        Field::new("podAffinity", 2, Ty::Any).not_yet(),
        Field::new("podAntiAffinity", 3, Ty::Object(&POD_ANTI_AFFINITY)),
    ],
};

/// Which nodes a pod must be on, and which it would rather be on.
pub static NODE_AFFINITY: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.NodeAffinity",
    fields: &[
        Field::new("requiredDuringSchedulingIgnoredDuringExecution", 1, Ty::Object(&NODE_SELECTOR)),
        Field::new(
            "preferredDuringSchedulingIgnoredDuringExecution",
            2,
            Ty::List(&Ty::Object(&PREFERRED_SCHEDULING_TERM)),
        ),
    ],
};

/// Nodes that fulfil one of these.
pub static NODE_SELECTOR: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.NodeSelector",
    fields: &[Field::new("nodeSelectorTerms", 1, Ty::List(&Ty::Object(&NODE_SELECTOR_TERM))).required()],
};

/// Conditions that a node must fulfil together.
pub static NODE_SELECTOR_TERM: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.NodeSelectorTerm",
    fields: &[
        Field::new("matchExpressions", 1, Ty::List(&Ty::Object(&NODE_SELECTOR_REQUIREMENT))),
        Field::new("matchFields", 2, Ty::List(&Ty::Object(&NODE_SELECTOR_REQUIREMENT))),
    ],
};

/// One condition on a node's labels, or on its name.
pub static NODE_SELECTOR_REQUIREMENT: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.NodeSelectorRequirement",
    fields: &[
        Field::new("key", 1, Ty::Str).required().check(Check::LabelKey),
        Field::new("operator", 2, Ty::Str).required().check(Check::OneOf(NODE_OPERATORS)),
        Field::new("values", 3, Ty::List(&Ty::Str)),
    ],
};

/// Nodes that a pod would rather be on, and how much it would.
pub static PREFERRED_SCHEDULING_TERM: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.PreferredSchedulingTerm",
    fields: &[
        Field::new("weight", 1, Ty::Int32).required().check(Check::Range(1, 100)),
        Field::new("preference", 2, Ty::Object(&NODE_SELECTOR_TERM)).required(),
    ],
};

/// Which pods a pod would rather not be beside.
pub static POD_ANTI_AFFINITY: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.PodAntiAffinity",
    fields: &[
        Field::new("requiredDuringSchedulingIgnoredDuringExecution", 1, LIST).not_yet(),
        Field::new(
            "preferredDuringSchedulingIgnoredDuringExecution",
            2,
            Ty::List(&Ty::Object(&WEIGHTED_POD_AFFINITY_TERM)),
        ),
    ],
};

/// Pods, and how much a pod would rather not be beside them.
pub static WEIGHTED_POD_AFFINITY_TERM: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.WeightedPodAffinityTerm",
    fields: &[
        Field::new("weight", 1, Ty::Int32).required().check(Check::Range(1, 100)),
        Field::new("podAffinityTerm", 2, Ty::Object(&POD_AFFINITY_TERM)).required(),
    ],
};

/// Pods that are in one place, as a label of nodes tells places apart.
pub static POD_AFFINITY_TERM: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.PodAffinityTerm",
    fields: &[
        Field::new("labelSelector", 1, Ty::Object(&LABEL_SELECTOR)),
        Field::new("namespaces", 2, Ty::List(&Ty::Str)).not_yet(),
        Field::new("topologyKey", 3, Ty::Str).required().check(Check::LabelKey),
        Field::new("namespaceSelector", 4, Ty::Object(&LABEL_SELECTOR)).not_yet(),
        Field::new("matchLabelKeys", 5, Ty::List(&Ty::Str)).not_yet(),
        Field::new("mismatchLabelKeys", 6, Ty::List(&Ty::Str)).not_yet(),
    ],
};
