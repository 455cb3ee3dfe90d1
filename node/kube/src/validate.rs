//! Whether an object with all its defaults may be stored: required fields, checks of single values, and what each kind
//! demands. All that is wrong is found at once. Types and unknown fields were checked before.

use serde_json::{Map, Value};

use crate::check;
use crate::resource::Resource;
use crate::schema::{Check, Field, Support, Ty, TypeSchema};
use crate::status::Problem;
use crate::structure::joined;

mod batch;
mod metadata;
mod network;
mod objects;
mod pod;
mod policy;
mod rbac;
mod workload;

/// What is wrong with an object that is to be created.
#[must_use]
pub fn create(resource: &Resource, object: &Map<String, Value>) -> Vec<Problem> {
    let mut problems = Vec::new();
    fields(resource.schema, object, "", &mut problems);
    let object = Value::Object(object.clone());
    metadata::check(resource, &object, &mut problems);
    match resource.stored_kind {
        "Pod" => {
            metadata::partition_policy(&object["metadata"], "metadata", &mut problems);
            pod::spec(&object["spec"], &object["metadata"]["labels"], "spec", &mut problems);
        }
        "Deployment.apps" => workload::deployment(&object, &mut problems),
        "ReplicaSet.apps" => workload::replica_set(&object, &mut problems),
        "Service" => objects::service(&object, &mut problems),
        "ConfigMap" => objects::config_map(&object, &mut problems),
        "Secret" => objects::secret(&object, &mut problems),
        "StatefulSet.apps" => workload::stateful_set(&object, &mut problems),
        "DaemonSet.apps" => workload::daemon_set(&object, &mut problems),
        "Job.batch" => batch::job(&object, &mut problems),
        "CronJob.batch" => batch::cron_job(&object, &mut problems),
        _ => stored_only(resource, &object, &mut problems),
    }
    problems
}

fn stored_only(resource: &Resource, object: &Value, problems: &mut Vec<Problem>) {
    match resource.stored_kind {
        "HorizontalPodAutoscaler.autoscaling" => policy::autoscaler(object, problems),
        "PodDisruptionBudget.policy" => policy::disruption_budget(object, problems),
        "ResourceQuota" => policy::resource_quota(object, problems),
        "LimitRange" => policy::limit_range(object, problems),
        "PersistentVolumeClaim" => objects::claim(&object["spec"], "spec", problems),
        "Endpoints" => network::endpoints(object, problems),
        "EndpointSlice.discovery.k8s.io" => network::endpoint_slice(object, problems),
        "Ingress.networking.k8s.io" => network::ingress(object, problems),
        "NetworkPolicy.networking.k8s.io" => network::policy(object, problems),
        "Role.rbac.authorization.k8s.io" => rbac::role(object, true, problems),
        "ClusterRole.rbac.authorization.k8s.io" => rbac::role(object, false, problems),
        "RoleBinding.rbac.authorization.k8s.io" => rbac::binding(object, &["Role", "ClusterRole"], problems),
        "ClusterRoleBinding.rbac.authorization.k8s.io" => rbac::binding(object, &["ClusterRole"], problems),
        _ => {}
    }
}

/// What is wrong with an object that is to take the place of `old`. Both have their defaults.
#[must_use]
pub fn update(resource: &Resource, old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<Problem> {
    let mut problems = create(resource, new);
    unchanged(resource.schema, old, new, "", &mut problems);
    match resource.stored_kind {
        "ConfigMap" | "Secret" => objects::declared_immutable(old, new, &mut problems),
        "StatefulSet.apps" => workload::stateful_set_change(old, new, &mut problems),
        "Job.batch" => batch::job_change(old, new, &mut problems),
        "PersistentVolumeClaim" => objects::claim_change(old, new, &mut problems),
        "StorageClass.storage.k8s.io" => {
            stay(&["provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"], old, new, &mut problems);
        }
        "PriorityClass.scheduling.k8s.io" if old.get("value") != new.get("value") => {
            problems.push(Problem::forbidden("value", "may not be changed in an update."));
        }
        _ => {}
    }
    problems
}

/// What is wrong with the single fields of a type that is no resource's, such as a Scale.
#[must_use]
pub(crate) fn of_type(of: &'static TypeSchema, object: &Map<String, Value>) -> Vec<Problem> {
    let mut problems = Vec::new();
    fields(of, object, "", &mut problems);
    problems
}

fn fields(of: &'static TypeSchema, object: &Map<String, Value>, path: &str, problems: &mut Vec<Problem>) {
    for field in of.fields {
        let here = joined(path, field.name);
        let value = object.get(field.name);
        if value.is_none_or(is_empty) {
            let zero_object = value.is_some_and(Value::is_object) && matches!(field.ty, Ty::Object(_));
            if field.required && !zero_object {
                problems.push(Problem::required(here.as_str(), ""));
            }
        }
        let Some(value) = value else { continue };
        match field.support {
            Support::System => {}
            Support::NotYet if is_empty(value) => {}
            Support::NotYet => {
                problems.push(Problem::forbidden(here.as_str(), &format!("skein does not support {here} yet")));
            }
            Support::Full => held(field, &field.ty, value, &here, problems),
        }
    }
}

/// Checks what a field holds, down to the last value.
fn held(field: &'static Field, ty: &'static Ty, value: &Value, path: &str, problems: &mut Vec<Problem>) {
    match (ty, value) {
        (Ty::Object(of), Value::Object(object)) => fields(of, object, path, problems),
        (Ty::List(of), Value::Array(elements)) => {
            for (i, element) in elements.iter().enumerate() {
                held(field, of, element, &format!("{path}[{i}]"), problems);
            }
            duplicates(field, elements, path, problems);
        }
        (Ty::Map(of), Value::Object(entries)) => {
            for (key, entry) in entries {
                let here = format!("{path}[{key}]");
                // Kubernetes names the map alone where labels and annotations are wrong; the message has the key or the value.
                let is_labels = matches!(field.key_check, Check::LabelKey | Check::AnnotationKey);
                let named = if is_labels { path } else { &here };
                check::value(field.key_check, &key.as_str().into(), named, problems);
                held(field, of, entry, named, problems);
            }
        }
        // An empty text or a zero is no value where Go's clients cannot tell; whether one is required was checked.
        (_, Value::String(text)) if text.is_empty() && field.check != Check::NonEmpty => {}
        (_, Value::Number(number)) if field.required && number.as_i64() == Some(0) => {}
        (_, value) => check::value(field.check, value, path, problems),
    }
}

/// Elements of a keyed list must differ in their keys: they are stored by them.
fn duplicates(field: &Field, elements: &[Value], path: &str, problems: &mut Vec<Problem>) {
    if field.keys.is_empty() {
        return;
    }
    let keys_of = |element: &Value| field.keys.iter().map(|key| element[*key].clone()).collect::<Vec<_>>();
    let mut seen = std::collections::BTreeSet::new();
    for (i, element) in elements.iter().enumerate() {
        let keys = keys_of(element);
        if keys.iter().all(Value::is_null) || seen.insert(Value::from(keys.clone()).to_string()) {
            continue;
        }
        let (here, shown) = match keys.as_slice() {
            [key] => (format!("{path}[{i}].{}", field.keys[0]), key.clone()),
            _ => {
                let pairs = field.keys.iter().zip(&keys).map(|(name, key)| ((*name).to_owned(), key.clone()));
                (format!("{path}[{i}]"), Value::Object(pairs.collect()))
            }
        };
        problems.push(Problem::duplicate(here, &shown));
    }
}

/// Fields that may never change must be what they were.
fn unchanged(
    of: &'static TypeSchema,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    path: &str,
    problems: &mut Vec<Problem>,
) {
    for field in of.fields {
        let here = joined(path, field.name);
        match (field.immutable, old.get(field.name), new.get(field.name)) {
            (Some(why), old, new) if old != new => {
                let is_object = matches!(field.ty, Ty::Object(of) if of.name.ends_with("PodSpec"));
                problems.push(match is_object {
                    true => Problem::forbidden(here, why),
                    false => Problem::invalid(here, new.unwrap_or(&Value::Null), why),
                });
            }
            (None, Some(Value::Object(old)), Some(Value::Object(new))) => {
                if let Ty::Object(of) = field.ty {
                    unchanged(of, old, new, &here, problems);
                }
            }
            _ => {}
        }
    }
}

/// Fields of a class stay what they were.
fn stay(fields: &[&str], old: &Map<String, Value>, new: &Map<String, Value>, problems: &mut Vec<Problem>) {
    for field in fields.iter().filter(|field| old.get(**field) != new.get(**field)) {
        problems.push(Problem::forbidden(*field, &format!("updates to {field} are forbidden.")));
    }
}

/// The elements of a list, none when it is missing.
fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Whether a value says nothing.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

#[cfg(test)]
mod tests;
