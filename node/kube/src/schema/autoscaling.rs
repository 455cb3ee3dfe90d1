//! Autoscalers, in both versions. They are stored in the second one.

use super::meta::{LABEL_SELECTOR, OBJECT_META};
use super::status::{HORIZONTAL_POD_AUTOSCALER_STATUS, HORIZONTAL_POD_AUTOSCALER_STATUS_V1};
use super::{Check, Field, Ty, TypeSchema};

const ABOVE_ZERO: Check = Check::Range(1, i32::MAX as i64);
const POLICIES: &[&str] = &["Percent", "Pods"];
const SOURCES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];

/// An autoscaler.
pub static HORIZONTAL_POD_AUTOSCALER: TypeSchema = TypeSchema {
    name: "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&HORIZONTAL_POD_AUTOSCALER_SPEC)).required(),
        Field::new("status", 3, Ty::Object(&HORIZONTAL_POD_AUTOSCALER_STATUS)).system(),
    ],
};

/// What is scaled, how far, and by what.
pub static HORIZONTAL_POD_AUTOSCALER_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec",
    fields: &[
        Field::new("scaleTargetRef", 1, Ty::Object(&CROSS_VERSION_OBJECT_REFERENCE)).required(),
        Field::new("minReplicas", 2, Ty::Int32).explicit().default("1"),
        Field::new("maxReplicas", 3, Ty::Int32).required(),
        Field::new("metrics", 4, Ty::List(&Ty::Object(&METRIC_SPEC))),
        Field::new("behavior", 5, Ty::Object(&BEHAVIOR)),
    ],
};

/// An object that has a scale, or that a metric is about.
pub static CROSS_VERSION_OBJECT_REFERENCE: TypeSchema = TypeSchema {
    name: "io.k8s.api.autoscaling.v2.CrossVersionObjectReference",
    fields: &[
        Field::new("kind", 1, Ty::Str).required(),
        Field::new("name", 2, Ty::Str).required(),
        Field::new("apiVersion", 3, Ty::Str),
    ],
};

/// One metric to scale by.
pub static METRIC_SPEC: TypeSchema = TypeSchema {
    name: "io.k8s.api.autoscaling.v2.MetricSpec",
    fields: &[
        Field::new("type", 1, Ty::Str).required().check(Check::OneOf(SOURCES)),
        Field::new("object", 2, Ty::Object(&OBJECT_METRIC_SOURCE)),
        Field::new("pods", 3, Ty::Object(&PODS_METRIC_SOURCE)),
        Field::new("resource", 4, Ty::Object(&RESOURCE_METRIC_SOURCE)),
        Field::new("containerResource", 7, Ty::Object(&CONTAINER_RESOURCE_METRIC_SOURCE)),
        Field::new("external", 5, Ty::Object(&EXTERNAL_METRIC_SOURCE)),
    ],
};

/// A metric of some object.
pub static OBJECT_METRIC_SOURCE: TypeSchema = TypeSchema {
    name: "io.k8s.api.autoscaling.v2.ObjectMetricSource",
    fields: &[
        Field::new("describedObject", 1, Ty::Object(&CROSS_VERSION_OBJECT_REFERENCE)).required(),
        Field::new("target", 2, Ty::Object(&METRIC_TARGET)).required(),
        Field::new("metric", 3, Ty::Object(&METRIC_IDENTIFIER)).required(),
    ],
};

/// A metric of each pod.
pub static PODS_METRIC_SOURCE: TypeSchema = TypeSchema {
    name: "io.k8s.api.autoscaling.v2.PodsMetricSource",
    fields: &[
        Field::new("metric", 1, Ty::Object(&METRIC_IDENTIFIER)).required(),
        Field::new("target", 2, Ty::Object(&METRIC_TARGET)).required(),
    ],
};

/// What the pods use.
pub static RESOURCE_METRIC_SOURCE: TypeSchema = TypeSchema {
    name: "io.k8s.api.autoscaling.v2.ResourceMetricSource",
    fields: &[
        Field::new("name", 1, Ty::Str).required(),
        Field::new("target", 2, Ty::Object(&METRIC_TARGET)).required(),
    ],
};

/// What one container of each pod uses.
pub static CONTAINER_RESOURCE_METRIC_SOURCE: TypeSchema = TypeSchema {
    name: "io.k8s.api.autoscaling.v2.ContainerResourceMetricSource",
    fields: &[
        Field::new("name", 1, Ty::Str).required(),
        Field::new("target", 2, Ty::Object(&METRIC_TARGET)).required(),
        Field::new("container", 3, Ty::Str).required(),
    ],
};

/// A metric from outside the cluster.
pub static EXTERNAL_METRIC_SOURCE: TypeSchema = TypeSchema {
    name: "io.k8s.api.autoscaling.v2.ExternalMetricSource",
    fields: &[
        Field::new("metric", 1, Ty::Object(&METRIC_IDENTIFIER)).required(),
        Field::new("target", 2, Ty::Object(&METRIC_TARGET)).required(),
    ],
};

/// Which metric.
pub static METRIC_IDENTIFIER: TypeSchema = TypeSchema {
    name: "io.k8s.api.autoscaling.v2.MetricIdentifier",
    fields: &[Field::new("name", 1, Ty::Str).required(), Field::new("selector", 2, Ty::Object(&LABEL_SELECTOR))],
};

/// What a metric should be.
pub static METRIC_TARGET: TypeSchema = TypeSchema {
    name: "io.k8s.api.autoscaling.v2.MetricTarget",
    fields: &[
        Field::new("type", 1, Ty::Str).required().check(Check::OneOf(&["AverageValue", "Utilization", "Value"])),
        Field::new("value", 2, Ty::Quantity),
        Field::new("averageValue", 3, Ty::Quantity),
        Field::new("averageUtilization", 4, Ty::Int32).explicit().check(ABOVE_ZERO),
    ],
};

/// How fast to scale.
pub static BEHAVIOR: TypeSchema = TypeSchema {
    name: "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerBehavior",
    fields: &[
        Field::new("scaleUp", 1, Ty::Object(&SCALING_RULES)),
        Field::new("scaleDown", 2, Ty::Object(&SCALING_RULES)),
    ],
};

/// How fast to scale in one direction.
pub static SCALING_RULES: TypeSchema = TypeSchema {
    name: "io.k8s.api.autoscaling.v2.HPAScalingRules",
    fields: &[
        Field::new("stabilizationWindowSeconds", 3, Ty::Int32).explicit().check(Check::Range(0, 3600)),
        Field::new("selectPolicy", 1, Ty::Str).explicit().check(Check::OneOf(&["Disabled", "Max", "Min"])),
        Field::new("policies", 2, Ty::List(&Ty::Object(&SCALING_POLICY))),
        Field::new("tolerance", 4, Ty::Quantity).check(Check::AmountFromZero),
    ],
};

/// How many pods may come or go in so many seconds.
pub static SCALING_POLICY: TypeSchema = TypeSchema {
    name: "io.k8s.api.autoscaling.v2.HPAScalingPolicy",
    fields: &[
        Field::new("type", 1, Ty::Str).required().check(Check::OneOf(POLICIES)),
        Field::new("value", 2, Ty::Int32).required().check(ABOVE_ZERO),
        Field::new("periodSeconds", 3, Ty::Int32).required().check(Check::Range(1, 1800)),
    ],
};

/// An autoscaler in the first version, which knows the processor alone.
pub static HORIZONTAL_POD_AUTOSCALER_V1: TypeSchema = TypeSchema {
    name: "io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler",
    fields: &[
        Field::new("metadata", 1, Ty::Object(&OBJECT_META)),
        Field::new("spec", 2, Ty::Object(&HORIZONTAL_POD_AUTOSCALER_SPEC_V1)).required(),
        Field::new("status", 3, Ty::Object(&HORIZONTAL_POD_AUTOSCALER_STATUS_V1)).system(),
    ],
};

/// What is scaled, how far, and by how much of the processor the pods should use.
pub static HORIZONTAL_POD_AUTOSCALER_SPEC_V1: TypeSchema = TypeSchema {
    name: "io.k8s.api.autoscaling.v1.HorizontalPodAutoscalerSpec",
    fields: &[
        Field::new("scaleTargetRef", 1, Ty::Object(&CROSS_VERSION_OBJECT_REFERENCE_V1)).required(),
        Field::new("minReplicas", 2, Ty::Int32).explicit().default("1"),
        Field::new("maxReplicas", 3, Ty::Int32).required(),
        Field::new("targetCPUUtilizationPercentage", 4, Ty::Int32).explicit().check(ABOVE_ZERO),
    ],
};

/// An object that has a scale, in the first version's words.
pub static CROSS_VERSION_OBJECT_REFERENCE_V1: TypeSchema = TypeSchema {
    name: "io.k8s.api.autoscaling.v1.CrossVersionObjectReference",
    fields: &[
        Field::new("kind", 1, Ty::Str).required(),
        Field::new("name", 2, Ty::Str).required(),
        Field::new("apiVersion", 3, Ty::Str),
    ],
};
