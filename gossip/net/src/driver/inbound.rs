//! What peers open towards this node: streams of members, and questions of who wants in. Lanes are with the links.

use libp2p::swarm::ConnectionId;
use skein_gossip::{NodeId, Offence};
use tokio_util::compat::FuturesAsyncReadCompatExt;

use super::Driver;
use crate::refusal::Refusal;
use crate::{MAX_STREAM_HEADER, NetEvent, OPEN_LIMIT, Stream, admission};

impl Driver {
    /// A member opens a stream: its head says what for.
    pub(super) fn stream_from(&mut self, peer: NodeId, id: ConnectionId, stream: libp2p::Stream) {
        let Some(entry) = self.peers.get(&peer) else { return };
        let (Some(connection), Ok(permit)) = (entry.find(id), entry.streams.clone().try_acquire_owned()) else {
            self.shared.refuse(peer, Refusal::Streams);
            return;
        };
        let reader = self.reader(peer, connection, entry.flows.clone());
        tokio::spawn(async move {
            let mut stream = stream.compat();
            let head = admission::read_block(&mut stream, MAX_STREAM_HEADER);
            match tokio::time::timeout(OPEN_LIMIT, head).await {
                Ok(Ok(header)) => {
                    let stream = Stream::over(stream, Some(permit));
                    let _ = reader.events.send(NetEvent::Stream { peer, header, stream }).await;
                }
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                    reader.shared.counters.oversized.add(1);
                    reader.violation(Offence::TooLong, "a stream header longer than 16 KB").await;
                }
                _ => reader.shared.refuse(peer, Refusal::StreamHead),
            }
        });
    }

    /// A stranger asks to be let in, if there is room for one more who asks.
    pub(super) fn admission_from(&mut self, peer: NodeId, id: ConnectionId, stream: libp2p::Stream) {
        let Some(addr) = self.peers.get(&peer).and_then(|entry| entry.find(id)).map(|it| it.addr) else { return };
        let address = addr.ip().to_canonical();
        let permits = match self.door.enter(self.shared.now(), address) {
            Ok(permits) => permits,
            Err(refusal) => return self.shared.refuse(address, refusal),
        };
        let (events, shared) = (self.events.clone(), self.shared.clone());
        tokio::spawn(async move {
            if let Err(error) = admission::answer(stream.compat(), peer, addr, events).await {
                let too_long = error.kind() == std::io::ErrorKind::InvalidData;
                shared.counters.oversized.add(usize::from(too_long));
                shared.refuse(address, Refusal::AdmissionBroken);
            }
            drop(permits);
        });
    }
}
