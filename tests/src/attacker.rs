//! A hostile host: what somebody may send who is on the same network, with no key, with a key that is out, or with a
//! member's. What must come of it is in `tests/attacker.rs`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use skein_crdt_state::members::Role;
use skein_crdt_state::{Body, ClusterId, Envelope, Hlc, Kind, NameKey, Sequence};
use skein_gossip::{Keypair, NodeId};
use skein_net::{Lane, Net, NetConfig, NetEvent, NetHandle};
use skein_node::daemon::token::JoinToken;
use tokio::sync::mpsc;

use crate::failure::{Failure, Outcome, ensure};
use crate::netns::Netns;

/// How long reaching a peer may take.
const REACH: Duration = Duration::from_secs(8);
/// How long a member is listened to after it was sent something.
const LISTEN: Duration = Duration::from_secs(3);
/// How often a proof is tried to be shown, and the pause between.
const PROOF_TRIES: usize = 5;
const PROOF_PAUSE: Duration = Duration::from_millis(600);
/// Where members ask who is there.
const MDNS: &str = "224.0.0.251:5353";

/// The key in a node's data directory, which the key beside it opens.
///
/// # Errors
/// When there is none.
pub fn key_of(data_directory: &Path) -> Outcome<Keypair> {
    skein_node::daemon::identity::keypair_beside(data_directory).map_err(|error| Failure::new(error.to_string()))
}

/// The cluster and the secret of a join token, which begins with them.
///
/// # Errors
/// When it is no token.
pub fn parts_of(token: &str) -> Outcome<(ClusterId, [u8; 16])> {
    let token: JoinToken = token.parse().map_err(|error| Failure::new(format!("{error}")))?;
    Ok((token.cluster, token.secret))
}

/// What a machine with a token asks.
///
/// # Errors
/// Never, in fact.
pub fn question(cluster: ClusterId, secret: [u8; 16], name: &str) -> Outcome<Vec<u8>> {
    // The first kind of question.
    Ok(postcard::to_stdvec(&(0u8, cluster, secret, name))?)
}

/// Asks a member to be admitted with whatever bytes. The answer's bytes, or why there was none.
///
/// # Errors
/// When the attacker itself cannot be run.
pub fn ask_admission(
    from: &Netns,
    keys: &Keypair,
    (peer, to): (NodeId, SocketAddr),
    request: &[u8],
) -> Outcome<Result<Vec<u8>, String>> {
    inside(from, keys, async |net, _| {
        let answer = net.admission(peer, vec![to], request.to_vec().into()).await;
        Ok(answer.map(|bytes| bytes.to_vec()).map_err(|error| error.to_string()))
    })
}

/// Guesses once at the code of an invitation, as whoever does not know its words can: with a hello that is none's and a proof of
/// nothing. What the member makes of it; `None`: it did not answer.
///
/// # Errors
/// When the attacker itself cannot be run.
pub fn guess_code(
    from: &Netns,
    keys: &Keypair,
    (peer, to): (NodeId, SocketAddr),
    number: u8,
) -> Outcome<Option<Guessed>> {
    inside(from, keys, async |net, _| {
        let hello = hello_to(number)?;
        let Ok(began) = net.admission(peer, vec![to], hello.into()).await else { return Ok(None) };
        let session = match began.split_first() {
            Some((0, began)) => began.first_chunk::<16>().copied(),
            _ => return Ok(Some(Guessed::NoMore)),
        };
        let session = session.ok_or_else(|| Failure::new(format!("no session: {began:?}")))?;
        // One address is answered twice a second, and the hello may have been the last for now.
        for _ in 0..PROOF_TRIES {
            if let Ok(answer) = net.admission(peer, vec![to], proof_in(session)?.into()).await {
                ensure(answer.first() == Some(&1), || format!("a guess was taken for the code: {answer:?}"))?;
                return Ok(Some(Guessed::Wrong));
            }
            tokio::time::sleep(PROOF_PAUSE).await;
        }
        Ok(None)
    })
}

/// What became of a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guessed {
    /// It was compared with the code, and was another.
    Wrong,
    /// There is no try to be had.
    NoMore,
}

/// The third kind of question: it begins an exchange about a code, with a point of the curve as the first word.
fn hello_to(number: u8) -> Outcome<Vec<u8>> {
    let mut point = vec![0x66; 32];
    point[0] = 0x58;
    Ok(postcard::to_stdvec(&(2u8, number, [&b"A"[..], &point].concat()))?)
}

/// The fourth kind of question: it shows a proof.
fn proof_in(session: [u8; 16]) -> Outcome<Vec<u8>> {
    Ok(postcard::to_stdvec(&(3u8, session, vec![7u8; 27]))?)
}

/// Connects with a member's key and sends a frame again and again. Whether the member that got it dropped the connection.
///
/// # Errors
/// When there is no link to be had.
pub fn send_frame(from: &Netns, keys: &Keypair, (peer, to): (NodeId, SocketAddr), frame: &[u8]) -> Outcome<bool> {
    inside(from, keys, async |net, events| {
        let linked = async {
            net.dial(peer, vec![to]);
            while let Some(event) = events.recv().await {
                if matches!(event, NetEvent::LinkUp { .. }) {
                    return true;
                }
            }
            false
        };
        let linked = tokio::time::timeout(REACH, linked).await.unwrap_or(false);
        ensure(linked, || format!("no link with {to}"))?;
        net.send(peer, Lane::Control, frame.to_vec().into());
        let dropped = async {
            while let Some(event) = events.recv().await {
                if matches!(event, NetEvent::LinkDown { .. }) {
                    return;
                }
            }
        };
        Ok(tokio::time::timeout(LISTEN, dropped).await.is_ok())
    })
}

/// Runs a peer with this key inside a namespace. All of its sockets are made by the one thread that is in there.
fn inside<T: Send>(
    from: &Netns,
    keys: &Keypair,
    work: impl AsyncFnOnce(&NetHandle, &mut mpsc::Receiver<NetEvent>) -> Outcome<T> + Send,
) -> Outcome<T> {
    from.inside(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (net, mut events) = Net::start(NetConfig::new(keys.clone(), Vec::new()), |_| true).await?;
            let outcome = work(&net, &mut events).await;
            net.shutdown().await;
            outcome
        })
    })?
}

/// A frame of news, as members push them: the fourth kind of frame.
fn push(envelope: Envelope) -> Outcome<Vec<u8>> {
    Ok(postcard::to_stdvec(&(3u8, vec![envelope], None::<u64>, Vec::<[u8; 8]>::new()))?)
}

/// Words that `thief` signs and that say they are `victim`'s.
fn forge(thief: &Keypair, victim: NodeId, cluster: ClusterId, body: &Body) -> Outcome<Vec<u8>> {
    let place = Sequence { boot: 1 << 20, number: 1 };
    let mut bytes = Envelope::seal(thief, &cluster, place, body).encode();
    // The author stands behind the version.
    let author = bytes.get_mut(1..33).ok_or_else(|| Failure::new("an envelope is too short"))?;
    author.copy_from_slice(&victim.0);
    push(Envelope::decode(&bytes)?)
}

/// News that another member is said to have written: it deletes something.
///
/// # Errors
/// Never, in fact.
pub fn forged_author(thief: &Keypair, victim: NodeId, cluster: ClusterId) -> Outcome<Vec<u8>> {
    let name = NameKey::root(&Kind::new("Namespace"), "default");
    forge(thief, victim, cluster, &Body::Deletion { name, incarnation: 1, stamp: Hlc(1), seen: Vec::new() })
}

/// A report that another member is said to have made of itself.
///
/// # Errors
/// Never, in fact.
pub fn forged_report(thief: &Keypair, victim: NodeId, cluster: ClusterId) -> Outcome<Vec<u8>> {
    forge(thief, victim, cluster, &Body::Report { section: "node".into(), stamp: Hlc(1), body: [1, 2, 3].into() })
}

/// A vote in a term in which nobody asked for one: a frame of the election (the second kind), version 1, the sixth of its kinds.
///
/// # Errors
/// Never, in fact.
pub fn forged_vote() -> Outcome<Vec<u8>> {
    let term = 1u64 << 40;
    let (boot, restored, seated, retiring, set) = (7u64, 0u64, true, false, (0u64, 0u64));
    let vote = (5u8, term, true, (boot, restored, term, seated, retiring, set), None::<u8>);
    let vote = postcard::to_extend(&vote, vec![1])?;
    Ok(postcard::to_stdvec(&(1u8, vote))?)
}

/// A statement that its author admits somebody, as it is signed.
pub fn admission_statement(author: &Keypair, node: NodeId, cluster: ClusterId) -> Vec<u8> {
    let body = Body::Admission { node, name: "intruder".to_owned(), token: [0; 32], stamp: Hlc(1), role: Role::Member };
    Envelope::seal(author, &cluster, Sequence { boot: 1, number: 1 }, &body).encode()
}

/// Bytes that mean nothing, the same ones for the same seed.
pub fn noise(seed: &mut u64, count: usize) -> Vec<u8> {
    let mut next = || {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        seed.to_le_bytes()[3]
    };
    (0..count).map(|_| next()).collect()
}

/// Sends noise to a TCP port on `count` connections. How many were closed by the other side in time.
///
/// # Errors
/// When nobody listens there.
pub fn noise_on_tcp(from: &Netns, to: SocketAddr, count: usize, seed: &mut u64) -> Outcome<usize> {
    let mut closed = 0;
    for _ in 0..count {
        let mut stream = from.connect(to, REACH)?;
        stream.set_read_timeout(Some(REACH))?;
        // Who has hung up already takes no bytes, which is what is wanted.
        let _ = stream.write_all(&noise(seed, 512));
        let end = stream.read_to_end(&mut Vec::new());
        let reset = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
        closed += usize::from(end.is_ok() || end.as_ref().is_err_and(reset));
    }
    Ok(closed)
}

/// Sends noise to everybody who listens for announcements, and to one host.
///
/// # Errors
/// When there is no socket to be had.
pub fn noise_on_mdns(from: &Netns, to: SocketAddr, count: usize, seed: &mut u64) -> Outcome<()> {
    let socket = from.inside(|| UdpSocket::bind("0.0.0.0:0"))??;
    for _ in 0..count {
        let packet = noise(seed, 300);
        // One that does not fit the queue is lost.
        let _ = socket.send_to(&packet, MDNS);
        let _ = socket.send_to(&packet, to);
    }
    Ok(())
}

/// Opens connections and says nothing, as many as there may be within a time. They are closed when they are dropped.
///
/// # Errors
/// When the namespace is gone.
pub fn half_open(from: &Netns, to: SocketAddr, count: usize, within: Duration) -> Outcome<Vec<TcpStream>> {
    let begun = Instant::now();
    let open = || {
        let mut held = Vec::with_capacity(count);
        while held.len() < count && begun.elapsed() < within {
            // A full queue refuses for a moment.
            held.extend(TcpStream::connect_timeout(&to, Duration::from_secs(1)));
        }
        held
    };
    Ok(from.inside(open)?)
}

#[cfg(test)]
mod tests {
    use skein_node::joining::fuzz::Door;

    use super::*;

    #[test]
    fn a_guess_is_one_to_the_member_that_has_invited() -> Outcome<()> {
        let mut door = Door::default();
        assert_eq!(door.hear(&hello_to(7)?), "began");
        let mut session = [0; 16];
        session[7] = 1;
        assert_eq!(door.hear(&proof_in(session)?), "wrong");
        Ok(())
    }
}
