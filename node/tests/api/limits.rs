//! Who opens connections without saying who they are, from addresses of their own on loopback.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::client::World;

const PATIENCE: Duration = Duration::from_secs(10);
/// As many as an address may have without proving anything.
const OF_ADDRESS: usize = 256;

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
