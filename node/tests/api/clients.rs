//! Who is let in as a client, and under which names nobody is.

use std::sync::Arc;

use serde_json::json;
use skein_gossip::NodeId;
use skein_node::api::audit::{AUDIT_FILE, Audit};
use skein_node::api::clients::{Guest, admit, check};
use skein_node::api::shell::Shell;

use crate::client::World;

/// What a member has behind its door.
fn shell(world: &World) -> Arc<Shell> {
    let (fake, metrics, identity) = (world.fake.clone(), world.metrics.clone(), world.identity.clone());
    Arc::new(Shell::new(fake, metrics, identity, "home".to_owned(), "https://127.0.0.1:7443".to_owned()))
}

fn guest(user: &str) -> Guest<'_> {
    Guest { node: NodeId([7; 32]), token: "00ff", user }
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
    admit(&shell, guest("bob"), "view").await.unwrap();
    for name in ["alice", "bob"] {
        let status = admit(&shell, guest(name), "view").await.unwrap_err();
        assert!(status.message.contains("already"), "{}", status.message);
    }
    let bindings = world.socket("GET", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings").send().await.text;
    assert!(!bindings.contains("skein:alice:view") && bindings.contains("skein:bob:view"), "{bindings}");
}

#[tokio::test]
async fn the_audit_log_says_who_let_whom_in_as_what() {
    let world = World::new().await;
    let (shell, dir) = (shell(&world), tempfile::tempdir().unwrap());
    shell.audit.set(Audit::start(dir.path(), world.metrics.clone()).unwrap()).ok();
    admit(&shell, guest("bob"), "view").await.unwrap();
    admit(&shell, guest("bob"), "view").await.unwrap_err();
    let mut lines = Vec::new();
    for _ in 0..200 {
        let text = std::fs::read_to_string(dir.path().join(AUDIT_FILE)).unwrap_or_default();
        lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()).collect();
        if lines.len() == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    let codes: Vec<_> = lines.iter().map(|line| line["responseStatus"]["code"].clone()).collect();
    assert_eq!(codes, [201, 400]);
    assert_eq!(lines[0]["user"]["username"], "system:token:00ff");
    assert_eq!(lines[0]["requestURI"], "/skein/v1/clients/bob/view");
}
