//! Real connections on loopback: two or three nodes, ports of the system's choice, every wait bounded.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Swarm, identify};
use skein_gossip::{Keypair, NodeId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::compat::FuturesAsyncReadCompatExt;

use crate::behaviour::{Behaviour, BehaviourEvent, Purpose, StreamEvent};
use crate::shared::Shared;
use crate::{
    AdmissionError, Lane, Net, NetConfig, NetError, NetEvent, NetHandle, OpenError, Refusal, SILENCE_LIMIT, driver, ids,
};

mod limits;

const PATIENCE: Duration = Duration::from_secs(15);

type Members = Arc<RwLock<BTreeSet<NodeId>>>;

struct Node {
    id: NodeId,
    addr: SocketAddr,
    handle: NetHandle,
    events: mpsc::Receiver<NetEvent>,
    members: Members,
}

fn key(n: u8) -> Keypair {
    Keypair::from_secret([n; 32])
}

fn config(n: u8) -> NetConfig {
    NetConfig::new(key(n), vec!["127.0.0.1:0".parse().unwrap()])
}

impl Node {
    async fn start(n: u8, members: &[u8]) -> Self {
        Self::start_with(config(n), members).await
    }

    async fn start_with(config: NetConfig, members: &[u8]) -> Self {
        let (id, listens) = (config.keypair.node_id(), !config.listen.is_empty());
        let members: Members = Arc::new(RwLock::new(members.iter().map(|n| key(*n).node_id()).collect()));
        let known = members.clone();
        let access = move |peer: &NodeId| known.read().unwrap().contains(peer);
        let (handle, mut events) = Net::start(config, access).await.unwrap();
        let mut addr = "127.0.0.1:1".parse().unwrap();
        if listens {
            let listening = |event| match event {
                NetEvent::Listening(addr) => Some(addr),
                _ => None,
            };
            addr = wait(&mut events, listening).await;
        }
        Self { id, addr, handle, events, members }
    }

    async fn wait<T>(&mut self, wanted: impl FnMut(NetEvent) -> Option<T>) -> T {
        wait(&mut self.events, wanted).await
    }

    async fn link_up(&mut self, peer: NodeId) {
        self.wait(|event| matches!(event, NetEvent::LinkUp { peer: up, .. } if up == peer).then_some(())).await;
    }

    async fn link_down(&mut self, peer: NodeId) {
        self.wait(|event| matches!(event, NetEvent::LinkDown { peer: down } if down == peer).then_some(())).await;
    }

    async fn frame(&mut self) -> (Lane, Bytes) {
        self.wait(|event| match event {
            NetEvent::Frame { lane, bytes, .. } => Some((lane, bytes)),
            _ => None,
        })
        .await
    }

    fn admit(&self, peer: NodeId, is_member: bool) {
        let mut members = self.members.write().unwrap();
        if is_member {
            members.insert(peer)
        } else {
            members.remove(&peer)
        };
        drop(members);
        self.handle.access_changed();
    }

    /// Answers admissions with the request in front, and collects all other events.
    fn serve(mut self) -> (NetHandle, mpsc::UnboundedReceiver<NetEvent>) {
        let (seen, events) = mpsc::unbounded_channel();
        let handle = self.handle.clone();
        tokio::spawn(async move {
            while let Some(event) = self.events.recv().await {
                match event {
                    NetEvent::Admission { request, reply, .. } => {
                        let _ = reply.send([&request[..], b" granted"].concat().into());
                    }
                    other => {
                        let _ = seen.send(other);
                    }
                }
            }
        });
        (handle, events)
    }
}

async fn wait<T>(events: &mut mpsc::Receiver<NetEvent>, mut wanted: impl FnMut(NetEvent) -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = wanted(events.recv().await.unwrap()) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("the awaited event did not come")
}

async fn pair() -> (Node, Node) {
    let (mut a, mut b) = (Node::start(1, &[2]).await, Node::start(2, &[1]).await);
    a.handle.dial(b.id, vec![b.addr]);
    a.link_up(b.id).await;
    b.link_up(a.id).await;
    (a, b)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_exchange_frames_on_both_lanes_and_streams() {
    let (mut a, mut b) = pair().await;
    a.handle.send(b.id, Lane::Control, Bytes::from_static(b"ping"));
    assert_eq!(b.frame().await, (Lane::Control, Bytes::from_static(b"ping")));
    let large = Bytes::from(vec![5; crate::MAX_BULK_FRAME]);
    b.handle.send(a.id, Lane::Bulk, large.clone());
    assert_eq!(a.frame().await, (Lane::Bulk, large));

    let mut ours = a.handle.open(b.id, Bytes::from_static(b"logs")).await.unwrap();
    let (header, mut theirs) = b
        .wait(|event| match event {
            NetEvent::Stream { header, stream, .. } => Some((header, stream)),
            _ => None,
        })
        .await;
    assert_eq!(&header[..], b"logs");
    let writer = tokio::spawn(async move {
        theirs.write_all(&[9; 200_000]).await.unwrap();
        theirs.shutdown().await.unwrap();
        theirs
    });
    let mut read = Vec::new();
    tokio::time::timeout(PATIENCE, ours.read_to_end(&mut read)).await.unwrap().unwrap();
    assert_eq!(read, vec![9; 200_000]);
    drop(writer.await.unwrap());
    let metrics = a.handle.metrics();
    assert_eq!((metrics.links, metrics.control_frames_sent, metrics.bulk_frames_received), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_cannot_be_sent_are_counted() {
    let (a, b) = pair().await;
    a.handle.send(b.id, Lane::Control, vec![0; crate::MAX_CONTROL_FRAME + 1].into());
    a.handle.send(key(9).node_id(), Lane::Control, Bytes::from_static(b"nobody"));
    assert_eq!(a.handle.metrics().frames_dropped, 2);
    assert_eq!(a.handle.open(key(9).node_id(), Bytes::new()).await.unwrap_err(), OpenError::NoLink(key(9).node_id()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_does_not_delay_control() {
    let (a, mut b) = pair().await;
    for _ in 0..16 {
        a.handle.send(b.id, Lane::Bulk, vec![1; crate::MAX_BULK_FRAME].into());
    }
    let mut worst = Duration::ZERO;
    for _ in 0..20 {
        let sent = Instant::now();
        a.handle.send(b.id, Lane::Control, Bytes::from_static(b"probe"));
        while b.frame().await.0 != Lane::Control {}
        worst = worst.max(sent.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(worst < Duration::from_millis(500), "a probe took {worst:?} beside bulk");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_comes_back_after_a_disconnect_and_goes_when_the_peer_stops() {
    let (mut a, mut b) = pair().await;
    a.handle.disconnect(b.id);
    a.link_down(b.id).await;
    b.link_down(a.id).await;
    b.handle.dial(a.id, vec![a.addr]);
    a.link_up(b.id).await;
    b.link_up(a.id).await;
    b.handle.send(a.id, Lane::Control, Bytes::from_static(b"goodbye"));
    b.handle.shutdown().await;
    assert_eq!(&a.frame().await.1[..], b"goodbye", "what was queued is sent before the end");
    a.link_down(b.id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_dial_each_other_at_once_have_one_link() {
    let (mut a, mut b) = (Node::start(1, &[2]).await, Node::start(2, &[1]).await);
    a.handle.dial(b.id, vec![b.addr]);
    b.handle.dial(a.id, vec![a.addr]);
    a.link_up(b.id).await;
    b.link_up(a.id).await;
    // Long enough for the surplus connection to be closed.
    for round in 0..7u8 {
        a.handle.send(b.id, Lane::Control, vec![round].into());
        b.handle.send(a.id, Lane::Control, vec![round].into());
        for node in [&mut a, &mut b] {
            let next = node.wait(|event| match event {
                NetEvent::Frame { bytes, .. } => Some(bytes),
                NetEvent::LinkUp { .. } | NetEvent::LinkDown { .. } => unreachable!("{event:?}"),
                _ => None,
            });
            assert_eq!(next.await[..], [round]);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!((a.handle.metrics().connections, b.handle.metrics().connections), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_admitted_and_then_has_a_link_on_the_same_connection_until_it_is_removed() {
    let mut member = Node::start(1, &[]).await;
    let (stranger_id, member_id, addr) = (key(2).node_id(), member.id, member.addr);
    let mut stranger = Node::start(2, &[1]).await;
    let asking = {
        let handle = stranger.handle.clone();
        tokio::spawn(async move { handle.admission(member_id, vec![addr], Bytes::from_static(b"please")).await })
    };
    let reply = member
        .wait(|event| match event {
            NetEvent::Admission { peer, request, reply, .. } if peer == stranger_id && &request[..] == b"please" => {
                Some(reply)
            }
            NetEvent::LinkUp { .. } | NetEvent::Frame { .. } => unreachable!("{event:?}"),
            _ => None,
        })
        .await;
    member.admit(stranger_id, true);
    reply.send(Bytes::from_static(b"welcome")).unwrap();
    assert_eq!(asking.await.unwrap().unwrap(), Bytes::from_static(b"welcome"));
    stranger.handle.access_changed();
    member.link_up(stranger_id).await;
    stranger.link_up(member_id).await;
    stranger.handle.send(member_id, Lane::Control, Bytes::from_static(b"hello"));
    assert_eq!(&member.frame().await.1[..], b"hello");

    member.admit(stranger_id, false);
    member.link_down(stranger_id).await;
    stranger.link_down(member_id).await;
    stranger.handle.dial(member_id, vec![addr]);
    for _ in 0..2 {
        stranger.wait(|event| matches!(event, NetEvent::Unwelcome { peer } if peer == member_id).then_some(())).await;
    }
    assert_eq!(member.handle.metrics().links + stranger.handle.metrics().links, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_is_an_error_that_names_the_peer() {
    let a = Node::start(1, &[]).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = a.handle.admission(key(7).node_id(), vec![closed], Bytes::new()).await.unwrap_err();
    assert!(matches!(&error, AdmissionError::Unreachable { peer, .. } if *peer == key(7).node_id()), "{error}");
    // Somebody else lives there.
    let b = Node::start(2, &[]).await;
    assert!(a.handle.admission(key(7).node_id(), vec![b.addr], Bytes::new()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_at_an_address_is_found_out_and_asked() {
    let member = Node::start(1, &[]).await;
    let (id, addr) = (member.id, member.addr);
    let _serving = member.serve();
    let stranger = Node::start_with(NetConfig::new(key(9), Vec::new()), &[]).await;
    assert_eq!(stranger.handle.meet(addr).await, Ok(id));
    let answer = stranger.handle.admission(id, vec![addr], Bytes::from_static(b"who")).await.unwrap();
    assert_eq!(&answer[..], b"who granted");
    let nobody = stranger.handle.meet("127.0.0.1:1".parse().unwrap()).await;
    assert!(matches!(nobody, Err(AdmissionError::Nobody(_))), "{nobody:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_an_error_that_names_it() {
    let a = Node::start(1, &[]).await;
    let config = NetConfig::new(key(2), vec![a.addr]);
    let error = Net::start(config, |_| false).await.err().unwrap();
    assert!(matches!(&error, NetError::Listen { addr, .. } if *addr == a.addr));
    assert!(error.to_string().contains(&a.addr.to_string()), "{error}");
}

/// A libp2p node that opens whatever it likes.
struct Raw {
    swarm: Swarm<Behaviour>,
    target: NodeId,
    connection: Option<ConnectionId>,
    identified: Option<identify::Info>,
}

impl Raw {
    async fn connect(n: u8, target: NodeId, addr: SocketAddr) -> Self {
        let shared = Arc::new(Shared::new(key(n).node_id(), |_| true));
        let keypair = ids::libp2p_keypair(&key(n)).unwrap();
        let mut swarm = driver::new_swarm(&config(n), &keypair, &shared, &BTreeSet::new()).unwrap();
        swarm.dial(ids::tcp(addr)).unwrap();
        let mut raw = Self { swarm, target, connection: None, identified: None };
        while raw.connection.is_none() || raw.identified.is_none() {
            raw.step().await;
        }
        raw
    }

    async fn step(&mut self) -> Option<StreamEvent> {
        let event = tokio::time::timeout(PATIENCE, self.swarm.select_next_some()).await.unwrap();
        match event {
            SwarmEvent::ConnectionEstablished { connection_id, .. } => self.connection = Some(connection_id),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { info, .. })) => {
                self.identified = Some(info);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Links(event)) => return Some(event.kind),
            SwarmEvent::ConnectionClosed { .. } => self.connection = None,
            _ => {}
        }
        None
    }

    async fn open(&mut self, purpose: Purpose) -> Option<libp2p::Stream> {
        self.swarm.behaviour_mut().links.open(self.target, self.connection.unwrap(), purpose);
        loop {
            match self.step().await {
                Some(StreamEvent::Opened { stream, .. }) => return Some(stream),
                Some(StreamEvent::Refused { .. }) => return None,
                // What the other side opens of itself, to a member.
                _ => assert!(self.connection.is_some(), "the connection was closed"),
            }
        }
    }

    /// Writes on a new control lane, and says whether the connection was dropped for it.
    async fn misbehave(&mut self, lane: Lane, bytes: &[u8], then_close: bool) -> bool {
        let mut stream = self.open(Purpose::Lane(lane)).await.unwrap().compat();
        stream.write_all(bytes).await.unwrap();
        stream.flush().await.unwrap();
        if then_close {
            stream.shutdown().await.unwrap();
        }
        let dropped = async {
            while self.connection.is_some() {
                self.step().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(3), dropped).await.is_ok()
    }
}

fn stream_purpose() -> Purpose {
    Purpose::Stream { header: Bytes::new(), reply: tokio::sync::oneshot::channel().0 }
}

fn admission_purpose() -> Purpose {
    Purpose::Admission { request: Bytes::new(), reply: tokio::sync::oneshot::channel().0 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_reaches_admission_and_nothing_else() {
    let member = Node::start(1, &[]).await;
    let (id, addr) = (member.id, member.addr);
    let (handle, mut events) = member.serve();
    let mut raw = Raw::connect(2, id, addr).await;
    let protocols: Vec<_> = raw.identified.take().unwrap().protocols.iter().map(ToString::to_string).collect();
    let ours: Vec<_> = protocols.iter().filter(|name| name.starts_with("/skein/")).collect();
    assert_eq!(ours, ["/skein/admission/1"], "identify tells what a stranger may speak");
    for purpose in [Purpose::Lane(Lane::Control), Purpose::Lane(Lane::Bulk), stream_purpose()] {
        let name = format!("{purpose:?}");
        assert!(raw.open(purpose).await.is_none(), "{name} was opened to a stranger");
    }
    let stream = raw.open(admission_purpose()).await.unwrap();
    let talk = tokio::spawn(async move { crate::admission::ask(stream.compat(), b"please").await });
    while !talk.is_finished() {
        let _ = tokio::time::timeout(Duration::from_millis(20), raw.step()).await;
    }
    assert_eq!(talk.await.unwrap().unwrap(), Bytes::from_static(b"please granted"));
    assert!(events.try_recv().is_err(), "nothing but admission was heard");
    assert_eq!(limits::refused(&handle, Refusal::StrangerStream), 3, "each is counted");
    assert_eq!(handle.metrics().links, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admissions_beyond_the_rate_are_closed_and_a_long_request_is_refused() {
    let member = Node::start(1, &[]).await;
    let (id, addr) = (member.id, member.addr);
    let (handle, _events) = member.serve();
    let asker = Node::start(2, &[]).await;
    let long = Bytes::from(vec![0; crate::MAX_ADMISSION + 1]);
    assert!(matches!(asker.handle.admission(id, vec![addr], long).await, Err(AdmissionError::TooLong(_))));
    let at_once = async |count: usize| {
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..count {
            let asker = asker.handle.clone();
            asked.spawn(async move { asker.admission(id, vec![addr], Bytes::from_static(b"x")).await.is_ok() });
        }
        asked.join_all().await.into_iter().filter(|granted| *granted).count()
    };
    let granted = at_once(12).await;
    assert!((1..12).contains(&granted), "{granted} of 12 at once were served");
    assert!(limits::refused(&handle, Refusal::AdmissionsOfAddress) > 0);
    assert!(
        at_once(2 * crate::STREAMS_OF_STRANGER).await < 2 * crate::STREAMS_OF_STRANGER,
        "they are too many streams"
    );
    assert!(handle.metrics().refused > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_breaks_the_protocol_loses_the_connection_and_is_counted() {
    let too_long = |limit: usize| (u32::try_from(limit).unwrap() + 1).to_be_bytes().to_vec();
    let cases: [(Lane, Vec<u8>, bool); 4] = [
        (Lane::Control, too_long(crate::MAX_CONTROL_FRAME), false),
        (Lane::Bulk, too_long(crate::MAX_BULK_FRAME), false),
        (Lane::Control, b"some random bytes that are no frame".to_vec(), false),
        (Lane::Control, [&100u32.to_be_bytes()[..], b"cut off"].concat(), true),
    ];
    let mut node = Node::start(1, &[2]).await;
    for (count, (lane, bytes, then_close)) in cases.into_iter().enumerate() {
        let mut raw = Raw::connect(2, node.id, node.addr).await;
        assert!(raw.misbehave(lane, &bytes, then_close).await, "{bytes:?} was put up with");
        let what = node.wait(|event| match event {
            NetEvent::Violation { what, .. } => Some(what),
            NetEvent::Frame { .. } => unreachable!("{event:?}"),
            _ => None,
        });
        assert!(what.await.contains("frame"));
        assert_eq!(node.handle.metrics().violations, count as u64 + 1);
    }
    assert_eq!(node.handle.metrics().oversized, 3);
}

/// Forwards connections until it is told to freeze those it has; then nothing is lost or closed, only silent.
async fn proxy(target: SocketAddr) -> (SocketAddr, Arc<RwLock<Arc<AtomicBool>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let current = Arc::new(RwLock::new(Arc::new(AtomicBool::new(false))));
    let flags = current.clone();
    tokio::spawn(async move {
        while let Ok((inbound, _)) = listener.accept().await {
            let Ok(outbound) = TcpStream::connect(target).await else { continue };
            let frozen = flags.read().unwrap().clone();
            let (inbound, outbound) = (inbound.into_split(), outbound.into_split());
            for (mut from, mut to) in [(inbound.0, outbound.1), (outbound.0, inbound.1)] {
                let frozen = frozen.clone();
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    while let Ok(len @ 1..) = from.read(&mut buffer).await {
                        while frozen.load(Ordering::Relaxed) {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        if to.write_all(&buffer[..len]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        }
    });
    (addr, current)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_cut_surfaces_and_a_heal_is_used_through_a_new_connection() {
    // Only the proxy leads from one to the other: what b announces is its address, and a listens nowhere.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (through, frozen) = proxy(free).await;
    let a_config = NetConfig { listen: Vec::new(), ..config(1) };
    let b_config = NetConfig { listen: vec![free], advertise: vec![through], ..config(2) };
    let (mut a, mut b) = (Node::start_with(a_config, &[2]).await, Node::start_with(b_config, &[1]).await);
    a.handle.dial(b.id, vec![through]);
    a.link_up(b.id).await;
    b.link_up(a.id).await;

    // The connection freezes while new ones work: as after a cut that healed while TCP still backs off.
    let old = std::mem::take(&mut *frozen.write().unwrap());
    old.store(true, Ordering::Relaxed);
    let start = Instant::now();
    let heard = async {
        loop {
            a.handle.send(b.id, Lane::Control, Bytes::from_static(b"again"));
            if tokio::time::timeout(Duration::from_millis(200), b.frame()).await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(SILENCE_LIMIT, heard).await.expect("the link was not replaced before it was given up");
    let mut events = std::iter::from_fn(|| a.events.try_recv().ok());
    assert!(!events.any(|event| matches!(event, NetEvent::LinkDown { .. })), "after {:?}", start.elapsed());

    // Everything freezes, new connections too.
    frozen.read().unwrap().store(true, Ordering::Relaxed);
    let start = Instant::now();
    let (id_a, id_b) = (a.id, b.id);
    let (down_a, down_b) = (a.link_down(id_b), b.link_down(id_a));
    futures::join!(down_a, down_b);
    assert!(start.elapsed() < SILENCE_LIMIT + Duration::from_secs(2), "{:?}", start.elapsed());
    *frozen.write().unwrap() = Arc::default();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let start = Instant::now();
    a.handle.dial(b.id, vec![through]);
    a.link_up(b.id).await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}
