//! What is reported of workloads and of what is only stored: for readers of OpenAPI alone, since clients write no status.

use super::{Field, Ty, TypeSchema};

const AMOUNTS: Ty = Ty::Map(&Ty::Quantity);

/// How a Deployment does.
pub static DEPLOYMENT_STATUS: TypeSchema = TypeSchema {
    name: "io.k8s.api.apps.v1.DeploymentStatus",
    fields: &[
        Field::new("observedGeneration", 1, Ty::Int64),
        Field::new("replicas", 2, Ty::Int32),
        Field::new("updatedReplicas", 3, Ty::Int32),
        Field::new("readyReplicas", 7, Ty::Int32),
        Field::new("availableReplicas", 4, Ty::Int32),
        Field::new("unavailableReplicas", 5, Ty::Int32),
        Field::new("terminatingReplicas", 9, Ty::Int32),
        Field::new("conditions", 6, Ty::List(&Ty::Object(&DEPLOYMENT_CONDITION))).keyed(&["type"]),
        Field::new("collisionCount", 8, Ty::Int32),
    ],
};

/// One thing that holds of a Deployment, or does not.
pub static DEPLOYMENT_CONDITION: TypeSchema = TypeSchema {
    name: "io.k8s.api.apps.v1.DeploymentCondition",
    fields: &[
        Field::new("type", 1, Ty::Str),
        Field::new("status", 2, Ty::Str),
        Field::new("lastUpdateTime", 6, Ty::Time),
        Field::new("lastTransitionTime", 7, Ty::Time),
        Field::new("reason", 4, Ty::Str),
        Field::new("message", 5, Ty::Str),
    ],
};

/// How a ReplicaSet does.
pub static REPLICA_SET_STATUS: TypeSchema = TypeSchema {
    name: "io.k8s.api.apps.v1.ReplicaSetStatus",
    fields: &[
        Field::new("replicas", 1, Ty::Int32),
        Field::new("fullyLabeledReplicas", 2, Ty::Int32),
        Field::new("readyReplicas", 4, Ty::Int32),
        Field::new("availableReplicas", 5, Ty::Int32),
        Field::new("terminatingReplicas", 7, Ty::Int32),
        Field::new("observedGeneration", 3, Ty::Int64),
        Field::new("conditions", 6, Ty::List(&Ty::Object(&REPLICA_SET_CONDITION))).keyed(&["type"]),
    ],
};

/// One thing that holds of a ReplicaSet, or does not.
pub static REPLICA_SET_CONDITION: TypeSchema =
    TypeSchema { name: "io.k8s.api.apps.v1.ReplicaSetCondition", fields: CONDITION };

/// How a StatefulSet does.
pub static STATEFUL_SET_STATUS: TypeSchema = TypeSchema {
    name: "io.k8s.api.apps.v1.StatefulSetStatus",
    fields: &[
        Field::new("observedGeneration", 1, Ty::Int64),
        Field::new("replicas", 2, Ty::Int32),
        Field::new("readyReplicas", 3, Ty::Int32),
        Field::new("currentReplicas", 4, Ty::Int32),
        Field::new("updatedReplicas", 5, Ty::Int32),
        Field::new("currentRevision", 6, Ty::Str),
        Field::new("updateRevision", 7, Ty::Str),
        Field::new("collisionCount", 9, Ty::Int32),
        Field::new("conditions", 10, Ty::List(&Ty::Object(&STATEFUL_SET_CONDITION))).keyed(&["type"]),
        Field::new("availableReplicas", 11, Ty::Int32),
    ],
};

/// One thing that holds of a StatefulSet, or does not.
pub static STATEFUL_SET_CONDITION: TypeSchema =
    TypeSchema { name: "io.k8s.api.apps.v1.StatefulSetCondition", fields: CONDITION };

/// How a DaemonSet does.
pub static DAEMON_SET_STATUS: TypeSchema = TypeSchema {
    name: "io.k8s.api.apps.v1.DaemonSetStatus",
    fields: &[
        Field::new("currentNumberScheduled", 1, Ty::Int32),
        Field::new("numberMisscheduled", 2, Ty::Int32),
        Field::new("desiredNumberScheduled", 3, Ty::Int32),
        Field::new("numberReady", 4, Ty::Int32),
        Field::new("observedGeneration", 5, Ty::Int64),
        Field::new("updatedNumberScheduled", 6, Ty::Int32),
        Field::new("numberAvailable", 7, Ty::Int32),
        Field::new("numberUnavailable", 8, Ty::Int32),
        Field::new("collisionCount", 9, Ty::Int32),
        Field::new("conditions", 10, Ty::List(&Ty::Object(&DAEMON_SET_CONDITION))).keyed(&["type"]),
    ],
};

/// One thing that holds of a DaemonSet, or does not.
pub static DAEMON_SET_CONDITION: TypeSchema =
    TypeSchema { name: "io.k8s.api.apps.v1.DaemonSetCondition", fields: CONDITION };

/// What most conditions say.
const CONDITION: &[Field] = &[
    Field::new("type", 1, Ty::Str),
    Field::new("status", 2, Ty::Str),
    Field::new("lastTransitionTime", 3, Ty::Time),
    Field::new("reason", 4, Ty::Str),
    Field::new("message", 5, Ty::Str),
];

/// How a Job does.
pub static JOB_STATUS: TypeSchema = TypeSchema {
    name: "io.k8s.api.batch.v1.JobStatus",
    fields: &[
        Field::new("conditions", 1, Ty::List(&Ty::Object(&JOB_CONDITION))),
        Field::new("startTime", 2, Ty::Time),
        Field::new("completionTime", 3, Ty::Time),
        Field::new("active", 4, Ty::Int32),
        Field::new("succeeded", 5, Ty::Int32),
        Field::new("failed", 6, Ty::Int32),
        Field::new("terminating", 11, Ty::Int32),
        Field::new("completedIndexes", 7, Ty::Str),
        Field::new("failedIndexes", 10, Ty::Str),
        Field::new("uncountedTerminatedPods", 8, Ty::Any),
        Field::new("ready", 9, Ty::Int32),
    ],
};

/// One thing that holds of a Job, or does not.
pub static JOB_CONDITION: TypeSchema = TypeSchema {
    name: "io.k8s.api.batch.v1.JobCondition",
    fields: &[
        Field::new("type", 1, Ty::Str),
        Field::new("status", 2, Ty::Str),
        Field::new("lastProbeTime", 3, Ty::Time),
        Field::new("lastTransitionTime", 4, Ty::Time),
        Field::new("reason", 5, Ty::Str),
        Field::new("message", 6, Ty::Str),
    ],
};

/// How an autoscaler does.
pub static HORIZONTAL_POD_AUTOSCALER_STATUS: TypeSchema = TypeSchema {
    name: "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerStatus",
    fields: &[
        Field::new("observedGeneration", 1, Ty::Int64),
        Field::new("lastScaleTime", 2, Ty::Time),
        Field::new("currentReplicas", 3, Ty::Int32),
        Field::new("desiredReplicas", 4, Ty::Int32),
        Field::new("currentMetrics", 5, Ty::List(&Ty::Any)),
        Field::new("conditions", 6, Ty::List(&Ty::Object(&HORIZONTAL_POD_AUTOSCALER_CONDITION))).keyed(&["type"]),
    ],
};

/// One thing that holds of an autoscaler, or does not.
pub static HORIZONTAL_POD_AUTOSCALER_CONDITION: TypeSchema =
    TypeSchema { name: "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerCondition", fields: CONDITION };

/// How an autoscaler does, in the first version's words.
pub static HORIZONTAL_POD_AUTOSCALER_STATUS_V1: TypeSchema = TypeSchema {
    name: "io.k8s.api.autoscaling.v1.HorizontalPodAutoscalerStatus",
    fields: &[
        Field::new("observedGeneration", 1, Ty::Int64),
        Field::new("lastScaleTime", 2, Ty::Time),
        Field::new("currentReplicas", 3, Ty::Int32),
        Field::new("desiredReplicas", 4, Ty::Int32),
        Field::new("currentCPUUtilizationPercentage", 5, Ty::Int32),
    ],
};

/// How much of a quota is used.
pub static RESOURCE_QUOTA_STATUS: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.ResourceQuotaStatus",
    fields: &[Field::new("hard", 1, AMOUNTS), Field::new("used", 2, AMOUNTS)],
};
