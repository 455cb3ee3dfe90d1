//! Forwarded connections as pairs of SPDY streams, one for data and one for errors, that name port and request.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::super::session::Activity;
use super::super::spdy::{self, Frame, Headers, Sender, header};
use super::{CONNECTIONS_LIMIT, INPUT_LIMIT, Lane, Piece, Target, carry};

/// Serves a client that speaks SPDY until it goes away, is idle, or the daemon stops.
pub(in super::super) async fn over_spdy<S>(target: Arc<Target>, io: S, stop: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut reader, out, writing) = spdy::split(io);
    let activity = Arc::new(Activity::new());
    let mut forwarding = Forwarding {
        target,
        out,
        activity: activity.clone(),
        halves: BTreeMap::new(),
        inputs: BTreeMap::new(),
        tasks: JoinSet::new(),
    };
    let serve = async {
        loop {
            tokio::select! {
                frame = reader.next() => match frame {
                    Ok(Some(frame)) => forwarding.take(frame).await?,
                    Ok(None) => return Ok(()),
                    Err(error) => return Err(error),
                },
                Some(done) = forwarding.tasks.join_next() => if let Ok(stream) = done {
                    forwarding.inputs.remove(&stream);
                },
            }
        }
    };
    let served: io::Result<()> = tokio::select! {
        served = serve => served,
        () = activity.idle() => Ok(()),
        () = stop.cancelled() => Ok(()),
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a port-forward broke");
    }
    forwarding.tasks.shutdown().await;
    let _ = forwarding.out.send(Frame::GoAway).await;
    drop((forwarding, reader));
    writing.finish().await;
}

struct Forwarding {
    target: Arc<Target>,
    out: Sender,
    activity: Arc<Activity>,
    /// Streams whose other one is not open yet, by their request.
    halves: BTreeMap<String, Half>,
    /// The open connections by their data stream.
    inputs: BTreeMap<u32, Connection>,
    /// What carries the connections; each results in its data stream.
    tasks: JoinSet<u32>,
}

/// An open connection.
struct Connection {
    /// Where its data goes to.
    input: mpsc::Sender<Piece>,
    /// What carries it: it may wait for a pod that takes nothing in, and then sees nothing else.
    task: AbortHandle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Half {
    stream: u32,
    is_data: bool,
    port: u16,
}

impl Forwarding {
    /// An error means that the client is gone.
    async fn take(&mut self, frame: Frame) -> io::Result<()> {
        match frame {
            Frame::Open { stream, headers, .. } => {
                let accepted = self.open(stream, &headers);
                let answer = if accepted.is_some() { Frame::Reply { stream } } else { Frame::Reset { stream } };
                spdy::send(&self.out, answer).await?;
                if let Some(Some((data, error))) = accepted {
                    self.begin(data, error);
                }
            }
            Frame::Data { stream, bytes, fin } => {
                // What comes on a stream for errors, or of a connection that is over, is for nobody.
                let Some(Connection { input, .. }) = self.inputs.get(&stream) else { return Ok(()) };
                let is_over = (!bytes.is_empty() && input.send(Piece::Bytes(bytes)).await.is_err())
                    || (fin && input.send(Piece::End).await.is_err());
                if is_over {
                    self.inputs.remove(&stream);
                }
            }
            Frame::Reset { stream } => {
                if let Some(connection) = self.inputs.remove(&stream) {
                    connection.task.abort();
                }
                self.halves.retain(|_, half| half.stream != stream);
            }
            Frame::Reply { .. } | Frame::Ping { .. } | Frame::GoAway => {}
        }
        Ok(())
    }

    /// Notes a stream. `None`: it is not accepted. Else the pair that it completes, if it does: its data stream, and the one
    /// for errors.
    fn open(&mut self, stream: u32, headers: &Headers) -> Option<Option<(Half, Half)>> {
        let is_data = match header(headers, "streamtype")? {
            "data" => true,
            "error" => false,
            _ => return None,
        };
        let port = header(headers, "port")?.parse().ok().filter(|port| *port > 0)?;
        // Old clients name no request; they open the stream for errors and then the one for data.
        let request = match header(headers, "requestid") {
            Some(request) => request.to_owned(),
            None => stream.checked_sub(if is_data { 2 } else { 0 })?.to_string(),
        };
        let half = Half { stream, is_data, port };
        match self.halves.remove(&request) {
            Some(other) if other.is_data != is_data => Some(Some(if is_data { (half, other) } else { (other, half) })),
            // A second stream of the same kind makes the request void.
            Some(_) => None,
            None if self.halves.len() + self.tasks.len() >= CONNECTIONS_LIMIT => None,
            None => {
                self.halves.insert(request, half);
                Some(None)
            }
        }
    }

    fn begin(&mut self, data: Half, error: Half) {
        let (sender, input) = mpsc::channel(INPUT_LIMIT);
        let (target, activity) = (self.target.clone(), self.activity.clone());
        let lane = Streams { out: self.out.clone(), data: data.stream, error: Some(error.stream) };
        let task = self.tasks.spawn(async move {
            carry(&target, data.port, input, lane, &activity).await;
            data.stream
        });
        self.inputs.insert(data.stream, Connection { input: sender, task });
    }
}

/// Both streams of a connection.
struct Streams {
    out: Sender,
    data: u32,
    /// `None` once it was ended.
    error: Option<u32>,
}

impl Streams {
    async fn send(&self, stream: u32, bytes: Bytes, fin: bool) -> io::Result<()> {
        spdy::send(&self.out, Frame::Data { stream, bytes, fin }).await
    }
}

impl Lane for Streams {
    async fn data(&mut self, bytes: Bytes) -> io::Result<()> {
        self.send(self.data, bytes, false).await
    }

    async fn error(&mut self, text: String) -> io::Result<()> {
        match self.error.take() {
            Some(error) => self.send(error, text.into(), true).await,
            None => Ok(()),
        }
    }

    async fn alive(&mut self) -> io::Result<()> {
        spdy::send(&self.out, Frame::Ping { id: 2 }).await
    }

    async fn end(&mut self) -> io::Result<()> {
        self.send(self.data, Bytes::new(), true).await?;
        match self.error.take() {
            Some(error) => self.send(error, Bytes::new(), true).await,
            None => Ok(()),
        }
    }
}
