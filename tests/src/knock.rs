//! A peer that keeps to no rule: plain libp2p, which shares no code with skein. It opens any protocol by its name at a peer's
//! port, says what it likes, and keeps every byte that it hears.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{DeniedUpgrade, ReadyUpgrade};
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, SubstreamProtocol, SwarmEvent, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder, identify, identity, noise, tcp, yamux};

use crate::failure::{Failure, Outcome};
use crate::netns::Netns;

/// How long connecting and identifying may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The most bytes that are kept of an answer.
const MAX_HEARD: usize = 1 << 20;

/// Who knocks where, and how.
#[derive(Debug, Clone)]
pub struct Knock {
    /// The secret key to come with; `None`: a fresh one.
    pub secret: Option<[u8; 32]>,
    /// The peer's port.
    pub to: SocketAddr,
    /// The protocol to open.
    pub protocol: &'static str,
    /// What to say on it.
    pub bytes: Vec<u8>,
    /// Whether to close our side after that.
    pub close: bool,
    /// How long to listen then.
    pub listen: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Heard {
    /// The protocols that the peer says it speaks.
    pub protocols: Vec<String>,
    /// Whether the protocol was opened to us.
    pub opened: bool,
    /// What was said on it.
    pub bytes: Vec<u8>,
    /// Whether the peer dropped the connection.
    pub dropped: bool,
}

impl Knock {
    /// Knocks, from inside a network namespace.
    ///
    /// # Errors
    /// When there is no connection to be had.
    pub fn from(&self, netns: &Netns) -> Outcome<Heard> {
        netns.inside(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(self.knock())
        })?
    }

    async fn knock(&self) -> Outcome<Heard> {
        let mut swarm = swarm(self.secret)?;
        let address = Multiaddr::empty().with(self.to.ip().into());
        let address = address.with(libp2p::multiaddr::Protocol::Tcp(self.to.port()));
        swarm.dial(address).map_err(|error| Failure::new(format!("{}: {error}", self.to)))?;
        let mut heard = Heard::default();
        let connected = tokio::time::timeout(CONNECT_WITHIN, identified(&mut swarm, &mut heard));
        connected.await.map_err(|_| Failure::new(format!("{} does not identify itself", self.to)))??;
        swarm.behaviour_mut().opener.open(StreamProtocol::new(self.protocol));
        let deadline = tokio::time::Instant::now() + self.listen;
        let mut stream = loop {
            match tokio::time::timeout_at(deadline, swarm.select_next_some()).await {
                Ok(SwarmEvent::Behaviour(SeenEvent::Opener(Some(stream)))) => break stream,
                Ok(SwarmEvent::Behaviour(SeenEvent::Opener(None))) | Err(_) => return Ok(heard),
                Ok(SwarmEvent::ConnectionClosed { .. }) => {
                    heard.dropped = true;
                    return Ok(heard);
                }
                Ok(_) => {}
            }
        };
        heard.opened = true;
        heard.dropped = self.talk_until(deadline, &mut swarm, &mut stream, &mut heard.bytes).await;
        Ok(heard)
    }

    /// Talks while the connection stands; whether it was dropped.
    async fn talk_until(
        &self,
        deadline: tokio::time::Instant,
        swarm: &mut Swarm<Seen>,
        stream: &mut Stream,
        heard: &mut Vec<u8>,
    ) -> bool {
        let mut talk = std::pin::pin!(talk(stream, self, heard));
        let mut talking = true;
        loop {
            tokio::select! {
                () = &mut talk, if talking => talking = false,
                () = tokio::time::sleep_until(deadline) => return false,
                event = swarm.select_next_some() => if let SwarmEvent::ConnectionClosed { .. } = event {
                    return true;
                }
            }
        }
    }
}

/// Waits until the peer has told what it speaks.
async fn identified(swarm: &mut Swarm<Seen>, heard: &mut Heard) -> Outcome<()> {
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(SeenEvent::Identify(event)) => {
                if let identify::Event::Received { info, .. } = *event {
                    heard.protocols = info.protocols.iter().map(ToString::to_string).collect();
                    return Ok(());
                }
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(Failure::new(error.to_string())),
            SwarmEvent::ConnectionClosed { .. } => return Err(Failure::new("it hung up before it said anything")),
            _ => {}
        }
    }
}

/// Says its piece, then listens until nothing more comes.
async fn talk(stream: &mut Stream, knock: &Knock, heard: &mut Vec<u8>) {
    // A peer that hangs up on the first byte is as good as one that does so on the last.
    let _ = stream.write_all(&knock.bytes).await;
    let _ = stream.flush().await;
    if knock.close {
        let _ = stream.close().await;
    }
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut piece).await {
        if heard.len() < MAX_HEARD {
            heard.extend_from_slice(&piece[..count]);
        }
    }
}

fn swarm(secret: Option<[u8; 32]>) -> Outcome<Swarm<Seen>> {
    let told = |error: &dyn std::fmt::Display| Failure::new(error.to_string());
    let key = match secret {
        Some(mut secret) => identity::Keypair::ed25519_from_bytes(&mut secret).map_err(|error| told(&error))?,
        None => identity::Keypair::generate_ed25519(),
    };
    let builder = SwarmBuilder::with_existing_identity(key).with_tokio();
    let builder = builder
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .map_err(|error| told(&error))?;
    let builder = builder
        .with_behaviour(|key| Seen {
            identify: identify::Behaviour::new(identify::Config::new("/knock/1".into(), key.public())),
            opener: Opener::default(),
        })
        .map_err(|error| told(&error))?;
    Ok(builder.build())
}

#[derive(NetworkBehaviour)]
#[behaviour(to_swarm = "SeenEvent")]
struct Seen {
    identify: identify::Behaviour,
    opener: Opener,
}

enum SeenEvent {
    Identify(Box<identify::Event>),
    Opener(Option<Stream>),
}

impl From<identify::Event> for SeenEvent {
    fn from(event: identify::Event) -> Self {
        SeenEvent::Identify(Box::new(event))
    }
}

impl From<Option<Stream>> for SeenEvent {
    fn from(stream: Option<Stream>) -> Self {
        SeenEvent::Opener(stream)
    }
}

/// Opens streams of any protocol on the one connection that there is.
#[derive(Default)]
struct Opener {
    peer: Option<PeerId>,
    queue: VecDeque<ToSwarm<Option<Stream>, StreamProtocol>>,
}

impl Opener {
    fn open(&mut self, protocol: StreamProtocol) {
        if let Some(peer_id) = self.peer {
            self.queue.push_back(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::Any, event: protocol });
        }
    }
}

impl NetworkBehaviour for Opener {
    type ConnectionHandler = OpenerHandler;
    type ToSwarm = Option<Stream>;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(OpenerHandler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.peer = Some(peer);
        Ok(OpenerHandler::default())
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        self.queue.push_back(ToSwarm::GenerateEvent(event));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.queue.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// Opens what it is asked for on its connection, and never lets the connection end for want of use.
#[derive(Default)]
struct OpenerHandler {
    queue: VecDeque<ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, (), Option<Stream>>>,
}

impl ConnectionHandler for OpenerHandler {
    type FromBehaviour = StreamProtocol;
    type ToBehaviour = Option<Stream>;
    type InboundProtocol = DeniedUpgrade;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<DeniedUpgrade> {
        SubstreamProtocol::new(DeniedUpgrade, ())
    }

    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, (), Option<Stream>>> {
        self.queue.pop_front().map_or(Poll::Pending, Poll::Ready)
    }

    fn on_behaviour_event(&mut self, protocol: StreamProtocol) {
        let protocol = SubstreamProtocol::new(ReadyUpgrade::new(protocol), ());
        self.queue.push_back(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, DeniedUpgrade, ReadyUpgrade<StreamProtocol>>) {
        let stream = match event {
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) => Some(protocol),
            ConnectionEvent::DialUpgradeError(_) => None,
            _ => return,
        };
        self.queue.push_back(ConnectionHandlerEvent::NotifyBehaviour(stream));
    }
}
