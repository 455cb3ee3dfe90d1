//! Admission on the wire: one request, one reply, each a length (u32, big endian) and so many bytes. Also the heads of
//! streams, which are written the same way. What a request says, and who is admitted, is the daemon's.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use skein_gossip::NodeId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use crate::{ADMISSION_LIMIT, MAX_ADMISSION, MAX_ADMISSION_REPLY, NetEvent};

/// Asks, and waits for the answer.
pub(crate) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &[u8]) -> io::Result<Bytes> {
    write_block(&mut stream, request).await?;
    let reply = read_block(&mut stream, MAX_ADMISSION_REPLY).await?;
    let _ = stream.shutdown().await;
    Ok(reply)
}

/// Hears one request and gives the daemon's answer. Whatever goes wrong closes the stream.
pub(crate) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    peer: NodeId,
    addr: SocketAddr,
    events: mpsc::Sender<NetEvent>,
) -> io::Result<()> {
    let talk = async {
        let request = read_block(&mut stream, MAX_ADMISSION).await?;
        let (reply, answer) = oneshot::channel();
        let gone = |_| io::Error::from(io::ErrorKind::ConnectionAborted);
        events.send(NetEvent::Admission { peer, addr, request, reply }).await.map_err(gone)?;
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

/// Reads one block of at most `limit` bytes; a longer one is `InvalidData`. Memory is taken as bytes come, and not as they are
/// announced.
pub(crate) async fn read_block<S: AsyncRead + Unpin>(stream: &mut S, limit: usize) -> io::Result<Bytes> {
    let len = stream.read_u32().await? as usize;
    if len > limit {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut block = Vec::new();
    if stream.take(len as u64).read_to_end(&mut block).await? < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(block.into())
}
