//! Claims of volumes, and the classes that volumes come in.

use super::meta::{LABEL_SELECTOR, OBJECT_META};
use super::{Check, Field, Ty, TypeSchema};

const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// A claim of a volume.
pub static PERSISTENT_VOLUME_CLAIM: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.PersistentVolumeClaim",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&PERSISTENT_VOLUME_CLAIM_SPEC)).required(),
        Field::new("status", 3, Ty::Any).system(),
    ],
};

/// Which volume is claimed.
pub static PERSISTENT_VOLUME_CLAIM_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.PersistentVolumeClaimSpec",
    fields: &[
        Field::new("accessModes", 1, Ty::List(&Ty::Str)).check(Check::OneOf(ACCESS_MODES)),
        Field::new("selector", 4, Ty::Object(&LABEL_SELECTOR)),
        Field::new("resources", 2, Ty::Object(&VOLUME_RESOURCE_REQUIREMENTS)).default("{}"),
        Field::new("volumeName", 3, Ty::Str),
        Field::new("storageClassName", 5, Ty::Str).explicit().check(Check::DnsSubdomain),
        Field::new("volumeMode", 6, Ty::Str).default("\"Filesystem\"").check(Check::OneOf(&["Block", "Filesystem"])),
        Field::new("dataSource", 7, Ty::Object(&TYPED_LOCAL_OBJECT_REFERENCE)),
        Field::new("dataSourceRef", 8, Ty::Object(&TYPED_OBJECT_REFERENCE)),
        Field::new("volumeAttributesClassName", 9, Ty::Str).explicit().check(Check::DnsSubdomain),
    ],
};

/// How large the volume must be, and may be.
pub static VOLUME_RESOURCE_REQUIREMENTS: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.VolumeResourceRequirements",
    fields: &[
        Field::new("limits", 1, Ty::Map(&Ty::Quantity)).key_check(Check::LabelKey).check(Check::AmountFromZero),
        Field::new("requests", 2, Ty::Map(&Ty::Quantity)).key_check(Check::LabelKey).check(Check::AmountFromZero),
    ],
};

/// An object of any kind in the same namespace.
pub static TYPED_LOCAL_OBJECT_REFERENCE: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.TypedLocalObjectReference",
    fields: &[
        Field::new("apiGroup", 1, Ty::Str).explicit(),
        Field::new("kind", 2, Ty::Str).required(),
        Field::new("name", 3, Ty::Str).required(),
    ],
};

/// An object of any kind.
pub static TYPED_OBJECT_REFERENCE: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.TypedObjectReference",
    fields: &[
        Field::new("apiGroup", 1, Ty::Str).explicit(),
        Field::new("kind", 2, Ty::Str).required(),
        Field::new("name", 3, Ty::Str).required(),
        Field::new("namespace", 4, Ty::Str).explicit(),
    ],
};

/// A class of volumes.
pub static STORAGE_CLASS: TypeSchema = TypeSchema {
    name: "io.k8s.api.storage.v1.StorageClass",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("provisioner", 2, Ty::Str).required(),
        Field::new("parameters", 3, Ty::Map(&Ty::Str)),
        Field::new("reclaimPolicy", 4, Ty::Str).default("\"Delete\"").check(Check::OneOf(&["Delete", "Retain"])),
        Field::new("mountOptions", 5, Ty::List(&Ty::Str)),
        Field::new("allowVolumeExpansion", 6, Ty::Bool).explicit(),
        Field::new("volumeBindingMode", 7, Ty::Str)
            .default("\"Immediate\"")
            .check(Check::OneOf(&["Immediate", "WaitForFirstConsumer"])),
        Field::new("allowedTopologies", 8, Ty::List(&Ty::Object(&TOPOLOGY_SELECTOR_TERM))),
    ],
};

/// Where a class's volumes may be.
pub static TOPOLOGY_SELECTOR_TERM: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.TopologySelectorTerm",
    fields: &[Field::new("matchLabelExpressions", 1, Ty::List(&Ty::Object(&TOPOLOGY_SELECTOR_LABEL_REQUIREMENT)))],
};

/// The values that a node's label may have.
pub static TOPOLOGY_SELECTOR_LABEL_REQUIREMENT: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.TopologySelectorLabelRequirement",
    fields: &[
        Field::new("key", 1, Ty::Str).required().check(Check::LabelKey),
        Field::new("values", 2, Ty::List(&Ty::Str)).required(),
    ],
};
