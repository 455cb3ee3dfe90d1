//! Objects in another version of their resource than the one that they are stored in.

use serde_json::{Map, Value, json};

use crate::resource::{self, Resource};

/// The annotation in which the first version of autoscalers holds conditions, which it has no field for.
const CONDITIONS_ANNOTATION: &str = "autoscaling.alpha.kubernetes.io/conditions";
/// How the fields of a core Event are called in `events.k8s.io`.
const EVENT_FIELDS: [(&str, &str); 12] = [
    ("metadata", "metadata"),
    ("involvedObject", "regarding"),
    ("related", "related"),
    ("message", "note"),
    ("reason", "reason"),
    ("type", "type"),
    ("action", "action"),
    ("eventTime", "eventTime"),
    ("series", "series"),
    ("reportingComponent", "reportingController"),
    ("reportingInstance", "reportingInstance"),
    ("source", "deprecatedSource"),
];
/// The same for fields that its authors want to see no more.
const DEPRECATED_EVENT_FIELDS: [(&str, &str); 3] = [
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// A stored object as a resource shows it. `None`: as it is stored.
#[must_use]
pub fn from_stored(resource: &Resource, object: &Value) -> Option<Value> {
    if resource::of_kind(&resource.kind()) == Some(resource) || resource.stored_kind.is_empty() {
        return None;
    }
    let mut shown = match resource.stored_kind {
        "Event" => return Some(event(resource, object)),
        "HorizontalPodAutoscaler.autoscaling" => autoscaler_v1(object.clone()),
        _ => object.clone(),
    };
    if let Value::Object(fields) = &mut shown {
        fields.insert("apiVersion".to_owned(), resource.api_version().into());
    }
    Some(shown)
}

/// The counterpart: an object that a client wrote in the words of `resource`, as it is stored. `old` is what is stored: what
/// the client's version cannot say stays as it is there.
#[must_use]
pub(crate) fn to_stored(resource: &Resource, old: Option<&Value>, object: Value) -> Value {
    match (resource.stored_kind, resource.version) {
        ("HorizontalPodAutoscaler.autoscaling", "v1") => autoscaler_v2(old, object),
        _ => object,
    }
}

/// A metric that asks for so many percent of the processor that the pods asked for.
pub(crate) fn processor_metric(percent: i64) -> Value {
    json!({"type": "Resource", "resource": {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent},
    }})
}

/// The metric that the first version has a field for: the first one of the processor's utilization.
fn is_processor(metric: &Value) -> bool {
    let source = &metric["resource"];
    metric["type"] == "Resource" && source["name"] == "cpu" && source["target"]["type"] == "Utilization"
}

fn autoscaler_v1(mut object: Value) -> Value {
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("behavior");
        let metrics = spec.remove("metrics").unwrap_or_default();
        let metric = metrics.as_array().into_iter().flatten().find(|metric| is_processor(metric));
        let percent = metric.map(|metric| metric["resource"]["target"]["averageUtilization"].clone());
        if let Some(percent) = percent.filter(Value::is_i64) {
            spec.insert("targetCPUUtilizationPercentage".to_owned(), percent);
        }
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("currentMetrics");
        let conditions = status.remove("conditions").unwrap_or_default();
        if conditions.is_array() && object["metadata"].is_object() {
            let annotations = &mut object["metadata"]["annotations"];
            if annotations.is_null() {
                *annotations = json!({});
            }
            if let Value::Object(annotations) = annotations {
                annotations.insert(CONDITIONS_ANNOTATION.to_owned(), conditions.to_string().into());
            }
        }
    }
    object
}

fn autoscaler_v2(old: Option<&Value>, mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        && let Some(Value::Object(annotations)) = metadata.get_mut("annotations")
    {
        annotations.remove(CONDITIONS_ANNOTATION);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    let old = old.map_or(&Value::Null, |old| &old["spec"]);
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return object };
    let percent = spec.remove("targetCPUUtilizationPercentage").and_then(|percent| percent.as_i64());
    let others = old["metrics"].as_array().into_iter().flatten();
    let mut metrics: Vec<Value> = others.filter(|metric| !is_processor(metric)).cloned().collect();
    match percent {
        Some(percent) => metrics.insert(0, processor_metric(percent)),
        // Kubernetes' default, where nothing else is asked for.
        None if metrics.is_empty() => metrics.push(processor_metric(80)),
        None => {}
    }
    spec.insert("metrics".to_owned(), metrics.into());
    if old["behavior"].is_object() {
        spec.insert("behavior".to_owned(), old["behavior"].clone());
    }
    object
}

fn event(resource: &Resource, stored: &Value) -> Value {
    let mut shown = Map::new();
    shown.insert("kind".to_owned(), json!(resource.kind_name));
    shown.insert("apiVersion".to_owned(), json!(resource.api_version()));
    for (core, own) in EVENT_FIELDS.into_iter().chain(DEPRECATED_EVENT_FIELDS) {
        if let Some(value) = stored.get(core) {
            shown.insert(own.to_owned(), value.clone());
        }
    }
    // Old events have no controller that reports them, only a source.
    if shown.get("reportingController").is_none_or(|name| name.as_str().is_none_or(str::is_empty)) {
        shown.insert("reportingController".to_owned(), stored["source"]["component"].clone());
    }
    Value::Object(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource;

    #[test]
    fn an_event_is_shown_in_the_words_of_its_own_group() {
        let stored = json!({
            "kind": "Event", "apiVersion": "v1", "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod"},
            "message": "hello", "reason": "Started", "count": 2, "source": {"component": "agent"},
        });
        let shown = from_stored(&resource::EVENTS_GROUP_EVENTS, &stored).unwrap_or_default();
        assert_eq!(
            shown,
            json!({
                "kind": "Event", "apiVersion": "events.k8s.io/v1", "metadata": {"name": "e"}, "regarding": {"kind": "Pod"},
                "note": "hello", "reason": "Started", "deprecatedCount": 2, "deprecatedSource": {"component": "agent"},
                "reportingController": "agent",
            })
        );
        assert_eq!(from_stored(&resource::EVENTS, &stored), None);
    }

    #[test]
    fn a_version_with_the_same_fields_only_says_so() {
        let stored = json!({"kind": "CronJob", "apiVersion": "batch/v1", "spec": {"schedule": "@daily"}});
        let shown = from_stored(&resource::CRON_JOBS_V1BETA1, &stored).unwrap_or_default();
        assert_eq!(shown, json!({"kind": "CronJob", "apiVersion": "batch/v1beta1", "spec": {"schedule": "@daily"}}));
        assert_eq!(from_stored(&resource::CRON_JOBS, &stored), None);
    }

    #[test]
    fn an_autoscaler_keeps_what_its_first_version_cannot_say() {
        let memory = json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}});
        let stored = json!({
            "kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v2", "metadata": {"name": "a"},
            "spec": {"maxReplicas": 3, "metrics": [memory, processor_metric(50)], "behavior": {"scaleUp": {}}},
            "status": {"desiredReplicas": 0, "conditions": [{"type": "ScalingActive"}]},
        });
        let v1 = &resource::HORIZONTAL_POD_AUTOSCALERS_V1;
        let mut shown = from_stored(v1, &stored).unwrap_or_default();
        assert_eq!(shown["spec"], json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 50}));
        assert_eq!(shown["status"], json!({"desiredReplicas": 0}));
        assert_eq!(shown["metadata"]["annotations"][CONDITIONS_ANNOTATION], r#"[{"type":"ScalingActive"}]"#);
        shown["spec"]["targetCPUUtilizationPercentage"] = json!(70);
        let back = to_stored(v1, Some(&stored), shown);
        assert_eq!(
            back["spec"],
            json!({"maxReplicas": 3, "metrics": [processor_metric(70), memory], "behavior": {"scaleUp": {}}})
        );
        assert_eq!(back["metadata"], json!({"name": "a"}));
        let new = to_stored(v1, None, json!({"spec": {"maxReplicas": 3}}));
        assert_eq!(new["spec"]["metrics"], json!([processor_metric(80)]));
    }
}
