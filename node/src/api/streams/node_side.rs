//! The side that has the pod: serves sessions to peers, and to this node's own API, until they end, whoever asked goes
//! away, or the daemon stops.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::frame::{Frame, FrameReader, FrameWriter, PAYLOAD_LIMIT};
use super::request::{Outcome, SessionRequest, Wanted};
use crate::api::backend::PeerStream;
use crate::runtime::{Attached, Input, Output, SessionError};

/// What a peer's stream begins with when it is a session. The request follows in the stream: a command may be longer than
/// a header.
pub const HEADER: &[u8] = br#"{"session":{}}"#;
/// How many sessions (commands, attachments, forwarded connections) this node serves at once, whoever asks; further ones are
/// told to try again.
pub const SESSIONS_LIMIT: usize = 256;
/// How long a request, and then the word to begin, may take.
const REQUEST_WAIT: Duration = Duration::from_secs(10);
const START_WAIT: Duration = Duration::from_secs(60);
/// How often something is said although there is nothing to say: only who is written to is noticed to be gone.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
const STOPPING: &str = "the node that runs it is stopping";

/// Opens sessions on this node.
pub trait SessionSource: Send + Sync + 'static {
    /// Whether the container runs.
    fn check<'a>(&'a self, request: &'a SessionRequest) -> BoxFuture<'a, Result<(), SessionError>>;

    /// Runs a command in it, or connects with it. Never asked for a port.
    fn begin(&self, request: SessionRequest) -> BoxFuture<'_, Result<Attached, SessionError>>;

    /// Connects to a port of its pod.
    fn dial<'a>(&'a self, request: &'a SessionRequest, port: u16) -> BoxFuture<'a, Result<PeerStream, SessionError>>;
}

/// Serves the sessions of one node.
pub struct SessionServer {
    source: Arc<dyn SessionSource>,
    room: Semaphore,
    stop: CancellationToken,
    alive_every: Duration,
}

impl std::fmt::Debug for SessionServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionServer(..)")
    }
}

type FromAsker = FrameReader<ReadHalf<PeerStream>>;
type ToAsker = FrameWriter<WriteHalf<PeerStream>>;

impl SessionServer {
    /// Serves what a source has, until `stop`.
    #[must_use]
    pub fn new(source: Arc<dyn SessionSource>, stop: CancellationToken) -> Self {
        SessionServer { source, room: Semaphore::new(SESSIONS_LIMIT), stop, alive_every: ALIVE_EVERY }
    }

    /// The same, saying that it is there so often while there is nothing else to say.
    #[must_use]
    pub fn alive_every(self, alive_every: Duration) -> Self {
        SessionServer { alive_every, ..self }
    }

    /// Whether a stream that begins like this is a session.
    #[must_use]
    pub fn takes(header: &[u8]) -> bool {
        header == HEADER
    }

    /// Serves one stream that somebody opened, until the session is over. What is no request ends it.
    pub async fn serve(&self, stream: PeerStream) {
        let (read, write) = tokio::io::split(stream);
        let (mut from, mut to) = (FrameReader::new(read), FrameWriter::new(write));
        let Ok(Ok(request)) = timeout(REQUEST_WAIT, from.request()).await else { return };
        let served = match self.room.try_acquire() {
            Err(_) => {
                let why = "too many sessions are open on the node that runs the pod; try again later";
                to.send(&Frame::Refused(SessionError::Busy(why.to_owned()))).await
            }
            Ok(_permit) => match request.wanted {
                Wanted::Port { port } => self.port(&request, port, &mut from, &mut to).await,
                Wanted::Exec { .. } | Wanted::Attach { .. } => self.process(request, &mut from, &mut to).await,
            },
        };
        // An error means that whoever asked is gone.
        if served.is_ok() {
            let _ = to.shutdown().await;
        }
    }

    async fn process(&self, request: SessionRequest, from: &mut FromAsker, to: &mut ToAsker) -> io::Result<()> {
        if let Err(why) = self.source.check(&request).await {
            return to.send(&Frame::Refused(cut(why))).await;
        }
        to.send(&Frame::Opened).await?;
        // The command does not run before there is somebody to see it: until then the client may still turn away.
        match timeout(START_WAIT, from.next()).await {
            Ok(Ok(Some(Frame::Start))) => {}
            _ => return Err(io::ErrorKind::TimedOut.into()),
        }
        let verb = match request.wanted {
            Wanted::Attach { .. } => "error attaching to container",
            _ => "error executing command in container",
        };
        let attached = match self.source.begin(request).await {
            Ok(attached) => attached,
            Err(why) => return to.send(&Frame::Outcome(Outcome::failed(&format!("{verb}: {why}")))).await,
        };
        let Attached { stdin, output, resize, outcome } = attached;
        let output = async {
            if let Some(error) = said(output, to, self.alive_every).await? {
                return Ok(Outcome::failed(&format!("{verb}: {error}")));
            }
            let ended = or_alive(outcome, to, self.alive_every).await?;
            Ok(ended.map_or_else(|why| Outcome::failed(&format!("{verb}: {why}")), Outcome::Exited))
        };
        let ended: io::Result<Outcome> = tokio::select! {
            ended = output => ended,
            () = heard(from, stdin, resize.as_ref()) => Err(io::ErrorKind::BrokenPipe.into()),
            () = self.stop.cancelled() => Ok(Outcome::failed(STOPPING)),
        };
        to.send(&Frame::Outcome(ended?)).await
    }

    async fn port(
        &self,
        request: &SessionRequest,
        port: u16,
        from: &mut FromAsker,
        to: &mut ToAsker,
    ) -> io::Result<()> {
        let connection = match self.source.dial(request, port).await {
            Ok(connection) => connection,
            Err(why) => {
                // These are kubelet's words.
                let (pod, uid) = (&request.pod, &request.uid);
                let why = format!("error forwarding port {port} to pod {pod}, uid {uid}: {why}");
                return to.send(&Frame::Refused(cut(SessionError::Failed(why)))).await;
            }
        };
        to.send(&Frame::Opened).await?;
        let (mut read, write) = tokio::io::split(connection);
        let output = async {
            let mut chunk = vec![0; PAYLOAD_LIMIT];
            loop {
                let count = match or_alive(read.read(&mut chunk), to, self.alive_every).await? {
                    Ok(count) => count,
                    Err(error) => {
                        let why = format!("error forwarding port {port} to pod {}: {error}", request.pod);
                        return Ok(Outcome::failed(&why));
                    }
                };
                match chunk.get(..count) {
                    None | Some([]) => return Ok(Outcome::Exited(0)),
                    Some(bytes) => to.send(&Frame::Output(Bytes::copy_from_slice(bytes))).await?,
                }
            }
        };
        let ended: io::Result<Outcome> = tokio::select! {
            ended = output => ended,
            () = heard(from, Some(Box::pin(write)), None) => Err(io::ErrorKind::BrokenPipe.into()),
            () = self.stop.cancelled() => Ok(Outcome::failed(STOPPING)),
        };
        to.send(&Frame::Outcome(ended?)).await
    }
}

/// Passes output on until its end; the result is why it broke, if it did.
async fn said(
    mut output: futures::stream::BoxStream<'static, io::Result<Output>>,
    to: &mut ToAsker,
    alive_every: Duration,
) -> io::Result<Option<io::Error>> {
    loop {
        match or_alive(output.next(), to, alive_every).await? {
            Some(Ok(Output::Stdout(bytes))) => to.send(&Frame::Output(bytes)).await?,
            Some(Ok(Output::Stderr(bytes))) => to.send(&Frame::ErrorOutput(bytes)).await?,
            Some(Err(error)) => return Ok(Some(error)),
            None => return Ok(None),
        }
    }
}

/// What something comes to. Until then says now and then that it is there. An error means that nobody listens.
async fn or_alive<T>(what: impl Future<Output = T>, to: &mut ToAsker, alive_every: Duration) -> io::Result<T> {
    let mut what = pin!(what);
    loop {
        match timeout(alive_every, &mut what).await {
            Ok(result) => return Ok(result),
            Err(_) => to.send(&Frame::Alive).await?,
        }
    }
}

/// Carries out what whoever asked says, until he is gone.
async fn heard(from: &mut FromAsker, mut stdin: Option<Input>, resize: Option<&crate::runtime::Resizer>) {
    loop {
        match from.next().await {
            Ok(Some(Frame::Input(bytes))) => {
                // A process that has closed its input, or has ended, gets no more; its output goes on.
                if let Some(input) = &mut stdin
                    && (input.write_all(&bytes).await.is_err() || input.flush().await.is_err())
                {
                    stdin = None;
                }
            }
            Ok(Some(Frame::InputEnd)) => {
                if let Some(mut input) = stdin.take() {
                    let _ = input.shutdown().await;
                }
            }
            Ok(Some(Frame::Resize(size))) => {
                if let Some(resize) = resize {
                    resize(size).await;
                }
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

/// An error that fits into a frame.
fn cut(why: SessionError) -> SessionError {
    const CHARS: usize = 2000;
    let cut = |text: String| text.chars().take(CHARS).collect();
    match why {
        SessionError::NotRunning(text) => SessionError::NotRunning(cut(text)),
        SessionError::Busy(text) => SessionError::Busy(cut(text)),
        SessionError::Failed(text) => SessionError::Failed(cut(text)),
    }
}
