//! How the swarm is put together: transports, what runs on it, and where it listens.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use libp2p::core::ConnectedPoint;
use libp2p::core::upgrade::Version;
use libp2p::{PeerId, Swarm, Transport, connection_limits, identify, identity, noise, tcp, yamux};

use crate::behaviour::{Behaviour, Links};
use crate::mdns::Mdns;
use crate::shared::Shared;
use crate::sniff::{Other, Sniffed};
use crate::{
    CONNECTIONS_PER_PEER, DIAL_LIMIT, HANDSHAKES_IN_ALL, NEGOTIATIONS, NetConfig, NetError, OPEN_LIMIT,
    STREAMS_OF_MEMBER, STREAMS_OF_STRANGER, ids,
};

/// A swarm that neither listens nor dials yet.
pub(crate) fn new_swarm(
    config: &NetConfig,
    keypair: &identity::Keypair,
    shared: &Arc<Shared>,
    asked: &BTreeSet<IpAddr>,
) -> Result<Swarm<Behaviour>, NetError> {
    let me = keypair.public().to_peer_id();
    let noise = noise::Config::new(keypair).map_err(|error| NetError::Key(error.to_string()))?;
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex_ext({
            let shared = shared.clone();
            move |peer: &PeerId, _: &ConnectedPoint| {
                let is_member = ids::node_id(peer).is_ok_and(|node| shared.is_member(&node));
                let mut config = yamux::Config::default();
                config.set_max_num_streams(if is_member { STREAMS_OF_MEMBER } else { STREAMS_OF_STRANGER });
                config
            }
        })
        .timeout(DIAL_LIMIT);
    let tcp = {
        let shared = shared.clone();
        tcp.map(move |(peer, inner), endpoint| {
            let address = ids::ip_addr(endpoint.get_remote_address());
            let other = Other { peer: ids::node_id(&peer).ok(), address, shared };
            (peer, Sniffed { inner, other })
        })
    };
    #[cfg(feature = "quic")]
    let transport = {
        use futures::future::Either;
        use libp2p::core::muxing::StreamMuxerBox;
        let quic = libp2p::quic::tokio::Transport::new(libp2p::quic::Config::new(keypair));
        tcp.or_transport(quic)
            .map(|either, _| match either {
                Either::Left((peer, muxer)) => (peer, StreamMuxerBox::new(muxer)),
                Either::Right((peer, muxer)) => (peer, StreamMuxerBox::new(muxer)),
            })
            .boxed()
    };
    #[cfg(not(feature = "quic"))]
    let transport = tcp.map(|(peer, muxer), _| (peer, libp2p::core::muxing::StreamMuxerBox::new(muxer))).boxed();

    let limits = connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(HANDSHAKES_IN_ALL))
        .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER));
    let identify = identify::Config::new("/skein/1".to_owned(), keypair.public())
        .with_agent_version(config.agent_version.clone())
        .with_hide_listen_addrs(true)
        .with_push_listen_addr_updates(true);
    let on_lan = config.listen.is_empty() || config.listen.iter().any(|addr| !addr.ip().is_loopback());
    let mdns = (config.mdns && on_lan).then(|| Mdns::new(me, asked.clone(), shared.clone())).and_then(|mdns| {
        mdns.inspect_err(|error| tracing::warn!(%error, "no mDNS: peers are found by address only")).ok()
    });
    let behaviour = Behaviour {
        limits: connection_limits::Behaviour::new(limits),
        links: Links::new(shared.clone()),
        identify: identify::Behaviour::new(identify),
        mdns: mdns.into(),
    };
    let swarm_config = libp2p::swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(OPEN_LIMIT)
        .with_max_negotiating_inbound_streams(NEGOTIATIONS);
    Ok(Swarm::new(transport, behaviour, me, swarm_config))
}

/// Listens, unless anybody else listens there.
pub(super) fn listen(swarm: &mut Swarm<Behaviour>, addr: SocketAddr) -> Result<(), NetError> {
    // The transport sets SO_REUSEPORT, with which two daemons of one user would share a port and each get half of the
    // connections. A plain socket finds out that the port is taken.
    let probe = std::net::TcpListener::bind(addr).map_err(|source| NetError::Listen { addr, source })?;
    drop(probe);
    let failed = |error: libp2p::TransportError<std::io::Error>| NetError::Listen {
        addr,
        source: match error {
            libp2p::TransportError::Other(error) => error,
            other => std::io::Error::other(other),
        },
    };
    swarm.listen_on(ids::tcp(addr)).map_err(failed)?;
    #[cfg(feature = "quic")]
    swarm.listen_on(ids::quic(addr)).map_err(failed)?;
    Ok(())
}

/// What libp2p is to try for an address.
pub(super) fn dial_addresses(addr: SocketAddr) -> Vec<libp2p::Multiaddr> {
    #[cfg(feature = "quic")]
    return vec![ids::quic(addr), ids::tcp(addr)];
    #[cfg(not(feature = "quic"))]
    vec![ids::tcp(addr)]
}
