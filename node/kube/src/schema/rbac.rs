//! Roles and who has them.

use super::meta::{LABEL_SELECTOR, OBJECT_META};
use super::{Check, Field, Ty, TypeSchema};

const TEXTS: Ty = Ty::List(&Ty::Str);

/// What may be done in a namespace.
pub static ROLE: TypeSchema = TypeSchema {
    name: "io.k8s.api.rbac.v1.Role",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("rules", 2, Ty::List(&Ty::Object(&POLICY_RULE))),
    ],
};

/// What may be done in the cluster.
pub static CLUSTER_ROLE: TypeSchema = TypeSchema {
    name: "io.k8s.api.rbac.v1.ClusterRole",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("rules", 2, Ty::List(&Ty::Object(&POLICY_RULE))),
        Field::new("aggregationRule", 3, Ty::Object(&AGGREGATION_RULE)),
    ],
};

/// What may be done with what.
pub static POLICY_RULE: TypeSchema = TypeSchema {
    name: "io.k8s.api.rbac.v1.PolicyRule",
    fields: &[
        Field::new("verbs", 1, TEXTS),
        Field::new("apiGroups", 2, TEXTS),
        Field::new("resources", 3, TEXTS),
        Field::new("resourceNames", 4, TEXTS),
        Field::new("nonResourceURLs", 5, TEXTS),
    ],
};

/// Which other roles a role is made of.
pub static AGGREGATION_RULE: TypeSchema = TypeSchema {
    name: "io.k8s.api.rbac.v1.AggregationRule",
    fields: &[Field::new("clusterRoleSelectors", 1, Ty::List(&Ty::Object(&LABEL_SELECTOR)))],
};

/// Who has a role in a namespace.
pub static ROLE_BINDING: TypeSchema = TypeSchema {
    name: "io.k8s.api.rbac.v1.RoleBinding",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("subjects", 2, Ty::List(&Ty::Object(&SUBJECT))),
        Field::new("roleRef", 3, Ty::Object(&ROLE_REF)).required().immutable("cannot change roleRef"),
    ],
};

/// Who has a role in the cluster.
pub static CLUSTER_ROLE_BINDING: TypeSchema = TypeSchema {
    name: "io.k8s.api.rbac.v1.ClusterRoleBinding",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("subjects", 2, Ty::List(&Ty::Object(&SUBJECT))),
        Field::new("roleRef", 3, Ty::Object(&ROLE_REF)).required().immutable("cannot change roleRef"),
    ],
};

/// A role.
pub static ROLE_REF: TypeSchema = TypeSchema {
    name: "io.k8s.api.rbac.v1.RoleRef",
    fields: &[
        Field::new("apiGroup", 1, Ty::Str)
            .default("\"rbac.authorization.k8s.io\"")
            .check(Check::OneOf(&["rbac.authorization.k8s.io"])),
        Field::new("kind", 2, Ty::Str).required(),
        Field::new("name", 3, Ty::Str).required(),
    ],
};

/// Somebody.
pub static SUBJECT: TypeSchema = TypeSchema {
    name: "io.k8s.api.rbac.v1.Subject",
    fields: &[
        Field::new("kind", 1, Ty::Str).required().check(Check::OneOf(&["Group", "ServiceAccount", "User"])),
        Field::new("apiGroup", 2, Ty::Str),
        Field::new("name", 3, Ty::Str).required(),
        Field::new("namespace", 4, Ty::Str),
    ],
};
