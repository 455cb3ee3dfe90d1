//! Sessions with pods in every dialect that clients speak, with pods of this node and of another one.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use skein_node::api::streams::spdy::{Encoder, Frame, Parser};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::client::World;
use crate::fake::Fake;
use crate::host::{GONE, deaf_ended};

const PATIENCE: Duration = Duration::from_secs(20);
const V5: &str = "v5.channel.k8s.io";
const V4: &str = "v4.channel.k8s.io";
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

pub type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// A world with a pod on this node and one on its peer.
pub async fn world() -> World {
    with_pods(World::new().await)
}

/// One whose nodes soon notice that nobody listens any more.
async fn world_that_notices() -> World {
    let fake = Fake::with_sessions(|sessions| sessions.alive_every(Duration::from_millis(50)));
    with_pods(World::of(fake).await)
}

fn with_pods(world: World) -> World {
    for (name, node) in [("here", "goose"), ("there", "gander")] {
        let containers = json!([{"name": "web", "image": "a", "stdin": true}, {"name": GONE, "image": "a"}]);
        let annotations = json!({"kubectl.kubernetes.io/default-container": "web"});
        let pod =
            json!({"metadata": {"annotations": annotations}, "spec": {"nodeName": node, "containers": containers}});
        world.fake.put("Pod", "default", name, &pod);
    }
    world
}

pub fn path(pod: &str, rest: &str) -> String {
    format!("/api/v1/namespaces/default/pods/{pod}/{rest}")
}

async fn dial(world: &World, path: &str, protocols: &str) -> Result<Socket, tungstenite::Error> {
    dial_as(world, &world.secrets.admin_token, path, protocols).await
}

/// The same with this token.
pub async fn dial_as(world: &World, token: &str, path: &str, protocols: &str) -> Result<Socket, tungstenite::Error> {
    let mut request = format!("wss://goose{path}").into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    headers.insert("sec-websocket-protocol", protocols.parse().unwrap());
    let (socket, answer) = tokio_tungstenite::client_async(request, world.tls().await).await?;
    let chosen = answer.headers()["sec-websocket-protocol"].to_str().unwrap();
    assert!(protocols.split(", ").any(|offered| offered == chosen), "{chosen}");
    Ok(socket)
}

/// What a session over channels said until its end: stdout, stderr and the status.
pub async fn hear(socket: &mut Socket) -> (Vec<u8>, Vec<u8>, Value) {
    let (mut out, mut errors, mut status) = (Vec::new(), Vec::new(), Value::Null);
    loop {
        match next(socket).await {
            Message::Binary(bytes) => match bytes[0] {
                1 => out.extend_from_slice(&bytes[1..]),
                2 => errors.extend_from_slice(&bytes[1..]),
                3 => status = serde_json::from_slice(&bytes[1..]).unwrap(),
                other => panic!("channel {other}"),
            },
            Message::Close(Some(frame)) => {
                assert_eq!(frame.code, CloseCode::Normal);
                return (out, errors, status);
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn next(socket: &mut Socket) -> Message {
    let message = tokio::time::timeout(PATIENCE, socket.next()).await.expect("the session says something");
    message.expect("the session ends with a word").unwrap()
}

fn binary(channel: u8, bytes: &[u8]) -> Message {
    Message::Binary([&[channel], bytes].concat().into())
}

#[tokio::test]
async fn a_command_gets_its_input_and_its_end_and_gives_its_output_and_its_exit_code() {
    let world = world().await;
    for pod in ["here", "there"] {
        let script = "cat;%20echo%20bad%20%3E%262;%20exit%203";
        let exec = path(pod, &format!("exec?command=sh&command=-c&command={script}&stdin=1&stdout=1&stderr=1"));
        let mut socket = dial(&world, &exec, V5).await.unwrap();
        socket.send(binary(0, b"hello ")).await.unwrap();
        socket.send(Message::Text("\0world".into())).await.unwrap();
        socket.send(binary(255, &[0])).await.unwrap();
        let (out, errors, status) = hear(&mut socket).await;
        assert_eq!((out.as_slice(), errors.as_slice()), (&b"hello world"[..], &b"bad\n"[..]));
        assert_eq!(status["reason"], "NonZeroExitCode");
        assert_eq!(status["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));
    }
}

#[tokio::test]
async fn a_megabyte_goes_to_a_process_on_another_node_and_back() {
    let world = world().await;
    let mut socket =
        dial(&world, &path("there", "exec?command=cat&stdin=1&stdout=1"), &format!("{V5}, {V4}")).await.unwrap();
    let sent: Vec<u8> = (0..1u32 << 18).flat_map(u32::to_le_bytes).collect();
    let (mut sink, stream) = socket.split();
    let all = sent.clone();
    let writing = tokio::spawn(async move {
        for piece in all.chunks(30_000) {
            sink.send(binary(0, piece)).await.unwrap();
        }
        sink.send(binary(255, &[0])).await.unwrap();
        sink
    });
    let mut heard = Vec::new();
    let mut stream = stream;
    while heard.len() < sent.len() {
        let message = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap().unwrap().unwrap();
        heard.extend_from_slice(&message.into_data()[1..]);
    }
    assert!(heard == sent, "what came back is something else");
    socket = writing.await.unwrap().reunite(stream).unwrap();
    assert_eq!(hear(&mut socket).await.2["status"], "Success");
}

#[tokio::test]
async fn a_terminal_hears_its_size_and_an_attachment_its_input() {
    let world = world().await;
    let mut socket = dial(&world, &path("there", "exec?command=sh&stdout=1&tty=1"), V4).await.unwrap();
    socket.send(binary(4, b"{\"Width\":99,\"Height\":33}\n")).await.unwrap();
    assert_eq!(hear(&mut socket).await.0, b"99x33");
    let mut socket = dial(&world, &path("here", "attach?stdin=1&stdout=1&container=web"), V5).await.unwrap();
    socket.send(binary(0, b"ping")).await.unwrap();
    assert_eq!(next(&mut socket).await, binary(1, b"ping"));
    socket.send(Message::Ping(Bytes::from_static(b"?"))).await.unwrap();
    assert_eq!(next(&mut socket).await, Message::Pong(Bytes::from_static(b"?")));
}

#[tokio::test]
async fn what_cannot_be_had_is_refused_before_anything_is_upgraded() {
    let world = world().await;
    let refused = |path: String, protocols: &'static str| {
        let world = &world;
        async move {
            match dial(world, &path, protocols).await {
                Err(tungstenite::Error::Http(answer)) => {
                    let status: Value = serde_json::from_slice(answer.body().as_deref().unwrap_or_default()).unwrap();
                    (answer.status().as_u16(), status["message"].as_str().unwrap().to_owned())
                }
                other => panic!("{other:?}"),
            }
        }
    };
    let exec = |rest: &str| path("there", &format!("exec?stdout=1&{rest}"));
    assert_eq!(
        refused(exec("command=ls&container=gone"), V5).await,
        (500, "container not found (\"gone\")".to_owned())
    );
    let (code, message) = refused(exec("command=ls&container=db"), V5).await;
    assert!(code == 400 && message.contains("db is not valid"), "{code} {message}");
    let (code, message) = refused(exec("command=ls"), "v9.channel.k8s.io").await;
    assert!(code == 400 && message.contains("v5.channel.k8s.io"), "{code} {message}");
    assert_eq!(refused(path("nobody", "exec?stdout=1&command=ls"), V5).await.0, 404);
    assert_eq!(refused(path("here", "portforward?ports=0"), V4).await.0, 400);
    let plain = world.request("GET", &exec("command=ls")).send().await;
    assert_eq!((plain.status.as_u16(), plain.json()["message"].as_str()), (400, Some("Upgrade request required")));
    assert_eq!(world.stranger("POST", &exec("command=ls")).send().await.status.as_u16(), 401);
    let old = world.request("POST", &exec("command=ls")).header("connection", "upgrade").header("upgrade", "SPDY/3.1");
    let old = old.header("x-stream-protocol-version", "channel.k8s.io").send().await;
    assert!(old.status.as_u16() == 403 && old.text.contains("server accepts [v4.channel.k8s.io]"), "{}", old.text);
}

#[tokio::test]
async fn a_command_ends_with_whoever_asked_for_it() {
    let world = world().await;
    let dir = tempfile::tempdir().unwrap();
    let sign = dir.path().join("pid");
    let script = format!("echo%20$$%20%3E{};%20exec%20sleep%201000", sign.display());
    let exec = path("there", &format!("exec?command=sh&command=-c&command={script}&stdout=1"));
    let socket = dial(&world, &exec, V5).await.unwrap();
    let pid = pid_in(&sign).await;
    drop(socket);
    until_ended(&pid).await;
}

/// The process that writes its number into a file.
async fn pid_in(sign: &std::path::Path) -> String {
    loop {
        match std::fs::read_to_string(sign) {
            Ok(pid) if pid.ends_with('\n') => return pid.trim().to_owned(),
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn until_ended(pid: &str) {
    let begun = Instant::now();
    let runs = || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"));
    while runs() {
        assert!(begun.elapsed() < PATIENCE, "it still runs");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn sessions_end_with_a_word_when_either_daemon_stops() {
    let world = world().await;
    let sleep = path("there", "exec?command=sleep&command=1000&stdout=1");
    let mut ends_there = dial(&world, &sleep, V5).await.unwrap();
    // The command has begun once the daemon is told to stop.
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.fake.node_stops.cancel();
    let (_, _, status) = hear(&mut ends_there).await;
    assert!(status["message"].as_str().unwrap().contains("is stopping"), "{status}");

    let world = self::world().await;
    let mut ends_here = dial(&world, &sleep, V5).await.unwrap();
    let hearing = tokio::spawn(async move { hear(&mut ends_here).await.2 });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = Instant::now();
    world.server.shutdown().await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let status = hearing.await.unwrap();
    assert!(status["message"].as_str().unwrap().contains("this peer is stopping"), "{status}");
}

/// A server that answers each connection with what it heard until its end, and its port.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut heard = Vec::new();
                stream.read_to_end(&mut heard).await.unwrap();
                stream.write_all(&heard).await.unwrap();
            });
        }
    });
    port
}

/// A port where nobody listens while this is held.
fn deaf() -> (tokio::net::TcpSocket, u16) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

#[tokio::test]
async fn ports_are_forwarded_over_channels() {
    let world = world().await;
    let (port, (_deaf, nobody)) = (echo().await, deaf());
    let forward = path("there", &format!("portforward?ports={port},{nobody}"));
    let mut socket = dial(&world, &forward, &format!("{V5}, {V4}")).await.unwrap();
    socket.send(binary(0, b"question")).await.unwrap();
    socket.send(binary(255, &[0])).await.unwrap();
    let mut channels: Vec<Vec<u8>> = vec![Vec::new(); 4];
    loop {
        match next(&mut socket).await {
            Message::Binary(bytes) => channels[usize::from(bytes[0])].extend_from_slice(&bytes[1..]),
            Message::Close(Some(frame)) => break assert_eq!(frame.code, CloseCode::Normal),
            other => panic!("{other:?}"),
        }
    }
    let number = |port: u16| port.to_le_bytes().to_vec();
    assert_eq!(channels[0], [number(port), b"question".to_vec()].concat());
    assert_eq!((&channels[1], &channels[2]), (&number(port), &number(nobody)));
    let why = String::from_utf8(channels[3][2..].to_vec()).unwrap();
    assert!(why.starts_with(&format!("error forwarding port {nobody} to pod there")), "{why}");
    assert!(why.ends_with("connection refused"), "{why}");
}

/// A client that speaks SPDY.
#[derive(Default)]
struct Spdy {
    encoder: Encoder,
    parser: Parser,
}

impl Spdy {
    fn open(&mut self, stream: u32, headers: &[(&str, &str)]) -> Vec<u8> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.encoder.encode(&Frame::Open { stream, fin: false, headers })
    }

    fn data(&mut self, stream: u32, bytes: &'static [u8], fin: bool) -> Vec<u8> {
        self.encoder.encode(&Frame::Data { stream, bytes: Bytes::from_static(bytes), fin })
    }

    /// The streams of one forwarded connection, and all that is said on it.
    fn connection(&mut self, first: u32, port: u16, says: &'static [u8]) -> Vec<u8> {
        let mut all = self.halves(first, port);
        all.extend(self.data(first + 2, says, true));
        all
    }

    /// The streams of one forwarded connection.
    fn halves(&mut self, first: u32, port: u16) -> Vec<u8> {
        let (port, request) = (port.to_string(), first.to_string());
        let headers = |kind| [("streamtype", kind), ("port", port.as_str()), ("requestid", request.as_str())];
        let mut all = self.open(first, &headers("error"));
        all.extend(self.data(first, b"", true));
        all.extend(self.open(first + 2, &headers("data")));
        all
    }
}

/// What came on each stream of the two connections below until both were over.
async fn hear_connections(spdy: &mut Spdy, mut more: impl AsyncFnMut() -> Vec<u8>) -> Vec<Vec<u8>> {
    let (mut said, mut ends) = (vec![Vec::new(); 8], 0);
    while ends < 4 {
        spdy.parser.push(&more().await);
        while let Some(frame) = spdy.parser.frame().unwrap() {
            match frame {
                Frame::Data { stream, bytes, fin } => {
                    said[stream as usize].extend_from_slice(&bytes);
                    ends += usize::from(fin);
                }
                Frame::Reply { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    said
}

fn assert_forwarded(said: &[Vec<u8>], nobody: u16) {
    assert_eq!((said[1].as_slice(), said[3].as_slice(), said[7].as_slice()), (&b""[..], &b"question"[..], &b""[..]));
    let why = String::from_utf8(said[5].clone()).unwrap();
    assert!(why.contains(&format!("error forwarding port {nobody} to pod there")), "{why}");
}

#[tokio::test]
async fn ports_are_forwarded_by_spdy_in_a_websocket_however_its_messages_cut_it() {
    let world = world().await;
    let (port, (_deaf, nobody)) = (echo().await, deaf());
    let mut socket = dial(&world, &path("there", "portforward"), TUNNEL).await.unwrap();
    let mut spdy = Spdy::default();
    let mut bytes = spdy.connection(1, port, b"question");
    bytes.extend(spdy.connection(5, nobody, b"hello"));
    for piece in bytes.chunks(3) {
        socket.send(Message::Binary(Bytes::copy_from_slice(piece))).await.unwrap();
    }
    let said = hear_connections(&mut spdy, async || next(&mut socket).await.into_data().to_vec()).await;
    assert_forwarded(&said, nobody);
}

/// Goes over to SPDY as old clients do.
async fn upgrade(world: &World, path: &str, protocols: &[&str]) -> (TlsStream<TcpStream>, String) {
    let mut stream = world.tls().await;
    let mut head =
        format!("POST {path} HTTP/1.1\r\nHost: goose\r\nAuthorization: Bearer {}\r\n", world.secrets.admin_token);
    head.push_str("Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n");
    for protocol in protocols {
        head.push_str(&format!("X-Stream-Protocol-Version: {protocol}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    assert!(answer.starts_with("http/1.1 101 ") && answer.contains("upgrade: spdy/3.1"), "{answer}");
    (stream, answer)
}

async fn read_some(stream: &mut TlsStream<TcpStream>) -> Vec<u8> {
    let mut chunk = vec![0; 4096];
    let count = tokio::time::timeout(PATIENCE, stream.read(&mut chunk)).await.expect("the session says something");
    let count = count.unwrap();
    assert!(count > 0, "the connection ended");
    chunk.truncate(count);
    chunk
}

#[tokio::test]
async fn ports_are_forwarded_by_plain_spdy() {
    let world = world().await;
    let (port, (_deaf, nobody)) = (echo().await, deaf());
    let (mut stream, answer) = upgrade(&world, &path("there", "portforward"), &["portforward.k8s.io"]).await;
    assert!(answer.contains("x-stream-protocol-version: portforward.k8s.io"), "{answer}");
    let mut spdy = Spdy::default();
    let mut bytes = spdy.connection(1, port, b"question");
    bytes.extend(spdy.connection(5, nobody, b"hello"));
    stream.write_all(&bytes).await.unwrap();
    let said = hear_connections(&mut spdy, async || read_some(&mut stream).await).await;
    assert_forwarded(&said, nobody);
}

#[tokio::test]
async fn a_command_runs_over_plain_spdy_once_its_streams_are_open() {
    let world = world().await;
    let script = "cat;%20echo%20bad%20%3E%262;%20exit%203";
    let exec = path("there", &format!("exec?command=sh&command=-c&command={script}&stdin=1&stdout=1&stderr=1"));
    let (mut stream, answer) = upgrade(&world, &exec, &[V4, "v3.channel.k8s.io", "channel.k8s.io"]).await;
    assert!(answer.contains("x-stream-protocol-version: v4.channel.k8s.io"), "{answer}");
    let mut spdy = Spdy::default();
    for (number, kind) in [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "stderr")] {
        let bytes = spdy.open(number, &[("streamtype", kind)]);
        stream.write_all(&bytes).await.unwrap();
    }
    let bytes = [spdy.data(3, b"hello", false), spdy.data(3, b"", true)].concat();
    stream.write_all(&bytes).await.unwrap();
    let (mut said, mut ends) = (vec![Vec::new(); 8], 0);
    while ends < 3 {
        spdy.parser.push(&read_some(&mut stream).await);
        while let Some(frame) = spdy.parser.frame().unwrap() {
            if let Frame::Data { stream, bytes, fin } = frame {
                said[stream as usize].extend_from_slice(&bytes);
                ends += usize::from(fin);
            }
        }
    }
    assert_eq!((said[5].as_slice(), said[7].as_slice()), (&b"hello"[..], &b"bad\n"[..]));
    let status: Value = serde_json::from_slice(&said[1]).unwrap();
    assert_eq!(status["details"]["causes"][0]["message"], "3");
}

#[tokio::test]
async fn a_client_that_speaks_no_spdy_after_all_is_cut_off() {
    let world = world().await;
    let (mut stream, _) = upgrade(&world, &path("here", "exec?command=cat&stdin=1&stdout=1"), &[V4]).await;
    stream.write_all(&[0xff; 64]).await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it is cut off").unwrap();
}

/// Waits until the connections to a deaf port have ended.
async fn until_deaf_ended(port: u16, connections: usize) {
    let begun = Instant::now();
    while deaf_ended(port) < connections {
        assert!(begun.elapsed() < PATIENCE, "the connection outlives whoever asked for it");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn connections_with_a_pod_that_takes_nothing_in_end_with_their_client() {
    static PIECE: [u8; 16 << 10] = [7; 16 << 10];
    let world = world_that_notices().await;
    let mut socket = dial(&world, &path("there", "portforward?ports=1"), V4).await.unwrap();
    for _ in 0..20 {
        socket.send(binary(0, &PIECE)).await.unwrap();
    }
    drop(socket);
    until_deaf_ended(1, 1).await;
    let mut spdy = Spdy::default();
    let mut bytes = spdy.halves(1, 2);
    for _ in 0..20 {
        bytes.extend(spdy.data(3, &PIECE, false));
    }
    let mut socket = dial(&world, &path("there", "portforward"), TUNNEL).await.unwrap();
    for piece in bytes.chunks(PIECE.len()) {
        socket.send(Message::Binary(Bytes::copy_from_slice(piece))).await.unwrap();
    }
    drop(socket);
    until_deaf_ended(2, 1).await;
}

#[tokio::test]
async fn a_connection_that_its_client_resets_ends_though_its_pod_takes_nothing_in() {
    let world = world_that_notices().await;
    let (mut stream, _) = upgrade(&world, &path("there", "portforward"), &["portforward.k8s.io"]).await;
    let mut spdy = Spdy::default();
    let mut bytes = spdy.halves(1, 3);
    for _ in 0..3 {
        bytes.extend(spdy.data(3, &[7; 4096], false));
    }
    stream.write_all(&bytes).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(deaf_ended(3), 0);
    let reset = spdy.encoder.encode(&Frame::Reset { stream: 3 });
    stream.write_all(&reset).await.unwrap();
    until_deaf_ended(3, 1).await;
}

#[tokio::test]
async fn a_command_that_closes_its_output_and_reads_nothing_ends_with_whoever_asked_for_it() {
    let world = world_that_notices().await;
    let dir = tempfile::tempdir().unwrap();
    let sign = dir.path().join("pid");
    let script = format!("exec%20%3E/dev/null%202%3E%261;%20echo%20$$%20%3E{};%20exec%20sleep%201000", sign.display());
    let exec = path("there", &format!("exec?command=sh&command=-c&command={script}&stdin=1&stdout=1&stderr=1"));
    let mut socket = dial(&world, &exec, V5).await.unwrap();
    let pid = pid_in(&sign).await;
    for _ in 0..20 {
        socket.send(binary(0, &[7; 16 << 10])).await.unwrap();
    }
    drop(socket);
    until_ended(&pid).await;
}
