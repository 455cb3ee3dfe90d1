//! What counts after the cluster's keys were rotated: on new connections and on those that were open before.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::json;
use skein_node::api::server::SOCKET_FILE;
use skein_node::api::shell::now_ms;
use skein_node::pki::ClusterSecrets;
use skein_node::pki::client::issue;
use skein_node::pki::epochs::Turn;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::client::{World, now_s};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// Turns to a new set; what was issued before counts until then.
pub fn rotate(world: &World, lapse_ms: u64) -> ClusterSecrets {
    let new = ClusterSecrets::found("home").unwrap();
    let turn = Turn { epoch: new.epoch(), lapse_ms };
    world
        .identity
        .change(|epochs| {
            epochs.insert(new.clone());
            let turns = epochs.turns().iter().copied().chain([turn]).collect();
            epochs.set_turns(turns);
        })
        .unwrap();
    new
}

/// The status of one request on a connection that stays open.
pub async fn ask(stream: &mut tokio_rustls::client::TlsStream<tokio::net::TcpStream>, header: &str) -> String {
    let request = format!("GET /apis/authentication.k8s.io HTTP/1.1\r\nhost: x\r\n{header}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    loop {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).await.unwrap();
        assert!(count > 0, "the connection ended: {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let (Some(length), Some((_, body))) = (length, text.split_once("\r\n\r\n")) else { continue };
        if body.len() >= length.parse::<usize>().unwrap() {
            return text.split(' ').nth(1).unwrap().to_owned();
        }
    }
}

#[tokio::test]
async fn a_certificate_on_an_open_connection_counts_until_the_rotation_lapses() {
    let world = World::new().await;
    let alice = issue(&world.secrets, "alice", None, now_s(), 600).unwrap();
    let mut open = world.tls_as(Some(&alice)).await.unwrap();
    assert_eq!(ask(&mut open, "").await, "200");
    rotate(&world, now_ms() + 60_000);
    assert_eq!(ask(&mut open, "").await, "200", "during the grace");
    rotate(&world, 0);
    assert_eq!(ask(&mut open, "").await, "401", "after it");
    let mut new = world.tls_as(Some(&alice)).await.unwrap();
    assert_eq!(ask(&mut new, "").await, "401", "also on a new connection");
}

#[tokio::test]
async fn a_token_on_an_open_connection_counts_until_the_rotation_lapses() {
    let world = World::new().await;
    let header = format!("authorization: Bearer {}\r\n", world.secrets.admin_token);
    let mut open = world.tls().await;
    assert_eq!(ask(&mut open, &header).await, "200");
    let new = rotate(&world, now_ms() + 60_000);
    assert_eq!(ask(&mut open, &header).await, "200", "during the grace");
    let newer = rotate(&world, 0);
    assert_eq!(ask(&mut open, &header).await, "401", "after it");
    assert_eq!(ask(&mut open, &format!("authorization: Bearer {}\r\n", new.admin_token)).await, "401");
    assert_eq!(ask(&mut open, &format!("authorization: Bearer {}\r\n", newer.admin_token)).await, "200");
    // Who trusts the first authority alone has come in again all the same.
    assert_eq!(world.request("GET", PODS).send().await.status.as_u16(), 401);
}

#[tokio::test]
async fn a_certificate_of_the_new_authority_counts_on_the_running_server_and_new_kubeconfigs_are_of_it() {
    let world = World::new().await;
    let new = rotate(&world, now_ms() + 60_000);
    world.bind("alice", "view", "default");
    let alice = issue(&new, "alice", None, now_s(), 600).unwrap();
    assert_eq!(world.stranger("GET", PODS).certificate(&alice).send().await.status.as_u16(), 200);
    let base64 = |text: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(text)
    };
    let kubeconfig = world.socket("GET", "/skein/v1/kubeconfig").send().await.text;
    assert!(kubeconfig.contains(&new.admin_token));
    let both = format!("{}{}", new.ca_certificate, world.secrets.ca_certificate);
    assert!(kubeconfig.contains(&base64(&both)), "the earlier one counts still");
    let newest = rotate(&world, 0);
    let kubeconfig = world.socket("GET", "/skein/v1/kubeconfig").send().await.text;
    assert!(kubeconfig.contains(&base64(&newest.ca_certificate)), "the current one alone");
}

#[tokio::test]
async fn a_rotation_is_asked_for_on_the_socket_alone_and_follows_a_removal_unless_the_keys_are_kept() {
    let world = World::new().await;
    assert_eq!(world.request("POST", "/skein/v1/rotate").send().await.status.as_u16(), 403);
    let rotated = world.socket("POST", "/skein/v1/rotate").send().await;
    assert_eq!(rotated.json()["lapse_ms"], 24 * 3600 * 1000, "{}", rotated.text);
    for wrong in [json!({"grace_seconds": -1}), json!({"grace": 1}), json!({"grace_seconds": u64::MAX})] {
        let got = world.socket("POST", "/skein/v1/rotate").json(&wrong).send().await;
        assert_eq!(got.status.as_u16(), 400, "{wrong}");
    }
    let remove = async |body| world.socket("POST", "/skein/v1/remove").json(&body).send().await.json();
    assert_eq!(remove(json!({"peer": "b"})).await["rotated"]["lapse_ms"], 0);
    assert_eq!(remove(json!({"peer": "b", "grace_seconds": 5})).await["rotated"]["lapse_ms"], 5000);
    assert_eq!(remove(json!({"peer": "b", "keep_keys": true})).await["rotated"], json!(null));
}

/// How many removals were begun, and how many rotations were made.
fn counted(world: &World) -> (usize, usize) {
    (world.fake.removals.load(Relaxed), world.fake.rotations.load(Relaxed))
}

#[tokio::test]
async fn a_removal_goes_on_to_its_rotation_though_whoever_asked_hangs_up() {
    let world = World::new().await;
    let mut stream = UnixStream::connect(world.dir.path().join(SOCKET_FILE)).await.unwrap();
    let body = r#"{"peer": "slow"}"#;
    let head = format!("POST /skein/v1/remove HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let begun = async |wanted: (usize, usize)| {
        for _ in 0..200 {
            if counted(&world) == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?} and not {wanted:?}", counted(&world));
    };
    begun((1, 0)).await;
    drop(stream);
    begun((1, 1)).await;
}

#[tokio::test]
async fn a_removal_that_was_cut_short_is_repeated_to_change_the_keys_and_one_that_was_not_is_refused() {
    let world = World::new().await;
    let remove = async |body| world.socket("POST", "/skein/v1/remove").json(&body).send().await;
    assert_eq!(remove(json!({"peer": "gone"})).await.json()["rotated"]["lapse_ms"], 0);
    for body in [json!({"peer": "gone", "keep_keys": true}), json!({"peer": "long-gone"})] {
        let got = remove(body.clone()).await;
        assert_eq!(got.status.as_u16(), 422, "{body}");
        assert!(got.text.contains("was removed already"), "{}", got.text);
    }
    assert_eq!(counted(&world), (3, 1));
}
