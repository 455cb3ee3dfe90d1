//! Who is let in, what is too much, and skein's own verbs.

use serde_json::json;

use crate::client::World;

#[tokio::test]
async fn a_stranger_learns_that_the_node_is_healthy_and_nothing_else() {
    let world = World::new().await;
    world.fake.put("ConfigMap", "default", "secret", &json!({"data": {"canary": "canary-7f3a"}}));
    for path in ["/healthz", "/livez", "/readyz", "/healthz/ping", "/healthz/"] {
        let got = world.stranger("GET", path).send().await;
        assert_eq!((got.status.as_u16(), got.text.as_str()), (200, "ok"), "{path}");
    }
    let paths = [
        "/",
        "/version",
        "/metrics",
        "/api",
        "/apis",
        "/api/v1",
        "/openapi/v2",
        "/skein/v1/peers",
        "/skein/v1/kubeconfig",
        "/skein/v1/tokens",
        "/api/v1/namespaces/default/configmaps/secret",
        "/api/v1/configmaps",
        "/healthz/../api/v1/configmaps",
        "/api/v1/configmaps?watch=true",
        "/healthz/etcd",
        "//api/v1/configmaps",
    ];
    let wrong = "0".repeat(64);
    for path in paths {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            for token in ["", "Bearer ", "Bearer x", "Basic YWRtaW46YWRtaW4=", &format!("Bearer {wrong}")] {
                let ask = world.stranger(method, path);
                let ask = if token.is_empty() { ask } else { ask.header("authorization", token) };
                let got = ask.send().await;
                assert_eq!(got.status.as_u16(), 401, "{method} {path}");
                assert_eq!(got.json()["kind"], "Status");
                assert!(!got.text.contains("canary-7f3a"));
            }
        }
    }
    assert!(world.metrics.api_unauthorized.get() > 400);
}

#[tokio::test]
async fn the_administrators_token_opens_the_api_and_the_numbers() {
    let world = World::new().await;
    let got = world.request("GET", "/metrics").send().await;
    assert_eq!(got.status.as_u16(), 200);
    assert!(got.text.contains("skein_api_connections 1\n"), "{}", got.text);
    assert!(got.text.contains("skein_objects 3\n"), "{}", got.text);
    assert_eq!(world.request("GET", "/nowhere").send().await.status.as_u16(), 404);
}

#[tokio::test]
async fn an_invitation_is_for_a_role_and_only_a_client_is_granted_one_of_kubernetes() {
    let world = World::new().await;
    let path = "/skein/v1/invitations";
    let code = world.socket("POST", path).body(r#"{"role":"client","grant":"edit"}"#).send().await;
    assert_eq!(code.json(), json!({"code": "42-client-edit"}), "{}", code.text);
    let wrong = [
        (400, r#"{"role":"king"}"#),
        (400, r#"{"role":"member","grant":"edit"}"#),
        (404, r#"{"role":"client","grant":"nobody-made-it"}"#),
        (400, r#"{"uses":65}"#),
        (400, r#"{"ttl_seconds":86401}"#),
    ];
    for (status, body) in wrong {
        let got = world.socket("POST", path).body(body).send().await;
        assert_eq!(got.status.as_u16(), status, "{body}: {}", got.text);
    }
    assert_eq!(world.socket("GET", path).send().await.status.as_u16(), 400);
    let standing = world.socket("GET", "/skein/v1/invitations?number=42").send().await;
    assert_eq!(standing.json(), json!({"invitation": null}));
    let refused = world.socket("POST", "/skein/v1/revoke-token").body(r#"{"id":"abcd"}"#).send().await;
    assert_eq!(refused.status.as_u16(), 422, "{}", refused.text);
}

#[tokio::test]
async fn verbs_that_give_out_secrets_are_on_the_socket_alone() {
    let world = World::new().await;
    for (method, verb) in [("POST", "tokens"), ("GET", "kubeconfig"), ("POST", "leave")] {
        let path = format!("/skein/v1/{verb}");
        let refused = world.request(method, &path).send().await;
        assert_eq!(refused.status.as_u16(), 403, "{verb}");
        assert!(refused.json()["message"].as_str().unwrap().contains("socket"));
        assert!(world.socket(method, &path).send().await.status.is_success(), "{verb}");
    }
    let token = world.socket("POST", "/skein/v1/tokens").body(r#"{"uses":3,"ttl_seconds":60}"#).send().await;
    assert_eq!(token.json(), json!({"token": "token-3-60"}));
    for wrong in ["{\"uses\":0}", "{\"uses\":-1}", "{\"ttl_seconds\":0}", "{\"use\":1}", "no"] {
        let got = world.socket("POST", "/skein/v1/tokens").body(wrong).send().await;
        assert_eq!(got.status.as_u16(), 400, "{wrong}: {}", got.text);
    }
    for (method, verb) in [("GET", "tokens"), ("POST", "revoke-token"), ("POST", "invitations"), ("GET", "invitations")]
    {
        let refused = world.request(method, &format!("/skein/v1/{verb}")).send().await;
        assert_eq!(refused.status.as_u16(), 403, "{method} {verb}");
    }
    let kubeconfig = world.socket("GET", "/skein/v1/kubeconfig").send().await;
    assert!(kubeconfig.text.contains(&world.secrets.admin_token));
    assert!(kubeconfig.text.contains("https://127.0.0.1:7443"));
}

/// What it would show is empty, and a client would take everything for deleted.
#[tokio::test]
async fn a_node_that_lost_its_state_shows_nothing_and_says_why() {
    let world = World::new().await;
    world.fake.is_lost.store(true, std::sync::atomic::Ordering::Relaxed);
    for path in [
        "/api/v1/pods",
        "/api/v1/namespaces/shop/pods/web",
        "/skein/v1/peers",
        "/skein/v1/leader",
        "/skein/v1/why?object=web",
    ] {
        let answer = world.socket("GET", path).send().await;
        assert_eq!(answer.status.as_u16(), 503, "{path}");
        assert!(answer.json()["message"].as_str().unwrap().contains("state of this node is lost"), "{path}");
    }
    let ready = world.request("GET", "/readyz").send().await;
    assert!(ready.status.as_u16() == 503 && ready.text.contains("state failed"), "{}", ready.text);
    assert_eq!(world.request("GET", "/livez").send().await.status.as_u16(), 200);
    world.fake.is_lost.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(world.socket("GET", "/api/v1/pods").send().await.status.as_u16(), 200);
}

#[tokio::test]
async fn the_command_line_reads_peers_leader_why_and_hash() {
    let world = World::new().await;
    let peers = world.socket("GET", "/skein/v1/peers").send().await.json();
    assert_eq!(peers["peers"][0]["name"], "goose");
    let leader = world.socket("GET", "/skein/v1/leader").send().await;
    assert_eq!(leader.status.as_u16(), 503);
    assert!(leader.json()["message"].as_str().unwrap().contains("no leader"));
    let why = world.request("GET", "/skein/v1/why?pod=web&namespace=shop").send().await.json();
    assert_eq!(why, json!({"lines": ["shop/web is happy"]}));
    assert_eq!(world.request("GET", "/skein/v1/why").send().await.status.as_u16(), 400);
    assert_eq!(world.request("GET", "/skein/v1/state-hash").send().await.json(), json!({"hash": "00ff"}));
    assert_eq!(world.request("PUT", "/skein/v1/peers").send().await.status.as_u16(), 405);
    assert_eq!(world.request("GET", "/skein/v1/secrets").send().await.status.as_u16(), 404);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_with_a_status() {
    let world = World::new().await;
    let got =
        world.request("POST", "/api/v1/namespaces/default/configmaps").body(vec![b' '; (3 << 20) + 1]).send().await;
    assert_eq!(got.status.as_u16(), 413);
    assert_eq!(got.json()["reason"], "RequestEntityTooLarge");
}

#[tokio::test]
async fn a_second_daemon_on_the_same_address_or_directory_is_told_so() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new().await;
    let socket = world.dir.path().join(skein_node::api::server::SOCKET_FILE);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let other = tempfile::tempdir().unwrap();
    let taken =
        crate::client::listen_again(&world, world.server.address(), other.path()).await.unwrap_err().to_string();
    assert!(taken.contains("--api"), "{taken}");
    let running = crate::client::listen_again(&world, "127.0.0.1:0".parse().unwrap(), world.dir.path()).await;
    assert!(running.unwrap_err().to_string().contains("--data-dir"));
    // What a daemon that was killed leaves behind is no obstacle.
    drop(std::os::unix::net::UnixListener::bind(other.path().join(skein_node::api::server::SOCKET_FILE)).unwrap());
    let second = crate::client::listen_again(&world, "127.0.0.1:0".parse().unwrap(), other.path()).await.unwrap();
    second.shutdown().await;
    world.server.shutdown().await;
    assert!(!socket.exists());
}
