//! What a machine does that belongs to no cluster yet: it meets whoever is at an address, and hears of whom mDNS finds.

use std::net::SocketAddr;

use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::DialOpts;
use skein_gossip::NodeId;
use tokio::sync::oneshot;

use super::Driver;
use crate::behaviour::Purpose;
use crate::{AdmissionError, NetEvent, WAITING_PER_PEER, ids};

impl Driver {
    /// Asks a peer to be admitted, once it is reached.
    pub(super) fn ask(&mut self, peer: NodeId, addrs: &[SocketAddr], purpose: Purpose) {
        let entry = self.entry(peer);
        if let Some(connection) = entry.newest() {
            let id = connection.id;
            self.swarm.behaviour_mut().links.open(peer, id, purpose);
        } else if entry.waiting.len() < WAITING_PER_PEER {
            entry.waiting.push(purpose);
            self.dial(peer, addrs, false);
        } else {
            fail(peer, [purpose], "too many requests wait for it");
        }
    }

    /// Dials an address to find out who is there.
    pub(super) fn meet(&mut self, addr: SocketAddr, reply: oneshot::Sender<Result<NodeId, AdmissionError>>) {
        if self.meetings.len() >= WAITING_PER_PEER {
            let _ = reply.send(Err(AdmissionError::Busy));
            return;
        }
        let opts = DialOpts::unknown_peer_id().address(ids::tcp(addr)).allocate_new_port().build();
        let id = opts.connection_id();
        self.meetings.insert(id, reply);
        if let Err(error) = self.swarm.dial(opts) {
            self.not_met(id, &error.to_string());
        }
    }

    pub(super) fn not_met(&mut self, id: ConnectionId, reason: &str) {
        self.shared.counters.dials_failed.add(1);
        if let Some(reply) = self.meetings.remove(&id) {
            let _ = reply.send(Err(AdmissionError::Nobody(reason.to_owned())));
        }
    }

    /// Whoever looks for somebody to be let in by hears of all that mDNS finds.
    pub(super) async fn found_stranger(&mut self, peer: &libp2p::PeerId, addr: &libp2p::Multiaddr) {
        let (Ok(peer), Some(addr)) = (ids::node_id(peer), ids::socket_addr(addr)) else { return };
        if self.tells_strangers && peer != self.shared.me && !self.shared.is_member(&peer) {
            self.emit(NetEvent::Stranger { peer, addr }).await;
        }
    }
}

/// Tells who waits for a peer that it is not reached.
pub(super) fn fail(peer: NodeId, purposes: impl IntoIterator<Item = Purpose>, reason: &str) {
    for purpose in purposes {
        if let Purpose::Admission { reply, .. } = purpose {
            let _ = reply.send(Err(AdmissionError::Unreachable { peer, reason: reason.to_owned() }));
        }
    }
}
