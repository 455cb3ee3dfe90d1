//! Server-side apply over HTTP: what is written, who is told to own it, and what is refused.

use serde_json::{Value, json};
use skein_core::request::WriteOp;
use skein_crdt_state::Operation;

use crate::client::{Got, World};

const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn web(image: &str, replicas: u32) -> Value {
    let labels = json!({"app": "web"});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": image}]}},
        },
    })
}

async fn apply(world: &World, query: &str, object: &Value) -> Got {
    world.request("PATCH", &format!("{WEB}?{query}")).patch("apply-patch+yaml", object).send().await
}

fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let name =
        |entry: &Value| format!("{}/{}", entry["manager"].as_str().unwrap(), entry["operation"].as_str().unwrap());
    entries.iter().map(name).collect()
}

#[tokio::test]
async fn what_is_applied_is_created_changed_and_owned() {
    let world = World::new().await;
    let created = apply(&world, "fieldManager=kubectl&force=false", &web("web:1", 2)).await;
    assert_eq!(created.status.as_u16(), 201, "{}", created.text);
    assert_eq!(managers(&created.json()), ["kubectl/Apply"]);
    assert_eq!(created.json()["spec"]["progressDeadlineSeconds"], 600);
    let write = world.fake.writes().pop().unwrap();
    assert_eq!((write.manager.as_str(), write.operation), ("kubectl", Operation::Apply));
    let changed = apply(&world, "fieldManager=kubectl", &web("web:2", 2)).await;
    assert_eq!(changed.status.as_u16(), 200, "{}", changed.text);
    let WriteOp::Edit { edits, if_heads: Some(_), .. } = world.fake.writes().pop().unwrap().op else {
        panic!("no edit")
    };
    assert_eq!(
        edits.iter().map(|edit| &*edit.path).collect::<Vec<_>>(),
        [r#"spec.template.spec.containers[name="web"].image"#]
    );
    // The same again is no write, and what is kept beside the fields is nobody's business.
    let writes = world.fake.writes().len();
    let same = apply(&world, "fieldManager=kubectl", &web("web:2", 2)).await;
    assert_eq!(same.json(), changed.json());
    assert_eq!(world.fake.writes().len(), writes);
    assert!(!same.text.contains('$'), "{}", same.text);
    let read = world.request("GET", WEB).send().await;
    assert_eq!(read.json(), changed.json());
    let list = world.request("GET", DEPLOYMENTS).send().await.json();
    assert_eq!(list["items"][0]["metadata"].get("managedFields"), None, "a list has none");
}

#[tokio::test]
async fn what_others_own_is_a_conflict_until_it_is_forced() {
    let world = World::new().await;
    world.request("POST", &format!("{DEPLOYMENTS}?fieldManager=kubectl-create")).json(&web("web:1", 2)).send().await;
    let refused = apply(&world, "fieldManager=me", &web("web:1", 3)).await;
    let status = refused.json();
    assert_eq!((refused.status.as_u16(), &status["reason"]), (409, &json!("Conflict")));
    assert_eq!(
        status["message"],
        "Apply failed with 1 conflict: conflict with \"kubectl-create\" using apps/v1: .spec.replicas"
    );
    assert_eq!(
        status["details"]["causes"],
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"kubectl-create\" using apps/v1", "field": ".spec.replicas"}])
    );
    let tried = apply(&world, "fieldManager=me&force=true&dryRun=All", &web("web:1", 3)).await;
    assert_eq!((tried.status.as_u16(), &tried.json()["spec"]["replicas"]), (200, &json!(3)));
    assert_eq!(world.request("GET", WEB).send().await.json()["spec"]["replicas"], 2);
    let forced = apply(&world, "fieldManager=me&force=true", &web("web:1", 3)).await.json();
    assert_eq!(
        (&forced["spec"]["replicas"], managers(&forced)),
        (&json!(3), vec!["me/Apply".into(), "kubectl-create/Update".into()])
    );
    for (query, code, words) in [
        ("force=true", 422, "fieldManager: Required value: is required for apply patch"),
        ("fieldManager=me&force=perhaps", 400, "neither true nor false"),
        ("fieldManager=me&dryRun=Some", 422, "dryRun"),
    ] {
        let got = apply(&world, query, &web("web:1", 3)).await;
        assert_eq!(got.status.as_u16(), code, "{}", got.text);
        assert!(got.text.contains(words), "{}", got.text);
    }
    let merge = world.request("PATCH", &format!("{WEB}?force=true")).patch("merge-patch+json", &json!({})).send().await;
    assert_eq!(merge.status.as_u16(), 422, "{}", merge.text);
}

/// The requests of a kubectl from 1.26 on, see its `apply --server-side` of what was applied by the client before.
#[tokio::test]
async fn a_client_that_migrates_from_client_side_apply_gets_through() {
    let world = World::new().await;
    let mut object = web("web:1", 2);
    let last = object.to_string();
    object["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": last});
    let create = format!("{DEPLOYMENTS}?fieldManager=kubectl-client-side-apply");
    world.request("POST", &create).json(&object).send().await;
    let first = apply(&world, "fieldManager=kubectl", &web("web:2", 2)).await;
    assert_eq!(first.status.as_u16(), 200, "{}", first.text);
    let note = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "annotations": object["metadata"]["annotations"]}});
    let second = apply(&world, "fieldManager=kubectl-last-applied", &note).await.json();
    assert_eq!(managers(&second), ["kubectl/Apply", "kubectl-last-applied/Apply", "kubectl-client-side-apply/Update"]);
    // The union of what it applied before and now, under the new name.
    let mut entries = second["metadata"]["managedFields"].as_array().unwrap().clone();
    let old = entries.pop().unwrap();
    entries[0]["fieldsV1"] = merged(&entries[0]["fieldsV1"], &old["fieldsV1"]);
    let patch = json!([
        {"op": "replace", "path": "/metadata/managedFields", "value": entries},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": second["metadata"]["resourceVersion"]},
    ]);
    let third = world.request("PATCH", WEB).patch("json-patch+json", &patch).send().await;
    assert_eq!(third.status.as_u16(), 200, "{}", third.text);
    assert_eq!(managers(&third.json()), ["kubectl/Apply", "kubectl-last-applied/Apply"]);
    let last = apply(&world, "fieldManager=kubectl", &web("web:3", 5)).await;
    assert_eq!(last.status.as_u16(), 200, "{}", last.text);
    let annotations = &last.json()["metadata"]["annotations"];
    assert_eq!(annotations, &object["metadata"]["annotations"], "kubectl-last-applied keeps it");
    // A stale one is refused.
    let again = world.request("PATCH", WEB).patch("json-patch+json", &patch).send().await;
    assert_eq!(again.status.as_u16(), 409, "{}", again.text);
}

fn merged(one: &Value, other: &Value) -> Value {
    let (Value::Object(one), Value::Object(other)) = (one, other) else { return one.clone() };
    let mut both = one.clone();
    for (name, value) in other {
        let known = both.get(name).cloned().unwrap_or_else(|| json!({}));
        both.insert(name.clone(), merged(&known, value));
    }
    both.into()
}

#[tokio::test]
async fn who_sends_back_what_it_read_owns_what_it_changed() {
    let world = World::new().await;
    apply(&world, "fieldManager=me", &web("web:1", 2)).await;
    let mut object = world.request("GET", WEB).send().await.json();
    object["spec"]["replicas"] = json!(6);
    let put = world.request("PUT", &format!("{WEB}?fieldManager=other")).json(&object).send().await;
    assert_eq!(put.status.as_u16(), 200, "{}", put.text);
    assert_eq!(managers(&put.json()), ["me/Apply", "other/Update"]);
    let theirs = &put.json()["metadata"]["managedFields"][1]["fieldsV1"];
    assert_eq!(*theirs, json!({"f:spec": {"f:replicas": {}}}));
    let got = apply(&world, "fieldManager=me", &web("web:1", 2)).await;
    assert_eq!(got.status.as_u16(), 409, "{}", got.text);
}

#[tokio::test]
async fn what_a_peer_wrote_and_is_not_shown_yet_is_waited_for() {
    for form in ["json-patch+json", "apply-patch+yaml"] {
        let world = World::new().await;
        let map = world.fake.put("ConfigMap", "default", "c", &json!({"data": {"a": "1"}}));
        world.fake.hold_back(&map);
        let (path, other) = ("/api/v1/namespaces/default/configmaps/c", json!({"data": {"b": "2"}}));
        let patched = world.request("PATCH", path).patch("merge-patch+json", &other).send().await;
        assert_eq!(patched.status.as_u16(), 200, "{}", patched.text);
        let shown = async {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            world.fake.show(&map);
        };
        let body = match form {
            "json-patch+json" => json!([{"op": "add", "path": "/data/d", "value": "3"}]),
            _ => json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"d": "3"}}),
        };
        let asked = world.request("PATCH", &format!("{path}?fieldManager=me")).patch(form, &body).send();
        let (got, ()) = tokio::join!(asked, shown);
        assert_eq!(got.status.as_u16(), 200, "{form}: {}", got.text);
        assert_eq!(got.json()["data"], json!({"a": "1", "b": "2", "d": "3"}));
    }
}
