//! What strangers and members may take at most, and that the others go on meanwhile.

use skein_gossip::Offence;
use skein_gossip::offences::{OFFENCES_ALLOWED, REFUSED_FOR};
use tokio::net::TcpSocket;
use tokio::sync::mpsc;

use super::*;
use crate::lanes;
use crate::{HANDSHAKES_OF_ADDRESS, STRANGERS_OF_ADDRESS};

/// How often something was refused for a reason.
pub(super) fn refused(handle: &NetHandle, refusal: Refusal) -> u64 {
    let metrics = handle.metrics();
    Refusal::ALL.iter().zip(metrics.refusals).find(|(known, _)| **known == refusal).unwrap().1
}

fn offences(handle: &NetHandle, offence: Offence) -> u64 {
    Offence::ALL.iter().zip(handle.metrics().offences).find(|(known, _)| **known == offence).unwrap().1
}

/// Connections from a loopback address of their own, on which nothing is said.
async fn half_open(from: [u8; 4], to: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        streams.push(socket.connect(to).await.unwrap());
    }
    streams
}

async fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_connections_of_one_address_keep_out_nobody_else() {
    let (mut a, mut b) = (Node::start(1, &[2]).await, Node::start(2, &[1]).await);
    let held = half_open([127, 0, 0, 66], a.addr, HANDSHAKES_OF_ADDRESS + 50).await;
    let too_many = (held.len() - HANDSHAKES_OF_ADDRESS) as u64;
    let counted = || refused(&a.handle, Refusal::HandshakesOfAddress) >= too_many;
    soon("those beyond the limit are refused at once", counted).await;
    let start = Instant::now();
    b.handle.dial(a.id, vec![a.addr]);
    a.link_up(b.id).await;
    b.link_up(a.id).await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    soon("those within it when their time is over", || refused(&a.handle, Refusal::Handshake) > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_connections_of_many_addresses_do_not_keep_out_a_member_that_was_there_before() {
    let (mut a, mut b) = pair().await;
    a.handle.disconnect(b.id);
    a.link_down(b.id).await;
    b.link_down(a.id).await;
    let mut held = Vec::new();
    for last in 1..=20 {
        held.extend(half_open([127, 0, 1, last], a.addr, HANDSHAKES_OF_ADDRESS).await);
    }
    soon("all places are taken", || refused(&a.handle, Refusal::Handshakes) > 0).await;
    let start = Instant::now();
    b.handle.dial(a.id, vec![a.addr]);
    a.link_up(b.id).await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_more_than_an_address_may_have_takes_the_place_of_the_oldest() {
    let member = Node::start(1, &[]).await;
    let mut strangers = Vec::new();
    for n in 0..STRANGERS_OF_ADDRESS {
        strangers.push(Raw::connect(10 + u8::try_from(n).unwrap(), member.id, member.addr).await);
    }
    assert_eq!(refused(&member.handle, Refusal::StrangersOfAddress), 0);
    let _newcomer = Raw::connect(99, member.id, member.addr).await;
    assert_eq!(refused(&member.handle, Refusal::StrangersOfAddress), 1);
    let mut oldest = strangers.remove(0);
    while oldest.connection.is_some() {
        oldest.step().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_breaks_rules_again_and_again_is_not_heard_for_a_while_and_others_are() {
    let mut node = Node::start(1, &[2, 3]).await;
    for count in 0..=OFFENCES_ALLOWED {
        let mut raw = Raw::connect(2, node.id, node.addr).await;
        assert!(raw.misbehave(Lane::Control, b"some random bytes that are no frame", false).await, "{count}");
    }
    let length = node.wait(|event| match event {
        NetEvent::Refused { peer, length, .. } if peer == key(2).node_id() => Some(length),
        _ => None,
    });
    assert_eq!(length.await, REFUSED_FOR);
    assert_eq!(node.handle.refused(), [key(2).node_id()]);
    assert_eq!(node.handle.metrics().offenders, 1);
    assert_eq!(offences(&node.handle, Offence::TooLong), OFFENCES_ALLOWED as u64 + 1);

    let before = refused(&node.handle, Refusal::Offender);
    let mut offender = Node::start(2, &[1]).await;
    offender.handle.dial(node.id, vec![node.addr]);
    soon("its connection is refused", || refused(&node.handle, Refusal::Offender) > before).await;
    let mut other = Node::start(3, &[1]).await;
    other.handle.dial(node.id, vec![node.addr]);
    node.link_up(other.id).await;
    other.link_up(node.id).await;
    // When the time is over, it is a member like any other.
    let start = Instant::now();
    while node.handle.metrics().links < 2 {
        assert!(start.elapsed() < REFUSED_FOR + PATIENCE);
        offender.handle.dial(node.id, vec![node.addr]);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    offender.link_up(node.id).await;
    assert!(node.handle.refused().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_floods_is_slowed_and_then_cut_off_while_another_is_heard() {
    let mut node = Node::start(1, &[2, 3]).await;
    let mut raw = Raw::connect(2, node.id, node.addr).await;
    let mut other = Node::start(3, &[1]).await;
    other.handle.dial(node.id, vec![node.addr]);
    other.link_up(node.id).await;
    let mut lane = raw.open(Purpose::Lane(Lane::Control)).await.unwrap().compat();
    let frames = [&5u32.to_be_bytes()[..], b"flood"].concat().repeat(1000);
    let flood = tokio::spawn(async move {
        let mut written = 0u64;
        while lane.write_all(&frames).await.is_ok() {
            written += 1000;
        }
        written
    });
    let drive = tokio::spawn(async move {
        while raw.connection.is_some() {
            raw.step().await;
        }
    });
    let probes = tokio::spawn(async move {
        loop {
            other.handle.send(key(1).node_id(), Lane::Control, Bytes::from_static(b"probe"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let (mut heard, mut gap, mut flooded) = (Instant::now(), Duration::ZERO, 0u64);
    let cut_off = async {
        loop {
            match node.events.recv().await.unwrap() {
                NetEvent::Frame { bytes, .. } if &bytes[..] == b"probe" => {
                    gap = gap.max(heard.elapsed());
                    heard = Instant::now();
                }
                NetEvent::Frame { .. } => flooded += 1,
                NetEvent::Refused { peer, offence, .. } => return (peer, offence),
                _ => {}
            }
        }
    };
    let cut_off = tokio::time::timeout(Duration::from_secs(30), cut_off).await.expect("it is put up with");
    assert_eq!(cut_off, (key(2).node_id(), Offence::Flood));
    probes.abort();
    assert!(gap < Duration::from_secs(1), "another member was not heard for {gap:?}");
    assert!(node.handle.metrics().paused > 0);
    let most = u64::from(crate::CONTROL_FRAMES.burst + crate::CONTROL_FRAMES.per_second * 8);
    assert!(flooded < most, "{flooded} frames were read");
    drive.await.unwrap();
    assert!(flood.await.unwrap() >= flooded);
}

#[tokio::test]
async fn a_peer_that_takes_nothing_of_what_it_is_sent_is_given_up() {
    for lane in [Lane::Control, Lane::Bulk] {
        let (ours, theirs) = tokio::io::duplex(1024);
        let (frames, queue) = mpsc::channel(crate::CONTROL_QUEUE);
        for _ in 0..100 {
            frames.try_send(Bytes::from(vec![1; 10_000])).unwrap();
        }
        let shared = Shared::new(key(1).node_id(), |_| true);
        let (start, patience) = (Instant::now(), Duration::from_millis(300));
        let written = lanes::write(lane, ours, queue, &shared, patience).await;
        assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::TimedOut, "{lane:?}");
        assert!(start.elapsed() < PATIENCE, "{lane:?}: {:?}", start.elapsed());
        drop(theirs);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_to_an_admission_may_name_a_large_cluster_and_no_more() {
    for (bytes, arrives) in [(crate::MAX_ADMISSION_REPLY, true), (crate::MAX_ADMISSION_REPLY + 1, false)] {
        let mut member = Node::start(1, &[]).await;
        let (id, addr) = (member.id, member.addr);
        let asker = Node::start(2, &[]).await;
        let handle = asker.handle.clone();
        let asking = tokio::spawn(async move { handle.admission(id, vec![addr], Bytes::from_static(b"please")).await });
        let reply =
            member.wait(|event| if let NetEvent::Admission { reply, .. } = event { Some(reply) } else { None }).await;
        reply.send(vec![7; bytes].into()).unwrap();
        assert_eq!(asking.await.unwrap().is_ok_and(|reply| reply.len() == bytes), arrives, "{bytes}");
    }
}

#[tokio::test]
async fn a_block_that_is_cut_off_is_an_error() {
    let announced = u32::try_from(crate::MAX_ADMISSION_REPLY).unwrap().to_be_bytes();
    let cut_off = [&announced[..], b"a few bytes"].concat();
    let read = crate::admission::read_block(&mut &cut_off[..], crate::MAX_ADMISSION_REPLY).await;
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
}
