//! Tokens of accounts: who gets one, whose it is, and what it ends with.

use serde_json::{Value, json};

use crate::client::World;

const ROBOT: &str = "/api/v1/namespaces/default/serviceaccounts/robot/token";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

async fn world() -> World {
    let world = World::new().await;
    world.fake.put("ServiceAccount", "default", "robot", &json!({}));
    world
}

async fn request(world: &World, spec: Value) -> Value {
    let got = world.request("POST", ROBOT).json(&json!({"spec": spec})).send().await;
    assert_eq!(got.status.as_u16(), 201, "{}", got.text);
    got.json()
}

async fn code_with(world: &World, token: &Value, path: &str) -> u16 {
    let bearer = format!("Bearer {}", token["status"]["token"].as_str().unwrap());
    world.stranger("GET", path).header("authorization", &bearer).send().await.status.as_u16()
}

async fn review(world: &World, token: &Value, audiences: &[&str]) -> Value {
    let spec = json!({"token": token["status"]["token"], "audiences": audiences});
    let got = world.request("POST", REVIEWS).json(&json!({"spec": spec})).send().await;
    assert_eq!(got.status.as_u16(), 201, "{}", got.text);
    got.json()["status"].clone()
}

#[tokio::test]
async fn an_accounts_token_acts_as_the_account_and_ends_with_it() {
    let world = world().await;
    let token = request(&world, json!({})).await;
    assert_eq!((&token["kind"], &token["apiVersion"]), (&json!("TokenRequest"), &json!("authentication.k8s.io/v1")));
    assert_eq!(token["spec"]["expirationSeconds"], 3600);
    assert!(token["status"]["expirationTimestamp"].as_str().unwrap().ends_with('Z'));
    let pods = "/api/v1/namespaces/default/pods";
    assert_eq!(code_with(&world, &token, pods).await, 403);
    world.bind("system:serviceaccount:default:robot", "view", "default");
    assert_eq!(code_with(&world, &token, pods).await, 200);
    let status = review(&world, &token, &[]).await;
    let groups = json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]);
    assert_eq!((&status["authenticated"], &status["user"]["groups"]), (&json!(true), &groups));
    assert_eq!(status["user"]["username"], "system:serviceaccount:default:robot");
    assert_eq!(status["user"]["uid"], "uid-robot-1");
    world.request("DELETE", "/api/v1/namespaces/default/serviceaccounts/robot").send().await;
    assert_eq!(code_with(&world, &token, pods).await, 401);
    world.fake.put("ServiceAccount", "default", "robot", &json!({}));
    assert_eq!(code_with(&world, &token, pods).await, 401, "it is another life of the account");
    let status = review(&world, &token, &[]).await;
    assert!(status["authenticated"].is_null() && status["error"].as_str().unwrap().contains("there no more"));
}

#[tokio::test]
async fn a_token_for_somebody_else_opens_nothing_here() {
    let world = world().await;
    let token = request(&world, json!({"audiences": ["vault"], "expirationSeconds": 600})).await;
    assert_eq!(code_with(&world, &token, "/version").await, 401);
    assert_eq!(review(&world, &token, &["vault", "x"]).await["audiences"], json!(["vault"]));
    let status = review(&world, &token, &[]).await;
    assert!(status["error"].as_str().unwrap().contains("vault"), "{status}");
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_pod_ends_with_the_pod() {
    let world = world().await;
    let containers = json!([{"name": "c", "image": "i"}]);
    let pod = json!({"spec": {"serviceAccountName": "robot", "containers": containers}});
    let pod = world.fake.put("Pod", "default", "web", &pod);
    world.fake.put("Pod", "default", "other", &json!({"spec": {"containers": containers}}));
    let to = |name: &str, uid: &str| json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": name, "uid": uid}});
    let token = request(&world, to("web", "uid-web-1")).await;
    assert_eq!(code_with(&world, &token, "/version").await, 200);
    for (spec, code) in [
        (to("web", "uid-web-9"), 409),
        (to("none", ""), 404),
        (to("other", ""), 400),
        (json!({"boundObjectRef": {"kind": "Node", "apiVersion": "v1", "name": "x"}}), 400),
        (json!({"expirationSeconds": 599}), 422),
        (json!({"expirationSeconds": -1}), 422),
        (json!({"expirationSeconds": 1u64 << 33}), 422),
    ] {
        let got = world.request("POST", ROBOT).json(&json!({"spec": spec})).send().await;
        assert_eq!(got.status.as_u16(), code, "{spec}: {}", got.text);
    }
    let missing = "/api/v1/namespaces/default/serviceaccounts/none/token";
    assert_eq!(world.request("POST", missing).json(&json!({})).send().await.status.as_u16(), 404);
    world.request("DELETE", &format!("/api/v1/namespaces/default/pods/{}", pod.name)).send().await;
    assert_eq!(code_with(&world, &token, "/version").await, 401);
}

#[tokio::test]
async fn a_pod_whose_account_is_not_there_is_refused_as_by_a_real_server() {
    let world = World::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = |account: &str| {
        json!({"metadata": {"name": "web"}, "spec": {"serviceAccountName": account,
            "containers": [{"name": "c", "image": "i"}]}})
    };
    let got = world.request("POST", pods).json(&pod("robot")).send().await;
    assert_eq!(got.status.as_u16(), 403, "{}", got.text);
    let why = "pods \"web\" is forbidden: error looking up service account default/robot: \
               serviceaccount \"robot\" not found";
    assert_eq!(got.json()["message"], why);
    world.fake.put("ServiceAccount", "default", "robot", &json!({}));
    let got = world.request("POST", pods).json(&pod("robot")).send().await;
    assert_eq!(got.status.as_u16(), 201, "{}", got.text);
}

#[tokio::test]
async fn who_may_not_make_tokens_gets_none() {
    let world = world().await;
    world.bind("viewer", "view", "default");
    world.bind("editor", "edit", "default");
    for (user, code) in [("viewer", 403), ("editor", 201)] {
        let got = world.user(user, &[], "POST", ROBOT).json(&json!({"spec": {}})).send().await;
        assert_eq!(got.status.as_u16(), code, "{user}: {}", got.text);
        let review = world.user(user, &[], "POST", REVIEWS).json(&json!({"spec": {"token": "x"}})).send().await;
        assert_eq!(review.status.as_u16(), 403);
    }
    // The token of one account is no way to another one's rights.
    let got = world.request("POST", REVIEWS).json(&json!({"spec": {}})).send().await;
    assert_eq!(got.status.as_u16(), 400, "{}", got.text);
}
