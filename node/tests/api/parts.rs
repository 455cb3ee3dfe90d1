//! Parts of the API that clients look for beside the verbs: single checks of health, metadata alone, what every namespace is
//! given, many objects deleted at once, names with colons, and a scale that is applied.

use serde_json::{Value, json};
use skein_core::request::WriteOp;

use crate::client::{Lines, World};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";
const APPLY: &str = "apply-patch+yaml";

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn health_is_told_check_by_check_to_who_asks_for_it() {
    let world = World::new().await;
    for (path, says) in [
        ("/readyz?verbose", "[+]ping ok\n[+]state ok\nreadyz check passed\n"),
        ("/livez?verbose=true", "[+]ping ok\nlivez check passed\n"),
        ("/readyz?verbose&exclude=state", "[+]ping ok\n[+]state excluded: ok\nreadyz check passed\n"),
        ("/readyz/state?verbose", "[+]state ok\nstate check passed\n"),
        ("/readyz/ping", "ok"),
    ] {
        let got = world.stranger("GET", path).send().await;
        assert_eq!((got.status.as_u16(), got.text.as_str()), (200, says), "{path}");
    }
}

#[tokio::test]
async fn whoever_wants_metadata_alone_gets_nothing_else_and_bookmarks_of_the_same_kind() {
    let world = World::new().await;
    world.fake.put("ConfigMap", "default", "one", &json!({"data": {"a": "1"}}));
    let one = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let many = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let got = world.request("GET", &format!("{MAPS}/one")).header("accept", one).send().await.json();
    assert_eq!((&got["kind"], &got["metadata"]["name"]), (&json!("PartialObjectMetadata"), &json!("one")));
    assert!(got["data"].is_null());
    let list = world.request("GET", MAPS).header("accept", many).send().await.json();
    assert_eq!((&list["kind"], names(&list)), (&json!("PartialObjectMetadataList"), vec!["one"]));
    let watch = format!("{MAPS}?watch=true&allowWatchBookmarks=true&sendInitialEvents=true");
    let mut lines = Lines::new(world.request("GET", &watch).header("accept", one).open().await);
    for kind in ["ADDED", "BOOKMARK"] {
        let event = lines.next().await.unwrap();
        assert_eq!((&event["type"], &event["object"]["kind"]), (&json!(kind), &json!("PartialObjectMetadata")));
        assert_eq!(event["object"]["apiVersion"], "meta.k8s.io/v1");
    }
}

#[tokio::test]
async fn what_a_selector_selects_is_deleted_at_once_but_for_what_every_namespace_is_given() {
    let world = World::new().await;
    let root = world.fake.put("ConfigMap", "default", "kube-root-ca.crt", &json!({"data": {"ca.crt": "x"}}));
    world.fake.derive(&root);
    for (name, app) in [("a", "one"), ("b", "two"), ("c", "two")] {
        world.fake.put("ConfigMap", "default", name, &json!({"metadata": {"labels": {"app": app}}}));
    }
    let gone = world.request("DELETE", &format!("{MAPS}?labelSelector=app%3Dtwo&fieldSelector=metadata.name%21%3Dc"));
    assert_eq!(gone.send().await.json()["status"], "Success");
    let left = world.request("GET", MAPS).send().await.json();
    assert_eq!(names(&left), ["a", "c", "kube-root-ca.crt"]);
    assert_eq!(world.request("DELETE", MAPS).send().await.status.as_u16(), 200);
    let left = world.request("GET", MAPS).send().await.json();
    assert_eq!(names(&left), ["kube-root-ca.crt"]);
    let own = format!("{MAPS}/kube-root-ca.crt");
    assert_eq!(world.request("DELETE", &own).send().await.status.as_u16(), 405);
    let patch = world.request("PATCH", &own).patch("merge-patch+json", &json!({"data": {"ca.crt": "mine"}}));
    assert_eq!(patch.send().await.status.as_u16(), 403);
    let again = json!({"metadata": {"name": "kube-root-ca.crt"}, "data": {}});
    assert_eq!(world.request("POST", MAPS).json(&again).send().await.json()["reason"], "AlreadyExists");
    assert_eq!(world.request("DELETE", "/api/v1/namespaces").send().await.status.as_u16(), 405);
}

#[tokio::test]
async fn roles_have_names_with_colons_however_a_client_writes_them() {
    let world = World::new().await;
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let role = json!({"metadata": {"name": "system:view"}, "rules": []});
    let made = world.request("POST", roles).json(&role).send().await;
    assert_eq!(made.status.as_u16(), 201, "{}", made.text);
    for name in ["system:view", "system%3Aview"] {
        let got = world.request("GET", &format!("{roles}/{name}")).send().await.json();
        assert_eq!(got["metadata"]["name"], "system:view");
    }
}

#[tokio::test]
async fn a_scale_is_applied_beside_what_its_tool_applies_of_the_rest() {
    let world = World::new().await;
    let labels = json!({"app": "web"});
    let web = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}},
        },
    });
    let made = world.request("PATCH", &format!("{WEB}?fieldManager=me")).patch(APPLY, &web).send().await;
    assert_eq!(made.status.as_u16(), 201, "{}", made.text);
    let scale =
        |replicas: i64| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": replicas}});
    let path = format!("{WEB}/scale?fieldManager=me");
    let scaled = world.request("PATCH", &path).patch(APPLY, &scale(3)).send().await;
    assert_eq!((scaled.status.as_u16(), &scaled.json()["kind"]), (200, &json!("Scale")), "{}", scaled.text);
    assert_eq!(scaled.json()["spec"]["replicas"], 3);
    let WriteOp::Edit { edits, .. } = world.fake.writes().pop().unwrap().op else { panic!("no edit") };
    assert!(edits.iter().any(|edit| &*edit.path == "spec.replicas"), "{edits:?}");

    let owners = world.request("GET", WEB).send().await.json()["metadata"]["managedFields"].clone();
    let of_scale: Vec<&Value> =
        owners.as_array().unwrap().iter().filter(|owner| owner["subresource"] == "scale").collect();
    assert_eq!(of_scale.len(), 1, "{owners}");
    assert_eq!((&of_scale[0]["manager"], &of_scale[0]["operation"]), (&json!("me"), &json!("Apply")));
    assert_eq!(of_scale[0]["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    // Applying the rest again takes nothing of the scale away, nor the other way round.
    world.request("PATCH", &format!("{WEB}?fieldManager=me")).patch(APPLY, &web).send().await;
    let now = world.request("GET", WEB).send().await.json();
    assert_eq!((&now["spec"]["replicas"], &now["metadata"]["labels"]), (&json!(3), &labels));
    let other = world.request("PATCH", &format!("{WEB}/scale?fieldManager=other")).patch(APPLY, &scale(5)).send().await;
    assert_eq!(other.status.as_u16(), 409, "{}", other.text);
    assert!(other.text.contains("subresource"), "{}", other.text);
    let forced = world.request("PATCH", &format!("{WEB}/scale?fieldManager=other&force=true"));
    assert_eq!(forced.patch(APPLY, &scale(5)).send().await.json()["spec"]["replicas"], 5);
    for (path, wrong, code) in [
        (path.clone(), json!({"spec": {"replicas": 1}}), 400),
        (path, scale(-1), 422),
        (format!("{WEB}/scale"), scale(1), 422),
        (format!("{WEB}x/scale?fieldManager=me"), scale(1), 404),
    ] {
        let got = world.request("PATCH", &path).patch(APPLY, &wrong).send().await;
        assert_eq!(got.status.as_u16(), code, "{}", got.text);
    }
}

#[tokio::test]
async fn containers_are_added_to_a_pod_that_runs_and_never_taken_away() {
    let world = World::new().await;
    let spec = json!({"nodeName": "goose", "containers": [{"name": "web", "image": "web:1"}]});
    world.fake.put("Pod", "default", "web-1", &json!({"spec": spec}));
    let path = "/api/v1/namespaces/default/pods/web-1/ephemeralcontainers";
    let debugger = json!({"name": "debugger", "image": "bb:1", "stdin": true, "targetContainerName": "web"});
    let patch = json!({"spec": {"ephemeralContainers": [debugger]}});
    let strategic = "strategic-merge-patch+json";
    let dry = world.request("PATCH", &format!("{path}?dryRun=All")).patch(strategic, &patch).send().await.json();
    assert_eq!(dry["spec"]["ephemeralContainers"][0]["name"], "debugger");
    assert!(world.fake.writes().is_empty());

    let pod = world.request("PATCH", path).patch(strategic, &patch).send().await;
    assert_eq!(pod.status.as_u16(), 200, "{}", pod.text);
    let pod = pod.json();
    let added = &pod["spec"]["ephemeralContainers"][0];
    assert_eq!((&added["image"], &added["imagePullPolicy"]), (&json!("bb:1"), &json!("IfNotPresent")));
    assert_eq!(world.request("GET", path).send().await.json(), pod);
    // Another one beside it, by a whole pod as it was read.
    let mut more = pod.clone();
    more["spec"]["ephemeralContainers"].as_array_mut().unwrap().push(json!({"name": "more", "image": "bb:1"}));
    let both = world.request("PUT", path).json(&more).send().await.json();
    let names: Vec<&str> = both["spec"]["ephemeralContainers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|container| container["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["debugger", "more"]);

    let gone = world.request("PUT", path).json(&pod).send().await;
    assert!(gone.status.as_u16() == 409, "an old version: {}", gone.text);
    let mut old = pod.clone();
    old["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let gone = world.request("PUT", path).json(&old).send().await;
    assert!(gone.status.as_u16() == 422 && gone.text.contains("may not be removed"), "{}", gone.text);
    let on_create = json!({"metadata": {"name": "p"}, "spec": {
        "containers": [{"name": "web", "image": "web:1"}], "ephemeralContainers": [{"name": "d", "image": "bb:1"}],
    }});
    let refused = world.request("POST", "/api/v1/namespaces/default/pods").json(&on_create).send().await;
    assert!(refused.text.contains("spec.ephemeralContainers: Forbidden: cannot be set on create"), "{}", refused.text);
    // What a pod that had the slot before was given goes with the next that is added.
    let stale = world.fake.writes().iter().filter(|write| matches!(write.op, WriteOp::Edit { .. })).count();
    assert_eq!(stale, 2);
}
