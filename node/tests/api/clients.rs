//! Who is let in as a client, and under which names nobody is.

use std::sync::Arc;

use serde_json::json;
use skein_node::api::clients::{admit, check};
use skein_node::api::shell::Shell;

use crate::client::World;

/// What a member has behind its door.
fn shell(world: &World) -> Arc<Shell> {
    let (fake, metrics, identity) = (world.fake.clone(), world.metrics.clone(), world.identity.clone());
    Arc::new(Shell::new(fake, metrics, identity, "home".to_owned(), "https://127.0.0.1:7443".to_owned()))
}

#[tokio::test]
async fn nobody_new_is_called_as_the_administrator_is() {
    let world = World::new().await;
    let shell = shell(&world);
    for name in ["admin", "root", "system:node"] {
        check(&shell, name).await.unwrap_err();
        let got = world.socket("POST", "/skein/v1/users").json(&json!({"user": name})).send().await;
        assert_eq!(got.status.as_u16(), 400, "{name}");
    }
    check(&shell, "alice").await.unwrap();
    world.fake.put("Namespace", "", "kube-system", &json!({}));
    let got = world.socket("POST", "/skein/v1/revoke").json(&json!({"user": "admin"})).send().await;
    assert_eq!(got.status.as_u16(), 200, "what an earlier version gave out can be taken back: {}", got.text);
}

#[tokio::test]
async fn a_name_that_somebody_else_was_given_meanwhile_is_given_to_nobody() {
    let world = World::new().await;
    let shell = shell(&world);
    check(&shell, "alice").await.unwrap();
    check(&shell, "bob").await.unwrap();
    // Both are let in elsewhere before they are here: one with another role, one with the same.
    world.bind("alice", "edit", "default");
    admit(&shell, "bob", "view").await.unwrap();
    for name in ["alice", "bob"] {
        let status = admit(&shell, name, "view").await.unwrap_err();
        assert!(status.message.contains("already"), "{}", status.message);
    }
    let bindings = world.socket("GET", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings").send().await.text;
    assert!(!bindings.contains("skein:alice:view") && bindings.contains("skein:bob:view"), "{bindings}");
}
