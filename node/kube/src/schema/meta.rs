//! Metadata, selectors, and what comes with deletions: the types of `meta/v1`.

use super::{Check, Field, Ty, TypeSchema};

/// An object's metadata. What the system keeps is accepted and dropped.
pub static OBJECT_META: TypeSchema = TypeSchema {
    name: "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
    fields: &[
        Field::new("name", 1, Ty::Str),
        Field::new("generateName", 2, Ty::Str),
        Field::new("namespace", 3, Ty::Str),
        Field::new("selfLink", 4, Ty::Str).system(),
        Field::new("uid", 5, Ty::Str).system(),
        Field::new("resourceVersion", 6, Ty::Str).system(),
        Field::new("generation", 7, Ty::Int64).system(),
        Field::new("creationTimestamp", 8, Ty::Time).system(),
        Field::new("deletionTimestamp", 9, Ty::Time).system(),
        Field::new("deletionGracePeriodSeconds", 10, Ty::Int64).system(),
        Field::new("labels", 11, Ty::Map(&Ty::Str)).key_check(Check::LabelKey).check(Check::LabelValue),
        Field::new("annotations", 12, Ty::Map(&Ty::Str)).key_check(Check::AnnotationKey),
        Field::new("ownerReferences", 13, Ty::List(&Ty::Object(&OWNER_REFERENCE))).keyed(&["uid"]),
        Field::new("finalizers", 14, Ty::List(&Ty::Str)).merged_as_set().check(Check::LabelKey),
        Field::new("managedFields", 17, Ty::List(&Ty::Object(&MANAGED_FIELDS_ENTRY))).system(),
    ],
};

/// Who owns an object.
pub static OWNER_REFERENCE: TypeSchema = TypeSchema {
    name: "io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference",
    fields: &[
        Field::new("apiVersion", 5, Ty::Str).required(),
        Field::new("kind", 1, Ty::Str).required(),
        Field::new("name", 3, Ty::Str).required(),
        Field::new("uid", 4, Ty::Str).required(),
        Field::new("controller", 6, Ty::Bool).explicit(),
        Field::new("blockOwnerDeletion", 7, Ty::Bool).explicit(),
    ],
};

/// Which manager set which fields.
pub static MANAGED_FIELDS_ENTRY: TypeSchema = TypeSchema {
    name: "io.k8s.apimachinery.pkg.apis.meta.v1.ManagedFieldsEntry",
    fields: &[
        Field::new("manager", 1, Ty::Str),
        Field::new("operation", 2, Ty::Str),
        Field::new("apiVersion", 3, Ty::Str),
        Field::new("time", 4, Ty::Time),
        Field::new("fieldsType", 6, Ty::Str),
        Field::new("fieldsV1", 7, Ty::Any),
        Field::new("subresource", 8, Ty::Str),
    ],
};

/// Which objects are selected by their labels.
pub static LABEL_SELECTOR: TypeSchema = TypeSchema {
    name: "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector",
    fields: &[
        Field::new("matchLabels", 1, Ty::Map(&Ty::Str)).key_check(Check::LabelKey).check(Check::LabelValue),
        Field::new("matchExpressions", 2, Ty::List(&Ty::Object(&LABEL_SELECTOR_REQUIREMENT))),
    ],
};

/// One condition of a selector.
pub static LABEL_SELECTOR_REQUIREMENT: TypeSchema = TypeSchema {
    name: "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelectorRequirement",
    fields: &[
        Field::new("key", 1, Ty::Str).required().check(Check::LabelKey),
        Field::new("operator", 2, Ty::Str).required().check(Check::SelectorOperator),
        Field::new("values", 3, Ty::List(&Ty::Str)).check(Check::LabelValue),
    ],
};

/// How to delete.
pub static DELETE_OPTIONS: TypeSchema = TypeSchema {
    name: "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    fields: &[
        Field::new("gracePeriodSeconds", 1, Ty::Int64).explicit().check(Check::Range(0, i64::MAX)),
        Field::new("preconditions", 2, Ty::Object(&PRECONDITIONS)),
        Field::new("orphanDependents", 3, Ty::Bool).explicit(),
        Field::new("propagationPolicy", 4, Ty::Str).check(Check::OneOf(&["Background", "Foreground", "Orphan"])),
        Field::new("dryRun", 5, Ty::List(&Ty::Str)).check(Check::OneOf(&["All"])),
        Field::new("ignoreStoreReadErrorWithClusterBreakingPotential", 6, Ty::Bool).explicit(),
    ],
};

/// What must be so for a deletion to happen.
pub static PRECONDITIONS: TypeSchema = TypeSchema {
    name: "io.k8s.apimachinery.pkg.apis.meta.v1.Preconditions",
    fields: &[Field::new("uid", 1, Ty::Str), Field::new("resourceVersion", 2, Ty::Str)],
};
