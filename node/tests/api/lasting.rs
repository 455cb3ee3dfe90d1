//! Answers that go on, and connections that stay open, end with what their client showed.

use std::time::Duration;

use serde_json::json;
use skein_node::api::shell::now_ms;
use skein_node::pki::client::issue;
use skein_node::pki::token::Claims;

use crate::client::{Ask, Lines, World, now_s};
use crate::rotation::{ask, rotate};
use crate::sessions::{self, dial_as, hear};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// How often it is looked whether what a client showed counts still, and time to notice.
const SOON: Duration = Duration::from_secs(7);

fn with<'a>(world: &'a World, token: &str, path: &str) -> Ask<'a> {
    world.stranger("GET", path).header("authorization", &format!("Bearer {token}"))
}

async fn watch(world: &World, token: &str) -> Lines {
    Lines::new(with(world, token, &format!("{MAPS}?watch=1")).open().await)
}

fn token_of(world: &World, user: &str, ttl_s: u64) -> String {
    world.sign(Claims::of_user(user, Vec::new(), now_s(), ttl_s))
}

#[tokio::test]
async fn a_certificate_ends_on_a_connection_that_stays_open() {
    let world = World::new().await;
    let alice = issue(&world.secrets, "alice", None, now_s(), 2).unwrap();
    let mut open = world.tls_as(Some(&alice)).await.unwrap();
    assert_eq!(ask(&mut open, "").await, "200");
    tokio::time::sleep(Duration::from_millis(3200)).await;
    assert_eq!(ask(&mut open, "").await, "401");
}

#[tokio::test]
async fn a_certificate_that_is_made_after_a_revocation_counts_and_one_of_before_does_not() {
    let world = World::new().await;
    world.fake.put("Namespace", "", "kube-system", &json!({}));
    let before = issue(&world.secrets, "alice", None, now_s() - 30, 600).unwrap();
    let get = async |certificate| {
        let got = world.stranger("GET", "/version").certificate(certificate).send().await;
        got.status.as_u16()
    };
    assert_eq!(get(&before).await, 200);
    let got = world.socket("POST", "/skein/v1/revoke").json(&json!({"user": "alice"})).send().await;
    assert_eq!(got.status.as_u16(), 200, "{}", got.text);
    assert_eq!(get(&before).await, 401);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let after = issue(&world.secrets, "alice", None, now_s(), 600).unwrap();
    assert_eq!(get(&after).await, 200);
}

#[tokio::test]
async fn what_is_made_in_the_moment_after_a_revocation_counts() {
    let world = World::new().await;
    world.fake.put("Namespace", "", "kube-system", &json!({}));
    let post = async |path: &str, body| world.socket("POST", path).json(&body).send().await;
    for _ in 0..3 {
        assert_eq!(post("/skein/v1/revoke", json!({"user": "alice"})).await.status.as_u16(), 200);
        let made = post("/skein/v1/users", json!({"user": "alice"})).await.text;
        let token = made.split("token: \"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(with(&world, token, "/version").send().await.status.as_u16(), 200);
    }
}

#[tokio::test]
async fn a_watch_goes_on_through_a_rotation_and_ends_with_its_grace() {
    let world = World::new().await;
    world.bind("alice", "view", "");
    let admin = world.secrets.admin_token.clone();
    let mut watches = vec![watch(&world, &admin).await, watch(&world, &token_of(&world, "alice", 600)).await];
    let certificate = issue(&world.secrets, "alice", None, now_s(), 600).unwrap();
    let by_certificate = world.stranger("GET", &format!("{MAPS}?watch=1")).certificate(&certificate);
    watches.push(Lines::new(by_certificate.open().await));
    rotate(&world, now_ms() + 3000);
    world.fake.put("ConfigMap", "default", "after-the-rotation", &json!({}));
    for lines in &mut watches {
        assert_eq!(lines.next().await.unwrap()["object"]["metadata"]["name"], "after-the-rotation");
    }
    let begun = now_ms();
    for lines in &mut watches {
        lines.ended().await;
    }
    let took_ms = now_ms() - begun;
    assert!((1000..4000).contains(&took_ms), "they ended with the grace: {took_ms} ms");
}

#[tokio::test]
async fn a_removal_ends_watches_logs_and_sessions_at_once() {
    let world = sessions::world().await;
    let admin = world.secrets.admin_token.clone();
    let mut watched = watch(&world, &admin).await;
    let log = with(&world, &admin, &sessions::path("here", "log?follow=1&container=web")).open().await;
    let mut log = Lines::new(log);
    let sleep = sessions::path("there", "exec?command=sleep&command=1000&stdout=1");
    let mut session = dial_as(&world, &admin, &sleep, "v5.channel.k8s.io").await.unwrap();
    rotate(&world, 0);
    for lines in [&mut watched, &mut log] {
        assert!(lines.ended().await < Duration::from_secs(2));
    }
    let (_, _, status) = tokio::time::timeout(Duration::from_secs(2), hear(&mut session)).await.unwrap();
    assert!(status["message"].as_str().unwrap().contains("counts no more"), "{status}");
}

#[tokio::test]
async fn what_goes_on_ends_with_the_token_or_the_certificate_that_opened_it() {
    let world = sessions::world().await;
    world.bind("alice", "cluster-admin", "");
    let token = token_of(&world, "alice", 3);
    let mut watched = watch(&world, &token).await;
    let mut log = Lines::new(with(&world, &token, &sessions::path("there", "log?follow=1&container=web")).open().await);
    let certificate = issue(&world.secrets, "alice", None, now_s(), 2).unwrap();
    let ask = world.stranger("GET", &format!("{MAPS}?watch=1")).certificate(&certificate);
    let mut by_certificate = Lines::new(ask.open().await);
    let forward = sessions::path("here", "exec?command=sleep&command=1000&stdout=1");
    let mut session = dial_as(&world, &token, &forward, "v5.channel.k8s.io").await.unwrap();
    for lines in [&mut watched, &mut log, &mut by_certificate] {
        assert!(lines.ended().await < Duration::from_secs(4));
    }
    hear(&mut session).await;
}

#[tokio::test]
async fn a_watch_ends_soon_after_a_revocation_and_after_the_end_of_its_account() {
    let world = World::new().await;
    world.fake.put("Namespace", "", "kube-system", &json!({}));
    world.fake.put("ServiceAccount", "default", "robot", &json!({}));
    world.bind("alice", "view", "");
    world.bind("system:serviceaccount:default:robot", "view", "");
    let made =
        world.request("POST", "/api/v1/namespaces/default/serviceaccounts/robot/token").json(&json!({"spec": {}}));
    let robot = made.send().await.json()["status"]["token"].as_str().unwrap().to_owned();
    let mut of_alice = watch(&world, &token_of(&world, "alice", 600)).await;
    let mut of_robot = watch(&world, &robot).await;
    let mut of_admin = watch(&world, &world.secrets.admin_token).await;
    world.socket("POST", "/skein/v1/revoke").json(&json!({"user": "alice"})).send().await;
    world.request("DELETE", "/api/v1/namespaces/default/serviceaccounts/robot").send().await;
    assert!(of_alice.ended().await < SOON);
    assert!(of_robot.ended().await < SOON);
    world.fake.put("ConfigMap", "default", "later", &json!({}));
    assert_eq!(of_admin.next().await.unwrap()["object"]["metadata"]["name"], "later");
}
