//! The tasks that write and read the frames of a lane.
//!
//! Each side opens a stream for each lane and writes on it; what it reads there are acknowledgements of bulk, so that
//! at most 64 KB of it are under way. A frame is a length (u32, big endian) and so many bytes. An empty frame says "I
//! am here".

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use libp2p::swarm::ConnectionId;
use skein_gossip::bucket::{Flow, Pace};
use skein_gossip::{Instant, NodeId, Offence};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::credit::CHUNK;
use crate::shared::Shared;
use crate::{
    BULK_BYTES, BULK_FRAMES, BULK_IN_FLIGHT, CONTROL_BYTES, CONTROL_FRAMES, FLOOD_PATIENCE, HEARTBEAT, Lane, NetEvent,
};

/// How much of several small frames is collected before it is flushed.
const BATCH: usize = 64 * 1024;

/// What a task tells the driver.
#[derive(Debug)]
pub(crate) enum Report {
    /// The stream that we wrote a lane on is gone.
    WriterGone { peer: NodeId, connection: ConnectionId, lane: Lane },
    /// The peer took nothing of what it was sent for too long.
    Stalled { peer: NodeId, connection: ConnectionId },
    /// The peer broke the protocol.
    Violation { peer: NodeId, connection: ConnectionId, offence: Offence, what: &'static str },
}

/// How much a peer says, over all of its connections.
#[derive(Debug)]
pub(crate) struct Flows {
    control: Mutex<Flow>,
    bulk: Mutex<Flow>,
}

impl Flows {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            control: Flow::new(CONTROL_FRAMES, CONTROL_BYTES, Some(FLOOD_PATIENCE), now).into(),
            // Who sends bulk waits for what it sent to be read, so that a pause is all that is needed.
            bulk: Flow::new(BULK_FRAMES, BULK_BYTES, None, now).into(),
        }
    }

    fn frame(&self, now: Instant, lane: Lane, bytes: usize) -> Pace {
        let flow = if lane == Lane::Control { &self.control } else { &self.bulk };
        flow.lock().unwrap_or_else(PoisonError::into_inner).frame(now, bytes)
    }
}

/// What a reading task works with.
#[derive(Clone)]
pub(crate) struct Reader {
    pub peer: NodeId,
    pub connection: ConnectionId,
    pub shared: Arc<Shared>,
    pub events: mpsc::Sender<NetEvent>,
    pub reports: mpsc::Sender<Report>,
    /// When anything was last heard on the connection, by [`Shared::now_ms`].
    pub heard: Arc<AtomicU64>,
    pub flows: Arc<Flows>,
}

impl Reader {
    /// Reads frames until the stream ends, the peer is no member any more, or it breaks the protocol.
    pub(crate) async fn run<S: AsyncRead + AsyncWrite + Unpin>(self, lane: Lane, mut stream: S) {
        let (offence, what) = match self.frames(lane, &mut stream).await {
            Ok(()) => return,
            Err(Broken::TooLong) => {
                self.shared.counters.oversized.add(1);
                (Offence::TooLong, "a frame longer than its lane allows")
            }
            Err(Broken::Flood) => (Offence::Flood, "more frames than a member may send, for seconds"),
            Err(Broken::CutOff) => {
                // A connection that breaks cuts frames off too, and ends this task while it waits here.
                tokio::time::sleep(Duration::from_millis(300)).await;
                (Offence::CutOff, "a frame that was cut off")
            }
        };
        self.violation(offence, what).await;
    }

    pub(crate) async fn violation(&self, offence: Offence, what: &'static str) {
        let report = Report::Violation { peer: self.peer, connection: self.connection, offence, what };
        let _ = self.reports.send(report).await;
    }

    async fn frames<S: AsyncRead + AsyncWrite + Unpin>(&self, lane: Lane, stream: &mut S) -> Result<(), Broken> {
        loop {
            let mut head = [0; 4];
            match stream.read(&mut head[..1]).await {
                Ok(1..) => {}
                Ok(_) | Err(_) => return Ok(()),
            }
            stream.read_exact(&mut head[1..]).await?;
            self.hear();
            let len = u32::from_be_bytes(head) as usize;
            if len > lane.max_frame() {
                return Err(Broken::TooLong);
            }
            self.pace(lane, len).await?;
            if len == 0 {
                continue;
            }
            let bytes = self.frame(lane, stream, len).await?;
            // Asked for each frame: a peer that was removed a moment ago is not heard any more.
            if !self.shared.is_member(&self.peer) {
                return Ok(());
            }
            let counters = self.shared.counters.lane(lane);
            counters.frames_received.add(1);
            counters.bytes_received.add(len);
            if self.events.send(NetEvent::Frame { peer: self.peer, lane, bytes }).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Waits when the peer says more than it may.
    async fn pace(&self, lane: Lane, bytes: usize) -> Result<(), Broken> {
        match self.flows.frame(self.shared.now(), lane, bytes) {
            Pace::Go => Ok(()),
            Pace::Pause(pause) => {
                self.shared.counters.paused.add(1);
                tokio::time::sleep(pause).await;
                Ok(())
            }
            Pace::Flood => Err(Broken::Flood),
        }
    }

    async fn frame<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        lane: Lane,
        stream: &mut S,
        len: usize,
    ) -> Result<Bytes, Broken> {
        // Memory grows with what has arrived, not with what was promised.
        let mut frame = Vec::with_capacity(len.min(CHUNK));
        while frame.len() < len {
            let from = frame.len();
            frame.resize(len.min(from + CHUNK), 0);
            stream.read_exact(&mut frame[from..]).await?;
            self.hear();
            if lane == Lane::Bulk {
                let read = u32::try_from(frame.len() - from).unwrap_or(u32::MAX);
                stream.write_all(&read.to_be_bytes()).await?;
                stream.flush().await?;
            }
        }
        Ok(frame.into())
    }

    fn hear(&self) {
        self.heard.store(self.shared.now_ms(), Ordering::Relaxed);
    }
}

enum Broken {
    TooLong,
    Flood,
    CutOff,
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Broken::CutOff
    }
}

/// Writes frames from the queue until it is closed and empty, or the stream breaks. `TimedOut`: the other side took nothing
/// of it for as long as `patience`.
pub(crate) async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    lane: Lane,
    mut stream: S,
    mut queue: mpsc::Receiver<Bytes>,
    shared: &Shared,
    patience: Duration,
) -> io::Result<()> {
    match lane {
        Lane::Control => write_control(&mut stream, &mut queue, shared, patience).await?,
        Lane::Bulk => write_bulk(&mut stream, &mut queue, shared, patience).await?,
    }
    stream.shutdown().await
}

async fn write_control<S: AsyncWrite + Unpin>(
    stream: &mut S,
    queue: &mut mpsc::Receiver<Bytes>,
    shared: &Shared,
    patience: Duration,
) -> io::Result<()> {
    let mut batch = Vec::new();
    // At once, so that the other side hears us as soon as there is a lane.
    taken(patience, stream.write_all(&[0; 4])).await?;
    taken(patience, stream.flush()).await?;
    loop {
        match tokio::time::timeout(HEARTBEAT, queue.recv()).await {
            Ok(None) => return Ok(()),
            Ok(Some(frame)) => append(&mut batch, &frame, shared),
            Err(_) => batch.extend_from_slice(&[0; 4]),
        }
        while batch.len() < BATCH
            && let Ok(frame) = queue.try_recv()
        {
            append(&mut batch, &frame, shared);
        }
        taken(patience, stream.write_all(&batch)).await?;
        taken(patience, stream.flush()).await?;
        batch.clear();
    }
}

/// Waits for the other side for so long and no longer; then it is `TimedOut`.
async fn taken<T>(patience: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(patience, step).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn append(batch: &mut Vec<u8>, frame: &Bytes, shared: &Shared) {
    // Frames that are too long were refused when they were queued.
    batch.extend_from_slice(&u32::try_from(frame.len()).unwrap_or(u32::MAX).to_be_bytes());
    batch.extend_from_slice(frame);
    count_sent(shared, Lane::Control, frame.len());
}

async fn write_bulk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    queue: &mut mpsc::Receiver<Bytes>,
    shared: &Shared,
    patience: Duration,
) -> io::Result<()> {
    let mut under_way = 0;
    while let Some(frame) = queue.recv().await {
        taken(patience, stream.write_all(&u32::try_from(frame.len()).unwrap_or(u32::MAX).to_be_bytes())).await?;
        for chunk in frame.chunks(CHUNK) {
            while under_way + chunk.len() > BULK_IN_FLIGHT {
                let read = taken(patience, stream.read_u32()).await? as usize;
                under_way = usize::checked_sub(under_way, read).ok_or(io::ErrorKind::InvalidData)?;
            }
            taken(patience, stream.write_all(chunk)).await?;
            taken(patience, stream.flush()).await?;
            under_way += chunk.len();
        }
        count_sent(shared, Lane::Bulk, frame.len());
    }
    Ok(())
}

fn count_sent(shared: &Shared, lane: Lane, len: usize) {
    let counters = shared.counters.lane(lane);
    counters.frames_sent.add(1);
    counters.bytes_sent.add(len);
}
