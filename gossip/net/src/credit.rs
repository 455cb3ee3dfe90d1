//! A byte stream between members, with at most 64 KB under way in each direction.
//!
//! Yamux alone lets a stream fill the socket's buffer, behind which a probe would wait. So data go in small chunks, and
//! the receiver says what its program has read before more is sent. Data and acknowledgements share the stream:
//! `0 len data`, `1 len` (so many bytes were read), `2` (no more data from here).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use futures::future::try_join3;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};
use tokio_util::compat::Compat;

use crate::BULK_IN_FLIGHT;

/// How much is sent at a time.
pub(crate) const CHUNK: usize = 16 * 1024;

const DATA: u8 = 0;
const READ: u8 = 1;
const END: u8 = 2;

/// A stream to or from a member. Dropping it resets it; shutting down its writing half tells the other side that no
/// more comes, while reading goes on.
#[derive(Debug)]
pub struct Stream {
    pipe: DuplexStream,
    broken: Arc<AtomicBool>,
}

impl Stream {
    /// The stream counts against `permit` until it has ended.
    pub(crate) fn over(stream: Compat<libp2p::Stream>, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self::over_io(stream, permit)
    }

    fn over_io<S>(stream: S, permit: Option<OwnedSemaphorePermit>) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (pipe, inner) = tokio::io::duplex(CHUNK);
        let broken = Arc::new(AtomicBool::new(false));
        let flag = broken.clone();
        tokio::spawn(async move {
            let (remote_read, remote_write) = tokio::io::split(stream);
            let (local_read, local_write) = tokio::io::split(inner);
            let mut local_write = local_write;
            let result = carry(remote_read, remote_write, local_read, &mut local_write).await;
            // Set while the pipe is still whole, so that its reader sees why it ends.
            flag.store(result.is_err(), Ordering::Release);
            drop(permit);
        });
        Self { pipe, broken }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.pipe).poll_read(cx, buf))?;
        if buf.filled().len() == before && buf.remaining() > 0 && self.broken.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, "the link to the peer broke")));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

/// What the other side has read since we last looked.
#[derive(Default)]
struct Grants {
    bytes: AtomicUsize,
    more: Notify,
}

/// Both directions until both have ended, or anything fails.
async fn carry<S: AsyncRead + AsyncWrite>(
    remote_read: ReadHalf<S>,
    remote_write: WriteHalf<S>,
    local_read: ReadHalf<DuplexStream>,
    local_write: &mut WriteHalf<DuplexStream>,
) -> io::Result<()> {
    // None of these can grow beyond what the credit allows: `receive` refuses a peer that sends more than it may.
    let (arrived, arrivals) = mpsc::unbounded_channel();
    let (consumed, acks) = mpsc::unbounded_channel();
    let grants = Arc::new(Grants::default());
    let unread = Arc::new(AtomicUsize::new(0));
    try_join3(
        receive(remote_read, arrived, grants.clone(), unread.clone()),
        deliver(arrivals, local_write, consumed, unread),
        send(local_read, remote_write, acks, &grants),
    )
    .await
    .map(|_| ())
}

/// Takes apart what comes in. Never waits for the program, so that acknowledgements get through while it reads nothing.
async fn receive<S: AsyncRead>(
    mut remote: ReadHalf<S>,
    arrived: mpsc::UnboundedSender<Vec<u8>>,
    grants: Arc<Grants>,
    unread: Arc<AtomicUsize>,
) -> io::Result<()> {
    let mut arrived = Some(arrived);
    loop {
        let kind = match remote.read_u8().await {
            Ok(kind) => kind,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && arrived.is_none() => return Ok(()),
            Err(error) => return Err(error),
        };
        match kind {
            DATA => {
                let len = remote.read_u32().await? as usize;
                let waiting = unread.fetch_add(len, Ordering::AcqRel);
                let Some(arrived) =
                    arrived.as_ref().filter(|_| (1..=CHUNK).contains(&len) && waiting + len <= BULK_IN_FLIGHT)
                else {
                    return Err(io::ErrorKind::InvalidData.into());
                };
                let mut data = vec![0; len];
                remote.read_exact(&mut data).await?;
                // Fails when the program has dropped the stream, which ends `deliver` with an error too.
                let _ = arrived.send(data);
            }
            READ => {
                grants.bytes.fetch_add(remote.read_u32().await? as usize, Ordering::AcqRel);
                grants.more.notify_one();
            }
            END => arrived = None,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

async fn deliver(
    mut arrivals: mpsc::UnboundedReceiver<Vec<u8>>,
    local: &mut WriteHalf<DuplexStream>,
    consumed: mpsc::UnboundedSender<usize>,
    unread: Arc<AtomicUsize>,
) -> io::Result<()> {
    while let Some(data) = arrivals.recv().await {
        local.write_all(&data).await?;
        unread.fetch_sub(data.len(), Ordering::AcqRel);
        let _ = consumed.send(data.len());
    }
    local.shutdown().await
}

async fn send<S: AsyncWrite>(
    mut local: ReadHalf<DuplexStream>,
    mut remote: WriteHalf<S>,
    mut acks: mpsc::UnboundedReceiver<usize>,
    grants: &Grants,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let (mut credit, mut ended, mut received_all) = (BULK_IN_FLIGHT, false, false);
    while !(ended && received_all) {
        let room = credit.min(CHUNK);
        tokio::select! {
            read = acks.recv(), if !received_all => match read {
                Some(read) => write_head(&mut remote, READ, read).await?,
                None => received_all = true,
            },
            () = grants.more.notified() => {
                credit = credit.saturating_add(grants.bytes.swap(0, Ordering::AcqRel)).min(BULK_IN_FLIGHT);
            }
            read = local.read(&mut buffer[..room]), if !ended && room > 0 => match read? {
                0 => {
                    remote.write_all(&[END]).await?;
                    ended = true;
                }
                read => {
                    credit -= read;
                    write_head(&mut remote, DATA, read).await?;
                    remote.write_all(&buffer[..read]).await?;
                }
            },
        }
        remote.flush().await?;
    }
    remote.shutdown().await
}

async fn write_head<S: AsyncWrite>(remote: &mut WriteHalf<S>, kind: u8, len: usize) -> io::Result<()> {
    // Lengths are at most a chunk.
    let [a, b, c, d] = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    remote.write_all(&[kind, a, b, c, d]).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    fn pair() -> (Stream, Stream) {
        let (a, b) = tokio::io::duplex(1 << 20);
        (Stream::over_io(a, None), Stream::over_io(b, None))
    }

    #[tokio::test]
    async fn a_megabyte_goes_both_ways_at_once_and_each_way_ends_by_itself() {
        let (a, b) = pair();
        let (mut a_read, mut a_write) = tokio::io::split(a);
        let (mut b_read, mut b_write) = tokio::io::split(b);
        let data: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
        let sent = data.clone();
        let writer = tokio::spawn(async move {
            a_write.write_all(&sent).await.unwrap();
            a_write.shutdown().await.unwrap();
        });
        let echo = tokio::spawn(async move {
            tokio::io::copy(&mut b_read, &mut b_write).await.unwrap();
            b_write.write_all(b"end").await.unwrap();
            b_write.shutdown().await.unwrap();
        });
        let mut back = Vec::new();
        a_read.read_to_end(&mut back).await.unwrap();
        writer.await.unwrap();
        echo.await.unwrap();
        assert_eq!(back.len(), data.len() + 3);
        assert_eq!(back[..data.len()], data);
    }

    #[tokio::test]
    async fn a_sender_stops_at_the_limit_while_the_other_way_still_flows() {
        let (a, mut b) = pair();
        let (mut a_read, mut a_write) = tokio::io::split(a);
        let written = Arc::new(AtomicUsize::new(0));
        let count = written.clone();
        let writer = tokio::spawn(async move {
            loop {
                a_write.write_all(&[7; 1024]).await.unwrap();
                count.fetch_add(1024, Ordering::Relaxed);
            }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = written.load(Ordering::Relaxed);
        // What is under way, and a pipe at each end.
        assert!(before <= BULK_IN_FLIGHT + 3 * CHUNK, "{before}");
        b.write_all(b"still here").await.unwrap();
        let mut answer = [0; 10];
        a_read.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"still here");
        b.read_exact(&mut vec![0; 64 * 1024]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(written.load(Ordering::Relaxed) > before);
        writer.abort();
    }

    #[tokio::test]
    async fn a_peer_that_sends_more_than_it_may_or_breaks_off_is_an_error_and_not_an_end() {
        for noise in [vec![9; 10], [vec![DATA, 0, 1, 0, 0], vec![0; 65536]].concat(), vec![DATA, 0, 0, 0, 9, 1]] {
            let (raw, ours) = tokio::io::duplex(1 << 20);
            let mut stream = Stream::over_io(ours, None);
            let mut raw = raw;
            raw.write_all(&noise).await.unwrap();
            drop(raw);
            assert!(stream.read_to_end(&mut Vec::new()).await.is_err());
        }
    }

    #[tokio::test]
    async fn dropping_one_end_ends_the_other() {
        let (a, mut b) = pair();
        drop(a);
        let written = tokio::time::timeout(Duration::from_secs(5), async {
            loop {
                if b.write_all(&[0; 1024]).await.is_err() {
                    break;
                }
            }
        });
        written.await.unwrap();
    }
}
