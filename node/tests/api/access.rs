//! Who may do what: what somebody who is not the administrator is answered, and what they cannot give themselves.

use serde_json::{Value, json};
use skein_node::pki::client::issue;
use skein_node::pki::token::Claims;

use crate::client::{Ask, World, now_s};

const PODS: &str = "/api/v1/namespaces/default/pods";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

fn binding(name: &str, role: &str, user: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    })
}

fn as_bob(ask: Ask<'_>) -> Ask<'_> {
    ask.header("impersonate-user", "bob")
}

#[tokio::test]
async fn who_has_no_role_is_refused_in_kubernetes_words() {
    let world = World::new().await;
    let got = world.user("alice", &[], "GET", PODS).send().await;
    assert_eq!(got.status.as_u16(), 403);
    let status = got.json();
    let message = "pods is forbidden: User \"alice\" cannot list resource \"pods\" in API group \"\" in the namespace \
                   \"default\"";
    assert_eq!((&status["message"], &status["reason"]), (&json!(message), &json!("Forbidden")));
    let got = world.user("alice", &[], "GET", "/apis/apps/v1/deployments?watch=1").send().await;
    assert!(
        got.text.contains("cannot watch resource \\\"deployments\\\" in API group \\\"apps\\\" at the cluster scope")
    );
    for path in ["/metrics", "/skein/v1/peers", "/skein/v1/why?object=web", "/"] {
        let got = world.user("alice", &[], "GET", path).send().await;
        assert_eq!(got.status.as_u16(), 403, "{path}: {}", got.text);
    }
    // What is served everybody may know who is somebody.
    for path in ["/api", "/apis", "/apis/apps/v1", "/openapi/v3", "/version"] {
        assert_eq!(world.user("alice", &[], "GET", path).send().await.status.as_u16(), 200, "{path}");
    }
    assert!(world.metrics.api_forbidden.get() >= 6);
}

#[tokio::test]
async fn a_binding_counts_as_soon_as_it_is_written_and_until_it_is_deleted() {
    let world = World::new().await;
    for round in 0..5 {
        assert_eq!(world.user("alice", &[], "GET", PODS).send().await.status.as_u16(), 403, "{round}");
        let made = world.request("POST", BINDINGS).json(&binding("b", "view", "alice")).send().await;
        assert_eq!(made.status.as_u16(), 201, "{}", made.text);
        let warned = made.headers.get_all("warning").iter().any(|text| text.to_str().unwrap().contains("enforce"));
        assert!(!warned, "nothing is said not to be enforced");
        assert_eq!(world.user("alice", &[], "GET", PODS).send().await.status.as_u16(), 200, "{round}");
        let elsewhere = world.user("alice", &[], "GET", "/api/v1/namespaces/other/pods").send().await;
        assert_eq!(elsewhere.status.as_u16(), 403);
        world.request("DELETE", &format!("{BINDINGS}/b")).send().await;
    }
}

#[tokio::test]
async fn what_shows_nobody_is_unauthorized() {
    let world = World::new().await;
    world.bind("alice", "cluster-admin", "");
    let other = World::new().await;
    let now = now_s();
    let mut elsewhere = Claims::of_user("alice", Vec::new(), now, 600);
    elsewhere.aud = vec!["vault".into()];
    let account = Claims::of_user("system:serviceaccount:default:default", Vec::new(), now, 600);
    for token in [
        other.sign(Claims::of_user("alice", Vec::new(), now, 600)),
        world.sign(Claims::of_user("alice", Vec::new(), now - 601, 600)),
        world.sign(elsewhere),
        world.sign(account),
        "a.b.c".to_owned(),
    ] {
        let got = world.stranger("GET", PODS).header("authorization", &format!("Bearer {token}")).send().await;
        assert_eq!(got.status.as_u16(), 401, "{token}");
        assert_eq!((&got.json()["reason"], &got.json()["message"]), (&json!("Unauthorized"), &json!("Unauthorized")));
        assert!(got.headers.contains_key("www-authenticate"));
    }
    assert_eq!(world.user("alice", &[], "GET", PODS).send().await.status.as_u16(), 200);
}

#[tokio::test]
async fn a_certificate_of_the_clusters_authority_says_who_somebody_is() {
    let world = World::new().await;
    world.bind("alice", "view", "default");
    let alice = issue(&world.secrets, "alice", Some("dev"), now_s(), 600).unwrap();
    let whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let got = world.stranger("POST", whoami).certificate(&alice).json(&json!({})).send().await;
    let groups = json!(["dev", "system:authenticated"]);
    assert_eq!(got.json()["status"]["userInfo"], json!({"username": "alice", "groups": groups}), "{}", got.text);
    assert_eq!(world.stranger("GET", PODS).certificate(&alice).send().await.status.as_u16(), 200);
    let refused = world.stranger("DELETE", &format!("{PODS}/x")).certificate(&alice).send().await;
    assert_eq!(refused.status.as_u16(), 403);
    // Another cluster's is none: TLS itself ends the connection, at the latest with the first answer.
    let foreign = issue(&World::new().await.secrets, "alice", None, now_s(), 600).unwrap();
    let reads = async |mut stream: tokio_rustls::client::TlsStream<tokio::net::TcpStream>| {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let _ = stream.write_all(b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n").await;
        stream.read(&mut [0; 16]).await.unwrap_or(0)
    };
    let read = match world.tls_as(Some(&foreign)).await {
        Ok(stream) => reads(stream).await,
        Err(_) => 0,
    };
    assert_eq!(read, 0);
    let ended = issue(&world.secrets, "alice", None, now_s() - 1000, 600).unwrap();
    let read = match world.tls_as(Some(&ended)).await {
        Ok(stream) => reads(stream).await,
        Err(_) => 0,
    };
    assert_eq!(read, 0);
}

#[tokio::test]
async fn nobody_gives_away_more_than_they_have() {
    let world = World::new().await;
    world.bind("alice", "admin", "default");
    let role = |verbs: &[&str], resources: &[&str]| json!({"metadata": {"name": "r"}, "rules": [{"verbs": verbs, "apiGroups": [""], "resources": resources}]});
    let ask =
        async |method: &str, path: &str, body: &Value| world.user("alice", &[], method, path).json(body).send().await;
    assert_eq!(ask("POST", ROLES, &role(&["get", "list"], &["pods", "pods/log"])).await.status.as_u16(), 201);
    for (method, path) in [("POST", ROLES.to_owned()), ("PUT", format!("{ROLES}/r"))] {
        let got = ask(method, &path, &role(&["*"], &["pods"])).await;
        assert_eq!(got.status.as_u16(), 403, "{}", got.text);
        assert!(got.text.contains("is attempting to grant RBAC permissions not currently held"), "{}", got.text);
    }
    let patch = json!([{"op": "add", "path": "/rules/0/resources/-", "value": "nodes"}]);
    let got = world.user("alice", &[], "PATCH", &format!("{ROLES}/r")).patch("json-patch+json", &patch).send().await;
    assert_eq!(got.status.as_u16(), 403, "{}", got.text);
    let apply = format!("{ROLES}/fresh?fieldManager=x");
    let mut applied = role(&["get"], &["nodes"]);
    applied["metadata"]["name"] = json!("fresh");
    applied["apiVersion"] = json!("rbac.authorization.k8s.io/v1");
    applied["kind"] = json!("Role");
    let got = world.user("alice", &[], "PATCH", &apply).patch("apply-patch+yaml", &applied).send().await;
    assert_eq!(got.status.as_u16(), 403, "{}", got.text);
    // Labels of a role that gives more may be changed: that gives nothing.
    world.fake.put(
        "Role.rbac.authorization.k8s.io",
        "default",
        "more",
        &json!({"rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]}),
    );
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    let got =
        world.user("alice", &[], "PATCH", &format!("{ROLES}/more")).patch("merge-patch+json", &labels).send().await;
    assert_eq!(got.status.as_u16(), 200, "{}", got.text);
    for (role, code) in [("view", 201), ("admin", 201), ("cluster-admin", 403), ("missing", 404)] {
        let got = ask("POST", BINDINGS, &binding(role, role, "bob")).await;
        assert_eq!(got.status.as_u16(), code, "{role}: {}", got.text);
    }
    // Who may bind a role binds it, whatever is in it.
    world.fake.put(
        "ClusterRole.rbac.authorization.k8s.io",
        "",
        "binder",
        &json!({"rules": [{
            "verbs": ["bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"],
            "resourceNames": ["cluster-admin"],
        }]}),
    );
    world.bind("alice", "binder", "default");
    let got = ask("POST", BINDINGS, &binding("root", "cluster-admin", "bob")).await;
    assert_eq!(got.status.as_u16(), 201, "{}", got.text);
}

#[tokio::test]
async fn an_apply_that_creates_needs_the_right_to_create() {
    let world = World::new().await;
    let rules = json!({"rules": [{"verbs": ["patch", "get"], "apiGroups": [""], "resources": ["configmaps"]}]});
    world.fake.put("ClusterRole.rbac.authorization.k8s.io", "", "patcher", &rules);
    world.bind("alice", "patcher", "default");
    let path = "/api/v1/namespaces/default/configmaps/m";
    let apply = async || {
        let ask = world.user("alice", &[], "PATCH", &format!("{path}?fieldManager=x"));
        ask.patch("apply-patch+yaml", &map("m")).send().await
    };
    let got = apply().await;
    assert!(got.status.as_u16() == 403 && got.text.contains("cannot create resource"), "{}", got.text);
    assert_eq!(world.request("POST", "/api/v1/namespaces/default/configmaps").json(&map("m")).send().await.status, 201);
    let got = apply().await;
    assert!(got.status.as_u16() != 403, "{}", got.text);
}

#[tokio::test]
async fn who_may_impersonate_acts_as_somebody_else_and_the_log_says_so() {
    let world = World::new().await;
    world.bind("bob", "view", "default");
    let got = as_bob(world.user("alice", &[], "GET", PODS)).send().await;
    let message = "users \"bob\" is forbidden: User \"alice\" cannot impersonate resource \"users\" in API group \"\" at \
                   the cluster scope";
    assert_eq!((got.status.as_u16(), &got.json()["message"]), (403, &json!(message)));
    assert_eq!(as_bob(world.request("GET", PODS)).send().await.status.as_u16(), 200);
    let refused = as_bob(world.request("DELETE", &format!("{PODS}/x"))).send().await;
    assert!(refused.status.as_u16() == 403 && refused.text.contains("User \\\"bob\\\" cannot delete"));
    let whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let account = world.request("POST", whoami).header("impersonate-user", "system:serviceaccount:a:robot");
    let info = account.json(&json!({})).send().await.json()["status"]["userInfo"].clone();
    let groups = json!(["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]);
    assert_eq!(info["groups"], groups);
    for wrong in ["impersonate-group", "impersonate-uid"] {
        assert_eq!(world.request("GET", PODS).header(wrong, "x").send().await.status.as_u16(), 400, "{wrong}");
    }
    let lines = world.audited(|line| line["impersonatedUser"]["username"] == "bob" && line["verb"] == "delete").await;
    let line = lines.iter().find(|line| line["verb"] == "delete").unwrap();
    assert_eq!((&line["user"]["username"], &line["responseStatus"]["code"]), (&json!("admin"), &json!(403)));
    assert_eq!(line["objectRef"]["name"], "x");
    assert!(!json!(lines).to_string().contains(&world.secrets.admin_token));
    let writes = as_bob(world.request("POST", "/api/v1/namespaces/default/configmaps"));
    world.bind("bob", "edit", "default");
    assert_eq!(writes.json(&map("m")).send().await.status.as_u16(), 201);
    assert_eq!(world.fake.writes().last().unwrap().user, "bob (by admin)");
}

#[tokio::test]
async fn a_user_gets_a_kubeconfig_with_a_role_until_it_is_revoked() {
    let world = World::new().await;
    world.fake.put("Namespace", "", "kube-system", &json!({}));
    let users = "/skein/v1/users";
    let asked = json!({"user": "alice@example.org", "groups": ["dev"], "role": "view", "namespace": "default"});
    for _ in 0..2 {
        // A second time changes nothing.
        let got = world.socket("POST", users).json(&asked).send().await;
        assert_eq!(got.status.as_u16(), 201, "{}", got.text);
    }
    let got = world.socket("POST", users).json(&asked).send().await;
    assert!(got.text.contains("user: \"alice@example.org\"") && got.text.contains("namespace: \"default\""));
    let token = got.text.split("token: \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let as_alice = |path: &str| world.stranger("GET", path).header("authorization", &format!("Bearer {token}"));
    assert_eq!(as_alice(PODS).send().await.status.as_u16(), 200);
    assert_eq!(as_alice("/api/v1/namespaces/default/secrets").send().await.status.as_u16(), 403);
    for wrong in [
        json!({"user": ""}),
        json!({"user": "system:admin"}),
        json!({"user": "a", "groups": ["system:masters"]}),
        json!({"user": "a", "ttl_seconds": 0}),
        json!({"user": "a", "role": "nope"}),
        json!({"user": "a\nb"}),
    ] {
        let got = world.socket("POST", users).json(&wrong).send().await;
        assert!(matches!(got.status.as_u16(), 400 | 404), "{wrong}: {}", got.text);
        assert_eq!(world.request("POST", users).json(&wrong).send().await.status.as_u16(), 403, "not over the network");
    }
    let certificate = json!({"user": "carol", "role": "edit", "certificate": true});
    let got = world.socket("POST", users).json(&certificate).send().await;
    assert!(got.text.contains("client-key-data: "), "{}", got.text);
    for _ in 0..2 {
        let got = world.socket("POST", "/skein/v1/revoke").json(&json!({"user": "alice@example.org"})).send().await;
        assert_eq!(got.status.as_u16(), 200, "{}", got.text);
        assert_eq!(as_alice(PODS).send().await.status.as_u16(), 401);
    }
}
