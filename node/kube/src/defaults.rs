//! Defaults: what an object holds that its author left out. Most are in the schema; those that depend on other fields
//! are below.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use crate::resource::Resource;
use crate::schema::{Field, Support, Ty, TypeSchema};

mod stored;

/// How long a pod stays on a node that is not ready or cannot be reached, in seconds.
const TOLERATED_SECONDS: i64 = 300;

/// Fills in an object's defaults. It has its normal form.
pub fn fill(resource: &Resource, object: &mut Map<String, Value>) {
    fields(resource.schema, object);
    match resource.stored_kind {
        "Pod" => bare_pod(object),
        "Namespace" => namespace(object),
        "Secret" => secret(object),
        "Job.batch" => stored::job(object),
        "HorizontalPodAutoscaler.autoscaling" if resource.version == "v2" => stored::autoscaler(object),
        _ => {}
    }
}

/// Fills in the defaults of a part of an object, such as a patch's result at one path.
pub(crate) fn fields(of: &'static TypeSchema, object: &mut Map<String, Value>) {
    for field in of.fields.iter().filter(|field| field.support != Support::System) {
        if let Some(default) = field.default.filter(|_| is_unset(field, object.get(field.name))) {
            // Every default is parsed by a test.
            object.insert(field.name.to_owned(), serde_json::from_str(default).unwrap_or_default());
        }
        if let Some(value) = object.get_mut(field.name) {
            inside(&field.ty, value);
        }
    }
    match of.name {
        "io.k8s.api.core.v1.Container" | "io.k8s.api.core.v1.EphemeralContainer" => container(object),
        "io.k8s.api.core.v1.PodSpec" => pod_spec(object),
        "io.k8s.api.core.v1.Volume" => volume(object),
        "io.k8s.api.core.v1.ServicePort" => service_port(object),
        "io.k8s.api.apps.v1.DeploymentStrategy" => {
            strategy(object, &crate::schema::workload::ROLLING_UPDATE_DEPLOYMENT);
        }
        "io.k8s.api.apps.v1.StatefulSetUpdateStrategy" => {
            strategy(object, &crate::schema::stateful::ROLLING_UPDATE_STATEFUL_SET);
        }
        "io.k8s.api.apps.v1.DaemonSetUpdateStrategy" => {
            strategy(object, &crate::schema::stateful::ROLLING_UPDATE_DAEMON_SET);
        }
        "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerBehavior" => stored::behavior(object),
        "io.k8s.api.networking.v1.NetworkPolicySpec" => stored::network_policy(object),
        "io.k8s.api.core.v1.LimitRangeItem" => stored::limit_range_item(object),
        "io.k8s.api.rbac.v1.Subject" => stored::subject(object),
        _ => {}
    }
}

fn inside(ty: &'static Ty, value: &mut Value) {
    match (ty, value) {
        (Ty::Object(of), Value::Object(object)) => fields(of, object),
        (Ty::List(of), Value::Array(elements)) => elements.iter_mut().for_each(|element| inside(of, element)),
        (Ty::Map(of), Value::Object(entries)) => entries.values_mut().for_each(|entry| inside(of, entry)),
        _ => {}
    }
}

/// Whether a field has no value. Where Go's clients cannot tell, its zero is none either.
fn is_unset(field: &Field, value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty() && !field.explicit_zero,
        Some(Value::Number(number)) => number.as_i64() == Some(0) && !field.explicit_zero,
        Some(_) => false,
    }
}

/// What comes as text is stored as bytes, and takes the place of bytes of the same key.
fn secret(object: &mut Map<String, Value>) {
    let Some(Value::Object(texts)) = object.remove("stringData") else { return };
    if texts.is_empty() {
        return;
    }
    let data = object.entry("data").or_insert_with(|| json!({}));
    if let Value::Object(data) = data {
        data.extend(
            texts.into_iter().map(|(key, text)| (key, BASE64.encode(text.as_str().unwrap_or_default()).into())),
        );
    }
}

fn container(object: &mut Map<String, Value>) {
    if object.get("imagePullPolicy").and_then(Value::as_str).is_none_or(str::is_empty) {
        let image = object.get("image").and_then(Value::as_str).unwrap_or_default();
        let policy = if is_latest(image) { "Always" } else { "IfNotPresent" };
        object.insert("imagePullPolicy".to_owned(), policy.into());
    }
}

/// Whether an image has the tag `latest`, or neither tag nor digest.
fn is_latest(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or_default();
    if name.contains('@') {
        return false;
    }
    name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// A volume that comes from nowhere is an empty directory.
fn volume(object: &mut Map<String, Value>) {
    if object.iter().all(|(field, value)| field == "name" || value.is_null()) {
        object.insert("emptyDir".to_owned(), json!({}));
    }
}

/// On the host's network every port of a container is the host's.
fn pod_spec(object: &mut Map<String, Value>) {
    if object.get("hostNetwork") != Some(&true.into()) {
        return;
    }
    let lists = object.iter_mut().filter(|(field, _)| matches!(field.as_str(), "containers" | "initContainers"));
    let containers = lists.filter_map(|(_, list)| list.as_array_mut()).flatten();
    for port in containers.filter_map(|c| c.get_mut("ports")?.as_array_mut()).flatten() {
        let container_port = port["containerPort"].clone();
        if port["hostPort"].as_i64().unwrap_or(0) == 0 && container_port.is_i64() {
            port["hostPort"] = container_port;
        }
    }
}

fn service_port(object: &mut Map<String, Value>) {
    let target = object.get("targetPort");
    if target.is_none_or(|target| target.is_null() || *target == json!(0) || *target == json!(""))
        && let Some(port) = object.get("port").cloned()
    {
        object.insert("targetPort".to_owned(), port);
    }
}

/// Only a strategy that rolls says how.
fn strategy(object: &mut Map<String, Value>, rolling_update: &'static TypeSchema) {
    if object.get("type").and_then(Value::as_str) != Some("RollingUpdate") {
        return;
    }
    let rolling = object.entry("rollingUpdate").or_insert_with(|| json!({}));
    if let Value::Object(rolling) = rolling {
        fields(rolling_update, rolling);
    }
}

/// A pod that no workload makes gets what workloads' pods get when they are made.
fn bare_pod(object: &mut Map<String, Value>) {
    let Some(Value::Object(spec)) = object.get_mut("spec") else { return };
    for (field, default) in [
        ("enableServiceLinks", json!(true)),
        ("priority", json!(0)),
        ("preemptionPolicy", json!("PreemptLowerPriority")),
    ] {
        spec.entry(field).or_insert(default);
    }
    if let Value::Array(tolerations) = spec.entry("tolerations").or_insert_with(|| json!([])) {
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let known = |t: &Value| {
                (t["key"] == key || t["key"].as_str().is_none_or(str::is_empty))
                    && matches!(t["effect"].as_str(), None | Some("" | "NoExecute"))
            };
            if !tolerations.iter().any(known) {
                tolerations.push(json!({
                    "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATED_SECONDS,
                }));
            }
        }
    }
    let lists = spec.iter_mut().filter(|(field, _)| matches!(field.as_str(), "containers" | "initContainers"));
    for container in lists.filter_map(|(_, list)| list.as_array_mut()).flatten() {
        let limits = container["resources"]["limits"].as_object().cloned().unwrap_or_default();
        let Some(Value::Object(resources)) = container.get_mut("resources").filter(|_| !limits.is_empty()) else {
            continue;
        };
        if let Value::Object(requests) = resources.entry("requests").or_insert_with(|| json!({})) {
            for (resource, limit) in limits {
                requests.entry(resource).or_insert(limit);
            }
        }
    }
}

/// A namespace has its name as a label, so that others can select it.
fn namespace(object: &mut Map<String, Value>) {
    let Some(Value::Object(metadata)) = object.get_mut("metadata") else { return };
    let Some(name) = metadata.get("name").cloned() else { return };
    if let Value::Object(labels) = metadata.entry("labels").or_insert_with(|| json!({})) {
        labels.insert("kubernetes.io/metadata.name".to_owned(), name);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::resource;

    pub(super) fn filled(resource: &Resource, mut object: Value) -> Value {
        fill(resource, object.as_object_mut().unwrap());
        object
    }

    #[test]
    fn a_deployment_is_filled_as_by_a_real_server() {
        let bare = json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "a:1"}]}}}});
        assert_eq!(
            filled(&resource::DEPLOYMENTS, bare)["spec"],
            json!({
                "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
                "template": {"spec": {
                    "containers": [{
                        "name": "a", "image": "a:1", "resources": {}, "imagePullPolicy": "IfNotPresent",
                        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                    }],
                    "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
                    "securityContext": {}, "schedulerName": "default-scheduler",
                }},
            })
        );
    }

    #[test]
    fn a_pod_is_filled_as_by_a_real_server() {
        let bare = json!({"spec": {"containers": [{
            "name": "a", "image": "a", "ports": [{"containerPort": 80}], "readinessProbe": {"httpGet": {"path": "/", "port": 80}},
            "resources": {"limits": {"cpu": "1"}},
        }]}});
        let spec = filled(&resource::PODS, bare)["spec"].clone();
        assert_eq!(spec["tolerations"][1]["key"], "node.kubernetes.io/unreachable");
        assert_eq!(spec["tolerations"][0]["tolerationSeconds"], 300);
        assert_eq!((&spec["enableServiceLinks"], &spec["priority"]), (&json!(true), &json!(0)));
        let container = &spec["containers"][0];
        assert_eq!(container["imagePullPolicy"], "Always");
        assert_eq!(container["ports"][0]["protocol"], "TCP");
        assert_eq!(container["resources"]["requests"]["cpu"], "1");
        assert_eq!(
            container["readinessProbe"],
            json!({"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
                "successThreshold": 1, "failureThreshold": 3})
        );
    }

    #[test]
    fn other_kinds_have_their_own() {
        let service = filled(&resource::SERVICES, json!({"spec": {"ports": [{"port": 80}]}}));
        assert_eq!(
            service["spec"],
            json!({"type": "ClusterIP", "sessionAffinity": "None", "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"}]})
        );
        let namespace = filled(&resource::NAMESPACES, json!({"metadata": {"name": "shop"}}));
        assert_eq!(namespace["spec"], json!({"finalizers": ["kubernetes"]}));
        assert_eq!(namespace["metadata"]["labels"], json!({"kubernetes.io/metadata.name": "shop"}));
    }

    #[test]
    fn what_is_set_stays() {
        let set = json!({"spec": {"replicas": 0, "strategy": {"type": "Recreate"}, "template": {"spec": {"containers": []}}}});
        let spec = filled(&resource::DEPLOYMENTS, set)["spec"].clone();
        assert_eq!((&spec["replicas"], &spec["strategy"]), (&json!(0), &json!({"type": "Recreate"})));
        let twice = filled(&resource::DEPLOYMENTS, json!({ "spec": spec }));
        assert_eq!(filled(&resource::DEPLOYMENTS, twice.clone()), twice);
    }

    #[test]
    fn an_image_without_tag_is_the_latest() {
        for (image, latest) in
            [("a", true), ("a:latest", true), ("a:1", false), ("host:5000/a", true), ("a@sha256:0", false)]
        {
            assert_eq!(is_latest(image), latest, "{image}");
        }
    }
}
