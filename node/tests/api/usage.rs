//! What nodes and pods use, as `kubectl top` asks for it.

use serde_json::json;
use skein_gossip::NodeId;

use crate::client::World;

const METRICS: &str = "/apis/metrics.k8s.io/v1beta1";

fn pod(name: &str, node: &str) -> serde_json::Value {
    let containers = json!([{"name": "web", "image": "web:1"}, {"name": "beside", "image": "web:1"}]);
    json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": {"nodeName": node, "containers": containers}})
}

/// A pod here, one at a peer, and one on a node that does not answer.
async fn world() -> World {
    let world = World::new().await;
    world.fake.put("Node", "", "gone", &json!({"spec": {"providerID": format!("skein://{}", NodeId([9; 32]))}}));
    for (name, node) in [("here", "goose"), ("there", "gander"), ("nowhere", "gone")] {
        world.fake.put("Pod", "default", name, &pod(name, node));
    }
    world
}

fn names(list: &serde_json::Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn nodes_are_asked_what_they_use_and_one_that_does_not_answer_is_left_out() {
    let world = world().await;
    let list = world.request("GET", &format!("{METRICS}/nodes")).send().await.json();
    assert_eq!((&list["kind"], names(&list)), (&json!("NodeMetricsList"), vec!["gander", "goose"]));
    assert_eq!(list["items"][0]["usage"], json!({"cpu": "2000000000n", "memory": "2048Ki"}));
    assert_eq!(list["items"][1]["window"], "15s");
    let one = world.request("GET", &format!("{METRICS}/nodes/gander")).send().await.json();
    assert_eq!(one, list["items"][0]);
    for (name, words) in [("gone", "nodes.metrics.k8s.io \"gone\" not found"), ("nobody", "nodes \"nobody\" not found")]
    {
        let got = world.request("GET", &format!("{METRICS}/nodes/{name}")).send().await;
        assert!(got.status.as_u16() == 404 && got.text.contains(&words.replace('"', "\\\"")), "{}", got.text);
    }
}

#[tokio::test]
async fn pods_show_what_their_containers_use_wherever_they_run() {
    let world = world().await;
    let list = world.request("GET", &format!("{METRICS}/pods")).send().await.json();
    assert_eq!((&list["kind"], names(&list)), (&json!("PodMetricsList"), vec!["here", "there"]));
    let containers = &list["items"][1]["containers"];
    assert_eq!(containers[0], json!({"name": "web", "usage": {"cpu": "2000000000n", "memory": "2048Ki"}}));
    assert_eq!(containers[1]["name"], "beside");
    let inside = format!("{METRICS}/namespaces/default/pods");
    let chosen = world.request("GET", &format!("{inside}?labelSelector=app%3Dhere")).send().await.json();
    assert_eq!(names(&chosen), ["here"]);
    let by_field = format!("{inside}?fieldSelector=spec.nodeName%3Dgander");
    assert_eq!(names(&world.request("GET", &by_field).send().await.json()), ["there"]);
    let other = format!("{METRICS}/namespaces/other/pods");
    assert_eq!(names(&world.request("GET", &other).send().await.json()), Vec::<&str>::new());
    let one = world.request("GET", &format!("{inside}/there")).send().await.json();
    assert_eq!((&one, &one["metadata"]["namespace"]), (&list["items"][1], &json!("default")));
    assert_eq!(world.request("GET", &format!("{inside}/nowhere")).send().await.status.as_u16(), 404);
}

#[tokio::test]
async fn what_is_measured_is_only_read() {
    let world = world().await;
    for (method, path) in [
        ("POST", "namespaces/default/pods"),
        ("DELETE", "namespaces/default/pods"),
        ("DELETE", "nodes/goose"),
        ("PATCH", "namespaces/default/pods/here"),
        ("GET", "nodes?watch=true"),
    ] {
        let got = world.request(method, &format!("{METRICS}/{path}")).json(&json!({})).send().await;
        assert_eq!(got.status.as_u16(), 405, "{method} {path}: {}", got.text);
    }
    assert!(world.fake.writes().is_empty());
}
