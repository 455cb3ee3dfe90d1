//! Multicast DNS, with the addresses filtered that nobody should be told.
//!
//! libp2p's own behaviour does the work, one socket for each address of the host; this wrapper hides listen addresses
//! that are not announced.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::transport::{ListenerId, PortUse};
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NewListenAddr, THandler, ToSwarm, dummy,
};
use libp2p::{PeerId, mdns};

use crate::ANNOUNCED;
use crate::addresses::is_announced;
use crate::ids::socket_addr;
use crate::refusal::Refusal;
use crate::shared::Shared;

/// How often the network is asked again who is there; a node that starts asks at once.
const QUERY_EVERY: Duration = Duration::from_secs(60);

pub(crate) struct Mdns {
    inner: mdns::tokio::Behaviour,
    asked: BTreeSet<IpAddr>,
    me: PeerId,
    shared: Arc<Shared>,
    /// What the inner one was told, for the next one.
    listens: BTreeMap<Multiaddr, ListenerId>,
}

impl Mdns {
    pub(crate) fn new(me: PeerId, asked: BTreeSet<IpAddr>, shared: Arc<Shared>) -> std::io::Result<Self> {
        Ok(Self { inner: begin(me)?, asked, me, shared, listens: BTreeMap::new() })
    }

    /// Forgets everybody and begins anew: whoever is really there is found again by the next question.
    fn begin_anew(&mut self) {
        self.shared.refuse("the local network", Refusal::Announced);
        match begin(self.me) {
            Ok(inner) => self.inner = inner,
            // It goes on with what it has; the next announcement tries again.
            Err(error) => return tracing::debug!(%error, "mDNS could not begin anew"),
        }
        for (addr, listener_id) in &self.listens {
            let event = FromSwarm::NewListenAddr(NewListenAddr { listener_id: *listener_id, addr });
            self.inner.on_swarm_event(event);
        }
    }
}

fn begin(me: PeerId) -> std::io::Result<mdns::tokio::Behaviour> {
    let config = mdns::Config { query_interval: QUERY_EVERY, ..mdns::Config::default() };
    mdns::tokio::Behaviour::new(config, me)
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
            self.listens.insert(new.addr.clone(), new.listener_id);
        }
        if let FromSwarm::ExpiredListenAddr(old) = &event {
            self.listens.remove(old.addr);
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: Infallible) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<mdns::Event, Infallible>> {
        if self.inner.discovered_nodes().len() > ANNOUNCED {
            self.begin_anew();
        }
        self.inner.poll(cx)
    }
}
