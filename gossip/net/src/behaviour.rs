//! The behaviour that libp2p drives: which protocols a peer is offered on a connection, and opening streams on a chosen
//! connection. What streams carry is not known here.

mod handler;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{PeerId, Stream, StreamProtocol, connection_limits, identify};
use skein_gossip::NodeId;
use skein_gossip::places::{Full, Places};
use tokio::sync::oneshot;

use self::handler::{Handler, HandlerEvent};
use crate::ids::{ip_addr, node_id, peer_id};
use crate::mdns::Mdns;
use crate::refusal::Refusal;
use crate::shared::Shared;
use crate::{AdmissionError, HANDSHAKES, HANDSHAKES_OF_ADDRESS, Lane, OpenError, STRANGERS, STRANGERS_OF_ADDRESS};

/// All that runs on the swarm.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub limits: connection_limits::Behaviour,
    pub links: Links,
    pub identify: identify::Behaviour,
    pub mdns: Toggle<Mdns>,
}

/// What a stream is for. The order of the names is the order in which they are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Lane(Lane),
    Stream,
    Admission,
}

impl Protocol {
    pub(crate) const ALL: [Protocol; 4] =
        [Protocol::Lane(Lane::Control), Protocol::Lane(Lane::Bulk), Protocol::Stream, Protocol::Admission];

    pub(crate) fn name(self) -> StreamProtocol {
        StreamProtocol::new(match self {
            Protocol::Lane(Lane::Control) => "/skein/control/1",
            Protocol::Lane(Lane::Bulk) => "/skein/bulk/1",
            Protocol::Stream => "/skein/stream/1",
            Protocol::Admission => "/skein/admission/1",
        })
    }

    fn by_name(name: &StreamProtocol) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == *name)
    }
}

/// A stream that we open, and who waits for it.
pub(crate) enum Purpose {
    Lane(Lane),
    Stream { header: Bytes, reply: oneshot::Sender<Result<crate::Stream, OpenError>> },
    Admission { request: Bytes, reply: oneshot::Sender<Result<Bytes, AdmissionError>> },
}

impl Purpose {
    pub(crate) fn protocol(&self) -> Protocol {
        match self {
            Purpose::Lane(lane) => Protocol::Lane(*lane),
            Purpose::Stream { .. } => Protocol::Stream,
            Purpose::Admission { .. } => Protocol::Admission,
        }
    }
}

impl fmt::Debug for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.protocol().fmt(f)
    }
}

/// What happened to a stream.
#[derive(Debug)]
pub(crate) struct LinksEvent {
    pub peer: NodeId,
    pub connection: ConnectionId,
    pub kind: StreamEvent,
}

#[derive(Debug)]
pub(crate) enum StreamEvent {
    Inbound { protocol: Protocol, stream: Stream },
    Opened { purpose: Purpose, stream: Stream },
    Refused { purpose: Purpose },
}

/// Offers the member protocols to members and admission to everybody.
pub(crate) struct Links {
    shared: Arc<Shared>,
    connections: BTreeMap<ConnectionId, NodeId>,
    /// Handshakes of inbound connections: from where, and whether a member is known there.
    handshakes: BTreeMap<ConnectionId, (IpAddr, bool)>,
    handshakes_of: BTreeMap<IpAddr, usize>,
    /// The inbound connections of who was no member when it connected.
    strangers: Places<IpAddr, ConnectionId>,
    queue: VecDeque<ToSwarm<LinksEvent, Purpose>>,
}

impl Links {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            connections: BTreeMap::new(),
            handshakes: BTreeMap::new(),
            handshakes_of: BTreeMap::new(),
            strangers: Places::new(STRANGERS_OF_ADDRESS, STRANGERS),
            queue: VecDeque::new(),
        }
    }

    /// Opens a stream on this connection. The outcome is an event, unless the connection closes first.
    pub(crate) fn open(&mut self, peer: NodeId, connection: ConnectionId, purpose: Purpose) {
        let handler = NotifyHandler::One(connection);
        self.queue.push_back(ToSwarm::NotifyHandler { peer_id: peer_id(&peer), handler, event: purpose });
    }

    fn handler(&self, peer: &PeerId) -> Result<(NodeId, Handler), ConnectionDenied> {
        let node = node_id(peer).map_err(ConnectionDenied::new)?;
        if self.shared.is_refused(&node) {
            self.shared.refuse(node, Refusal::Offender);
            return Err(ConnectionDenied::new(Denied(Refusal::Offender)));
        }
        Ok((node, Handler::new(node, self.shared.clone())))
    }

    /// A stranger always finds a place, if need be that of another.
    fn place_stranger(&mut self, connection: ConnectionId, address: IpAddr) {
        let Some((gone, why)) = self.strangers.take(connection, address) else { return };
        let Some(peer) = self.connections.get(&gone).copied() else { return };
        if self.shared.is_member(&peer) {
            return;
        }
        self.shared.refuse(address, if why == Full::All { Refusal::Strangers } else { Refusal::StrangersOfAddress });
        let connection = CloseConnection::One(gone);
        self.queue.push_back(ToSwarm::CloseConnection { peer_id: peer_id(&peer), connection });
    }

    /// Whether one more handshake may begin.
    fn begin_handshake(&mut self, connection: ConnectionId, address: IpAddr) -> Result<(), Refusal> {
        let known = self.shared.guard.knows(address);
        if self.handshakes_of.get(&address).is_some_and(|count| *count >= HANDSHAKES_OF_ADDRESS) {
            return Err(Refusal::HandshakesOfAddress);
        }
        if !known && self.handshakes.values().filter(|(_, known)| !known).count() >= HANDSHAKES {
            return Err(Refusal::Handshakes);
        }
        self.handshakes.insert(connection, (address, known));
        *self.handshakes_of.entry(address).or_default() += 1;
        Ok(())
    }

    fn end_handshake(&mut self, connection: &ConnectionId) {
        let Some((address, _)) = self.handshakes.remove(connection) else { return };
        if let Some(count) = self.handshakes_of.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.handshakes_of.remove(&address);
            }
        }
    }

    fn forget(&mut self, connection: &ConnectionId) {
        self.end_handshake(connection);
        self.connections.remove(connection);
        self.strangers.free(connection);
    }
}

/// A connection is not wanted.
#[derive(Debug, thiserror::Error)]
#[error("refused: {}", .0.name())]
pub(crate) struct Denied(pub Refusal);

impl NetworkBehaviour for Links {
    type ConnectionHandler = Handler;
    type ToSwarm = LinksEvent;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let Some(address) = ip_addr(from) else { return Ok(()) };
        self.begin_handshake(connection, address).map_err(|refusal| {
            self.shared.refuse(address, refusal);
            ConnectionDenied::new(Denied(refusal))
        })
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.end_handshake(&connection);
        let (node, handler) = self.handler(&peer)?;
        if let Some(address) = ip_addr(from).filter(|_| !self.shared.is_member(&node)) {
            self.place_stranger(connection, address);
        }
        self.connections.insert(connection, node);
        Ok(handler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let (node, handler) = self.handler(&peer)?;
        self.connections.insert(connection, node);
        Ok(handler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => {
                self.forget(&closed.connection_id);
            }
            // Another behaviour denied it after we had agreed.
            FromSwarm::ListenFailure(failure) => {
                self.forget(&failure.connection_id);
            }
            FromSwarm::DialFailure(failure) => {
                self.connections.remove(&failure.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        let Some(peer) = self.connections.get(&connection).copied() else { return };
        let kind = match event {
            HandlerEvent::Inbound(protocol, stream) => StreamEvent::Inbound { protocol, stream },
            HandlerEvent::Opened(purpose, stream) => StreamEvent::Opened { purpose, stream },
            HandlerEvent::Refused(purpose) => StreamEvent::Refused { purpose },
        };
        self.queue.push_back(ToSwarm::GenerateEvent(LinksEvent { peer, connection, kind }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.queue.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}
