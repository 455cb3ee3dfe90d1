//! Questions about who may do what and who somebody is, requests for tokens, and evictions: what is posted and answered,
//! and never stored.

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

/// "May they do this?"
pub static SUBJECT_ACCESS_REVIEW: TypeSchema =
    TypeSchema { name: "io.k8s.api.authorization.v1.SubjectAccessReview", fields: &SUBJECT_ACCESS_FIELDS };

/// "May they do this in this namespace?"
pub static LOCAL_SUBJECT_ACCESS_REVIEW: TypeSchema =
    TypeSchema { name: "io.k8s.api.authorization.v1.LocalSubjectAccessReview", fields: &SUBJECT_ACCESS_FIELDS };

const SUBJECT_ACCESS_FIELDS: [Field; 3] = [
    Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
    Field::new("spec", 2, Ty::Object(&SUBJECT_ACCESS_SPEC)).required(),
    Field::new("status", 3, Ty::Any).system(),
];

/// Who would do what.
pub static SUBJECT_ACCESS_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.authorization.v1.SubjectAccessReviewSpec",
    fields: &[
        Field::new("resourceAttributes", 1, Ty::Object(&RESOURCE_ATTRIBUTES)),
        Field::new("nonResourceAttributes", 2, Ty::Object(&NON_RESOURCE_ATTRIBUTES)),
        Field::new("user", 3, Ty::Str),
        Field::new("groups", 4, Ty::List(&Ty::Str)),
        Field::new("extra", 5, Ty::Any),
        Field::new("uid", 6, Ty::Str),
    ],
};

/// "Whose token is this?"
pub static TOKEN_REVIEW: TypeSchema = TypeSchema {
    name: "io.k8s.api.authentication.v1.TokenReview",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&TOKEN_REVIEW_SPEC)).required(),
        Field::new("status", 3, Ty::Any).system(),
    ],
};

/// The token.
pub static TOKEN_REVIEW_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.authentication.v1.TokenReviewSpec",
    fields: &[Field::new("token", 1, Ty::Str), Field::new("audiences", 2, Ty::List(&Ty::Str))],
};

/// "Give this account a token."
pub static TOKEN_REQUEST: TypeSchema = TypeSchema {
    name: "io.k8s.api.authentication.v1.TokenRequest",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&TOKEN_REQUEST_SPEC)).required(),
        Field::new("status", 3, Ty::Any).system(),
    ],
};

/// For whom, for how long, and what it ends with.
pub static TOKEN_REQUEST_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.authentication.v1.TokenRequestSpec",
    fields: &[
        Field::new("audiences", 1, Ty::List(&Ty::Str)),
        Field::new("boundObjectRef", 3, Ty::Object(&BOUND_OBJECT)),
        Field::new("expirationSeconds", 4, Ty::Int64),
    ],
};

/// What a token ends with.
pub static BOUND_OBJECT: TypeSchema = TypeSchema {
    name: "io.k8s.api.authentication.v1.BoundObjectReference",
    fields: &[
        Field::new("kind", 1, Ty::Str),
        Field::new("apiVersion", 2, Ty::Str),
        Field::new("name", 3, Ty::Str),
        Field::new("uid", 4, Ty::Str),
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
