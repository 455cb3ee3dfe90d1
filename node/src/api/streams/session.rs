//! The side that a client asked: opens a session on the node that has the pod, and carries what client and process say to
//! each other. In which dialect the client speaks is behind two small traits.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use skein_gossip::NodeId;
use skein_kube::status::Status;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::frame::{Frame, FrameReader, FrameWriter};
use super::node_side::HEADER;
use super::request::{Outcome, SessionRequest};
use crate::api::answer::too_many;
use crate::api::backend::{Backend, LogError, PeerStream};
use crate::runtime::{SessionError, Size};

/// How long a session may go on in which nobody says anything: as long as kubelet lets it.
pub const IDLE_LIMIT: Duration = Duration::from_secs(4 * 3600);
/// How long the node may take to say whether it has the container, or to connect to the port.
const OPEN_WAIT: Duration = Duration::from_secs(20);
/// How long a client may take to close its side after it was told how the session ended.
const LINGER: Duration = Duration::from_secs(5);
/// What is said to a client whose session ends before its process.
const STOPPED: &str =
    "this peer is stopping, or what you showed of yourself counts no more; ask again, or another peer";
/// How often it is looked whether a session is idle.
const IDLE_EVERY: Duration = Duration::from_secs(60);

/// A session that the node has opened.
pub struct Session {
    /// What the node says.
    pub from_node: FrameReader<ReadHalf<PeerStream>>,
    /// What it is told.
    pub to_node: FrameWriter<WriteHalf<PeerStream>>,
}

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The node said no.
    #[error(transparent)]
    Refused(SessionError),
    /// The node cannot be reached, or answers nonsense.
    #[error("{0}")]
    Unreachable(String),
}

impl From<OpenError> for Status {
    fn from(error: OpenError) -> Status {
        let message = error.to_string();
        match error {
            OpenError::Refused(SessionError::Busy(_)) => too_many(message, 1),
            OpenError::Refused(_) => Status::new(500, "InternalError", message),
            OpenError::Unreachable(_) => Status::unavailable(message, 1),
        }
    }
}

/// Asks the node that has the pod.
///
/// # Errors
/// When it cannot be reached, or refuses.
pub async fn open(backend: &dyn Backend, node: NodeId, request: &SessionRequest) -> Result<Session, OpenError> {
    let unreachable = |why: &str| OpenError::Unreachable(format!("the pod is on node {}: {why}", node.short()));
    let stream = backend.open_peer(node, Bytes::from_static(HEADER)).await.map_err(|error| match error {
        LogError::NotFound(why) | LogError::Unavailable(why) => unreachable(&why),
    })?;
    let (read, write) = tokio::io::split(stream);
    let (mut from_node, mut to_node) = (FrameReader::new(read), FrameWriter::new(write));
    let asked = async {
        to_node.request(request).await?;
        from_node.next().await
    };
    match timeout(OPEN_WAIT, asked).await {
        Ok(Ok(Some(Frame::Opened))) => Ok(Session { from_node, to_node }),
        Ok(Ok(Some(Frame::Refused(why)))) => Err(OpenError::Refused(why)),
        Ok(Ok(Some(_))) => Err(unreachable("it gave an answer that is none")),
        Ok(Ok(None)) => Err(unreachable("it hung up before it answered")),
        Ok(Err(error)) => Err(unreachable(&error.to_string())),
        Err(_) => Err(unreachable(&format!("it did not answer within {} s", OPEN_WAIT.as_secs()))),
    }
}

/// What a client says to a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromClient {
    /// Input.
    Input(Bytes),
    /// No more input comes.
    InputEnd,
    /// Its terminal has this size.
    Resize(Size),
}

/// The side of a client that speaks. `None`: it went away. May be dropped while it waits, without loss.
pub trait ClientReader: Send {
    /// What it says next.
    fn next(&mut self) -> impl Future<Output = Option<FromClient>> + Send;
}

/// The side of a client that listens. Errors mean that it went away.
pub trait ClientWriter: Send {
    /// What the process said.
    fn output(&mut self, bytes: Bytes) -> impl Future<Output = io::Result<()>> + Send;
    /// What it said on its standard error.
    fn error_output(&mut self, bytes: Bytes) -> impl Future<Output = io::Result<()>> + Send;
    /// Nothing; whether somebody listens is noticed by it.
    fn alive(&mut self) -> impl Future<Output = io::Result<()>> + Send;
    /// How it ended. Nothing is said after that.
    fn end(&mut self, outcome: &Outcome) -> impl Future<Output = io::Result<()>> + Send;
}

/// Lets a process begin, and carries what both sides say until the process has ended, the client or the node is gone, nobody
/// says anything for [`IDLE_LIMIT`], or it is to stop.
pub async fn run(
    session: Session,
    mut reader: impl ClientReader,
    mut writer: impl ClientWriter,
    stop: &CancellationToken,
) {
    let Session { mut from_node, mut to_node } = session;
    let activity = Activity::new();
    let ended: io::Result<Outcome> = tokio::select! {
        ended = down(&mut from_node, &mut writer, &activity) => ended,
        gone = up(&mut to_node, &mut reader, &activity) => Err(gone),
        () = activity.idle() => Ok(Outcome::failed(&format!("nobody said anything for {} s", IDLE_LIMIT.as_secs()))),
        () = stop.cancelled() => Ok(Outcome::failed(STOPPED)),
    };
    let Ok(outcome) = ended else { return };
    // Input that nobody reads any more is thrown away until the client closes: were the socket closed before, what it has
    // not read yet could be lost.
    let last = async {
        if writer.end(&outcome).await.is_ok() {
            while reader.next().await.is_some() {}
        }
    };
    let _ = timeout(LINGER, last).await;
}

async fn up(
    to_node: &mut FrameWriter<WriteHalf<PeerStream>>,
    reader: &mut impl ClientReader,
    activity: &Activity,
) -> io::Error {
    if let Err(error) = to_node.send(&Frame::Start).await {
        return error;
    }
    while let Some(said) = reader.next().await {
        activity.seen();
        let frame = match said {
            FromClient::Input(bytes) => Frame::Input(bytes),
            FromClient::InputEnd => Frame::InputEnd,
            FromClient::Resize(size) => Frame::Resize(size),
        };
        if to_node.send(&frame).await.is_err() {
            // The node has ended the session, and says so, or is gone, which is heard on the other half.
            std::future::pending::<()>().await;
        }
    }
    io::ErrorKind::ConnectionAborted.into()
}

async fn down(
    from_node: &mut FrameReader<ReadHalf<PeerStream>>,
    writer: &mut impl ClientWriter,
    activity: &Activity,
) -> io::Result<Outcome> {
    loop {
        match from_node.next().await {
            Ok(Some(Frame::Output(bytes))) => {
                activity.seen();
                writer.output(bytes).await?;
            }
            Ok(Some(Frame::ErrorOutput(bytes))) => {
                activity.seen();
                writer.error_output(bytes).await?;
            }
            Ok(Some(Frame::Alive)) => writer.alive().await?,
            Ok(Some(Frame::Outcome(outcome))) => return Ok(outcome),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return Ok(Outcome::failed("the node that runs the pod went away")),
        }
    }
}

/// When somebody last said something.
#[derive(Debug)]
pub struct Activity {
    begun: Instant,
    last_seconds: AtomicU64,
}

impl Activity {
    /// Begins to count.
    #[must_use]
    pub fn new() -> Self {
        Activity { begun: Instant::now(), last_seconds: AtomicU64::new(0) }
    }

    /// Somebody said something now.
    pub fn seen(&self) {
        self.last_seconds.store(self.begun.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// Waits until nobody has said anything for [`IDLE_LIMIT`].
    pub async fn idle(&self) {
        loop {
            tokio::time::sleep(IDLE_EVERY).await;
            if self.is_idle_at(self.begun.elapsed()) {
                return;
            }
        }
    }

    /// Whether it is idle so long after it was begun.
    fn is_idle_at(&self, elapsed: Duration) -> bool {
        let last = Duration::from_secs(self.last_seconds.load(Ordering::Relaxed));
        elapsed.saturating_sub(last) >= IDLE_LIMIT
    }
}

impl Default for Activity {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_idle_so_long_after_its_last_word() {
        let activity = Activity::new();
        let second = Duration::from_secs(1);
        assert!(!activity.is_idle_at(IDLE_LIMIT - second) && activity.is_idle_at(IDLE_LIMIT));
        activity.last_seconds.store(100, Ordering::Relaxed);
        assert!(!activity.is_idle_at(IDLE_LIMIT + 99 * second) && activity.is_idle_at(IDLE_LIMIT + 100 * second));
    }
}
