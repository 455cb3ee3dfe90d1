//! The task that runs the swarm: which connections there are, which of them carries a member's frames, and when one is
//! given up. Frames themselves go through the tasks in `lanes`.

mod door;
mod inbound;
mod peers;
mod strangers;
mod swarm;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, ListenError, SwarmEvent};
use libp2p::{Swarm, connection_limits, identify, mdns};
use skein_gossip::{NodeId, Offence};
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::FuturesAsyncReadCompatExt;

use self::door::Door;
use self::peers::{Connection, Peer};
use self::strangers::fail;
pub(crate) use self::swarm::new_swarm;
use self::swarm::{dial_addresses, listen};
use crate::admission;
use crate::behaviour::{Behaviour, BehaviourEvent, LinksEvent, Protocol, Purpose, StreamEvent};
use crate::lanes::{self, Flows, Reader, Report};
use crate::refusal::Refusal;
use crate::shared::Shared;
use crate::{
    AdmissionError, DUPLICATE_LIFE, FLUSH_LIMIT, Lane, NetConfig, NetError, NetEvent, OpenError, STALL_LIMIT, Stream,
    addresses, ids,
};

/// How often links are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often a shutdown looks whether all is written.
const FLUSH_CHECK: Duration = Duration::from_millis(5);

/// What the handle asks for.
pub(crate) enum Command {
    Dial {
        peer: NodeId,
        addrs: Vec<SocketAddr>,
    },
    Disconnect(NodeId),
    AccessChanged,
    Offence {
        peer: NodeId,
        offence: Offence,
        what: String,
    },
    Open {
        peer: NodeId,
        header: Bytes,
        reply: oneshot::Sender<Result<Stream, OpenError>>,
    },
    Admission {
        peer: NodeId,
        addrs: Vec<SocketAddr>,
        request: Bytes,
        reply: oneshot::Sender<Result<Bytes, AdmissionError>>,
    },
    Meet {
        addr: SocketAddr,
        reply: oneshot::Sender<Result<NodeId, AdmissionError>>,
    },
    Shutdown(oneshot::Sender<()>),
}

pub(crate) struct Driver {
    swarm: Swarm<Behaviour>,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<NetEvent>,
    reports: mpsc::Receiver<Report>,
    report: mpsc::Sender<Report>,
    peers: BTreeMap<NodeId, Peer>,
    advertise: Vec<SocketAddr>,
    /// The IP addresses that the configuration named.
    asked: BTreeSet<IpAddr>,
    door: Door,
    /// Whether strangers that mDNS finds are told of.
    tells_strangers: bool,
    /// Dials of addresses at which anybody is welcome, and who waits for them.
    meetings: BTreeMap<ConnectionId, oneshot::Sender<Result<NodeId, AdmissionError>>>,
}

impl Driver {
    /// Listens. Nothing runs until [`Driver::run`].
    pub(crate) fn start(
        config: &NetConfig,
        shared: Arc<Shared>,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<NetEvent>,
    ) -> Result<Self, NetError> {
        let keypair = ids::libp2p_keypair(&config.keypair).map_err(|error| NetError::Key(error.to_string()))?;
        let asked: BTreeSet<_> = config.listen.iter().chain(&config.advertise).map(SocketAddr::ip).collect();
        let mut swarm = new_swarm(config, &keypair, &shared, &asked)?;
        for addr in &config.listen {
            listen(&mut swarm, *addr)?;
        }
        let (report, reports) = mpsc::channel(256);
        let door = Door::new(shared.now());
        Ok(Self {
            swarm,
            shared,
            commands,
            events,
            reports,
            report,
            peers: BTreeMap::new(),
            advertise: config.advertise.clone(),
            asked,
            door,
            tells_strangers: config.tells_strangers,
            meetings: BTreeMap::new(),
        })
    }

    /// Runs until a shutdown, or until nobody holds the handle or reads the events any more.
    pub(crate) async fn run(mut self) {
        for addr in self.advertise.clone() {
            self.announce(addr).await;
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.events.is_closed() {
            tokio::select! {
                event = self.swarm.select_next_some() => self.swarm_event(event).await,
                Some(report) = self.reports.recv() => self.report(report).await,
                _ = tick.tick() => self.tick().await,
                command = self.commands.recv() => match command {
                    Some(Command::Shutdown(done)) => {
                        self.shut_down().await;
                        let _ = done.send(());
                        return;
                    }
                    Some(command) => self.command(command).await,
                    None => return,
                },
            }
        }
    }

    async fn emit(&mut self, event: NetEvent) {
        // Nobody reads any more: `run` sees it too.
        let _ = self.events.send(event).await;
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Dial { peer, addrs } => self.dial(peer, &addrs, false),
            Command::Disconnect(peer) => self.disconnect(peer).await,
            Command::Offence { peer, offence, what } => self.offence(peer, offence, &what).await,
            Command::AccessChanged => self.check_access().await,
            Command::Open { peer, header, reply } => {
                let linked = self.peers.get(&peer).and_then(Peer::link);
                let Some(connection) = linked.filter(|_| self.shared.is_member(&peer)) else {
                    let _ = reply.send(Err(OpenError::NoLink(peer)));
                    return;
                };
                let id = connection.id;
                self.swarm.behaviour_mut().links.open(peer, id, Purpose::Stream { header, reply });
            }
            Command::Admission { peer, addrs, request, reply } => {
                let purpose = Purpose::Admission { request, reply };
                self.ask(peer, &addrs, purpose);
            }
            Command::Meet { addr, reply } => self.meet(addr, reply),
            // Handled by the loop, which it ends.
            Command::Shutdown(_) => {}
        }
    }

    /// Dials unless there is no reason to; `beside` dials although there is a link, since it is doubted.
    fn dial(&mut self, peer: NodeId, addrs: &[SocketAddr], beside: bool) {
        let (now_ms, me) = (self.shared.now_ms(), self.shared.me);
        if self.shared.is_refused(&peer) {
            return;
        }
        if self.shared.is_member(&peer) {
            addrs.iter().for_each(|addr| self.shared.guard.learn(addr.ip()));
        }
        let entry = self.entry(peer);
        entry.remember(addrs);
        let healthy = entry.link().is_some_and(|link| !link.is_doubted(now_ms));
        if entry.dialing.is_some() || peer == me || (healthy && !beside) {
            return;
        }
        let targets: Vec<_> = entry.addrs.iter().flat_map(|addr| dial_addresses(*addr)).collect();
        let opts = DialOpts::peer_id(ids::peer_id(&peer))
            .condition(PeerCondition::Always)
            .addresses(targets)
            .allocate_new_port()
            .build();
        entry.dialing = Some(opts.connection_id());
        if let Err(error) = self.swarm.dial(opts) {
            self.dial_failed(peer, &error.to_string());
        }
    }

    fn entry(&mut self, peer: NodeId) -> &mut Peer {
        let now = self.shared.now();
        self.peers.entry(peer).or_insert_with(|| Peer::new(now))
    }

    fn dial_failed(&mut self, peer: NodeId, reason: &str) {
        self.shared.counters.dials_failed.add(1);
        tracing::debug!(%peer, reason, "dial failed");
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        entry.dialing = None;
        if entry.connections.is_empty() {
            fail(peer, entry.waiting.drain(..), reason);
        }
        self.forget_if_unused(peer);
    }

    async fn swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let (Ok(peer), Some(addr)) = (ids::node_id(&peer_id), ids::socket_addr(endpoint.get_remote_address()))
                else {
                    return;
                };
                let dialed = endpoint.is_dialer();
                self.connected(peer, connection_id, addr, dialed);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => {
                if let Ok(peer) = ids::node_id(&peer_id) {
                    self.closed(peer, connection_id).await;
                }
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                self.not_connected(&send_back_addr, error);
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer_id), connection_id, error } => {
                let Ok(peer) = ids::node_id(&peer_id) else { return };
                if self.peers.get(&peer).is_some_and(|entry| entry.dialing == Some(connection_id)) {
                    self.dial_failed(peer, &error.to_string());
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id: None, connection_id, error } => {
                self.not_met(connection_id, &error.to_string());
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                let Some(addr) = ids::socket_addr(&address) else { return };
                if self.advertise.is_empty() && addresses::is_announced(addr.ip(), &self.asked) {
                    self.announce(addr).await;
                }
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                if let Some(addr) = ids::socket_addr(&address).filter(|addr| !self.advertise.contains(addr)) {
                    self.swarm.remove_external_address(&ids::tcp(addr));
                    self.shared.withdraw(&addr);
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Links(event)) => self.stream_event(event).await,
            SwarmEvent::Behaviour(BehaviourEvent::Mdns(mdns::Event::Discovered(found))) => {
                for (peer, addr) in found {
                    self.found(&peer, &addr).await;
                    self.found_stranger(&peer, &addr).await;
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. })) => {
                // As many as a host may sensibly have.
                for addr in info.listen_addrs.iter().take(16) {
                    self.found(&peer_id, addr).await;
                }
            }
            _ => {}
        }
    }

    async fn announce(&mut self, addr: SocketAddr) {
        self.swarm.add_external_address(ids::tcp(addr));
        if self.shared.announce(addr) {
            self.emit(NetEvent::Listening(addr)).await;
        }
    }

    /// Somebody says that a peer is at this address. Of interest are members alone.
    async fn found(&mut self, peer: &libp2p::PeerId, addr: &libp2p::Multiaddr) {
        let (Ok(peer), Some(addr)) = (ids::node_id(peer), ids::socket_addr(addr)) else { return };
        if peer == self.shared.me || !self.shared.is_member(&peer) {
            return;
        }
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.remember(&[addr]);
        }
        self.emit(NetEvent::Found { peer, addr }).await;
    }

    fn connected(&mut self, peer: NodeId, id: ConnectionId, addr: SocketAddr, dialed: bool) {
        let now_ms = self.shared.now_ms();
        if let Some(reply) = self.meetings.remove(&id) {
            let _ = reply.send(Ok(peer));
        }
        let entry = self.entry(peer);
        if entry.dialing == Some(id) {
            entry.dialing = None;
        }
        if dialed {
            entry.remember(&[addr]);
        }
        entry.connections.push(Connection::new(id, addr, dialed, now_ms));
        for purpose in std::mem::take(&mut entry.waiting) {
            self.swarm.behaviour_mut().links.open(peer, id, purpose);
        }
        self.open_lanes(peer);
        self.count_connections();
    }

    /// A connection did not come about. Those that were denied here are counted already, but for a peer that has too many.
    fn not_connected(&self, from: &libp2p::Multiaddr, error: ListenError) {
        let refusal = match error {
            ListenError::Denied { cause } => match cause.downcast::<connection_limits::Exceeded>() {
                Ok(_) => Refusal::Connections,
                Err(_) => return,
            },
            _ => Refusal::Handshake,
        };
        if let Some(address) = ids::ip_addr(from) {
            self.shared.refuse(address, refusal);
        }
    }

    /// A connection is gone, or given up.
    async fn closed(&mut self, peer: NodeId, id: ConnectionId) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let was_linked = entry.link().is_some();
        entry.connections.retain(|connection| connection.id != id);
        let link_lost = was_linked && entry.link().is_none();
        self.shared.set_route(peer, entry.route());
        self.forget_if_unused(peer);
        self.count_connections();
        if link_lost {
            self.emit(NetEvent::LinkDown { peer }).await;
        }
    }

    /// Gives a connection up. It counts as gone at once: one that is cut cannot be closed in an orderly way.
    async fn close(&mut self, peer: NodeId, id: ConnectionId) {
        self.swarm.close_connection(id);
        self.closed(peer, id).await;
    }

    async fn disconnect(&mut self, peer: NodeId) {
        let ids = self.peers.get(&peer).map(Peer::ids).unwrap_or_default();
        for id in ids {
            self.close(peer, id).await;
        }
    }

    fn forget_if_unused(&mut self, peer: NodeId) {
        self.peers.retain(|node, entry| *node != peer || entry.is_used());
    }

    fn count_connections(&self) {
        let count = self.peers.values().map(|peer| peer.connections.len()).sum();
        self.shared.counters.connections.set(count);
    }

    /// Asks for the lanes that are not open yet on all connections with a member.
    fn open_lanes(&mut self, peer: NodeId) {
        if !self.shared.is_member(&peer) {
            return;
        }
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        for connection in &mut entry.connections {
            for lane in connection.lanes_to_open() {
                self.swarm.behaviour_mut().links.open(peer, connection.id, Purpose::Lane(lane));
            }
        }
    }

    async fn stream_event(&mut self, event: LinksEvent) {
        let LinksEvent { peer, connection, kind } = event;
        match kind {
            StreamEvent::Inbound { protocol: Protocol::Lane(lane), stream } => {
                self.lane_from(peer, connection, lane, stream).await;
            }
            StreamEvent::Inbound { protocol: Protocol::Stream, stream } => self.stream_from(peer, connection, stream),
            StreamEvent::Inbound { protocol: Protocol::Admission, stream } => {
                self.admission_from(peer, connection, stream);
            }
            StreamEvent::Opened { purpose: Purpose::Lane(lane), stream } => {
                self.lane_to(peer, connection, lane, stream).await;
            }
            StreamEvent::Opened { purpose: Purpose::Stream { header, reply }, stream } => {
                tokio::spawn(async move {
                    let mut stream = stream.compat();
                    let written = admission::write_block(&mut stream, &header).await;
                    let _ =
                        reply.send(written.map(|()| Stream::over(stream, None)).map_err(|_| OpenError::Closed(peer)));
                });
            }
            StreamEvent::Opened { purpose: Purpose::Admission { request, reply }, stream } => {
                tokio::spawn(async move {
                    let answer = admission::ask(stream.compat(), &request).await;
                    let _ = reply.send(answer.map_err(|_| AdmissionError::Refused(peer)));
                });
            }
            StreamEvent::Refused { purpose: Purpose::Lane(lane) } => {
                // It does not know us as a member yet. The next tick tries again.
                if let Some(connection) = self.peers.get_mut(&peer).and_then(|entry| entry.connection(connection)) {
                    connection.lane_refused(lane);
                    // Once for both lanes.
                    if lane == Lane::Control {
                        self.emit(NetEvent::Unwelcome { peer }).await;
                    }
                }
            }
            // Dropping the purpose tells who waits.
            StreamEvent::Refused { .. } => {}
        }
    }

    fn reader(&self, peer: NodeId, connection: &Connection, flows: Arc<Flows>) -> Reader {
        Reader {
            peer,
            connection: connection.id,
            shared: self.shared.clone(),
            events: self.events.clone(),
            reports: self.report.clone(),
            heard: connection.heard.clone(),
            flows,
        }
    }

    async fn lane_from(&mut self, peer: NodeId, id: ConnectionId, lane: Lane, stream: libp2p::Stream) {
        let Some(entry) = self.peers.get(&peer) else { return };
        let Some(connection) = entry.find(id) else { return };
        let reader = self.reader(peer, connection, entry.flows.clone());
        self.link(peer, id).await;
        if let Some(connection) = self.peers.get_mut(&peer).and_then(|entry| entry.connection(id)) {
            connection.read(lane, reader.run(lane, stream.compat()));
        }
    }

    async fn lane_to(&mut self, peer: NodeId, id: ConnectionId, lane: Lane, stream: libp2p::Stream) {
        let (shared, report) = (self.shared.clone(), self.report.clone());
        let Some(connection) = self.peers.get_mut(&peer).and_then(|entry| entry.connection(id)) else { return };
        connection.write(lane, move |queue| async move {
            let written = lanes::write(lane, stream.compat(), queue, &shared, STALL_LIMIT).await;
            if written.is_err_and(|error| error.kind() == std::io::ErrorKind::TimedOut) {
                let _ = report.send(Report::Stalled { peer, connection: id }).await;
            }
            let _ = report.send(Report::WriterGone { peer, connection: id, lane }).await;
        });
        if lane == Lane::Control {
            self.link(peer, id).await;
        }
    }

    /// The connection carries frames: both sides know each other as members.
    async fn link(&mut self, peer: NodeId, id: ConnectionId) {
        let now_ms = self.shared.now_ms();
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let had_link = entry.link().is_some();
        let Some(connection) = entry.connection(id) else { return };
        let addr = connection.addr;
        connection.set_linked(now_ms);
        self.shared.guard.learn(addr.ip());
        self.shared.set_route(peer, entry.route());
        if !had_link {
            self.emit(NetEvent::LinkUp { peer, addr }).await;
        }
    }

    async fn report(&mut self, report: Report) {
        match report {
            Report::WriterGone { peer, connection, lane } => {
                let Some(entry) = self.peers.get_mut(&peer) else { return };
                if let Some(connection) = entry.connection(connection) {
                    connection.lane_gone(lane);
                    self.shared.set_route(peer, entry.route());
                }
            }
            Report::Stalled { peer, connection } => {
                if self.peers.get(&peer).is_some_and(|entry| entry.find(connection).is_some()) {
                    self.shared.refuse(peer, Refusal::Stalled);
                    self.close(peer, connection).await;
                }
            }
            Report::Violation { peer, connection, offence, what } => {
                if self.peers.get(&peer).is_none_or(|entry| entry.find(connection).is_none()) {
                    return;
                }
                self.broke(peer, offence, what).await;
                self.close(peer, connection).await;
                self.emit(NetEvent::Violation { peer, what }).await;
            }
        }
    }

    /// What was read before the connections were dropped may hold more of the kind, which is not counted again.
    async fn offence(&mut self, peer: NodeId, offence: Offence, what: &str) {
        if self.peers.get(&peer).is_some_and(|entry| !entry.connections.is_empty()) {
            self.broke(peer, offence, what).await;
            self.disconnect(peer).await;
        }
    }

    /// Counts what a member did, and cuts it off for a while if it was too much.
    async fn broke(&mut self, peer: NodeId, offence: Offence, what: &str) {
        self.shared.counters.violations.add(1);
        if let Some(length) = self.shared.guard.offence(self.shared.now(), peer, offence, what) {
            self.disconnect(peer).await;
            self.emit(NetEvent::Refused { peer, offence, length }).await;
        }
    }

    /// Closes what belongs to nobody's link any more, and asks new members for theirs.
    async fn check_access(&mut self) {
        let peers: Vec<_> = self.peers.keys().copied().collect();
        for peer in peers {
            if self.shared.is_member(&peer) {
                self.open_lanes(peer);
            } else if self.peers.get(&peer).is_some_and(|entry| entry.link().is_some()) {
                self.disconnect(peer).await;
            }
        }
    }

    async fn tick(&mut self) {
        self.check_access().await;
        let (now_ms, me) = (self.shared.now_ms(), self.shared.me);
        let (mut silent, mut doubted, mut surplus, mut stayed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (peer, entry) in &mut self.peers {
            entry.reap_tasks();
            if !self.shared.is_member(peer) {
                stayed.extend(entry.stayed(now_ms).map(|(id, addr)| (*peer, id, addr)));
            }
            silent.extend(entry.silent(now_ms).map(|id| (*peer, id)));
            if entry.link().is_some_and(|link| link.is_doubted(now_ms)) {
                doubted.push(*peer);
            }
            // One of the two closes duplicates, so that they do not close one each.
            if me < *peer {
                surplus.extend(entry.surplus(now_ms, DUPLICATE_LIFE).map(|id| (*peer, id)));
            }
        }
        for (peer, id) in silent {
            tracing::info!(%peer, "nothing was heard for too long, the link is given up");
            self.shared.counters.silent_links.add(1);
            self.close(peer, id).await;
        }
        for peer in doubted {
            self.dial(peer, &[], true);
        }
        for (peer, id) in surplus {
            self.close(peer, id).await;
        }
        for (peer, id, addr) in stayed {
            self.shared.refuse(addr.ip(), Refusal::StrangerStayed);
            self.close(peer, id).await;
        }
    }

    /// Lets the writers finish what is queued, then closes all.
    async fn shut_down(&mut self) {
        self.shared.clear_routes();
        for connection in self.peers.values_mut().flat_map(|entry| &mut entry.connections) {
            connection.finish();
        }
        let flush = async {
            while !self.peers.values().flat_map(|entry| &entry.connections).all(Connection::is_flushed) {
                tokio::select! {
                    event = self.swarm.select_next_some() => {
                        // A lane that opens now may have a goodbye in its queue.
                        if let SwarmEvent::Behaviour(BehaviourEvent::Links(event)) = event {
                            self.stream_event(event).await;
                        }
                    }
                    () = tokio::time::sleep(FLUSH_CHECK) => {}
                }
            }
        };
        let _ = tokio::time::timeout(FLUSH_LIMIT, flush).await;
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let closed = async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        };
        let _ = tokio::time::timeout(FLUSH_LIMIT, closed).await;
    }
}
