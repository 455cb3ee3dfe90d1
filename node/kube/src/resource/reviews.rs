//! Questions about who may do what, and about who somebody is: they are posted and answered, and never stored.

use super::Resource;
use crate::schema::{self, TypeSchema};

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

/// "May they do this?"
pub static SUBJECT_ACCESS_REVIEWS: Resource = review(
    "authorization.k8s.io",
    "subjectaccessreviews",
    "subjectaccessreview",
    "SubjectAccessReview",
    &schema::review::SUBJECT_ACCESS_REVIEW,
);

/// "May they do this in this namespace?"
pub static LOCAL_SUBJECT_ACCESS_REVIEWS: Resource = Resource {
    namespaced: true,
    ..review(
        "authorization.k8s.io",
        "localsubjectaccessreviews",
        "localsubjectaccessreview",
        "LocalSubjectAccessReview",
        &schema::review::LOCAL_SUBJECT_ACCESS_REVIEW,
    )
};

/// "Whose token is this?"
pub static TOKEN_REVIEWS: Resource =
    review("authentication.k8s.io", "tokenreviews", "tokenreview", "TokenReview", &schema::review::TOKEN_REVIEW);

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
