//! What the audit log says of those who would rather not be in it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::client::World;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn a_write_whose_client_hangs_up_is_written_down() {
    let world = World::new().await;
    let held = world.fake.answering.write().await;
    let body = json!({"metadata": {"name": "m"}}).to_string();
    let head = format!(
        "POST {MAPS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        world.secrets.admin_token,
        body.len()
    );
    let mut stream = world.tls().await;
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    while world.fake.writes().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(stream);
    let lines = world.audited(|line| line["responseStatus"]["code"] == 499).await;
    let line = lines.last().unwrap();
    assert_eq!((&line["verb"], &line["user"]["username"]), (&json!("create"), &json!("admin")));
    assert_eq!((&line["objectRef"]["resource"], &line["stage"]), (&json!("configmaps"), &json!("ResponseComplete")));
    drop(held);
    assert_eq!(world.request("GET", &format!("{MAPS}/m")).send().await.status.as_u16(), 200, "it was done");
}

#[tokio::test]
async fn who_does_not_show_who_they_are_cannot_fill_the_log() {
    let world = World::new().await;
    let method = "X".repeat(4000);
    for _ in 0..100 {
        assert_eq!(world.stranger(&method, "/api/v1/secrets").send().await.status.as_u16(), 401);
    }
    world.request("GET", MAPS).send().await;
    let lines = world.audited(|line| line["user"]["username"] == "admin").await;
    let strangers: Vec<&Value> = lines.iter().filter(|line| line["responseStatus"]["code"] == 401).collect();
    assert_eq!((strangers.len(), lines.len()), (1, 2), "once in a minute for an address");
    assert_eq!(strangers[0]["verb"], "x".repeat(16));
}

#[tokio::test]
async fn who_is_refused_to_act_as_another_is_named() {
    let world = World::new().await;
    let got = world.user("mallory", &[], "GET", MAPS).header("impersonate-user", "admin").send().await;
    assert_eq!(got.status.as_u16(), 403);
    let lines = world.audited(|line| line["responseStatus"]["code"] == 403).await;
    assert_eq!(lines.last().unwrap()["user"]["username"], "mallory");
}

#[tokio::test]
async fn what_was_asked_for_is_named_however_it_was_written() {
    let world = World::new().await;
    world.fake.put("Secret", "default", "db", &json!({}));
    for path in ["/api/v1/namespaces/default/%73ecrets/db", "/%61pi/v1/namespaces/defaul%74/secrets/db"] {
        let got = world.request("GET", path).header("user-agent", path).send().await;
        assert_eq!(got.status.as_u16(), 200, "{}", got.text);
        let lines = world.audited(|line| line["userAgent"] == path).await;
        let object = json!({"resource": "secrets", "apiVersion": "v1", "namespace": "default", "name": "db"});
        assert_eq!(lines.last().unwrap()["objectRef"], object);
    }
}
