//! What is known of one peer: its connections, its addresses, and who waits for it.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use libp2p::swarm::ConnectionId;
use skein_gossip::Instant;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use crate::behaviour::Purpose;
use crate::lanes::Flows;
use crate::shared::Route;
use crate::{BULK_QUEUE, CONTROL_QUEUE, DOUBT_AFTER, Lane, SILENCE_LIMIT, STRANGER_LIFE, STREAMS_PER_PEER};

/// How many addresses of a peer are remembered; the oldest give way.
const ADDRESSES: usize = 16;

#[derive(Debug)]
pub(super) struct Peer {
    /// In the order in which they came up.
    pub connections: Vec<Connection>,
    /// Where it can be dialled, the latest last.
    pub addrs: VecDeque<SocketAddr>,
    /// The dial that is under way.
    pub dialing: Option<ConnectionId>,
    /// What to do when it is reached.
    pub waiting: Vec<Purpose>,
    pub streams: Arc<Semaphore>,
    pub flows: Arc<Flows>,
}

impl Peer {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            connections: Vec::new(),
            addrs: VecDeque::new(),
            dialing: None,
            waiting: Vec::new(),
            streams: Arc::new(Semaphore::new(STREAMS_PER_PEER)),
            flows: Arc::new(Flows::new(now)),
        }
    }

    /// The connection that carries frames: the newest of those that can.
    pub(super) fn link(&self) -> Option<&Connection> {
        self.connections.iter().rev().find(|connection| connection.linked)
    }

    pub(super) fn newest(&self) -> Option<&Connection> {
        self.connections.last()
    }

    pub(super) fn find(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.id == id)
    }

    pub(super) fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.id == id)
    }

    pub(super) fn ids(&self) -> Vec<ConnectionId> {
        self.connections.iter().map(|connection| connection.id).collect()
    }

    pub(super) fn route(&self) -> Option<Route> {
        let link = self.link()?;
        Some(Route { control: link.control.sender.clone()?, bulk: link.bulk.sender.clone()? })
    }

    /// Whether there is any reason to know of the peer.
    pub(super) fn is_used(&self) -> bool {
        !self.connections.is_empty() || self.dialing.is_some() || !self.waiting.is_empty()
    }

    pub(super) fn remember(&mut self, addrs: &[SocketAddr]) {
        for addr in addrs {
            self.addrs.retain(|known| known != addr);
            self.addrs.push_back(*addr);
        }
        while self.addrs.len() > ADDRESSES {
            self.addrs.pop_front();
        }
    }

    /// The links that have been silent for too long.
    pub(super) fn silent(&self, now_ms: u64) -> impl Iterator<Item = ConnectionId> {
        let silent = move |connection: &&Connection| connection.linked && connection.is_silent(now_ms, SILENCE_LIMIT);
        self.connections.iter().filter(silent).map(|connection| connection.id)
    }

    /// The connections that a newer link has replaced for long enough.
    pub(super) fn surplus(&self, now_ms: u64, life: Duration) -> impl Iterator<Item = ConnectionId> {
        let link = self.link().filter(|link| link.age(now_ms) > life && !link.is_doubted(now_ms));
        let keep = link.map(|link| link.id);
        let older = move |connection: &&Connection| keep.is_some_and(|keep| connection.id != keep);
        let old = move |connection: &&Connection| connection.age(now_ms) > life;
        self.connections.iter().filter(older).filter(old).map(|connection| connection.id)
    }

    /// The connections that a stranger made and has kept for longer than admission takes.
    pub(super) fn stayed(&self, now_ms: u64) -> impl Iterator<Item = (ConnectionId, SocketAddr)> {
        let stayed = move |connection: &&Connection| !connection.dialed && connection.age(now_ms) > STRANGER_LIFE;
        self.connections.iter().filter(stayed).map(|connection| (connection.id, connection.addr))
    }

    pub(super) fn reap_tasks(&mut self) {
        for connection in &mut self.connections {
            while connection.tasks.try_join_next().is_some() {}
        }
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    pub id: ConnectionId,
    pub addr: SocketAddr,
    /// Whether it was made from here.
    dialed: bool,
    /// When anything was last heard on it.
    pub heard: Arc<AtomicU64>,
    since_ms: u64,
    linked: bool,
    control: OutLane,
    bulk: OutLane,
    readers: [Option<AbortHandle>; 2],
    /// Readers and writers; they end with the connection.
    tasks: JoinSet<()>,
}

impl Connection {
    pub(super) fn new(id: ConnectionId, addr: SocketAddr, dialed: bool, now_ms: u64) -> Self {
        Self {
            id,
            addr,
            dialed,
            heard: Arc::new(AtomicU64::new(now_ms)),
            since_ms: now_ms,
            linked: false,
            control: OutLane::new(CONTROL_QUEUE),
            bulk: OutLane::new(BULK_QUEUE),
            readers: [None, None],
            tasks: JoinSet::new(),
        }
    }

    pub(super) fn set_linked(&mut self, now_ms: u64) {
        self.linked = true;
        self.heard.store(now_ms, Ordering::Relaxed);
    }

    /// Whether it was silent for so long that another connection should be tried.
    pub(super) fn is_doubted(&self, now_ms: u64) -> bool {
        self.is_silent(now_ms, DOUBT_AFTER)
    }

    fn is_silent(&self, now_ms: u64, limit: Duration) -> bool {
        Duration::from_millis(now_ms.saturating_sub(self.heard.load(Ordering::Relaxed))) > limit
    }

    fn age(&self, now_ms: u64) -> Duration {
        Duration::from_millis(now_ms.saturating_sub(self.since_ms))
    }

    fn lane(&mut self, lane: Lane) -> &mut OutLane {
        match lane {
            Lane::Control => &mut self.control,
            Lane::Bulk => &mut self.bulk,
        }
    }

    /// The lanes that nobody has asked for; they count as asked for now.
    pub(super) fn lanes_to_open(&mut self) -> Vec<Lane> {
        [Lane::Control, Lane::Bulk]
            .into_iter()
            .filter(|lane| {
                let lane = self.lane(*lane);
                let closed = lane.state == LaneState::Closed;
                lane.state = if closed { LaneState::Opening } else { lane.state };
                closed
            })
            .collect()
    }

    pub(super) fn lane_refused(&mut self, lane: Lane) {
        self.lane(lane).state = LaneState::Closed;
    }

    /// The writer of a lane has ended; what was in its queue is lost.
    pub(super) fn lane_gone(&mut self, lane: Lane) {
        let capacity = if lane == Lane::Control { CONTROL_QUEUE } else { BULK_QUEUE };
        *self.lane(lane) = OutLane::new(capacity);
    }

    /// Starts the writer of a lane that was opened.
    pub(super) fn write<F>(&mut self, lane: Lane, writer: impl FnOnce(mpsc::Receiver<Bytes>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let out = self.lane(lane);
        let Some(queue) = out.queue.take() else { return };
        out.state = LaneState::Open;
        let task = self.tasks.spawn(writer(queue));
        self.lane(lane).writer = Some(task);
    }

    /// Starts the reader of a lane that the peer opened. One that it opened before is dropped.
    pub(super) fn read(&mut self, lane: Lane, reader: impl Future<Output = ()> + Send + 'static) {
        let handle = self.tasks.spawn(reader);
        let slot = &mut self.readers[usize::from(lane == Lane::Bulk)];
        if let Some(before) = slot.replace(handle) {
            before.abort();
        }
    }

    /// Lets nothing more into the queues. Readers end at once, writers when they have written what is queued.
    pub(super) fn finish(&mut self) {
        self.control.sender = None;
        self.bulk.sender = None;
        for reader in self.readers.iter_mut().filter_map(Option::take) {
            reader.abort();
        }
    }

    /// Whether nothing is left to be written.
    pub(super) fn is_flushed(&self) -> bool {
        [&self.control, &self.bulk].into_iter().all(OutLane::is_flushed)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LaneState {
    Closed,
    Opening,
    Open,
}

/// A lane from us to the peer. Frames queue from the start, and are written once the stream is open.
#[derive(Debug)]
struct OutLane {
    /// None once nothing more is to be sent.
    sender: Option<mpsc::Sender<Bytes>>,
    queue: Option<mpsc::Receiver<Bytes>>,
    writer: Option<AbortHandle>,
    state: LaneState,
}

impl OutLane {
    fn new(capacity: usize) -> Self {
        let (sender, queue) = mpsc::channel(capacity);
        Self { sender: Some(sender), queue: Some(queue), writer: None, state: LaneState::Closed }
    }

    fn is_flushed(&self) -> bool {
        match (&self.queue, &self.writer) {
            (Some(queue), _) => queue.is_empty(),
            (None, writer) => writer.as_ref().is_none_or(AbortHandle::is_finished),
        }
    }
}
