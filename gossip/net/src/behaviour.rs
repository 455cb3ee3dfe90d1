//! The behaviour that libp2p drives: which protocols a peer is offered on a connection, and opening streams on a chosen
//! connection. What streams carry is not known here.

mod handler;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{PeerId, Stream, StreamProtocol, connection_limits, identify};
use skein_gossip::NodeId;
use tokio::sync::oneshot;

use self::handler::{Handler, HandlerEvent};
use crate::ids::{node_id, peer_id};
use crate::mdns::Mdns;
use crate::shared::Shared;
use crate::{AdmissionError, Lane, OpenError, STRANGERS};

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
    queue: VecDeque<ToSwarm<LinksEvent, Purpose>>,
}

impl Links {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, connections: BTreeMap::new(), queue: VecDeque::new() }
    }

    /// Opens a stream on this connection. The outcome is an event, unless the connection closes first.
    pub(crate) fn open(&mut self, peer: NodeId, connection: ConnectionId, purpose: Purpose) {
        let handler = NotifyHandler::One(connection);
        self.queue.push_back(ToSwarm::NotifyHandler { peer_id: peer_id(&peer), handler, event: purpose });
    }

    fn handler(&self, peer: &PeerId) -> Result<(NodeId, Handler), ConnectionDenied> {
        let node = node_id(peer).map_err(ConnectionDenied::new)?;
        Ok((node, Handler::new(node, self.shared.clone())))
    }
}

/// There are as many connections of peers that are no members as may be.
#[derive(Debug, thiserror::Error)]
#[error("too many peers that are no members are connected")]
struct TooManyStrangers;

impl NetworkBehaviour for Links {
    type ConnectionHandler = Handler;
    type ToSwarm = LinksEvent;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let (node, handler) = self.handler(&peer)?;
        if !self.shared.is_member(&node) {
            let strangers = self.connections.values().filter(|peer| !self.shared.is_member(peer)).count();
            if strangers >= STRANGERS {
                self.shared.counters.refused.add(1);
                return Err(ConnectionDenied::new(TooManyStrangers));
            }
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
                self.connections.remove(&closed.connection_id);
            }
            // Another behaviour denied it after we had agreed.
            FromSwarm::ListenFailure(failure) => {
                self.connections.remove(&failure.connection_id);
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
