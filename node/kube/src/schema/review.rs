//! Questions about the asker, and evictions: what is posted and answered, and never stored.

use super::meta::{DELETE_OPTIONS, OBJECT_META};
use super::{Field, Ty, TypeSchema};

/// "May I do this?"
pub static ACCESS_REVIEW: TypeSchema = TypeSchema {
    name: "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&ACCESS_REVIEW_SPEC)).required(),
        Field::new("status", 3, Ty::Any).system(),
    ],
};

/// What the asker would do.
pub static ACCESS_REVIEW_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.authorization.v1.SelfSubjectAccessReviewSpec",
    fields: &[
        Field::new("resourceAttributes", 1, Ty::Object(&RESOURCE_ATTRIBUTES)),
        Field::new("nonResourceAttributes", 2, Ty::Object(&NON_RESOURCE_ATTRIBUTES)),
    ],
};

/// A verb on a resource.
pub static RESOURCE_ATTRIBUTES: TypeSchema = TypeSchema {
    name: "io.k8s.api.authorization.v1.ResourceAttributes",
    fields: &[
        Field::new("namespace", 1, Ty::Str),
        Field::new("verb", 2, Ty::Str),
        Field::new("group", 3, Ty::Str),
        Field::new("version", 4, Ty::Str),
        Field::new("resource", 5, Ty::Str),
        Field::new("subresource", 6, Ty::Str),
        Field::new("name", 7, Ty::Str),
        Field::new("fieldSelector", 8, Ty::Any),
        Field::new("labelSelector", 9, Ty::Any),
    ],
};

/// A verb on another path.
pub static NON_RESOURCE_ATTRIBUTES: TypeSchema = TypeSchema {
    name: "io.k8s.api.authorization.v1.NonResourceAttributes",
    fields: &[Field::new("path", 1, Ty::Str), Field::new("verb", 2, Ty::Str)],
};

/// "What may I do?"
pub static RULES_REVIEW: TypeSchema = TypeSchema {
    name: "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&RULES_REVIEW_SPEC)),
        Field::new("status", 3, Ty::Any).system(),
    ],
};

/// Where.
pub static RULES_REVIEW_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.authorization.v1.SelfSubjectRulesReviewSpec",
    fields: &[Field::new("namespace", 1, Ty::Str)],
};

/// "Who am I?"
pub static SUBJECT_REVIEW: TypeSchema = TypeSchema {
    name: "io.k8s.api.authentication.v1.SelfSubjectReview",
    fields: &[Field::new("metadata", 1, Ty::Object(&OBJECT_META)), Field::new("status", 2, Ty::Any).system()],
};

/// A pod that should go somewhere else.
pub static EVICTION: TypeSchema = TypeSchema {
    name: "io.k8s.api.policy.v1.Eviction",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("deleteOptions", 2, Ty::Object(&DELETE_OPTIONS)),
    ],
};
