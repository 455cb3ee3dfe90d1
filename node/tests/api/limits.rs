//! Who opens connections without saying who they are, from addresses of their own on loopback.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::client::World;

const PATIENCE: Duration = Duration::from_secs(10);
/// As many as an address may have without proving anything.
const OF_ADDRESS: usize = 256;
/// As many as one user may have who is no administrator.
const CONNECTIONS_OF_USER: usize = 500;
const WATCHES_OF_USER: usize = 250;
const LOGS_OF_USER: usize = 64;

async fn connect(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(to).await.unwrap()
}

async fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_connections_of_one_address_keep_no_client_out() {
    let world = World::new().await;
    let mut held = Vec::new();
    for _ in 0..OF_ADDRESS + 100 {
        held.push(connect([127, 0, 0, 66], world.server.address()).await);
    }
    let gone = || world.metrics.api_refusals.get("guests-of-address");
    soon("all but so many are closed", || gone() == 100).await;
    assert_eq!(world.metrics.api_refusals.get("guests"), 0);
    let start = Instant::now();
    assert_eq!(world.request("GET", "/api/v1/configmaps").send().await.status.as_u16(), 200);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    // The oldest had to go, and the newest are there.
    assert_eq!(held[0].read(&mut [0]).await.unwrap_or(0), 0);
    let newest = held.last_mut().unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(300), newest.read(&mut [0])).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_client_is_counted_by_what_was_wrong() {
    let world = World::new().await;
    for _ in 0..3 {
        let mut stream = connect([127, 0, 0, 1], world.server.address()).await;
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.unwrap();
    }
    soon("three handshakes failed", || world.metrics.api_refusals.get("tls-handshake") == 3).await;
    assert_eq!(world.stranger("GET", "/api/v1/configmaps").send().await.status.as_u16(), 401);
    assert_eq!(world.metrics.api_refusals.get("unauthorized"), 1);
    let text = world.request("GET", "/metrics").send().await.text;
    assert!(text.contains("\nskein_api_refusals_total{reason=\"tls-handshake\"} 3\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_user_has_a_share_of_the_watches_and_others_have_room() {
    let world = World::new().await;
    world.bind("pod", "view", "default");
    world.bind("alice", "view", "default");
    let path = "/api/v1/namespaces/default/configmaps?watch=1";
    let watch = |user: &str| world.user(user, &[], "GET", path).open();
    let mut held = Vec::new();
    for _ in 0..WATCHES_OF_USER {
        let answer = watch("pod").await;
        assert_eq!(answer.status().as_u16(), 200);
        held.push(answer);
    }
    let refused = world.user("pod", &[], "GET", path).send().await;
    assert!(refused.status.as_u16() == 429 && refused.headers.contains_key("retry-after"), "{}", refused.text);
    assert_eq!(watch("alice").await.status().as_u16(), 200);
    assert_eq!(world.request("GET", path).open().await.status().as_u16(), 200);
    // A place is free again when its client goes away.
    drop(held.pop());
    let start = Instant::now();
    while watch("pod").await.status().as_u16() != 200 {
        assert!(start.elapsed() < PATIENCE, "a watch that ended counts for ever");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_user_reads_so_many_logs_and_others_have_room_for_theirs() {
    let world = crate::sessions::world().await;
    for user in ["pod", "alice"] {
        world.bind(user, "view", "default");
    }
    let mut held = Vec::new();
    for (n, pod) in ["here", "there"].iter().cycle().take(LOGS_OF_USER).enumerate() {
        let path = crate::sessions::path(pod, "log?follow=1&container=web");
        let answer = world.user("pod", &[], "GET", &path).open().await;
        assert_eq!(answer.status().as_u16(), 200, "{n}");
        held.push(answer);
    }
    let path = crate::sessions::path("here", "log?container=web");
    let refused = world.user("pod", &[], "GET", &path).send().await;
    assert_eq!(refused.status.as_u16(), 429, "{}", refused.text);
    assert_eq!(world.user("alice", &[], "GET", &path).send().await.text, "one\ntwo\nthree\n");
}

#[tokio::test]
async fn a_connection_that_answers_nothing_makes_room_before_one_that_does() {
    let world = World::new().await;
    world.bind("pod", "view", "default");
    let watched = world.user("pod", &[], "GET", "/api/v1/namespaces/default/configmaps?watch=1").open().await;
    let token = world.sign(skein_node::pki::token::Claims::of_user("pod", Vec::new(), crate::client::now_s(), 600));
    let header = format!("authorization: Bearer {token}\r\n");
    let mut held = Vec::new();
    // With the one that watches, one more than a user may have.
    for _ in 0..CONNECTIONS_OF_USER {
        let mut stream = world.tls().await;
        assert_eq!(crate::rotation::ask(&mut stream, &header).await, "200");
        held.push(stream);
    }
    soon("one had to go", || world.metrics.api_refusals.get("connections-of-user") == 1).await;
    assert_eq!(held[0].read(&mut [0]).await.unwrap_or(0), 0, "the oldest that is idle");
    assert_eq!(crate::rotation::ask(&mut held[1], &header).await, "200");
    world.fake.put("ConfigMap", "default", "m", &serde_json::json!({}));
    assert!(crate::client::Lines::new(watched).next().await.is_some(), "the watch goes on");
}

#[test]
fn a_long_name_above_many_values_is_not_copied_for_each() {
    let body = format!("{{\"{}\":[{}0]}}", "x".repeat(1_500_000), "0,".repeat(780_000));
    let before = std::time::Instant::now();
    assert!(skein_kube::body::decode(None, body.as_bytes()).is_ok());
    // A copy for each would be a terabyte.
    assert!(before.elapsed() < std::time::Duration::from_secs(20), "{:?}", before.elapsed());
}
