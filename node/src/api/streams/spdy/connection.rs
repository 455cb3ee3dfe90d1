//! SPDY over a byte stream: a reader that also answers pings, and a task that writes frames in the order in which they were
//! handed over, from however many places.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Encoder, Frame, PIECE_LIMIT, Parser};

/// Frames that wait to be written; at the limit whoever has one waits. With the longest pieces they are 64 KB.
const QUEUE_LIMIT: usize = 4;
/// How long what is queued at the end may take to be written.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Where frames are handed over to be written.
pub(in super::super) type Sender = mpsc::Sender<Frame>;

/// The reading side of a connection.
#[derive(Debug)]
pub(in super::super) struct Reader<S> {
    io: ReadHalf<S>,
    chunk: Vec<u8>,
    parser: Parser,
    out: Sender,
}

/// The task that writes.
#[derive(Debug)]
pub(in super::super) struct Writing(JoinHandle<()>);

/// Both sides of a connection. Writing ends when all senders are gone, that of the reader too.
pub(in super::super) fn split<S>(io: S) -> (Reader<S>, Sender, Writing)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (read, write) = tokio::io::split(io);
    let (out, frames) = mpsc::channel(QUEUE_LIMIT);
    let reader = Reader { io: read, chunk: vec![0; PIECE_LIMIT], parser: Parser::default(), out: out.clone() };
    (reader, out, Writing(tokio::spawn(write_all(write, frames))))
}

impl<S: AsyncRead> Reader<S> {
    /// The next frame; `None` at the connection's end. Pings are answered here. May be dropped while it waits: at worst a ping
    /// stays without its answer.
    pub(in super::super) async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let frame = self.parser.frame().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            match frame {
                // Those with even numbers are answers to ours.
                Some(Frame::Ping { id }) if id % 2 == 1 => self.send(Frame::Ping { id }).await?,
                Some(Frame::Ping { .. }) => {}
                Some(frame) => return Ok(Some(frame)),
                None => {
                    let count = self.io.read(&mut self.chunk).await?;
                    let Some(bytes) = self.chunk.get(..count).filter(|bytes| !bytes.is_empty()) else {
                        return Ok(None);
                    };
                    self.parser.push(bytes);
                }
            }
        }
    }

    /// Hands over a frame.
    pub(in super::super) async fn send(&mut self, frame: Frame) -> io::Result<()> {
        send(&self.out, frame).await
    }
}

impl Writing {
    /// Waits until all that was handed over is written. The senders must be gone.
    pub(in super::super) async fn finish(mut self) {
        if tokio::time::timeout(FLUSH_LIMIT, &mut self.0).await.is_err() {
            self.0.abort();
        }
    }
}

/// Hands over a frame; an error means that the client is gone.
pub(in super::super) async fn send(out: &Sender, frame: Frame) -> io::Result<()> {
    out.send(frame).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
}

async fn write_all<S: AsyncWrite>(mut io: WriteHalf<S>, mut frames: mpsc::Receiver<Frame>) {
    let mut encoder = Encoder::new();
    while let Some(frame) = frames.recv().await {
        let bytes = encoder.encode(&frame);
        if io.write_all(&bytes).await.is_err() || io.flush().await.is_err() {
            return;
        }
    }
    // Whoever is gone needs no goodbye.
    let _ = io.shutdown().await;
}
