//! What administrators set limits with: disruption budgets, quotas, ranges and priorities.

use super::meta::{LABEL_SELECTOR, OBJECT_META};
use super::status::RESOURCE_QUOTA_STATUS;
use super::{Check, Field, Ty, TypeSchema};

const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
const OPERATORS: &[&str] = &["DoesNotExist", "Exists", "In", "NotIn"];
const AMOUNTS: Ty = Ty::Map(&Ty::Quantity);
/// The highest priority that is not the system's own.
const MAX_PRIORITY: i64 = 1_000_000_000;

/// A disruption budget.
pub static POD_DISRUPTION_BUDGET: TypeSchema = TypeSchema {
    name: "io.k8s.api.policy.v1.PodDisruptionBudget",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&POD_DISRUPTION_BUDGET_SPEC)),
        Field::new("status", 3, Ty::Any).system(),
    ],
};

/// A disruption budget as older clients write it; its fields are the same.
pub static POD_DISRUPTION_BUDGET_V1BETA1: TypeSchema = TypeSchema {
    name: "io.k8s.api.policy.v1beta1.PodDisruptionBudget",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&POD_DISRUPTION_BUDGET_SPEC)),
        Field::new("status", 3, Ty::Any).system(),
    ],
};

/// How many of which pods must stay, or may go.
pub static POD_DISRUPTION_BUDGET_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.policy.v1.PodDisruptionBudgetSpec",
    fields: &[
        Field::new("minAvailable", 1, Ty::IntOrString).explicit().check(Check::CountOrPercent),
        Field::new("selector", 2, Ty::Object(&LABEL_SELECTOR)),
        Field::new("maxUnavailable", 3, Ty::IntOrString).explicit().check(Check::CountOrPercent),
        Field::new("unhealthyPodEvictionPolicy", 4, Ty::Str)
            .explicit()
            .check(Check::OneOf(&["AlwaysAllow", "IfHealthyBudget"])),
    ],
};

/// A quota.
pub static RESOURCE_QUOTA: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.ResourceQuota",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&RESOURCE_QUOTA_SPEC)),
        Field::new("status", 3, Ty::Object(&RESOURCE_QUOTA_STATUS)).system(),
    ],
};

/// How much of what a namespace may have.
pub static RESOURCE_QUOTA_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.ResourceQuotaSpec",
    fields: &[
        Field::new("hard", 1, AMOUNTS).key_check(Check::LabelKey).check(Check::AmountFromZero),
        Field::new("scopes", 2, Ty::List(&Ty::Str)).check(Check::OneOf(SCOPES)),
        Field::new("scopeSelector", 3, Ty::Object(&SCOPE_SELECTOR)),
    ],
};

/// What a quota counts.
pub static SCOPE_SELECTOR: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.ScopeSelector",
    fields: &[Field::new("matchExpressions", 1, Ty::List(&Ty::Object(&SCOPED_REQUIREMENT)))],
};

/// One condition of what a quota counts.
pub static SCOPED_REQUIREMENT: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.ScopedResourceSelectorRequirement",
    fields: &[
        Field::new("scopeName", 1, Ty::Str).required().check(Check::OneOf(SCOPES)),
        Field::new("operator", 2, Ty::Str).required().check(Check::OneOf(OPERATORS)),
        Field::new("values", 3, Ty::List(&Ty::Str)),
    ],
};

/// A range of limits.
pub static LIMIT_RANGE: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.LimitRange",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&LIMIT_RANGE_SPEC)),
    ],
};

/// What containers, pods and claims of a namespace may ask for.
pub static LIMIT_RANGE_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.LimitRangeSpec",
    fields: &[Field::new("limits", 1, Ty::List(&Ty::Object(&LIMIT_RANGE_ITEM))).required()],
};

/// What one kind of them may ask for.
pub static LIMIT_RANGE_ITEM: TypeSchema = TypeSchema {
    name: "io.k8s.api.core.v1.LimitRangeItem",
    fields: &[
        Field::new("type", 1, Ty::Str).required(),
        Field::new("max", 2, AMOUNTS).key_check(Check::LabelKey).check(Check::AmountFromZero),
        Field::new("min", 3, AMOUNTS).key_check(Check::LabelKey).check(Check::AmountFromZero),
        Field::new("default", 4, AMOUNTS).key_check(Check::LabelKey).check(Check::AmountFromZero),
        Field::new("defaultRequest", 5, AMOUNTS).key_check(Check::LabelKey).check(Check::AmountFromZero),
        Field::new("maxLimitRequestRatio", 6, AMOUNTS).key_check(Check::LabelKey).check(Check::AmountFromZero),
    ],
};

/// A priority by its name.
pub static PRIORITY_CLASS: TypeSchema = TypeSchema {
    name: "io.k8s.api.scheduling.v1.PriorityClass",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("value", 2, Ty::Int32).default("0").check(Check::Range(i32::MIN as i64, MAX_PRIORITY)),
        Field::new("globalDefault", 3, Ty::Bool),
        Field::new("description", 4, Ty::Str),
        Field::new("preemptionPolicy", 5, Ty::Str)
            .default("\"PreemptLowerPriority\"")
            .check(Check::OneOf(&["Never", "PreemptLowerPriority"])),
    ],
};
