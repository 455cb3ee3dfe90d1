//! Multicast DNS, with the addresses filtered that nobody should be told.
//!
//! libp2p's own behaviour does the work, one socket for each address of the host; this wrapper hides listen addresses
//! that are not announced.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::{ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, ToSwarm, dummy};
use libp2p::{PeerId, mdns};

use crate::addresses::is_announced;
use crate::ids::socket_addr;

/// How often the network is asked again who is there; a node that starts asks at once.
const QUERY_EVERY: Duration = Duration::from_secs(60);

pub(crate) struct Mdns {
    inner: mdns::tokio::Behaviour,
    asked: BTreeSet<IpAddr>,
}

impl Mdns {
    pub(crate) fn new(me: PeerId, asked: BTreeSet<IpAddr>) -> std::io::Result<Self> {
        let config = mdns::Config { query_interval: QUERY_EVERY, ..mdns::Config::default() };
        Ok(Self { inner: mdns::tokio::Behaviour::new(config, me)?, asked })
    }
}

impl NetworkBehaviour for Mdns {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = mdns::Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::NewListenAddr(new) = &event {
            let told = socket_addr(new.addr).is_some_and(|addr| is_announced(addr.ip(), &self.asked));
            if !told {
                return;
            }
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: Infallible) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<mdns::Event, Infallible>> {
        self.inner.poll(cx)
    }
}
