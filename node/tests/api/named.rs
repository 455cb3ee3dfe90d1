//! Rights to objects by their names (`resourceNames`), and what a request selects: whether it is allowed is decided on the
//! selector that is then carried out.

use serde_json::json;

use crate::client::World;

const ROLE: &str = "ClusterRole.rbac.authorization.k8s.io";
const WATCH: &str = "&timeoutSeconds=1";

/// Two Secrets in each of two namespaces, and somebody who may see one of them in one.
async fn world() -> World {
    let world = World::new().await;
    world.fake.put("Namespace", "", "shop", &json!({}));
    for namespace in ["default", "shop"] {
        for name in ["allowed", "other"] {
            world.fake.put("Secret", namespace, name, &json!({"data": {"is": name}}));
        }
    }
    let verbs = ["get", "list", "watch", "deletecollection"];
    let rule = json!({"verbs": verbs, "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["allowed"]});
    world.fake.put(ROLE, "", "one-secret", &json!({"rules": [rule]}));
    world.bind("alice", "one-secret", "shop");
    world
}

#[tokio::test]
async fn who_may_see_one_object_sees_no_other_whatever_a_selector_says() {
    let world = world().await;
    // The query, and whether the one Secret is answered.
    let selections = [
        ("metadata.name%3Dallowed", true),
        ("metadata.name%3D%3Dallowed", true),
        ("metadata.namespace%3Dshop,metadata.name%3Dallowed", true),
        ("metadata.name%3Dallowed,metadata.name%21%3Dx", true),
        ("", false),
        ("metadata.name%3Dother", false),
        ("metadata.name%21%3Dallowed", false),
        ("metadata.name%3D", false),
        ("metadata.namespace%3Dshop", false),
        // An escaped comma parts no conditions: this selects all but one that is not there.
        ("metadata.name%21%3Dx%5C%2Cmetadata.name%3Dallowed", false),
        ("metadata.namespace%21%3Dx%5C%2C%20metadata.name%3Dallowed", false),
        ("metadata.name%3Dother%5C%2Cmetadata.name%3Dallowed", false),
        ("metadata.name%21%3Dx%5C%5C%5C%2Cmetadata.name%3Dallowed", false),
        ("metadata.name%3Dallowed%5C", false),
        ("%20metadata.name%20%3Dallowed", true),
        ("metadata.name%3Dallowed,no.such%3Dfield", false),
    ];
    for (selector, allowed) in selections {
        for verb in ["", "&watch=1", "&watch=true", "&watch=True"] {
            let path = format!("/api/v1/namespaces/shop/secrets?fieldSelector={selector}{verb}{WATCH}");
            let ask = world.user("alice", &[], "GET", &path);
            if verb.is_empty() {
                let got = ask.send().await;
                assert_eq!(got.status.as_u16(), if allowed { 200 } else { 403 }, "{path}: {}", got.text);
                assert_eq!(got.text.contains("\"is\":\"allowed\""), allowed, "{path}: {}", got.text);
                assert!(!got.text.contains("\"is\":\"other\""), "{path}: {}", got.text);
            } else {
                assert_eq!(ask.open().await.status().as_u16(), if allowed { 200 } else { 403 }, "{path}");
            }
            // A name that is allowed in one namespace is not allowed in another, nor in all of them.
            for elsewhere in ["/api/v1/namespaces/default/secrets", "/api/v1/secrets"] {
                let path = format!("{elsewhere}?fieldSelector={selector}{verb}{WATCH}");
                let got = world.user("alice", &[], "GET", &path).send().await;
                assert_eq!(got.status.as_u16(), 403, "{path}: {}", got.text);
            }
        }
    }
}

#[tokio::test]
async fn who_may_delete_all_of_one_name_deletes_nothing_by_a_selector() {
    let world = world().await;
    for selector in ["metadata.name%3Dallowed", "metadata.name%21%3Dx%5C%2Cmetadata.name%3Dallowed", ""] {
        let path = format!("/api/v1/namespaces/shop/secrets?fieldSelector={selector}");
        let got = world.user("alice", &[], "DELETE", &path).send().await;
        assert_eq!(got.status.as_u16(), 403, "{selector}: {}", got.text);
    }
    assert_eq!(world.fake.writes().len(), 0);
}

#[tokio::test]
async fn a_role_in_a_namespace_shows_it_and_does_not_list_namespaces() {
    let world = world().await;
    world.bind("bob", "view", "shop");
    let got = async |path: &str| world.user("bob", &[], "GET", path).send().await.status.as_u16();
    assert_eq!(got("/api/v1/namespaces/shop").await, 200);
    assert_eq!(got("/api/v1/namespaces/default").await, 403);
    for verb in ["", "&watch=1"] {
        for name in ["shop", "default"] {
            let path = format!("/api/v1/namespaces?fieldSelector=metadata.name%3D{name}{verb}{WATCH}");
            assert_eq!(got(&path).await, 403, "{path}");
        }
    }
    world.bind("bob", "view", "");
    assert_eq!(got(&format!("/api/v1/namespaces?fieldSelector=metadata.name%3Dshop{WATCH}")).await, 200);
}

#[tokio::test]
async fn a_selector_that_cannot_be_read_is_refused_after_the_right_to_list() {
    let world = world().await;
    world.bind("bob", "cluster-admin", "");
    for selector in ["metadata.name%3Dallowed%5C", "no.such%3Dfield"] {
        let path = format!("/api/v1/secrets?fieldSelector={selector}");
        assert_eq!(world.user("bob", &[], "GET", &path).send().await.status.as_u16(), 400, "{path}");
        assert_eq!(world.user("alice", &[], "GET", &path).send().await.status.as_u16(), 403, "{path}");
    }
}
