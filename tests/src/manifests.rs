//! The objects that the tests apply, and the paths at which the API keeps them.

use serde_json::{Value, json};

use crate::image;

/// A web server that ends at once when it is asked to: busybox as first process would ignore the signal, and the time
/// until it is killed would be measured as skein's.
const SERVE: &str = "trap 'exit 0' TERM; httpd -f -p 8080 -h /www & while :; do sleep 1 & wait $!; done";

/// A web server that serves on for two seconds after it was asked to end, as one should that sits behind a balancer.
pub const SERVE_AND_DRAIN: &str =
    "trap 'sleep 2; exit 0' TERM; httpd -f -p 8080 -h /www & while :; do sleep 1 & wait $!; done";

/// A Deployment of `replicas` web servers called `name`.
pub fn web(name: &str, replicas: usize) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 2,
                    "containers": [{
                        "name": "web",
                        "image": image::NAME,
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["sh", "-c", SERVE],
                        "ports": [{"containerPort": 8080}],
                    }],
                },
            },
        },
    })
}

/// A Deployment of `replicas` pods called `name` that do nothing, in any runtime, and end at once when they are asked to.
pub fn sleeper(name: &str, replicas: usize) -> Value {
    let mut sleeper = web(name, replicas);
    let container = &mut sleeper["spec"]["template"]["spec"]["containers"][0];
    container["command"] = json!(["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"]);
    container["ports"] = json!([]);
    sleeper
}

/// A ConfigMap with one entry.
pub fn config_map(name: &str, key: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {key: value}})
}

/// A Namespace.
pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// The collection of a core kind's objects in `namespace`, or one object of it.
pub fn core(namespace: &str, resource_and_name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/{resource_and_name}")
}

/// The collection of one of the workloads' kinds in `namespace`, or one object of it.
pub fn apps(namespace: &str, resource_and_name: &str) -> String {
    format!("/apis/apps/v1/namespaces/{namespace}/{resource_and_name}")
}
