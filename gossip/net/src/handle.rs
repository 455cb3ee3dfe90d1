//! What the daemon asks of the network.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use skein_gossip::{NodeId, Offence};
use tokio::sync::{mpsc, oneshot};

use crate::driver::{Command, Driver};
use crate::refusal::Refusal;
use crate::shared::Shared;
use crate::{
    ADMISSION_LIMIT, COMMAND_QUEUE, EVENT_QUEUE, Lane, MAX_ADMISSION, MAX_STREAM_HEADER, NetConfig, NetError, NetEvent,
    NetMetrics, OPEN_LIMIT, Stream,
};

/// The network of one node.
pub struct Net;

impl Net {
    /// Listens, and starts to carry frames. `access` says whether a peer is a member; it is called often, from any
    /// task, and must be quick. Call [`NetHandle::access_changed`] when its answers change.
    ///
    /// # Errors
    /// When a listen address is taken or not this host's.
    pub async fn start(
        config: NetConfig,
        access: impl Fn(&NodeId) -> bool + Send + Sync + 'static,
    ) -> Result<(NetHandle, mpsc::Receiver<NetEvent>), NetError> {
        let shared = Arc::new(Shared::new(config.keypair.node_id(), access));
        let (commands, command_queue) = mpsc::channel(COMMAND_QUEUE);
        let (events, event_queue) = mpsc::channel(EVENT_QUEUE);
        let driver = Driver::start(&config, shared.clone(), command_queue, events)?;
        tokio::spawn(driver.run());
        Ok((NetHandle { shared, commands }, event_queue))
    }
}

/// The daemon's hold on the network. All clones are one network; it runs until [`NetHandle::shutdown`].
#[derive(Clone)]
pub struct NetHandle {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

impl NetHandle {
    /// The node's own name.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.shared.me
    }

    /// Dials a peer at these addresses, all at once, for at most 2 seconds. Nothing happens when it has a link that
    /// was heard lately, or is being dialled. The result is an event, or silence.
    pub fn dial(&self, peer: NodeId, addrs: Vec<SocketAddr>) {
        self.command(Command::Dial { peer, addrs });
    }

    /// Queues a frame for a member. Frames may be lost: without a link, with a full queue, or when longer than the lane
    /// takes, they are dropped and counted.
    pub fn send(&self, peer: NodeId, lane: Lane, bytes: Bytes) {
        self.shared.send(&peer, lane, bytes);
    }

    /// Closes all connections with a peer.
    pub fn disconnect(&self, peer: NodeId) {
        self.command(Command::Disconnect(peer));
    }

    /// Says that a member sent a frame that no honest peer sends: its connections are dropped, which is counted, and logged
    /// unless something of it was logged lately.
    pub fn offence(&self, peer: NodeId, offence: Offence, what: String) {
        self.command(Command::Offence { peer, offence, what });
    }

    /// The members that are refused now since they broke rules too often.
    #[must_use]
    pub fn refused(&self) -> Vec<NodeId> {
        self.shared.guard.refused(self.shared.now())
    }

    /// Says that `access` answers differently now: connections of who is no member any more are closed, links with new
    /// members come up. Without the call this takes up to a second.
    pub fn access_changed(&self) {
        self.command(Command::AccessChanged);
    }

    /// Opens a byte stream to a member that has a link. Must not be awaited by the task that reads the events.
    ///
    /// # Errors
    /// When there is no link, the member refuses, or it takes more than 5 seconds.
    pub async fn open(&self, peer: NodeId, header: Bytes) -> Result<Stream, OpenError> {
        if header.len() > MAX_STREAM_HEADER {
            return Err(OpenError::HeaderTooLong(header.len()));
        }
        let (reply, answer) = oneshot::channel();
        let command = Command::Open { peer, header, reply };
        self.commands.try_send(command).map_err(|_| OpenError::Busy)?;
        match tokio::time::timeout(OPEN_LIMIT, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(OpenError::Closed(peer)),
            Err(_) => Err(OpenError::TimedOut(peer)),
        }
    }

    /// Asks a peer, by its name and at these addresses, to be admitted: one request, one reply. Must not be awaited by
    /// the task that reads the events.
    ///
    /// # Errors
    /// When the peer cannot be reached, refuses, or takes more than 10 seconds.
    pub async fn admission(
        &self,
        peer: NodeId,
        addrs: Vec<SocketAddr>,
        request: Bytes,
    ) -> Result<Bytes, AdmissionError> {
        if request.len() > MAX_ADMISSION {
            return Err(AdmissionError::TooLong(request.len()));
        }
        let (reply, answer) = oneshot::channel();
        let command = Command::Admission { peer, addrs, request, reply };
        self.commands.try_send(command).map_err(|_| AdmissionError::Busy)?;
        match tokio::time::timeout(ADMISSION_LIMIT, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(AdmissionError::Refused(peer)),
            Err(_) => Err(AdmissionError::TimedOut(peer)),
        }
    }

    /// Dials an address, whoever is there, and says who it is, as the connection has proved it. Must not be awaited by the task
    /// that reads the events.
    ///
    /// # Errors
    /// When nobody answers there within 10 seconds.
    pub async fn meet(&self, addr: SocketAddr) -> Result<NodeId, AdmissionError> {
        let (reply, answer) = oneshot::channel();
        self.commands.try_send(Command::Meet { addr, reply }).map_err(|_| AdmissionError::Busy)?;
        match tokio::time::timeout(ADMISSION_LIMIT, answer).await {
            Ok(Ok(result)) => result,
            _ => Err(AdmissionError::Nobody("no answer within 10 seconds".into())),
        }
    }

    /// The addresses that peers are told.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.shared.announced()
    }

    /// The numbers of now.
    #[must_use]
    pub fn metrics(&self) -> NetMetrics {
        self.shared.metrics()
    }

    /// Sends what is queued, for at most half a second, and closes everything.
    pub async fn shutdown(&self) {
        let (done, wait) = oneshot::channel();
        if self.commands.send(Command::Shutdown(done)).await.is_ok() {
            let _ = wait.await;
        }
    }

    fn command(&self, command: Command) {
        if self.commands.try_send(command).is_err() {
            // Dials and the like are asked for again by whoever needs them.
            self.shared.refuse("this node", Refusal::Busy);
        }
    }
}

/// Why a stream could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// There is no link to the member.
    #[error("there is no link to {0} now")]
    NoLink(NodeId),
    /// The member closed the stream or refused it.
    #[error("{0} refused the stream")]
    Closed(NodeId),
    /// The member did not answer within 5 seconds.
    #[error("{0} did not open the stream within 5 seconds")]
    TimedOut(NodeId),
    /// The header is longer than 16 KB.
    #[error("the header of a stream has {0} bytes, at most 16384 are allowed")]
    HeaderTooLong(usize),
    /// Too many opens are waiting.
    #[error("too many streams are being opened, try again")]
    Busy,
}

/// Why an admission got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// Nobody with this name answers at the addresses.
    #[error("cannot reach {peer}: {reason}")]
    Unreachable {
        /// Who.
        peer: NodeId,
        /// What happened at each address.
        reason: String,
    },
    /// Nobody answers at an address.
    #[error("nobody answers there: {0}")]
    Nobody(String),
    /// The peer closed without an answer: it is busy, or refuses.
    #[error("{0} closed the connection without an answer: it may be too busy, try again")]
    Refused(NodeId),
    /// No answer within 10 seconds.
    #[error("{0} did not answer within 10 seconds")]
    TimedOut(NodeId),
    /// The request is longer than 64 KB.
    #[error("an admission request has {0} bytes, at most 65536 are allowed")]
    TooLong(usize),
    /// Too much is waiting.
    #[error("too many admissions are under way, try again")]
    Busy,
}
