//! Workloads: `apps`, `batch` and `autoscaling`.

use super::{ALL_VERBS, NAMESPACED, Resource, SCALE, STATUS};
use crate::schema;

/// Deployments.
pub static DEPLOYMENTS: Resource = Resource {
    stored_kind: "Deployment.apps",
    group: "apps",
    version: "v1",
    plural: "deployments",
    singular: "deployment",
    kind_name: "Deployment",
    short_names: &["deploy"],
    in_all: true,
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[SCALE, STATUS],
    schema: &schema::workload::DEPLOYMENT,
};

/// ReplicaSets.
pub static REPLICA_SETS: Resource = Resource {
    stored_kind: "ReplicaSet.apps",
    group: "apps",
    version: "v1",
    plural: "replicasets",
    singular: "replicaset",
    kind_name: "ReplicaSet",
    short_names: &["rs"],
    in_all: true,
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[SCALE, STATUS],
    schema: &schema::workload::REPLICA_SET,
};

/// StatefulSets; they are stored only.
pub static STATEFUL_SETS: Resource = Resource {
    stored_kind: "StatefulSet.apps",
    group: "apps",
    plural: "statefulsets",
    singular: "statefulset",
    kind_name: "StatefulSet",
    short_names: &["sts"],
    in_all: true,
    subresources: &[SCALE, STATUS],
    schema: &schema::stateful::STATEFUL_SET,
    ..NAMESPACED
};

/// DaemonSets; they are stored only.
pub static DAEMON_SETS: Resource = Resource {
    stored_kind: "DaemonSet.apps",
    group: "apps",
    plural: "daemonsets",
    singular: "daemonset",
    kind_name: "DaemonSet",
    short_names: &["ds"],
    in_all: true,
    subresources: &[STATUS],
    schema: &schema::stateful::DAEMON_SET,
    ..NAMESPACED
};

/// What workloads were at one time.
pub static CONTROLLER_REVISIONS: Resource = Resource {
    stored_kind: "ControllerRevision.apps",
    group: "apps",
    plural: "controllerrevisions",
    singular: "controllerrevision",
    kind_name: "ControllerRevision",
    schema: &schema::stateful::CONTROLLER_REVISION,
    ..NAMESPACED
};

/// Jobs; they are stored only.
pub static JOBS: Resource = Resource {
    stored_kind: "Job.batch",
    group: "batch",
    plural: "jobs",
    singular: "job",
    kind_name: "Job",
    in_all: true,
    subresources: &[STATUS],
    schema: &schema::batch::JOB,
    ..NAMESPACED
};

/// CronJobs; they are stored only.
pub static CRON_JOBS: Resource = CRON_JOB_ROW;

const CRON_JOB_ROW: Resource = Resource {
    stored_kind: "CronJob.batch",
    group: "batch",
    plural: "cronjobs",
    singular: "cronjob",
    kind_name: "CronJob",
    short_names: &["cj"],
    in_all: true,
    subresources: &[STATUS],
    schema: &schema::batch::CRON_JOB,
    ..NAMESPACED
};

/// CronJobs as older clients know them.
pub static CRON_JOBS_V1BETA1: Resource =
    Resource { version: "v1beta1", schema: &schema::batch::CRON_JOB_V1BETA1, ..CRON_JOB_ROW };

/// Autoscalers; they are stored only.
pub static HORIZONTAL_POD_AUTOSCALERS: Resource = AUTOSCALER_ROW;

const AUTOSCALER_ROW: Resource = Resource {
    stored_kind: "HorizontalPodAutoscaler.autoscaling",
    group: "autoscaling",
    version: "v2",
    plural: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    kind_name: "HorizontalPodAutoscaler",
    short_names: &["hpa"],
    in_all: true,
    subresources: &[STATUS],
    schema: &schema::autoscaling::HORIZONTAL_POD_AUTOSCALER,
    ..NAMESPACED
};

/// Autoscalers in the first version.
pub static HORIZONTAL_POD_AUTOSCALERS_V1: Resource =
    Resource { version: "v1", schema: &schema::autoscaling::HORIZONTAL_POD_AUTOSCALER_V1, ..AUTOSCALER_ROW };
