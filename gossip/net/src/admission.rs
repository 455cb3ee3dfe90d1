//! Admission on the wire: one request, one reply, each a length (u32, big endian) and so many bytes. Also the heads of
//! streams, which are written the same way. What a request says, and who is admitted, is the daemon's.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use skein_gossip::NodeId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use crate::{ADMISSION_LIMIT, ADMISSIONS_PER_SECOND, MAX_ADMISSION, NetEvent};

/// Asks, and waits for the answer.
pub(crate) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &[u8]) -> io::Result<Bytes> {
    write_block(&mut stream, request).await?;
    let reply = read_block(&mut stream, MAX_ADMISSION).await?;
    let _ = stream.shutdown().await;
    Ok(reply)
}

/// Hears one request and gives the daemon's answer. Whatever goes wrong closes the stream.
pub(crate) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    peer: NodeId,
    events: mpsc::Sender<NetEvent>,
) -> io::Result<()> {
    let talk = async {
        let request = read_block(&mut stream, MAX_ADMISSION).await?;
        let (reply, answer) = oneshot::channel();
        let gone = |_| io::Error::from(io::ErrorKind::ConnectionAborted);
        events.send(NetEvent::Admission { peer, request, reply }).await.map_err(gone)?;
        let answer = answer.await.map_err(|_| io::ErrorKind::ConnectionAborted)?;
        write_block(&mut stream, &answer).await?;
        stream.shutdown().await?;
        // The other side closes when it has read the answer.
        let _ = stream.read_u8().await;
        Ok(())
    };
    tokio::time::timeout(ADMISSION_LIMIT, talk).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Writes one block of at most 4 GB.
pub(crate) async fn write_block<S: AsyncWrite + Unpin>(stream: &mut S, block: &[u8]) -> io::Result<()> {
    let len = u32::try_from(block.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&len.to_be_bytes()).await?;
    stream.write_all(block).await?;
    stream.flush().await
}

/// Reads one block of at most `limit` bytes; a longer one is `InvalidData`.
pub(crate) async fn read_block<S: AsyncRead + Unpin>(stream: &mut S, limit: usize) -> io::Result<Bytes> {
    let len = stream.read_u32().await? as usize;
    if len > limit {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut block = vec![0; len];
    stream.read_exact(&mut block).await?;
    Ok(block.into())
}

/// A bucket of admissions that fills with time.
#[derive(Debug)]
pub(crate) struct Rate {
    left: f64,
    since: Instant,
}

impl Rate {
    const BURST: f64 = 2.0 * ADMISSIONS_PER_SECOND as f64;

    pub(crate) fn new(now: Instant) -> Self {
        Self { left: Self::BURST, since: now }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let waited: Duration = now.saturating_duration_since(self.since);
        self.since = now;
        self.left = (self.left + waited.as_secs_f64() * f64::from(ADMISSIONS_PER_SECOND)).min(Self::BURST);
        let some = self.left >= 1.0;
        if some {
            self.left -= 1.0;
        }
        some
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_served_and_then_so_many_each_second() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        assert_eq!((0..100).filter(|_| rate.take(start)).count(), 20);
        assert_eq!((0..100).filter(|_| rate.take(start + Duration::from_secs(1))).count(), 10);
    }
}
