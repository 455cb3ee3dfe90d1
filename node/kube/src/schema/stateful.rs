//! StatefulSets, DaemonSets and ControllerRevisions, and the claims that StatefulSets make for their pods.

use super::claim::PERSISTENT_VOLUME_CLAIM_SPEC;
use super::meta::{LABEL_SELECTOR, OBJECT_META};
use super::pod::POD_TEMPLATE_SPEC;
use super::status::{DAEMON_SET_STATUS, STATEFUL_SET_STATUS};
use super::{Check, Field, NO_TAG, NO_TAG_EITHER, Ty, TypeSchema};

const FROM_ZERO: Check = Check::Range(0, i32::MAX as i64);
const SELECTOR_STAYS: &str = "field is immutable";
const STRATEGIES: Check = Check::OneOf(&["OnDelete", "RollingUpdate"]);
const RETENTION: Check = Check::OneOf(&["Delete", "Retain"]);

/// A StatefulSet.
pub static STATEFUL_SET: TypeSchema = TypeSchema {
    name: "io.k8s.api.apps.v1.StatefulSet",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&STATEFUL_SET_SPEC)).required(),
        Field::new("status", 3, Ty::Object(&STATEFUL_SET_STATUS)).system(),
    ],
};

/// What a StatefulSet wants.
pub static STATEFUL_SET_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.apps.v1.StatefulSetSpec",
    fields: &[
        Field::new("replicas", 1, Ty::Int32).explicit().default("1").check(FROM_ZERO),
        Field::new("selector", 2, Ty::Object(&LABEL_SELECTOR)).required(),
        Field::new("template", 3, Ty::Object(&POD_TEMPLATE_SPEC)).required(),
        Field::new("volumeClaimTemplates", 4, Ty::List(&Ty::Object(&CLAIM_TEMPLATE))),
        Field::new("serviceName", 5, Ty::Str),
        Field::new("podManagementPolicy", 6, Ty::Str)
            .default("\"OrderedReady\"")
            .check(Check::OneOf(&["OrderedReady", "Parallel"])),
        Field::new("updateStrategy", 7, Ty::Object(&STATEFUL_SET_UPDATE_STRATEGY)).default("{}"),
        Field::new("revisionHistoryLimit", 8, Ty::Int32).explicit().default("10").check(FROM_ZERO),
        Field::new("minReadySeconds", 9, Ty::Int32).check(FROM_ZERO),
        Field::new("persistentVolumeClaimRetentionPolicy", 10, Ty::Object(&CLAIM_RETENTION_POLICY)).default("{}"),
        Field::new("ordinals", 11, Ty::Object(&STATEFUL_SET_ORDINALS)),
    ],
};

/// How a StatefulSet replaces its pods.
pub static STATEFUL_SET_UPDATE_STRATEGY: TypeSchema = TypeSchema {
    name: "io.k8s.api.apps.v1.StatefulSetUpdateStrategy",
    fields: &[
        Field::new("type", 1, Ty::Str).default("\"RollingUpdate\"").check(STRATEGIES),
        Field::new("rollingUpdate", 2, Ty::Object(&ROLLING_UPDATE_STATEFUL_SET)),
    ],
};

/// From which pod on they are replaced, and how many at a time.
pub static ROLLING_UPDATE_STATEFUL_SET: TypeSchema = TypeSchema {
    name: "io.k8s.api.apps.v1.RollingUpdateStatefulSetStrategy",
    fields: &[
        Field::new("partition", 1, Ty::Int32).explicit().default("0").check(FROM_ZERO),
        Field::new("maxUnavailable", 2, Ty::IntOrString).explicit().check(Check::CountOrPercent),
    ],
};

/// What becomes of the claims of pods that are gone.
pub static CLAIM_RETENTION_POLICY: TypeSchema = TypeSchema {
    name: "io.k8s.api.apps.v1.StatefulSetPersistentVolumeClaimRetentionPolicy",
    fields: &[
        Field::new("whenDeleted", 1, Ty::Str).default("\"Retain\"").check(RETENTION),
        Field::new("whenScaled", 2, Ty::Str).default("\"Retain\"").check(RETENTION),
    ],
};

/// What the first pod is numbered.
pub static STATEFUL_SET_ORDINALS: TypeSchema = TypeSchema {
    name: "io.k8s.api.apps.v1.StatefulSetOrdinals",
    fields: &[Field::new("start", 1, Ty::Int32).check(FROM_ZERO)],
};

/// What a StatefulSet makes its pods' claims from: a claim that says its type within another object.
pub static CLAIM_TEMPLATE: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.PersistentVolumeClaim",
    fields: &[
        Field::new("apiVersion", NO_TAG, Ty::Str).default("\"v1\""),
        Field::new("kind", NO_TAG_EITHER, Ty::Str).default("\"PersistentVolumeClaim\""),
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&PERSISTENT_VOLUME_CLAIM_SPEC)),
        Field::new("status", 3, Ty::Any).system(),
    ],
};

/// A DaemonSet.
pub static DAEMON_SET: TypeSchema = TypeSchema {
    name: "io.k8s.api.apps.v1.DaemonSet",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&DAEMON_SET_SPEC)).required(),
        Field::new("status", 3, Ty::Object(&DAEMON_SET_STATUS)).system(),
    ],
};

/// What a DaemonSet wants on each node.
pub static DAEMON_SET_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.apps.v1.DaemonSetSpec",
    fields: &[
        Field::new("selector", 1, Ty::Object(&LABEL_SELECTOR)).required().immutable(SELECTOR_STAYS),
        Field::new("template", 2, Ty::Object(&POD_TEMPLATE_SPEC)).required(),
        Field::new("updateStrategy", 3, Ty::Object(&DAEMON_SET_UPDATE_STRATEGY)).default("{}"),
        Field::new("minReadySeconds", 4, Ty::Int32).check(FROM_ZERO),
        Field::new("revisionHistoryLimit", 6, Ty::Int32).explicit().default("10").check(FROM_ZERO),
    ],
};

/// How a DaemonSet replaces its pods.
pub static DAEMON_SET_UPDATE_STRATEGY: TypeSchema = TypeSchema {
    name: "io.k8s.api.apps.v1.DaemonSetUpdateStrategy",
    fields: &[
        Field::new("type", 1, Ty::Str).default("\"RollingUpdate\"").check(STRATEGIES),
        Field::new("rollingUpdate", 2, Ty::Object(&ROLLING_UPDATE_DAEMON_SET)),
    ],
};

/// On how many nodes there may be no pod, or one too many, meanwhile.
pub static ROLLING_UPDATE_DAEMON_SET: TypeSchema = TypeSchema {
    name: "io.k8s.api.apps.v1.RollingUpdateDaemonSet",
    fields: &[
        Field::new("maxUnavailable", 1, Ty::IntOrString).explicit().default("1").check(Check::CountOrPercent),
        Field::new("maxSurge", 2, Ty::IntOrString).explicit().default("0").check(Check::CountOrPercent),
    ],
};

/// What a workload was at one time.
pub static CONTROLLER_REVISION: TypeSchema = TypeSchema {
    name: "io.k8s.api.apps.v1.ControllerRevision",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("data", 2, Ty::Raw).immutable("field is immutable"),
        Field::new("revision", 3, Ty::Int64).default("0").check(Check::Range(0, i64::MAX)),
    ],
};
