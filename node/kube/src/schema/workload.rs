//! Workloads, and the Scale that they share.

use super::meta::{LABEL_SELECTOR, OBJECT_META};
use super::pod::POD_TEMPLATE_SPEC;
use super::status::{DEPLOYMENT_STATUS, REPLICA_SET_STATUS};
use super::{Check, Field, Ty, TypeSchema};

const FROM_ZERO: Check = Check::Range(0, i32::MAX as i64);
const SELECTOR_STAYS: &str = "field is immutable";

/// A Deployment.
pub static DEPLOYMENT: TypeSchema = TypeSchema {
    name: "io.k8s.api.apps.v1.Deployment",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&DEPLOYMENT_SPEC)).required(),
        Field::new("status", 3, Ty::Object(&DEPLOYMENT_STATUS)).system(),
    ],
};

/// What a Deployment wants.
pub static DEPLOYMENT_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.apps.v1.DeploymentSpec",
    fields: &[
        Field::new("replicas", 1, Ty::Int32).explicit().default("1").check(FROM_ZERO),
        Field::new("selector", 2, Ty::Object(&LABEL_SELECTOR)).required().immutable(SELECTOR_STAYS),
        Field::new("template", 3, Ty::Object(&POD_TEMPLATE_SPEC)).required(),
        Field::new("strategy", 4, Ty::Object(&DEPLOYMENT_STRATEGY)).default("{}").retaining_keys(),
        Field::new("minReadySeconds", 5, Ty::Int32).check(FROM_ZERO),
        Field::new("revisionHistoryLimit", 6, Ty::Int32).explicit().default("10").check(FROM_ZERO),
        Field::new("paused", 7, Ty::Bool),
        Field::new("progressDeadlineSeconds", 9, Ty::Int32).explicit().default("600").check(FROM_ZERO),
    ],
};

/// How a Deployment replaces its pods.
pub static DEPLOYMENT_STRATEGY: TypeSchema = TypeSchema {
    name: "io.k8s.api.apps.v1.DeploymentStrategy",
    fields: &[
        Field::new("type", 1, Ty::Str).default("\"RollingUpdate\"").check(Check::OneOf(&["Recreate", "RollingUpdate"])),
        Field::new("rollingUpdate", 2, Ty::Object(&ROLLING_UPDATE_DEPLOYMENT)),
    ],
};

/// How many pods more or fewer than wanted there may be meanwhile.
pub static ROLLING_UPDATE_DEPLOYMENT: TypeSchema = TypeSchema {
    name: "io.k8s.api.apps.v1.RollingUpdateDeployment",
    fields: &[
        Field::new("maxUnavailable", 1, Ty::IntOrString).explicit().default("\"25%\"").check(Check::CountOrPercent),
        Field::new("maxSurge", 2, Ty::IntOrString).explicit().default("\"25%\"").check(Check::CountOrPercent),
    ],
};

/// A ReplicaSet.
pub static REPLICA_SET: TypeSchema = TypeSchema {
    name: "io.k8s.api.apps.v1.ReplicaSet",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&REPLICA_SET_SPEC)).required(),
        Field::new("status", 3, Ty::Object(&REPLICA_SET_STATUS)).system(),
    ],
};

/// What a ReplicaSet wants.
pub static REPLICA_SET_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.apps.v1.ReplicaSetSpec",
    fields: &[
        Field::new("replicas", 1, Ty::Int32).explicit().default("1").check(FROM_ZERO),
        Field::new("minReadySeconds", 4, Ty::Int32).check(FROM_ZERO),
        Field::new("selector", 2, Ty::Object(&LABEL_SELECTOR)).required().immutable(SELECTOR_STAYS),
        Field::new("template", 3, Ty::Object(&POD_TEMPLATE_SPEC)).required(),
    ],
};

/// How many replicas a workload has and wants.
pub static SCALE: TypeSchema = TypeSchema {
    name: "io.k8s.api.autoscaling.v1.Scale",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&SCALE_SPEC)),
        Field::new("status", 3, Ty::Any).system(),
    ],
};

/// How many replicas are wanted.
pub static SCALE_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.autoscaling.v1.ScaleSpec",
    fields: &[Field::new("replicas", 1, Ty::Int32).explicit().default("0").check(FROM_ZERO)],
};
