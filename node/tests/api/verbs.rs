//! Create, read, change, scale, delete: what a client sends, what it is told, and what is written.

use serde_json::{Value, json};
use skein_core::request::{Durability, WriteOp};
use skein_core::slot::PLACEMENT_LEAF;

use crate::client::{Got, World};
use crate::fake::{PEER, reference};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

fn deployment() -> Value {
    let pod = json!({"containers": [{"name": "web", "image": "web:1"}]});
    let labels = json!({"app": "web"});
    json!({
        "metadata": {"name": "web", "labels": labels},
        "spec": {
            "replicas": 2, "paused": false, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    })
}

fn refused(got: &Got, code: u16, reason: &str, words: &str) {
    let status = got.json();
    assert_eq!(got.status.as_u16(), code, "{status}");
    assert_eq!(status["reason"], reason, "{status}");
    assert!(status["message"].as_str().unwrap().contains(words), "{status}");
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_object_is_created_read_changed_and_deleted() {
    let world = World::new().await;
    // No content type means JSON: some clients send none.
    let created = world.request("POST", MAPS).body(map("x").to_string()).send().await;
    assert_eq!(created.status.as_u16(), 201, "{}", created.text);
    assert!(created.headers["warning"].to_str().unwrap().contains("only this disk has it"));
    let object = created.json();
    assert_eq!(object["data"], json!({"a": "1"}));
    let read = world.request("GET", &format!("{MAPS}/x/")).send().await.json();
    assert_eq!(read, object);
    refused(
        &world.request("POST", MAPS).json(&map("x")).send().await,
        409,
        "AlreadyExists",
        "configmaps \"x\" already exists",
    );

    let patch = world.request("PATCH", &format!("{MAPS}/x?fieldManager=me"));
    let patched = patch.patch("merge-patch+json", &json!({"data": {"b": "2"}})).send().await;
    assert_eq!(patched.json()["data"], json!({"a": "1", "b": "2"}));
    let write = world.fake.writes().pop().unwrap();
    assert_eq!((write.manager.as_str(), write.user.as_str()), ("me", "admin"));
    // Only the field that changed, and without a lock: what others write meanwhile stays.
    let WriteOp::Edit { edits, if_heads: None, .. } = write.op else { panic!("{:?}", write.op) };
    assert_eq!(edits.iter().map(|edit| &*edit.path).collect::<Vec<_>>(), ["data.b"]);

    let deleted =
        world.request("DELETE", &format!("{MAPS}/x")).json(&json!({"propagationPolicy": "Background"})).send().await;
    assert_eq!(deleted.json()["status"], "Success");
    assert_eq!(deleted.json()["details"]["uid"], object["metadata"]["uid"]);
    refused(&world.request("GET", &format!("{MAPS}/x")).send().await, 404, "NotFound", "configmaps \"x\" not found");
    let again = world.request("POST", MAPS).json(&map("x")).send().await.json();
    assert_ne!(again["metadata"]["uid"], object["metadata"]["uid"]);
}

#[tokio::test]
async fn an_edit_is_never_answered_with_the_next_life_of_what_it_edited() {
    let world = World::new().await;
    let created = world.request("POST", MAPS).json(&map("x")).send().await.json();
    world.fake.next_life_comes();
    let patch = world.request("PATCH", &format!("{MAPS}/x")).patch("merge-patch+json", &json!({"data": {"b": "2"}}));
    let patched = patch.send().await.json();
    assert_eq!(patched["metadata"]["uid"], created["metadata"]["uid"]);
    let read = world.request("GET", &format!("{MAPS}/x")).send().await.json();
    assert_ne!(read["metadata"]["uid"], created["metadata"]["uid"]);
}

#[tokio::test]
async fn a_creation_is_answered_with_what_was_created_though_its_name_has_a_next_life() {
    let world = World::new().await;
    world.fake.next_life_comes();
    let created = world.request("POST", MAPS).json(&map("x")).send().await;
    assert_eq!((created.status.as_u16(), &created.json()["data"]), (201, &json!({"a": "1"})), "{}", created.text);
    let read = world.request("GET", &format!("{MAPS}/x")).send().await.json();
    assert_ne!(read["metadata"]["uid"], created.json()["metadata"]["uid"]);
}

#[tokio::test]
async fn the_values_of_a_secret_are_kept_aside_and_texts_become_bytes() {
    let world = World::new().await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = json!({"metadata": {"name": "s"}, "data": {"a": "AA==", "b": "AA=="}, "stringData": {"b": "text"}});
    let created = world.request("POST", secrets).json(&secret).send().await.json();
    assert_eq!((&created["data"], &created["type"]), (&json!({"a": "AA==", "b": "dGV4dA=="}), &json!("Opaque")));
    assert!(created.get("stringData").is_none());
    let WriteOp::Create { edits, .. } = world.fake.writes().pop().unwrap().op else { panic!("no create") };
    let is_aside = |path: &str| {
        edits.iter().any(|edit| &*edit.path == path && matches!(edit.value, Some(skein_crdt_state::Scalar::Aside(_))))
    };
    assert!(is_aside("data.a") && is_aside("data.b"), "{edits:?}");
    let patch = json!({"stringData": {"a": "b"}, "metadata": {"annotations": {"last": "text"}}});
    let patched = world.request("PATCH", &format!("{secrets}/s")).patch("merge-patch+json", &patch).send().await.json();
    assert_eq!(patched["data"], json!({"a": "Yg==", "b": "dGV4dA=="}));
    let WriteOp::Edit { edits, .. } = world.fake.writes().pop().unwrap().op else { panic!("no edit") };
    assert_eq!(edits.len(), 2);
    assert!(edits.iter().all(|edit| matches!(edit.value, Some(skein_crdt_state::Scalar::Aside(_)))), "{edits:?}");
    refused(
        &world.request("PATCH", &format!("{secrets}/s")).patch("merge-patch+json", &json!({"type": "x"})).send().await,
        422,
        "Invalid",
        "type: Invalid value",
    );
}

#[tokio::test]
async fn an_object_without_a_field_is_one_all_the_same() {
    let world = World::new().await;
    let created = world.request("POST", MAPS).json(&json!({"metadata": {"name": "bare"}})).send().await;
    assert_eq!(created.status.as_u16(), 201, "{}", created.text);
    let WriteOp::Create { edits, .. } = world.fake.writes().pop().unwrap().op else { panic!("no create") };
    assert_eq!(edits.len(), 1);
    let patch = world.request("PATCH", &format!("{MAPS}/bare")).patch("merge-patch+json", &json!({"data": {"a": "1"}}));
    let patched = patch.send().await.json();
    assert_eq!((&patched["data"]["a"], &patched["metadata"]["name"]), (&json!("1"), &json!("bare")));
}

#[tokio::test]
async fn a_patch_that_changes_nothing_writes_nothing() {
    let world = World::new().await;
    let before = world.request("POST", MAPS).json(&map("x")).send().await.json();
    let writes = world.fake.writes().len();
    let patch = world.request("PATCH", &format!("{MAPS}/x")).patch("merge-patch+json", &json!({"data": {"a": "1"}}));
    assert_eq!(patch.send().await.json(), before);
    assert_eq!(world.fake.writes().len(), writes);
}

#[tokio::test]
async fn a_version_locks_against_writes_but_not_against_status() {
    let world = World::new().await;
    let path = format!("{MAPS}/x");
    let mut seen = world.request("POST", MAPS).json(&map("x")).send().await.json();
    // Somebody's status changes: the version that the client saw still means the same heads.
    world.fake.report(&reference("ConfigMap", "default", "x"), &json!({"looks": "fine"}));
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    seen["data"]["a"] = json!("2");
    let put = world.request("PUT", &path).json(&seen).send().await;
    assert_eq!(put.status.as_u16(), 200, "{}", put.text);
    let WriteOp::Edit { if_heads, .. } = world.fake.writes().pop().unwrap().op else { panic!("no edit") };
    assert!(if_heads.is_some());
    // Somebody writes: the version is an old one.
    seen["data"]["a"] = json!("3");
    refused(&world.request("PUT", &path).json(&seen).send().await, 409, "Conflict", "the object has been modified");
    let locked = json!({"metadata": {"resourceVersion": seen["metadata"]["resourceVersion"]}, "data": {"c": "3"}});
    refused(
        &world.request("PATCH", &path).patch("merge-patch+json", &locked).send().await,
        409,
        "Conflict",
        "modified",
    );
    // Without a version it is unconditional.
    seen["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    assert_eq!(world.request("PUT", &path).json(&seen).send().await.json()["data"]["a"], "3");
    // The peer's tag is no part of the lock.
    let mut newest = world.request("GET", &path).send().await.json();
    newest["metadata"]["resourceVersion"] = json!((version(&newest) ^ 0x55).to_string());
    newest["data"]["a"] = json!("4");
    assert_eq!(world.request("PUT", &path).json(&newest).send().await.status.as_u16(), 200);
}

#[tokio::test]
async fn what_is_not_the_object_on_the_path_is_refused() {
    let world = World::new().await;
    world.request("POST", MAPS).json(&map("x")).send().await;
    let path = format!("{MAPS}/x");
    refused(&world.request("PUT", &path).json(&map("y")).send().await, 400, "BadRequest", "(y) does not match");
    let mut other = map("x");
    other["metadata"]["uid"] = json!("abc");
    refused(&world.request("PUT", &path).json(&other).send().await, 409, "Conflict", "UID in precondition: abc");
    let mut elsewhere = map("z");
    elsewhere["metadata"]["namespace"] = json!("shop");
    refused(&world.request("POST", MAPS).json(&elsewhere).send().await, 400, "BadRequest", "namespace");
    let lost = world.request("POST", "/api/v1/namespaces/nope/configmaps").json(&map("x")).send().await;
    refused(&lost, 404, "NotFound", "namespaces \"nope\" not found");
    for body in ["", "[]", "\"x\"", "{\"metadata\":[]}", "{"] {
        let got = world.request("POST", MAPS).body(body).send().await;
        assert_eq!(got.status.as_u16(), 400, "{body}: {}", got.text);
    }
    refused(
        &world.request("PATCH", &path).patch("unknown", &json!({})).send().await,
        415,
        "UnsupportedMediaType",
        "merge-patch",
    );
    refused(&world.request("POST", &path).json(&map("x")).send().await, 405, "MethodNotAllowed", "POST");
    refused(
        &world.request("PUT", "/api/v1/nodes/goose/status").json(&json!({})).send().await,
        405,
        "MethodNotAllowed",
        "status",
    );
}

#[tokio::test]
async fn names_are_drawn_and_typos_are_refused_or_warned_about() {
    let world = World::new().await;
    let mut object = map("");
    object["metadata"] = json!({"generateName": "x-"});
    object["bogus"] = json!(1);
    let got = world.request("POST", &format!("{MAPS}?fieldValidation=Warn")).json(&object).send().await;
    let name = got.json()["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("x-") && name.len() == 7, "{name}");
    assert!(got.headers.get_all("warning").iter().any(|value| value.to_str().unwrap().contains("bogus")));
    let strict = world.request("POST", &format!("{MAPS}?fieldValidation=Strict")).json(&object).send().await;
    refused(&strict, 400, "BadRequest", "unknown field \"bogus\"");
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let world = World::new().await;
    let created = world.request("POST", &format!("{MAPS}?dryRun=All")).json(&map("x")).send().await;
    assert_eq!(created.status.as_u16(), 201);
    assert_eq!(created.json()["metadata"]["name"], "x");
    assert!(world.fake.value(&reference("ConfigMap", "default", "x")).is_none());
    world.request("POST", MAPS).json(&map("x")).send().await;
    let writes = world.fake.writes().len();
    let path = format!("{MAPS}/x?dryRun=All");
    let patched =
        world.request("PATCH", &path).patch("merge-patch+json", &json!({"data": {"a": "9"}})).send().await.json();
    assert_eq!(patched["data"]["a"], "9");
    assert!(patched["metadata"]["uid"].is_string());
    assert_eq!(world.request("DELETE", &path).send().await.json()["status"], "Success");
    assert_eq!(world.fake.writes().len(), writes);
}

#[tokio::test]
async fn a_deployment_is_scaled_by_patch_and_by_put() {
    let world = World::new().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    assert_eq!(world.request("POST", path).json(&deployment()).send().await.status.as_u16(), 201);
    let scale = world.request("GET", &format!("{WEB}/scale")).send().await.json();
    assert_eq!(scale["spec"]["replicas"], 2);
    let patch =
        world.request("PATCH", &format!("{WEB}/scale")).patch("merge-patch+json", &json!({"spec": {"replicas": 5}}));
    assert_eq!(patch.send().await.json()["spec"]["replicas"], 5);
    // kubectl sends no content type with this one.
    let mut scale = world.request("GET", &format!("{WEB}/scale")).send().await.json();
    scale["spec"]["replicas"] = json!(3);
    let put = world.request("PUT", &format!("{WEB}/scale")).body(scale.to_string()).send().await;
    assert_eq!(put.json()["spec"]["replicas"], 3, "{}", put.text);
    let read = world.request("GET", WEB).send().await.json();
    assert_eq!((&read["spec"]["replicas"], &read["metadata"]["generation"]), (&json!(3), &json!(3)));
    for wrong in [json!(-1), json!("3"), json!(1.5), json!(4_000_000_000_u64)] {
        let patch = json!({"spec": {"replicas": wrong}});
        refused(
            &world.request("PATCH", &format!("{WEB}/scale")).patch("merge-patch+json", &patch).send().await,
            422,
            "Invalid",
            "spec.replicas",
        );
    }
    scale["spec"]["replicas"] = json!(8);
    refused(&world.request("PUT", &format!("{WEB}/scale")).json(&scale).send().await, 409, "Conflict", "modified");
}

#[tokio::test]
async fn a_pod_of_a_slot_is_deleted_by_emptying_the_slot_and_edited_only_in_its_metadata() {
    let world = World::new().await;
    let pod = world.fake.put(
        "Pod",
        "default",
        "web-1",
        &json!({"spec": {"nodeName": "goose", "containers": [{"name": "web", "image": "i"}]}}),
    );
    let slot = world.fake.fill_slot(&pod);
    let path = "/api/v1/namespaces/default/pods/web-1";
    let spec =
        world.request("PATCH", path).patch("merge-patch+json", &json!({"spec": {"nodeName": "gander"}})).send().await;
    refused(&spec, 422, "Invalid", "workload's template");
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(world.request("PATCH", path).patch("merge-patch+json", &label).send().await.status.as_u16(), 200);
    assert_eq!(world.request("DELETE", path).send().await.status.as_u16(), 200);
    let WriteOp::Edit { key, edits, .. } = world.fake.writes().pop().unwrap().op else { panic!("no edit") };
    assert_eq!(key, slot);
    assert_eq!(edits.iter().map(|edit| &*edit.path).collect::<Vec<_>>(), [PLACEMENT_LEAF]);
}

#[tokio::test]
async fn an_object_with_finalizers_goes_when_the_last_one_does() {
    let world = World::new().await;
    let mut object = map("x");
    object["metadata"]["finalizers"] = json!(["a.b/c"]);
    world.request("POST", MAPS).json(&object).send().await;
    let path = format!("{MAPS}/x");
    let deleting = world.request("DELETE", &path).send().await.json();
    assert_eq!(deleting["kind"], "ConfigMap");
    assert!(deleting["metadata"]["deletionTimestamp"].is_string());
    let writes = world.fake.writes().len();
    assert_eq!(world.request("DELETE", &path).send().await.json(), deleting);
    assert_eq!(world.fake.writes().len(), writes);
    let finish = json!({"metadata": {"finalizers": null}});
    assert_eq!(world.request("PATCH", &path).patch("merge-patch+json", &finish).send().await.status.as_u16(), 200);
    assert_eq!(world.request("GET", &path).send().await.status.as_u16(), 404);
}

#[tokio::test]
async fn a_deletion_that_is_not_meant_is_refused() {
    let world = World::new().await;
    world.request("POST", "/apis/apps/v1/namespaces/default/deployments").json(&deployment()).send().await;
    let orphan = json!({"propagationPolicy": "Orphan"});
    refused(&world.request("DELETE", WEB).json(&orphan).send().await, 422, "Invalid", "cannot outlive it");
    let other = json!({"preconditions": {"uid": "nope"}});
    refused(&world.request("DELETE", WEB).json(&other).send().await, 409, "Conflict", "UID in precondition: nope");
    refused(
        &world.request("DELETE", "/api/v1/namespaces/default").send().await,
        403,
        "Forbidden",
        "may not be deleted",
    );
    assert_eq!(world.request("GET", WEB).send().await.status.as_u16(), 200);
    assert_eq!(
        world
            .request("DELETE", "/apis/apps/v1/namespaces/default/deployments?labelSelector=app=web")
            .send()
            .await
            .status
            .as_u16(),
        200
    );
    assert_eq!(world.request("GET", WEB).send().await.status.as_u16(), 404);
}

#[tokio::test]
async fn durability_is_asked_for_by_a_header() {
    let world = World::new().await;
    let asked = world
        .request("POST", MAPS)
        .json(&map("x"))
        .header("skein-durability", "Majority")
        .header("skein-request-id", "r1");
    asked.send().await;
    let write = world.fake.writes().pop().unwrap();
    assert_eq!((write.durability, write.request_id.as_str()), (Durability::Majority, "r1"));
    world.request("POST", MAPS).json(&map("y")).send().await;
    let write = world.fake.writes().pop().unwrap();
    assert_eq!((write.durability, write.request_id.len()), (Durability::One, 32));
    let wrong = world.request("POST", MAPS).json(&map("z")).header("skein-durability", "all").send().await;
    refused(&wrong, 400, "BadRequest", "local, one, majority");
}

#[tokio::test]
async fn lists_select_and_come_as_tables() {
    let world = World::new().await;
    for name in ["a", "b"] {
        let mut object = map(name);
        object["metadata"]["labels"] = json!({"name": name});
        world.request("POST", MAPS).json(&object).send().await;
    }
    let list = world.request("GET", &format!("{MAPS}?limit=1")).send().await.json();
    assert_eq!(list["kind"], "ConfigMapList");
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    assert!(version(&list) > 0 && version(&list) < 1 << 63);
    assert!(list["metadata"].get("continue").is_none());
    let mut read = world.request("GET", &format!("{MAPS}/a")).send().await.json();
    let owners = read["metadata"].as_object_mut().unwrap().remove("managedFields").unwrap();
    assert_eq!(owners[0]["operation"], "Update");
    assert_eq!(list["items"][0], read);
    let one = world.request("GET", "/api/v1/configmaps?labelSelector=name%3Db&resourceVersion=0").send().await.json();
    assert_eq!(one["items"].as_array().unwrap().len(), 1);
    let table =
        world.request("GET", MAPS).header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io").send().await.json();
    assert_eq!(table["rows"][0]["cells"][0], "a");
    assert_eq!(table["rows"][0]["object"]["metadata"]["resourceVersion"], read["metadata"]["resourceVersion"]);
    assert!(version(&table) > 0);
    // A version of another peer is answered with what is here.
    assert_eq!(world.request("GET", &format!("{MAPS}?resourceVersion=12345")).send().await.status.as_u16(), 200);
    refused(&world.request("GET", &format!("{MAPS}?resourceVersion=abc")).send().await, 400, "BadRequest", "abc");
    refused(&world.request("GET", &format!("{MAPS}?continue=abc")).send().await, 410, "Expired", "list again");
}

#[tokio::test]
async fn logs_come_from_here_and_from_the_peer_that_has_the_pod() {
    let world = World::new().await;
    for (name, node) in [("here", "goose"), ("there", "gander"), ("lost", "duck")] {
        let spec = json!({"spec": {"nodeName": node, "containers": [{"name": "web", "image": "i"}]}});
        world.fake.put("Pod", "default", name, &spec);
    }
    let path = |name: &str, query: &str| format!("/api/v1/namespaces/default/pods/{name}/log{query}");
    for name in ["here", "there"] {
        assert_eq!(world.request("GET", &path(name, "")).send().await.text, "one\ntwo\nthree\n", "{name} {PEER}");
        assert_eq!(world.request("GET", &path(name, "?tailLines=1&container=web")).send().await.text, "three\n");
        assert_eq!(world.request("GET", &path(name, "?limitBytes=5")).send().await.text, "one\nt");
    }
    refused(&world.request("GET", &path("lost", "")).send().await, 503, "ServiceUnavailable", "duck");
    refused(&world.request("GET", &path("nobody", "")).send().await, 404, "NotFound", "pods \"nobody\" not found");
    refused(&world.request("GET", &path("here", "?container=db")).send().await, 400, "BadRequest", "db is not valid");
    refused(&world.request("GET", &path("here", "?previous=true")).send().await, 400, "BadRequest", "not found");
}

#[tokio::test]
async fn a_defect_in_one_request_is_a_500_and_harms_no_other() {
    let world = World::new().await;
    let got = world.request("GET", &format!("{MAPS}/panic")).send().await;
    refused(&got, 500, "InternalError", "defect");
    assert_eq!(world.metrics.api_panics.get(), 1);
    assert_eq!(world.request("GET", "/version").send().await.status.as_u16(), 200);
}

#[tokio::test]
async fn what_an_orphaned_object_owned_outlives_it_and_names_it_no_more() {
    let world = World::new().await;
    let owner = world.request("POST", MAPS).json(&map("owner")).send().await.json();
    let reference = |object: &Value| {
        let (name, uid) = (&object["metadata"]["name"], &object["metadata"]["uid"]);
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid})
    };
    let other = world.request("POST", MAPS).json(&map("other")).send().await.json();
    let mut owned = map("owned");
    owned["metadata"]["ownerReferences"] = json!([reference(&owner), reference(&other)]);
    world.request("POST", MAPS).json(&owned).send().await;
    let orphan = json!({"propagationPolicy": "Orphan"});
    let gone = world.request("DELETE", &format!("{MAPS}/owner")).json(&orphan).send().await;
    assert_eq!(gone.status.as_u16(), 200, "{}", gone.text);
    let left = world.request("GET", &format!("{MAPS}/owned")).send().await.json();
    assert_eq!(left["metadata"]["ownerReferences"], json!([reference(&other)]));
    // In the foreground an owner stays, marked, until the leader has seen to what it owns.
    let delete =
        |policy: &str| world.request("DELETE", &format!("{MAPS}/other")).json(&json!({"propagationPolicy": policy}));
    for _ in 0..2 {
        let marked = delete("Foreground").send().await.json();
        assert!(marked["metadata"]["deletionTimestamp"].is_string(), "{marked}");
        assert_eq!(marked["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    }
    assert_eq!(world.request("GET", &format!("{MAPS}/other")).send().await.status.as_u16(), 200);
    assert_eq!(delete("Background").send().await.json()["status"], "Success");
    assert_eq!(world.request("GET", &format!("{MAPS}/other")).send().await.status.as_u16(), 404);
    // Nothing depends on this one, so that there is nothing to wait for.
    let owned = world.request("DELETE", &format!("{MAPS}/owned")).json(&json!({"propagationPolicy": "Foreground"}));
    assert_eq!(owned.send().await.json()["status"], "Success");
}
