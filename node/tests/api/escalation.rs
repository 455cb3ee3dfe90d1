//! What nobody can give themselves or others through roles that are made of others, by whatever verb they write.

use serde_json::{Value, json};

use crate::client::{Ask, Got, World};
use crate::fake::reference;

const ROLE: &str = "ClusterRole.rbac.authorization.k8s.io";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const INTO_VIEW: &str = "rbac.authorization.k8s.io/aggregate-to-view";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";

fn everything() -> Value {
    json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}])
}

fn selectors(label: &str) -> Value {
    json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]})
}

fn labelled(label: &str) -> Value {
    json!({"metadata": {"labels": {label: "true"}}})
}

/// Alice may write all ClusterRoles and see pods, no more; bob has what `view` gives.
async fn world() -> World {
    let world = World::new().await;
    let rules = json!([
        {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]},
        {"verbs": ["get", "list", "create", "update", "patch"], "apiGroups": ["rbac.authorization.k8s.io"],
         "resources": ["clusterroles"]},
    ]);
    world.fake.put(ROLE, "", "writer", &json!({"rules": rules}));
    // As it is shown where nobody has written it.
    let built_in = world.fake.put(ROLE, "", "cluster-admin", &json!({"rules": everything()}));
    world.fake.derive(&built_in);
    world.fake.put(ROLE, "", "big", &json!({"rules": everything()}));
    world.fake.put(ROLE, "", "made-of", &json!({"aggregationRule": selectors("into-made-of"), "rules": []}));
    world.bind("alice", "writer", "");
    world.bind("bob", "view", "");
    world
}

fn alice<'a>(world: &'a World, method: &str, path: &str) -> Ask<'a> {
    world.user("alice", &[], method, path)
}

async fn merged(world: &World, name: &str, patch: &Value) -> Got {
    alice(world, "PATCH", &format!("{ROLES}/{name}")).patch("merge-patch+json", patch).send().await
}

/// The same change by every verb that writes an existing object.
async fn by_every_verb(world: &World, name: &str, label: &str) -> Vec<Got> {
    let path = format!("{ROLES}/{name}");
    let mut whole = world.request("GET", &path).send().await.json();
    whole["metadata"]["labels"][label] = "true".into();
    whole["metadata"]["resourceVersion"] = Value::Null;
    let labels = whole["metadata"]["labels"].clone();
    let steps = json!([{"op": "add", "path": "/metadata/labels", "value": labels}]);
    let applied = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": name, "labels": {label: "true"}},
    });
    let apply = alice(world, "PATCH", &format!("{path}?fieldManager=alice&force=true"));
    vec![
        merged(world, name, &labelled(label)).await,
        alice(world, "PATCH", &path).patch("strategic-merge-patch+json", &labelled(label)).send().await,
        alice(world, "PATCH", &path).patch("json-patch+json", &steps).send().await,
        apply.patch("apply-patch+yaml", &applied).send().await,
        alice(world, "PUT", &path).json(&whole).send().await,
    ]
}

#[tokio::test]
async fn a_label_puts_no_role_into_another_that_gives_more_than_its_author_holds() {
    let world = world().await;
    for name in ["cluster-admin", "big", "made-of"] {
        for (verb, got) in by_every_verb(&world, name, INTO_VIEW).await.into_iter().enumerate() {
            assert_eq!(got.status.as_u16(), 403, "{name} by {verb}: {}", got.text);
            assert!(got.text.contains("attempting to grant RBAC permissions not currently held"), "{}", got.text);
        }
        assert_eq!(world.user("bob", &[], "GET", SECRETS).send().await.status.as_u16(), 403, "{name}");
    }
    // What gives nothing may be changed, and so may what gives no more than its author holds.
    let notes = json!({"metadata": {"annotations": {"a": "b"}}});
    for name in ["big", "made-of"] {
        assert_eq!(merged(&world, name, &notes).await.status.as_u16(), 200, "{name}");
    }
    let small = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
    world.fake.put(ROLE, "", "small", &json!({"rules": small}));
    for (verb, got) in by_every_verb(&world, "small", INTO_VIEW).await.into_iter().enumerate() {
        assert_eq!(got.status.as_u16(), 200, "by {verb}: {}", got.text);
    }
}

#[tokio::test]
async fn what_a_role_is_made_of_is_said_by_those_alone_who_hold_everything() {
    let world = world().await;
    let mut role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "mine"},
        "aggregationRule": selectors(INTO_VIEW),
    });
    assert_eq!(alice(&world, "POST", ROLES).json(&role).send().await.status.as_u16(), 403);
    let apply = alice(&world, "PATCH", &format!("{ROLES}/mine?fieldManager=x"));
    assert_eq!(apply.patch("apply-patch+yaml", &role).send().await.status.as_u16(), 403);
    for patch in [
        json!({"aggregationRule": selectors(INTO_VIEW)}),
        json!({"aggregationRule": null}),
        json!({"aggregationRule": null, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]}),
    ] {
        assert_eq!(merged(&world, "made-of", &patch).await.status.as_u16(), 403, "{patch}");
    }
    // Who holds everything, or may escalate, says what they like.
    let may = json!({"rules": [{"verbs": ["escalate"], "apiGroups": ["*"], "resources": ["clusterroles"]}]});
    world.fake.put(ROLE, "", "escalator", &may);
    world.bind("alice", "escalator", "");
    role["metadata"]["name"] = "second".into();
    assert_eq!(alice(&world, "POST", ROLES).json(&role).send().await.status.as_u16(), 201);
    assert_eq!(merged(&world, "big", &labelled(INTO_VIEW)).await.status.as_u16(), 200);
    assert_eq!(world.user("bob", &[], "GET", SECRETS).send().await.status.as_u16(), 200);
}

#[tokio::test]
async fn a_binding_whose_role_was_set_apart_gives_nothing_and_is_settled_by_who_may_give_it() {
    let world = world().await;
    const BINDING: &str = "ClusterRoleBinding.rbac.authorization.k8s.io";
    let (role, subject) =
        (json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}), "eve");
    let subjects = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": subject}]);
    world.fake.put(BINDING, "", "met", &json!({"roleRef": role, "subjects": subjects}));
    assert_eq!(world.user(subject, &[], "GET", SECRETS).send().await.status.as_u16(), 200);
    world.fake.contest(&reference(BINDING, "", "met"));
    // What is known is known anew once something of that kind changed.
    world.bind("carol", "view", "");
    assert_eq!(world.user(subject, &[], "GET", SECRETS).send().await.status.as_u16(), 403);
    let rules = json!([{"verbs": ["get", "patch"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterrolebindings"]}]);
    world.fake.put(ROLE, "", "binder", &json!({"rules": rules}));
    world.bind("alice", "binder", "");
    // Alice may write bindings. To write this one as it is would make it count.
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/met";
    let same = json!({"roleRef": role, "subjects": subjects});
    let got = alice(&world, "PATCH", path).patch("merge-patch+json", &same).send().await;
    assert_eq!(got.status.as_u16(), 403, "{}", got.text);
    assert!(got.text.contains("attempting to grant RBAC permissions not currently held"), "{}", got.text);
    let got = world.request("PATCH", path).patch("merge-patch+json", &same).send().await;
    assert_eq!(got.status.as_u16(), 200, "{}", got.text);
}
