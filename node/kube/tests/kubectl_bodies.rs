//! What an unmodified kubectl 1.32 posts, byte for byte: `create namespace shop`, `create configmap settings
//! --from-literal=colour=green --from-literal=empty=`, `create deployment web --image=nginx:1.27 --replicas=0 --port=80`,
//! `create service clusterip s --tcp=80:http`, `auth can-i create pods`, `auth whoami`.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use skein_kube::admission::{Prepared, WriteOptions, prepare_create};
use skein_kube::resource::{self, Resource};
use skein_kube::{body, review, table};

const PROTOBUF: Option<&str> = Some("application/vnd.kubernetes.protobuf");

macro_rules! posted {
    ($name:literal) => {
        include_bytes!(concat!("fixtures/kubectl-1.32-create-", $name, ".bin")).as_slice()
    };
}

fn prepared(resource: &Resource, namespace: &str, bytes: &[u8]) -> Prepared {
    let made = prepare_create(resource, namespace, bytes, PROTOBUF, &WriteOptions::default(), "").unwrap();
    assert_eq!(made.warnings, Vec::<String>::new());
    made
}

#[test]
fn a_namespace_and_a_config_map_are_created() {
    let namespace = prepared(&resource::NAMESPACES, "", posted!("namespace"));
    assert_eq!(namespace.name, "shop");
    let map = prepared(&resource::CONFIG_MAPS, "default", posted!("configmap"));
    assert_eq!((map.name.as_str(), map.object), ("settings", json!({"data": {"colour": "green", "empty": ""}})));
}

#[test]
fn a_deployment_that_wants_no_replicas_gets_none() {
    let web = prepared(&resource::DEPLOYMENTS, "default", posted!("deployment"));
    let spec = &web.object["spec"];
    assert_eq!((&spec["replicas"], &spec["selector"]), (&json!(0), &json!({"matchLabels": {"app": "web"}})));
    assert_eq!(spec["strategy"]["rollingUpdate"], json!({"maxSurge": "25%", "maxUnavailable": "25%"}));
    let container = &spec["template"]["spec"]["containers"][0];
    assert_eq!((&container["name"], &container["image"]), (&json!("nginx"), &json!("nginx:1.27")));
    assert_eq!(container["ports"], json!([{"containerPort": 80, "protocol": "TCP"}]));
    assert_eq!(spec["template"]["metadata"], json!({"labels": {"app": "web"}}));
}

#[test]
fn a_service_keeps_the_name_of_its_port() {
    let service = prepared(&resource::SERVICES, "default", posted!("service"));
    let port = json!({"name": "80-http", "port": 80, "protocol": "TCP", "targetPort": "http"});
    assert_eq!((service.name.as_str(), &service.object["spec"]["ports"]), ("s", &json!([port])));
}

#[test]
fn reviews_are_answered() {
    let asked = body::decode(PROTOBUF, posted!("access-review")).unwrap();
    let attributes = &asked["spec"]["resourceAttributes"];
    assert_eq!((&attributes["verb"], &attributes["resource"]), (&json!("create"), &json!("pods")));
    let answer = review::answer(&resource::SELF_SUBJECT_ACCESS_REVIEWS, asked, "admin").unwrap();
    assert_eq!(answer["status"]["allowed"], true);
    let asked = body::decode(PROTOBUF, posted!("subject-review")).unwrap();
    let answer = review::answer(&resource::SELF_SUBJECT_REVIEWS, asked, "admin").unwrap();
    assert_eq!(answer["status"]["userInfo"]["username"], "admin");
}

#[test]
fn what_was_created_shows_in_a_table() {
    let mut web = prepared(&resource::DEPLOYMENTS, "default", posted!("deployment")).object;
    web["metadata"] = json!({"name": "web", "creationTimestamp": "2026-01-31T12:00:00Z"});
    let version = skein_kube::negotiate::TableVersion::V1;
    let now_ms = skein_kube::time::parse_rfc3339("2026-01-31T12:03:20Z").unwrap();
    let include = table::IncludeObject::None;
    let shown = table::render(&resource::DEPLOYMENTS, &[&web], include, true, version, now_ms);
    let cells: Vec<&Value> = shown["rows"][0]["cells"].as_array().unwrap().iter().take(5).collect();
    assert_eq!(json!(cells), json!(["web", "0/0", 0, 0, "3m20s"]));
}
