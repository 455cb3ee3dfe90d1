//! One connection: asks for each inbound stream anew whether its peer is a member, and opens the streams that are asked
//! for.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, SubstreamProtocol};
use libp2p::{Stream, StreamProtocol};
use skein_gossip::NodeId;

use super::{Protocol, Purpose};
use crate::OPEN_LIMIT;
use crate::refusal::Refusal;
use crate::shared::Shared;

/// The protocols that may be spoken on a stream; the result is the bare stream.
#[derive(Debug, Clone)]
pub(crate) struct Offer(Vec<StreamProtocol>);

impl UpgradeInfo for Offer {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for Offer {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok((stream, name)))
    }
}

impl OutboundUpgrade<Stream> for Offer {
    type Output = Stream;
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, _: StreamProtocol) -> Self::Future {
        ready(Ok(stream))
    }
}

#[derive(Debug)]
pub(crate) enum HandlerEvent {
    Inbound(Protocol, Stream),
    Opened(Purpose, Stream),
    Refused(Purpose),
}

pub(crate) struct Handler {
    peer: NodeId,
    shared: Arc<Shared>,
    queue: VecDeque<ConnectionHandlerEvent<Offer, Purpose, HandlerEvent>>,
}

impl Handler {
    pub(super) fn new(peer: NodeId, shared: Arc<Shared>) -> Self {
        Self { peer, shared, queue: VecDeque::new() }
    }

    /// Everybody may ask for admission, all else is for members.
    fn allows(&self, protocol: Protocol) -> bool {
        protocol == Protocol::Admission || self.shared.is_member(&self.peer)
    }

    fn tell(&mut self, event: HandlerEvent) {
        self.queue.push_back(ConnectionHandlerEvent::NotifyBehaviour(event));
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Purpose;
    type ToBehaviour = HandlerEvent;
    type InboundProtocol = Offer;
    type OutboundProtocol = Offer;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Purpose;

    fn listen_protocol(&self) -> SubstreamProtocol<Offer> {
        let offered = Protocol::ALL.into_iter().filter(|protocol| self.allows(*protocol));
        SubstreamProtocol::new(Offer(offered.map(Protocol::name).collect()), ()).with_timeout(OPEN_LIMIT)
    }

    fn connection_keep_alive(&self) -> bool {
        self.shared.is_member(&self.peer)
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Offer, Purpose, HandlerEvent>> {
        self.queue.pop_front().map_or(Poll::Pending, Poll::Ready)
    }

    fn on_behaviour_event(&mut self, purpose: Purpose) {
        if !self.allows(purpose.protocol()) {
            self.tell(HandlerEvent::Refused(purpose));
            return;
        }
        let offer = Offer(vec![purpose.protocol().name()]);
        let protocol = SubstreamProtocol::new(offer, purpose).with_timeout(OPEN_LIMIT);
        self.queue.push_back(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Offer, Offer, (), Purpose>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: (stream, name), .. }) => {
                // Asked again: the peer may have been removed while the protocol was negotiated.
                match Protocol::by_name(&name) {
                    Some(protocol) if self.allows(protocol) => self.tell(HandlerEvent::Inbound(protocol, stream)),
                    _ => self.shared.refuse(self.peer, Refusal::StrangerStream),
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info }) => {
                self.tell(HandlerEvent::Opened(info, stream));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, .. }) => {
                self.tell(HandlerEvent::Refused(info));
            }
            _ => {}
        }
    }
}
