//! What an unmodified kubectl 1.32 posts, byte for byte: `create namespace shop`, `create configmap settings
//! --from-literal=colour=green --from-literal=empty=`, `create deployment web --image=nginx:1.27 --replicas=0 --port=80`,
//! `create service clusterip s --tcp=80:http`, `auth can-i create pods`, `auth whoami`, `create job once --image=busybox:1 --
//! echo hi`, `create cronjob tick --image=busybox:1 --schedule='*/5 * * * *' -- date`, `create serviceaccount builder`, `create
//! quota small --hard=cpu=1,memory=1Gi,pods=2`, `create poddisruptionbudget web --min-available=1 --selector=app=web`, `create
//! ingress web --rule='shop.example/*=web:80,tls=cert'`, `create priorityclass high --value=1000 --description=important`,
//! `create rolebinding read --role=reader --user=ann --serviceaccount=default:builder`, `create clusterrolebinding read
//! --clusterrole=view --group=staff`.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use skein_kube::admission::{Prepared, WriteOptions, prepare_create};
use skein_kube::authorize::{MASTERS, Objects, Policy, User};
use skein_kube::resource::{self, Resource};
use skein_kube::{body, effect, review, table};

const PROTOBUF: Option<&str> = Some("application/vnd.kubernetes.protobuf");

macro_rules! posted {
    ($name:literal) => {
        include_bytes!(concat!("fixtures/kubectl-1.32-create-", $name, ".bin")).as_slice()
    };
}

fn prepared(resource: &Resource, namespace: &str, bytes: &[u8]) -> Prepared {
    let made = prepare_create(resource, namespace, bytes, PROTOBUF, &WriteOptions::default(), "").unwrap();
    assert_eq!(made.warnings, effect::warning_of_create(resource).into_iter().collect::<Vec<_>>());
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
    let (policy, admin) = (Policy::new(Objects::default()), User::new("admin", [MASTERS.to_owned()]));
    let answer = review::answer(&resource::SELF_SUBJECT_ACCESS_REVIEWS, asked, "", &admin, &policy).unwrap();
    assert_eq!(answer["status"]["allowed"], true);
    let asked = body::decode(PROTOBUF, posted!("subject-review")).unwrap();
    let answer = review::answer(&resource::SELF_SUBJECT_REVIEWS, asked, "", &admin, &policy).unwrap();
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

#[test]
fn a_job_and_a_cron_job_are_created() {
    let job = prepared(&resource::JOBS, "default", posted!("job")).object;
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        (&container["name"], &container["image"], &container["command"]),
        (&json!("once"), &json!("busybox:1"), &json!(["echo", "hi"]))
    );
    assert_eq!(job["spec"]["template"]["spec"]["restartPolicy"], "Never");
    assert_eq!((&job["spec"]["completions"], &job["spec"]["backoffLimit"]), (&json!(1), &json!(6)));
    let tick = prepared(&resource::CRON_JOBS, "default", posted!("cronjob")).object;
    assert_eq!((&tick["spec"]["schedule"], &tick["spec"]["suspend"]), (&json!("*/5 * * * *"), &json!(false)));
    let pod = &tick["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    assert_eq!((&pod["restartPolicy"], &pod["containers"][0]["command"]), (&json!("OnFailure"), &json!(["date"])));
}

#[test]
fn what_is_stored_for_others_is_created() {
    assert_eq!(prepared(&resource::SERVICE_ACCOUNTS, "default", posted!("serviceaccount")).object, json!({}));
    let quota = prepared(&resource::RESOURCE_QUOTAS, "default", posted!("quota")).object;
    assert_eq!(quota, json!({"spec": {"hard": {"cpu": "1", "memory": "1Gi", "pods": "2"}}}));
    let budget = prepared(&resource::POD_DISRUPTION_BUDGETS, "default", posted!("poddisruptionbudget")).object;
    assert_eq!(budget, json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}}));
    let ingress = prepared(&resource::INGRESSES, "default", posted!("ingress")).object;
    let path =
        json!({"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}});
    assert_eq!(
        ingress["spec"],
        json!({"rules": [{"host": "shop.example", "http": {"paths": [path]}}],
            "tls": [{"hosts": ["shop.example"], "secretName": "cert"}]})
    );
    let class = prepared(&resource::PRIORITY_CLASSES, "", posted!("priorityclass")).object;
    assert_eq!(class, json!({"value": 1000, "description": "important", "preemptionPolicy": "PreemptLowerPriority"}));
}

#[test]
fn a_role_is_given_to_somebody() {
    let binding = prepared(&resource::ROLE_BINDINGS, "default", posted!("rolebinding")).object;
    let group = "rbac.authorization.k8s.io";
    assert_eq!(
        binding,
        json!({
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "reader"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": "ann"},
                {"kind": "ServiceAccount", "name": "builder", "namespace": "default"}],
        })
    );
    let binding = prepared(&resource::CLUSTER_ROLE_BINDINGS, "", posted!("clusterrolebinding")).object;
    assert_eq!(binding["subjects"], json!([{"apiGroup": group, "kind": "Group", "name": "staff"}]));
}
