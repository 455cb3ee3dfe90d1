//! A stranger who reaches every port and tries every protocol and every URL never receives a planted canary, nor any other
//! byte of what the cluster holds.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use skein_tests::api::Api;
use skein_tests::cluster::Cluster;
use skein_tests::daemon::Start;
use skein_tests::failure::{Outcome, ensure};
use skein_tests::http::{Connection, Request};
use skein_tests::knock::Knock;
use skein_tests::lab::Lab;
use skein_tests::manifests::{config_map, core, namespace};
use skein_tests::steps::Steps;

/// What must not be seen. It stands in a name, a key, a value, a label and a namespace.
const CANARY: &str = "canary-7f3a91c2";
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a silent connection is listened to.
const LISTEN: Duration = Duration::from_millis(700);

/// What may be answered to anyone: that the daemon is there.
const OPEN: [&str; 4] = ["/healthz", "/livez", "/readyz", "/version"];

const URLS: [&str; 38] = [
    "/",
    "/api",
    "/apis",
    "/api/v1",
    "/apis/apps/v1",
    "/api/v1/namespaces",
    "/api/v1/namespaces/canary-7f3a91c2",
    "/api/v1/configmaps",
    "/api/v1/configmaps?watch=true",
    "/api/v1/namespaces/default/configmaps",
    "/api/v1/namespaces/default/configmaps/canary-7f3a91c2",
    "/api/v1/namespaces/default/configmaps/canary-7f3a91c2/",
    "/api/v1/namespaces/default/configmaps?fieldSelector=metadata.name=canary-7f3a91c2",
    "/api/v1/watch/namespaces/default/configmaps",
    "/api/v1/nodes",
    "/api/v1/pods",
    "/api/v1/pods?watch=1&allowWatchBookmarks=true",
    "/api/v1/namespaces/default/pods/canary-7f3a91c2/log",
    "/api/v1/namespaces/default/pods/canary-7f3a91c2/log?follow=true",
    "/api/v1/namespaces/default/pods/canary-7f3a91c2/exec?command=id",
    "/api/v1/events",
    "/api/v1/services",
    "/api/v1/secrets",
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/replicasets",
    "/apis/apps/v1/namespaces/default/deployments/canary-7f3a91c2/scale",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/openapi/v3/api/v1",
    "/skein/v1/peers",
    "/skein/v1/leader",
    "/skein/v1/state-hash",
    "/skein/v1/kubeconfig",
    "/skein/v1/tokens",
    "/skein/v1/why?pod=canary-7f3a91c2",
    "/debug/pprof",
    "/%2e%2e/%2e%2e/api/v1/configmaps",
];

/// What members speak among themselves, and what libp2p peers often do.
const PROTOCOLS: [&str; 12] = [
    "/skein/control/1",
    "/skein/bulk/1",
    "/skein/stream/1",
    "/skein/admission/1",
    "/ipfs/id/1.0.0",
    "/ipfs/id/push/1.0.0",
    "/ipfs/ping/1.0.0",
    "/ipfs/kad/1.0.0",
    "/meshsub/1.1.0",
    "/libp2p/circuit/relay/0.2.0/hop",
    "/libp2p/dcutr",
    "/skein/control/2",
];
/// All that a stranger may have opened: asking to be let in, and libp2p's own introduction.
const OPEN_PROTOCOLS: [&str; 3] = ["/skein/admission/1", "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0"];

#[test]
fn a_stranger_never_receives_the_canary() -> Outcome<()> {
    let mut steps = Steps::of("the stranger");
    let mut cluster = Cluster::form(Lab::build(0, 3)?, 2)?;
    plant(&cluster)?;
    let shared = std::cell::RefCell::new(&mut cluster);
    let evidence = || shared.borrow_mut().evidence();
    steps.run("the canary is there for those who may see it", || seen_by_members(&shared.borrow()), evidence);
    steps.run("every URL without a token", || every_url(&shared.borrow(), None), evidence);
    for authorization in ["Bearer ", "Bearer nonsense", "Basic cm9vdDpyb290", "Bearer eyJhbGciOiJub25lIn0.e30."] {
        let name = format!("every URL with `Authorization: {authorization}`");
        steps.run(&name, || every_url(&shared.borrow(), Some(authorization)), evidence);
    }
    steps.run("writes without a token change nothing", || writes_change_nothing(&shared.borrow()), evidence);
    steps.run("plain HTTP at the API's port", || plain_http(&shared.borrow()), evidence);
    steps.run("what a port says to whoever connects", || raw_connections(&shared.borrow()), evidence);
    steps.run("every protocol of a peer's", || every_protocol(&shared.borrow()), evidence);
    steps.run("a stranger's daemon that joins with a token of its own", || foreign_daemon(&shared.borrow()), evidence);
    steps.end()
}

fn plant(cluster: &Cluster) -> Outcome<()> {
    let api = cluster.api(1);
    let mut map = config_map(CANARY, CANARY, CANARY);
    map["metadata"]["labels"] = serde_json::json!({CANARY: CANARY});
    api.create(&core("default", "configmaps"), &map)?;
    api.create("/api/v1/namespaces", &namespace(CANARY))?;
    Ok(())
}

fn seen_by_members(cluster: &Cluster) -> Outcome<String> {
    for number in cluster.members() {
        let look = || {
            let text = cluster.api(number).get_text(&core("default", "configmaps"))?;
            ensure(text.contains(CANARY), || "it is not there".to_owned())
        };
        skein_tests::wait::eventually(&format!("the canary at h{number}"), PATIENCE, look)?;
    }
    Ok(String::new())
}

/// The API of a member as the third host, which is none, reaches it.
fn from_outside(cluster: &Cluster, number: usize, authorization: Option<&str>) -> Api {
    let credentials = cluster.credentials().with_authorization(authorization);
    Api::new(&cluster.lab().host(3).netns, cluster.lab().host(number).api_socket(), &credentials)
}

fn every_url(cluster: &Cluster, authorization: Option<&str>) -> Outcome<String> {
    let mut asked = 0;
    for number in cluster.members() {
        let api = from_outside(cluster, number, authorization);
        for url in URLS.into_iter().chain(OPEN) {
            for method in ["GET", "HEAD", "OPTIONS", "POST"] {
                let answer = api.call((method, url), ("", &[]), PATIENCE)?;
                asked += 1;
                let headers = format!("{:?}", answer.headers);
                let clean = !says_canary(&answer.body) && !says_canary(headers.as_bytes());
                // The name that was asked for may come back in an error; nothing else may.
                let echo = url.contains(CANARY) && (400..500).contains(&answer.status);
                ensure(clean || echo, || format!("{method} {url} at h{number}: {}", answer.text()))?;
                let refused = (400..500).contains(&answer.status);
                let open = OPEN.contains(&url);
                ensure(refused || open, || {
                    format!("{method} {url} at h{number}: {} {}", answer.status, answer.text())
                })?;
            }
        }
    }
    Ok(format!("{asked} requests"))
}

fn writes_change_nothing(cluster: &Cluster) -> Outcome<String> {
    let before = cluster.state_hash(1)?;
    let api = from_outside(cluster, 1, None);
    let path = core("default", &format!("configmaps/{CANARY}"));
    let body = config_map("strange", "k", "v").to_string();
    let collection = core("default", "configmaps");
    for (method, path) in
        [("POST", &collection), ("PUT", &path), ("PATCH", &path), ("DELETE", &path), ("DELETE", &collection)]
    {
        let answer = api.call((method, path), ("application/json", body.as_bytes()), PATIENCE)?;
        ensure(answer.status == 401, || format!("{method}: {}", answer.status))?;
    }
    let after = cluster.state_hash(1)?;
    ensure(before == after, || format!("the state's hash went from {before} to {after}"))?;
    Ok(String::new())
}

fn plain_http(cluster: &Cluster) -> Outcome<String> {
    let tcp = cluster.lab().host(3).netns.connect(cluster.lab().host(1).api_socket(), PATIENCE)?;
    let mut connection = Connection::plain(tcp, "10.99.0.1");
    let request = Request { method: "GET", path: "/api/v1/configmaps", headers: &[], body: &[] };
    // No answer at all is as good as a refusal.
    if let Ok(answer) = connection.call(&request, PATIENCE) {
        ensure(answer.status >= 400 && !says_canary(&answer.body), || answer.text())?;
    }
    Ok(String::new())
}

/// Says nothing, or the beginnings of some protocols, and listens to what comes.
fn raw_connections(cluster: &Cluster) -> Outcome<String> {
    let openings: [&[u8]; 5] =
        [b"", b"\x13/multistream/1.0.0\n", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", &[0; 64]];
    let mut received = 0;
    for number in cluster.members() {
        let host = cluster.lab().host(number);
        for to in [host.peer_socket(), host.api_socket()] {
            for opening in openings {
                let bytes = answer_to(cluster, to, opening)?;
                ensure(!says_canary(&bytes), || format!("{to} told the canary to {opening:?}"))?;
                received += bytes.len();
            }
        }
    }
    Ok(format!("{received} bytes received"))
}

fn answer_to(cluster: &Cluster, to: SocketAddr, opening: &[u8]) -> Outcome<Vec<u8>> {
    let mut stream = cluster.lab().host(3).netns.connect(to, PATIENCE)?;
    stream.set_read_timeout(Some(LISTEN))?;
    // Who hangs up at once has said nothing.
    let _ = stream.write_all(opening);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    Ok(bytes)
}

/// Opens each protocol by its name and says nothing, nonsense, an empty frame and a long one's beginning.
fn every_protocol(cluster: &Cluster) -> Outcome<String> {
    let openings: [&[u8]; 4] = [b"", b"\x00\x00\x00\x00", b"\x00\x00\x00\x05hello", &[0xff; 300]];
    let (mut knocks, mut heard_bytes) = (0, 0);
    for number in cluster.members() {
        let to = cluster.lab().host(number).peer_socket();
        for protocol in PROTOCOLS {
            for opening in openings {
                let knock = Knock { secret: None, to, protocol, bytes: opening.to_vec(), close: false, listen: LISTEN };
                let heard = knock.from(&cluster.lab().host(3).netns)?;
                ensure(!heard.opened || OPEN_PROTOCOLS.contains(&protocol), || {
                    format!("h{number} opens {protocol} to a stranger")
                })?;
                let offered = heard.protocols.iter().find(|name| !OPEN_PROTOCOLS.contains(&name.as_str()));
                ensure(offered.is_none(), || format!("h{number} offers {offered:?} to a stranger"))?;
                ensure(!says_canary(&heard.bytes), || format!("{protocol} at h{number} told the canary"))?;
                (knocks, heard_bytes) = (knocks + 1, heard_bytes + heard.bytes.len());
            }
        }
    }
    Ok(format!("{knocks} knocks, {heard_bytes} bytes heard"))
}

/// A whole daemon of another cluster, on the same network, given a token that its own cluster made out: its disk must not
/// hold the canary afterwards.
fn foreign_daemon(cluster: &Cluster) -> Outcome<String> {
    let host = cluster.lab().host(3);
    let founder = Start::on(host);
    let mut daemon = founder.up()?;
    daemon.wait_ready()?;
    // The two clusters hear each other's announcements; that must not introduce anybody.
    std::thread::sleep(Duration::from_secs(5));
    let peers = founder.skein_says(&["peers"])?;
    // By name alone: the letters "h1" may well be found within a machine's identity.
    let names: Vec<&str> = peers.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    ensure(names == ["h3"], || format!("it lists peers that are none of its own: {peers}"))?;
    daemon.stop()?;
    for number in cluster.members() {
        let nodes = cluster.api(number).get_text("/api/v1/nodes")?;
        ensure(!nodes.contains("\"h3\""), || format!("h{number} lists the stranger"))?;
    }
    for file in files_below(founder.directory()) {
        ensure(!says_canary(&std::fs::read(&file)?), || format!("the stranger's {} holds the canary", file.display()))?;
    }
    Ok(String::new())
}

fn files_below(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_below(&entry.path()),
            Ok(kind) if kind.is_file() => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}

fn says_canary(bytes: &[u8]) -> bool {
    bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes())
}
