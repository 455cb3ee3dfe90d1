//! Our words for nodes and addresses, and libp2p's.

use std::net::{IpAddr, SocketAddr};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, identity};
use skein_gossip::{Keypair, NodeId};

/// The peer id is not that of an Ed25519 key, so it names no node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the peer {0} is no node: nodes are named by Ed25519 keys")]
pub struct NotANode(pub PeerId);

/// The node that libp2p calls so.
///
/// # Errors
/// When the peer's key is of another kind.
pub fn node_id(peer: &PeerId) -> Result<NodeId, NotANode> {
    peer.to_string().parse().map_err(|_| NotANode(*peer))
}

/// What libp2p calls this node.
#[must_use]
pub fn peer_id(node: &NodeId) -> PeerId {
    let wrapped = [&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20][..], &node.0].concat();
    // An identity multihash of 36 bytes is a peer id whatever the 36 bytes are; if libp2p ever thought otherwise, a
    // random id only makes the dial fail.
    PeerId::from_bytes(&wrapped).unwrap_or_else(|_| PeerId::random())
}

/// The key as libp2p wants it.
pub(crate) fn libp2p_keypair(keypair: &Keypair) -> Result<identity::Keypair, identity::DecodingError> {
    identity::Keypair::ed25519_from_bytes(keypair.secret())
}

pub(crate) fn tcp(addr: SocketAddr) -> Multiaddr {
    Multiaddr::empty().with(addr.ip().into()).with(Protocol::Tcp(addr.port()))
}

#[cfg(feature = "quic")]
pub(crate) fn quic(addr: SocketAddr) -> Multiaddr {
    Multiaddr::empty().with(addr.ip().into()).with(Protocol::Udp(addr.port())).with(Protocol::QuicV1)
}

/// The IP address that a multiaddress begins with; of IPv4 in IPv6 the IPv4 one.
pub(crate) fn ip_addr(addr: &Multiaddr) -> Option<IpAddr> {
    match addr.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(IpAddr::from(ip).to_canonical()),
        _ => None,
    }
}

/// The IP address and port of a multiaddress, if it begins with them.
pub(crate) fn socket_addr(addr: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = addr.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_node_and_its_peer_id_are_written_alike() {
        let node = Keypair::from_secret([9; 32]).node_id();
        assert_eq!(peer_id(&node).to_string(), node.to_string());
        assert_eq!(node_id(&peer_id(&node)), Ok(node));
        let key = libp2p_keypair(&Keypair::from_secret([9; 32])).unwrap();
        assert_eq!(key.public().to_peer_id(), peer_id(&node));
        assert!(node_id(&PeerId::random()).is_err(), "a hash is no key");
    }

    #[test]
    fn addresses_go_there_and_back() {
        for text in ["127.0.0.2:7311", "[::1]:80"] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(socket_addr(&tcp(addr)), Some(addr));
        }
        assert_eq!(socket_addr(&"/dns4/example.org/tcp/1".parse().unwrap()), None);
    }
}
