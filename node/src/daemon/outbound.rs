//! How many streams this node opens to one peer for its API. A peer serves so many for each node and closes further ones at once,
//! and too many on a connection end it: logs that clients follow must leave room for commands, and both for the cluster's keys.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use skein_gossip::NodeId;
use skein_net::STREAMS_PER_PEER;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::backend::PeerStream;
use crate::api::remote_logs;

/// How many streams of a node's API one peer carries at once; further ones are refused. The rest of what the peer serves is kept
/// for the cluster's keys.
pub(crate) const STREAMS_TO_PEER: usize = STREAMS_PER_PEER - 32;
/// How many of them may be logs.
pub(crate) const LOGS_TO_PEER: usize = STREAMS_TO_PEER / 2;
/// Of how many peers it is remembered that nothing is open to them.
const MAX_IDLE: usize = 64;

/// There is no room for one more stream to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many streams are open from here to that node; try again, or ask another peer")]
pub(crate) struct Crowded;

/// What is open to each peer.
#[derive(Debug, Default)]
pub(crate) struct Outbound(Mutex<BTreeMap<NodeId, ToPeer>>);

#[derive(Debug)]
struct ToPeer {
    all: Arc<Semaphore>,
    logs: Arc<Semaphore>,
}

/// Room for one stream.
#[derive(Debug)]
pub(crate) struct Room {
    _one: OwnedSemaphorePermit,
    _log: Option<OwnedSemaphorePermit>,
}

impl Outbound {
    /// Room for a stream to a peer that begins like this.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn room(&self, peer: NodeId, header: &[u8]) -> Result<Room, Crowded> {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() > MAX_IDLE {
            peers.retain(|_, to| to.all.available_permits() < STREAMS_TO_PEER);
        }
        let to = peers.entry(peer).or_insert_with(|| ToPeer {
            all: Arc::new(Semaphore::new(STREAMS_TO_PEER)),
            logs: Arc::new(Semaphore::new(LOGS_TO_PEER)),
        });
        let log = remote_logs::takes(header).then(|| to.logs.clone().try_acquire_owned());
        let log = log.transpose().map_err(|_| Crowded)?;
        let one = to.all.clone().try_acquire_owned().map_err(|_| Crowded)?;
        Ok(Room { _one: one, _log: log })
    }
}

/// A stream that holds its room until it is dropped.
pub(crate) struct Held {
    stream: PeerStream,
    _room: Room,
}

impl Held {
    pub(crate) fn new(stream: PeerStream, room: Room) -> Self {
        Held { stream, _room: room }
    }
}

impl AsyncRead for Held {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(context, into)
    }
}

impl AsyncWrite for Held {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LOG: &[u8] = br#"{"log":{"uid":"u"}}"#;
    const SESSION: &[u8] = br#"{"session":{}}"#;

    fn peer(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    #[test]
    fn logs_that_are_followed_leave_room_for_commands_and_both_for_the_keys() {
        let outbound = Outbound::default();
        let all = |header| std::iter::from_fn(|| outbound.room(peer(1), header).ok()).collect::<Vec<_>>();
        let logs = all(LOG);
        assert_eq!((logs.len(), outbound.room(peer(1), LOG).err()), (LOGS_TO_PEER, Some(Crowded)));
        let sessions = all(SESSION);
        assert_eq!(sessions.len(), STREAMS_TO_PEER - LOGS_TO_PEER);
        const { assert!(STREAMS_PER_PEER - STREAMS_TO_PEER >= 16) };
        assert!(outbound.room(peer(2), LOG).is_ok(), "another peer is another matter");
        drop(logs);
        assert_eq!(all(LOG).len(), LOGS_TO_PEER);
    }

    #[test]
    fn a_stream_gives_its_room_free_when_it_is_dropped_and_idle_peers_are_forgotten() {
        let outbound = Outbound::default();
        let (stream, _theirs) = tokio::io::duplex(1);
        let held = Held::new(Box::pin(stream), outbound.room(peer(1), SESSION).unwrap());
        let open = || outbound.0.lock().unwrap()[&peer(1)].all.available_permits();
        assert_eq!(open(), STREAMS_TO_PEER - 1);
        for n in 2..=200 {
            outbound.room(peer(n), SESSION).unwrap();
        }
        assert!(outbound.0.lock().unwrap().len() <= MAX_IDLE + 1);
        assert_eq!(open(), STREAMS_TO_PEER - 1);
        drop(held);
        assert_eq!(open(), STREAMS_TO_PEER);
    }
}
