//! Tests of the tables: what `kubectl get` would print.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::resource;

const NOW_MS: u64 = 1_763_942_400_000;

fn cells(plural: &str, group: &str, object: &Value) -> Vec<String> {
    let resource = resource::SERVED.iter().find(|row| row.group == group && row.plural == plural).unwrap();
    let table = render(resource, &[object], IncludeObject::Metadata, true, TableVersion::V1, NOW_MS);
    assert_eq!(
        table["columnDefinitions"].as_array().unwrap().len(),
        table["rows"][0]["cells"].as_array().unwrap().len()
    );
    let cell = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    table["rows"][0]["cells"].as_array().unwrap().iter().map(cell).collect()
}

fn pod(status: &Value) -> Value {
    json!({
        "metadata": {"name": "web-1", "creationTimestamp": "2025-11-23T23:55:00Z"},
        "spec": {"containers": [{"name": "a"}, {"name": "b"}], "nodeName": "h1"},
        "status": status,
    })
}

#[test]
fn a_pod_that_runs_shows_its_containers_and_restarts() {
    let status = json!({"phase": "Running", "podIP": "10.0.0.7", "containerStatuses": [
        {"ready": true, "restartCount": 2, "state": {"running": {}},
         "lastState": {"terminated": {"finishedAt": "2025-11-23T23:58:00Z"}}},
        {"ready": false, "restartCount": 0, "state": {"running": {}}},
    ]});
    let shown = cells("pods", "", &pod(&status));
    assert_eq!(shown[..7], ["web-1", "1/2", "Running", "2 (2m ago)", "5m", "10.0.0.7", "h1"].map(str::to_owned));
}

#[test]
fn a_pods_status_is_what_its_first_troubled_container_says() {
    let waiting = |reason: &str| {
        json!({"phase": "Pending", "containerStatuses": [
            {"state": {"waiting": {"reason": reason}}}, {"state": {"running": {}}},
        ]})
    };
    assert_eq!(pod::status(&pod(&waiting("ImagePullBackOff"))), "ImagePullBackOff");
    let ended = json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]});
    assert_eq!(pod::status(&pod(&ended)), "ExitCode:3");
    assert_eq!(pod::status(&pod(&json!({"phase": "Failed", "reason": "OutOfcpu"}))), "OutOfcpu");
    let mut going = pod(&json!({"phase": "Running"}));
    going["metadata"]["deletionTimestamp"] = "2025-11-23T23:58:00Z".into();
    assert_eq!(pod::status(&going), "Terminating");
}

#[test]
fn workloads_nodes_and_the_rest_have_kubernetes_columns() {
    let deployment = json!({
        "metadata": {"name": "web", "creationTimestamp": "2025-11-23T21:00:00Z"},
        "spec": {"replicas": 6, "selector": {"matchLabels": {"app": "web"}},
                 "template": {"spec": {"containers": [{"name": "main", "image": "bb:1"}]}}},
        "status": {"readyReplicas": 5, "updatedReplicas": 6, "availableReplicas": 5},
    });
    assert_eq!(cells("deployments", "apps", &deployment), ["web", "5/6", "6", "5", "3h", "main", "bb:1", "app=web"]);
    let node = json!({
        "metadata": {"name": "h1"},
        "spec": {"unschedulable": true},
        "status": {"conditions": [{"type": "Ready", "status": "Unknown"}], "nodeInfo": {"kubeletVersion": "v1"},
                   "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
    });
    assert_eq!(
        cells("nodes", "", &node)[1..6],
        ["NotReady,SchedulingDisabled", "<none>", "<unknown>", "v1", "10.0.0.1"]
    );
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}, {"port": 53, "protocol": "UDP", "nodePort": 30053}]}});
    assert_eq!(cells("services", "", &service)[4], "80/TCP,53:30053/UDP");
    assert_eq!(cells("configmaps", "", &json!({"data": {"a": "", "b": ""}}))[1], "2");
    let event = json!({"type": "Warning", "reason": "FailedScheduling", "message": "no room ", "involvedObject": {"kind": "Pod", "name": "web-1"}});
    assert_eq!(cells("events", "", &event)[1..4], ["Warning", "FailedScheduling", "pod/web-1"]);
}

#[test]
fn what_is_only_stored_has_kubernetes_columns_too() {
    let unserved = json!([{"type": "Supported", "status": "False", "reason": "NotImplemented"}]);
    let job = json!({"metadata": {"name": "j"}, "spec": {"completions": 3}, "status": {"conditions": unserved}});
    assert_eq!(cells("jobs", "batch", &job)[..4], ["j", "Unsupported", "0/3", ""]);
    let ended = json!({"spec": {"parallelism": 2}, "status": {"succeeded": 1, "startTime": "2025-11-23T23:00:00Z",
        "completionTime": "2025-11-23T23:00:09Z", "conditions": [{"type": "Complete", "status": "True"}]}});
    assert_eq!(cells("jobs", "batch", &ended)[1..4], ["Complete", "1/1 of 2", "9s"]);
    let cron = json!({"spec": {"schedule": "@daily", "suspend": true}, "status": {"lastScheduleTime": "2025-11-23T23:00:00Z"}});
    assert_eq!(cells("cronjobs", "batch", &cron)[1..6], ["@daily", "<none>", "True", "0", "60m"]);
    let scaler = json!({"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 1, "maxReplicas": 5,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}},
            {"type": "Pods", "pods": {"target": {"averageValue": "10"}}}]}});
    let shown = ["Deployment/web", "cpu: <unknown>/80%, <unknown>/10 (avg)", "1", "5", "0"];
    assert_eq!(cells("horizontalpodautoscalers", "autoscaling", &scaler)[1..6], shown);
    let endpoints = json!({"subsets": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"port": 80}, {"port": 81}]}]});
    assert_eq!(cells("endpoints", "", &endpoints)[1], "10.0.0.1:80,10.0.0.1:81,[fd00::1]:80 + 1 more...");
    let ingress = json!({"spec": {"rules": [{"host": "a.b"}, {}], "tls": [{}]}});
    assert_eq!(cells("ingresses", "networking.k8s.io", &ingress)[1..5], ["<none>", "a.b", "", "80, 443"]);
    let binding = json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "ann"},
        {"kind": "ServiceAccount", "name": "b", "namespace": "n"}]});
    let shown = cells("rolebindings", "rbac.authorization.k8s.io", &binding);
    assert_eq!((&*shown[1], &shown[3..]), ("Role/r", &["ann", "", "n/b"].map(str::to_owned)[..]));
    let budget = json!({"spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 0}});
    assert_eq!(cells("poddisruptionbudgets", "policy", &budget)[1..4], ["50%", "N/A", "0"]);
    let owner = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "controller": true}]);
    let revision = json!({"metadata": {"ownerReferences": owner}, "revision": 3});
    assert_eq!(cells("controllerrevisions", "apps", &revision)[1..3], ["statefulset.apps/db", "3"]);
}

#[test]
fn every_kind_has_a_table_for_an_object_that_says_nothing() {
    for resource in resource::SERVED {
        let table = render(resource, &[&json!({})], IncludeObject::None, true, TableVersion::V1, NOW_MS);
        let columns = table["columnDefinitions"].as_array().unwrap();
        assert_eq!(columns.len(), table["rows"][0]["cells"].as_array().unwrap().len(), "{}", resource.plural);
        assert!(columns.iter().any(|column| column["format"] == "name"), "{}", resource.plural);
    }
}

#[test]
fn a_pod_that_initialises_says_how_far_it_is() {
    let initialising = |statuses: Value| {
        let mut pod = pod(&json!({"phase": "Pending", "initContainerStatuses": statuses,
            "containerStatuses": [{"state": {"waiting": {"reason": "PodInitializing"}}}]}));
        pod["spec"]["initContainers"] = json!([{"name": "a"}, {"name": "b"}]);
        pod::status(&pod)
    };
    let done = json!({"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
    let waiting = |reason: &str| json!({"state": {"waiting": {"reason": reason}}});
    assert_eq!(initialising(json!([{"state": {"running": {}}}, waiting("PodInitializing")])), "Init:0/2");
    assert_eq!(initialising(json!([done, waiting("PodInitializing")])), "Init:1/2");
    assert_eq!(initialising(json!([done, waiting("ImagePullBackOff")])), "Init:ImagePullBackOff");
    let failed = json!({"state": {"terminated": {"exitCode": 1, "reason": "Error"}}});
    assert_eq!(initialising(json!([failed])), "Init:Error");
    assert_eq!(initialising(json!([done, done])), "PodInitializing");
}

#[test]
fn a_row_holds_as_much_of_its_object_as_was_asked_for() {
    let resource = resource::find("", "v1", "pods").unwrap();
    let object = pod(&json!({}));
    let row = |include| render(resource, &[&object], include, false, TableVersion::V1Beta1, NOW_MS)["rows"][0].clone();
    assert!(row(IncludeObject::None).get("object").is_none());
    assert_eq!(row(IncludeObject::Metadata)["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(row(IncludeObject::Object)["object"], object);
    assert_eq!(IncludeObject::parse("All"), None);
}
