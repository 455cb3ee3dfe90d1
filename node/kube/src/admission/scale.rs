//! Scales: how many replicas a workload has and wants, as an object of its own.

use serde_json::{Value, json};

use super::check_type_of;
use crate::body;
use crate::resource::{Resource, Subresource};
use crate::schema::workload::SCALE;
use crate::selector::LabelSelector;
use crate::status::Status;
use crate::structure::{FieldValidation, normalise};
use crate::{defaults, validate};

/// The Scale of an object as clients see it.
///
/// # Errors
/// 404 when its resource has none.
pub fn scale_of(resource: &Resource, object: &Value) -> Result<Value, Status> {
    if !resource.subresources.iter().any(|info| info.part == Subresource::Scale) {
        return Err(Status::no_such_resource());
    }
    let metadata: serde_json::Map<String, Value> = ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"]
        .iter()
        .filter_map(|field| Some(((*field).to_owned(), object["metadata"].get(*field)?.clone())))
        .collect();
    let selector = LabelSelector::of(&object["spec"]["selector"]).map(|selector| selector.to_string());
    Ok(json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": object["spec"]["replicas"].as_i64().unwrap_or(0)},
        "status": {
            "replicas": object["status"]["replicas"].as_i64().unwrap_or(0),
            "selector": selector.unwrap_or_default(),
        },
    }))
}

/// What applying a Scale to an object applies to the object itself.
///
/// # Errors
/// 404 when its resource has no Scale, 400 for what is none, 422 for a number that cannot be.
pub fn applied_scale(resource: &Resource, object: &Value, bytes: &[u8]) -> Result<Value, Status> {
    scale_of(resource, object)?;
    let scale = body::decode_yaml(bytes)?;
    for what in ["apiVersion", "kind"] {
        if scale[what].as_str().is_none_or(str::is_empty) {
            let message = format!("Object '{what}' is missing in the applied configuration");
            return Err(Status::bad_request(message));
        }
    }
    let metadata = scale["metadata"].clone();
    let replicas = with_scale(resource, object, scale)?["spec"]["replicas"].clone();
    let fields = ["name", "namespace", "uid", "resourceVersion"].into_iter();
    let named: serde_json::Map<String, Value> =
        fields.filter_map(|field| Some((field.to_owned(), metadata.get(field)?.clone()))).collect();
    Ok(json!({
        "apiVersion": resource.api_version(),
        "kind": resource.kind_name,
        "metadata": named,
        "spec": {"replicas": replicas},
    }))
}

/// An object as clients see it with as many replicas as a Scale asks for.
///
/// # Errors
/// 400 for what is no Scale, 422 for a number that cannot be.
pub fn with_scale(resource: &Resource, object: &Value, scale: Value) -> Result<Value, Status> {
    check_type_of("Scale", "autoscaling/v1", &scale)?;
    let Value::Object(mut scale) = scale else { return Err(super::not_an_object(&scale)) };
    let findings = normalise(&SCALE, &mut scale, FieldValidation::Strict);
    let mut problems = findings.problems;
    if problems.is_empty() {
        defaults::fields(&SCALE, &mut scale);
        problems = validate::of_type(&SCALE, &scale);
    }
    if !problems.is_empty() {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        return Err(Status::invalid(resource.group, "Scale", name, &problems));
    }
    let mut scaled = object.clone();
    // A Scale without a number means none: so Kubernetes reads it.
    scaled["spec"]["replicas"] = scale.get("spec").map_or(json!(0), |spec| spec["replicas"].clone());
    Ok(scaled)
}
