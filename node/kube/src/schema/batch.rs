//! Jobs and CronJobs. What of a Job depends on other fields of it is filled in by `defaults`, since the Jobs that a CronJob
//! makes have no defaults before they are made.

use super::meta::{LABEL_SELECTOR, OBJECT_META};
use super::pod::POD_TEMPLATE_SPEC;
use super::status::JOB_STATUS;
use super::{Check, Field, Ty, TypeSchema};

const FROM_ZERO: Check = Check::Range(0, i32::MAX as i64);
const CONCURRENCY: &[&str] = &["Allow", "Forbid", "Replace"];
const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];

/// A Job.
pub static JOB: TypeSchema = TypeSchema {
    name: "io.k8s.api.batch.v1.Job",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&JOB_SPEC)).required(),
        Field::new("status", 3, Ty::Object(&JOB_STATUS)).system(),
    ],
};

/// What a Job wants.
pub static JOB_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.batch.v1.JobSpec",
    fields: &[
        Field::new("parallelism", 1, Ty::Int32).explicit().check(FROM_ZERO),
        Field::new("completions", 2, Ty::Int32).explicit().check(FROM_ZERO),
        Field::new("activeDeadlineSeconds", 3, Ty::Int64).explicit().check(Check::Range(0, i64::MAX)),
        Field::new("podFailurePolicy", 11, Ty::Object(&POD_FAILURE_POLICY)),
        Field::new("successPolicy", 16, Ty::Object(&SUCCESS_POLICY)),
        Field::new("backoffLimit", 7, Ty::Int32).explicit().check(FROM_ZERO),
        Field::new("backoffLimitPerIndex", 12, Ty::Int32).explicit().check(FROM_ZERO),
        Field::new("maxFailedIndexes", 13, Ty::Int32).explicit().check(FROM_ZERO),
        Field::new("selector", 4, Ty::Object(&LABEL_SELECTOR)),
        Field::new("manualSelector", 5, Ty::Bool).explicit(),
        Field::new("template", 6, Ty::Object(&POD_TEMPLATE_SPEC)).required(),
        Field::new("ttlSecondsAfterFinished", 8, Ty::Int32).explicit().check(FROM_ZERO),
        Field::new("completionMode", 9, Ty::Str).explicit().check(Check::OneOf(&["Indexed", "NonIndexed"])),
        Field::new("suspend", 10, Ty::Bool).explicit(),
        Field::new("podReplacementPolicy", 14, Ty::Str)
            .explicit()
            .check(Check::OneOf(&["Failed", "TerminatingOrFailed"])),
        Field::new("managedBy", 15, Ty::Str).explicit().check(Check::LabelKey),
    ],
};

/// What the end of a Job's pod means.
pub static POD_FAILURE_POLICY: TypeSchema = TypeSchema {
    name: "io.k8s.api.batch.v1.PodFailurePolicy",
    fields: &[Field::new("rules", 1, Ty::List(&Ty::Object(&POD_FAILURE_POLICY_RULE))).required()],
};

/// What one kind of end means.
pub static POD_FAILURE_POLICY_RULE: TypeSchema = TypeSchema {
    name: "io.k8s.api.batch.v1.PodFailurePolicyRule",
    fields: &[
        Field::new("action", 1, Ty::Str).required().check(Check::OneOf(ACTIONS)),
        Field::new("onExitCodes", 2, Ty::Object(&ON_EXIT_CODES)),
        Field::new("onPodConditions", 3, Ty::List(&Ty::Object(&ON_POD_CONDITIONS))),
    ],
};

/// An end by what its container exited with.
pub static ON_EXIT_CODES: TypeSchema = TypeSchema {
    name: "io.k8s.api.batch.v1.PodFailurePolicyOnExitCodesRequirement",
    fields: &[
        Field::new("containerName", 1, Ty::Str).explicit(),
        Field::new("operator", 2, Ty::Str).required().check(Check::OneOf(&["In", "NotIn"])),
        Field::new("values", 3, Ty::List(&Ty::Int32)).required(),
    ],
};

/// An end by a condition of the pod.
pub static ON_POD_CONDITIONS: TypeSchema = TypeSchema {
    name: "io.k8s.api.batch.v1.PodFailurePolicyOnPodConditionsPattern",
    fields: &[
        Field::new("type", 1, Ty::Str).required().check(Check::LabelKey),
        Field::new("status", 2, Ty::Str).default("\"True\"").check(Check::OneOf(&["False", "True", "Unknown"])),
    ],
};

/// When an indexed Job has succeeded before all of it has.
pub static SUCCESS_POLICY: TypeSchema = TypeSchema {
    name: "io.k8s.api.batch.v1.SuccessPolicy",
    fields: &[Field::new("rules", 1, Ty::List(&Ty::Object(&SUCCESS_POLICY_RULE))).required()],
};

/// Which indexes must have succeeded, or how many.
pub static SUCCESS_POLICY_RULE: TypeSchema = TypeSchema {
    name: "io.k8s.api.batch.v1.SuccessPolicyRule",
    fields: &[
        Field::new("succeededIndexes", 1, Ty::Str).explicit(),
        Field::new("succeededCount", 2, Ty::Int32).explicit().check(Check::Range(1, i32::MAX as i64)),
    ],
};

/// A CronJob.
pub static CRON_JOB: TypeSchema = TypeSchema {
    name: "io.k8s.api.batch.v1.CronJob",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&CRON_JOB_SPEC)).required(),
        Field::new("status", 3, Ty::Any).system(),
    ],
};

/// A CronJob as older clients write it; its fields are the same.
pub static CRON_JOB_V1BETA1: TypeSchema = TypeSchema {
    name: "io.k8s.api.batch.v1beta1.CronJob",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&CRON_JOB_SPEC)).required(),
        Field::new("status", 3, Ty::Any).system(),
    ],
};

/// When a CronJob makes Jobs, and what they are made from.
pub static CRON_JOB_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.batch.v1.CronJobSpec",
    fields: &[
        Field::new("schedule", 1, Ty::Str).required(),
        Field::new("timeZone", 8, Ty::Str).explicit(),
        Field::new("startingDeadlineSeconds", 2, Ty::Int64).explicit().check(Check::Range(0, i64::MAX)),
        Field::new("concurrencyPolicy", 3, Ty::Str).default("\"Allow\"").check(Check::OneOf(CONCURRENCY)),
        Field::new("suspend", 4, Ty::Bool).explicit().default("false"),
        Field::new("jobTemplate", 5, Ty::Object(&JOB_TEMPLATE_SPEC)).required(),
        Field::new("successfulJobsHistoryLimit", 6, Ty::Int32).explicit().default("3").check(FROM_ZERO),
        Field::new("failedJobsHistoryLimit", 7, Ty::Int32).explicit().default("1").check(FROM_ZERO),
    ],
};

/// What a CronJob makes its Jobs from.
pub static JOB_TEMPLATE_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.batch.v1.JobTemplateSpec",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&JOB_SPEC)).required(),
    ],
};
