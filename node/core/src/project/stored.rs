//! Objects that are only stored: the status that Kubernetes shows of each kind, and that nothing acts on those of some
//! kinds yet. Nothing of it is stored. Kinds with a controller are not here.

use serde_json::{Map, Value, json};
use skein_crdt_state::{ClusterId, Kind, ObjectKey, ObjectState};

use super::metadata::{api_names, time};
use super::node::NODE_KIND;
use super::{ApiRef, Made, Sources};
use crate::model::account::{ACCOUNT_KIND, DEFAULT_ACCOUNT};
use crate::model::{ROOT_CA_KEY, ROOT_CA_NAME};

/// The namespace that built-in objects are as old as, and that they follow from: it is there as long as its cluster.
const SYSTEM_NAMESPACE: &str = "kube-system";

/// Adds to a rendered object what follows from its kind. `fields` has apiVersion, kind and metadata.
pub(super) fn complete(kind: &str, fields: &mut Map<String, Value>, object: &ObjectState) {
    let unserved = |what: &str| not_implemented(object, kind, what);
    let run = "nothing is run";
    let status = match kind {
        "Namespace" => json!({"phase": "Active"}),
        NODE_KIND => json!({}),
        "Service" | "Ingress.networking.k8s.io" => json!({"loadBalancer": {}}),
        "PersistentVolumeClaim" => json!({"phase": "Pending"}),
        "ResourceQuota" => json!({}),
        "PodDisruptionBudget.policy" => json!({
            "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0,
            "conditions": [unserved("evictions go on as without it")],
        }),
        "StatefulSet.apps" => json!({"replicas": 0, "availableReplicas": 0, "conditions": [unserved(run)]}),
        "DaemonSet.apps" => json!({
            "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
            "conditions": [unserved(run)],
        }),
        "Job.batch" => {
            select_own_pods(fields);
            json!({"conditions": [unserved(run)]})
        }
        // Kubernetes has no conditions here. Clients that know the type pass over a field that they do not know.
        "CronJob.batch" => json!({"conditions": [unserved(run)]}),
        "HorizontalPodAutoscaler.autoscaling" => json!({
            "currentReplicas": 0, "desiredReplicas": 0, "conditions": [unserved("nothing is scaled")],
        }),
        _ => return,
    };
    fields.insert("status".into(), status);
}

/// The condition that says that nothing acts on an object.
fn not_implemented(object: &ObjectState, kind: &str, what: &str) -> Value {
    let kind = kind.split('.').next().unwrap_or(kind);
    json!({
        "type": "Supported",
        "status": "False",
        "reason": "NotImplemented",
        "message": format!("skein stores this {kind} but has no controller for it yet; {what}"),
        "lastTransitionTime": time(object.born().millis()),
    })
}

/// A Job selects its pods by its uid unless it says otherwise, so no two Jobs select the same.
fn select_own_pods(fields: &mut Map<String, Value>) {
    let uid = fields.get("metadata").map_or(Value::Null, |metadata| metadata["uid"].clone());
    let name = fields.get("metadata").map_or(Value::Null, |metadata| metadata["name"].clone());
    let Some(Value::Object(spec)) = fields.get_mut("spec") else { return };
    if spec.get("manualSelector") == Some(&Value::Bool(true)) {
        return;
    }
    spec.insert("selector".into(), json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}));
    let template = spec.entry("template").or_insert_with(|| json!({}));
    if !template.is_object() {
        return;
    }
    let metadata = &mut template["metadata"];
    if !metadata.is_object() {
        *metadata = json!({});
    }
    let labels = &mut metadata["labels"];
    if !labels.is_object() {
        *labels = json!({});
    }
    for label in ["batch.kubernetes.io/controller-uid", "controller-uid"] {
        labels[label] = uid.clone();
    }
    for label in ["batch.kubernetes.io/job-name", "job-name"] {
        labels[label] = name.clone();
    }
}

/// The account that every namespace has. It follows from the namespace, so it is there at all peers at once; one that
/// somebody writes is shown in its place.
pub(super) fn default_account(namespace: &ObjectState, cluster: &ClusterId) -> Made {
    given(namespace, cluster, ACCOUNT_KIND, DEFAULT_ACCOUNT)
}

/// The certificate of the cluster, which every namespace has: clients in pods, and charts, look for it under this name.
pub(super) fn root_certificate(namespace: &ObjectState, cluster: &ClusterId, ca_certificate: &str) -> Made {
    let mut made = given(namespace, cluster, "ConfigMap", ROOT_CA_NAME);
    made.value["data"] = json!({ ROOT_CA_KEY: ca_certificate });
    made.value["metadata"]["annotations"] = json!({
        "kubernetes.io/description": "Contains a CA bundle that can be used to verify the API server of this cluster.",
    });
    made
}

/// The uid of what a namespace is given: another one than that of what somebody writes in its place.
pub(crate) fn given_uid(namespace: &ObjectKey, kind_name: &str, name: &str, cluster: &ClusterId) -> String {
    namespace.child(&Kind::new(&format!("Derived{kind_name}")), name, 1).uid(cluster).to_string()
}

/// What a namespace has without anybody having written it.
fn given(namespace: &ObjectState, cluster: &ClusterId, kind_name: &str, name: &str) -> Made {
    let key: &ObjectKey = namespace.key();
    let kind = Kind::new(kind_name);
    let (api_version, _) = api_names(&kind);
    Made {
        object: ApiRef { kind, namespace: key.name().into(), name: name.into() },
        value: json!({
            "apiVersion": api_version,
            "kind": kind_name,
            "metadata": {
                "name": name,
                "namespace": key.name(),
                "uid": given_uid(key, kind_name, name, cluster),
                "creationTimestamp": time(namespace.born().millis()),
            },
        }),
        key: None,
        heads: Vec::new(),
        newest_ms: namespace.born().millis(),
        over: true,
        at: None,
    }
}

/// The objects that every cluster has, as old as its system namespace. One that somebody writes is shown in its place.
pub(super) fn built_in<'a>(
    sources: &'a Sources<'_>,
    key: &'a ObjectKey,
    objects: &'a [Value],
) -> impl Iterator<Item = Made> + 'a {
    let is_system = key.kind().as_str() == "Namespace" && key.name() == SYSTEM_NAMESPACE && sources.store.is_live(key);
    let namespace = sources.store.object(key).filter(|_| is_system);
    let cluster = sources.store.cluster();
    namespace.into_iter().flat_map(move |namespace| {
        objects.iter().filter_map(move |object| built_in_object(namespace, &cluster, object))
    })
}

fn built_in_object(namespace: &ObjectState, cluster: &ClusterId, object: &Value) -> Option<Made> {
    let name = object["metadata"]["name"].as_str()?;
    let (kind, api_version) = (object["kind"].as_str()?, object["apiVersion"].as_str()?);
    let kind = match api_version.split_once('/') {
        Some((group, _)) => Kind::new(&format!("{kind}.{group}")),
        None => Kind::new(kind),
    };
    let mut value = object.clone();
    let born = namespace.born().millis();
    value["metadata"]["uid"] = namespace.key().child(&kind, name, 1).uid(cluster).to_string().into();
    value["metadata"]["creationTimestamp"] = time(born);
    Some(Made {
        object: ApiRef { kind, namespace: "".into(), name: name.into() },
        value,
        key: None,
        heads: Vec::new(),
        newest_ms: born,
        over: true,
        at: None,
    })
}
