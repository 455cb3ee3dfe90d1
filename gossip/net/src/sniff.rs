//! Notices when this node tells a peer "no such protocol", which libp2p keeps to itself: a stranger that asks for what is the
//! members' is counted so. Changes no byte.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::StreamMuxer;
use libp2p::core::muxing::StreamMuxerEvent;
use skein_gossip::NodeId;

use crate::refusal::Refusal;
use crate::shared::Shared;

/// "Not available" in multistream-select: a length, the word, the end of the line.
const NOT_AVAILABLE: &[u8] = b"\x03na\n";
/// How many bytes from a stream's start are looked at: a protocol is agreed on by then, or not at all.
const LOOKED_AT: usize = 256;

/// Who is on the other side of a connection.
#[derive(Clone)]
pub(crate) struct Other {
    pub peer: Option<NodeId>,
    pub address: Option<IpAddr>,
    pub shared: Arc<Shared>,
}

impl Other {
    fn told_no(&self) {
        if self.peer.is_some_and(|peer| self.shared.is_member(&peer)) {
            return;
        }
        match self.address {
            Some(address) => self.shared.refuse(address, Refusal::StrangerStream),
            None => self.shared.refuse("somewhere", Refusal::StrangerStream),
        }
    }
}

/// A connection of which streams that the other side opens are looked at.
pub(crate) struct Sniffed<M> {
    pub inner: M,
    pub other: Other,
}

impl<M: StreamMuxer + Unpin> StreamMuxer for Sniffed<M>
where
    M::Substream: Unpin,
{
    type Substream = Sniffer<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        let other = self.other.clone();
        Pin::new(&mut self.inner).poll_inbound(cx).map_ok(|inner| Sniffer {
            inner,
            left: LOOKED_AT,
            other: Some(other),
        })
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        Pin::new(&mut self.inner).poll_outbound(cx).map_ok(|inner| Sniffer { inner, left: 0, other: None })
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

/// A stream whose first answers are looked at.
pub(crate) struct Sniffer<S> {
    inner: S,
    left: usize,
    other: Option<Other>,
}

impl<S> Sniffer<S> {
    fn look(&mut self, written: &[u8]) {
        let Some(other) = &self.other else { return };
        let looked_at = &written[..written.len().min(self.left)];
        for _ in looked_at.windows(NOT_AVAILABLE.len()).filter(|window| *window == NOT_AVAILABLE) {
            other.told_no();
        }
        self.left -= looked_at.len();
        if self.left == 0 {
            self.other = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Sniffer<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sniffer<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(count)) = &written
            && let Some(written) = buf.get(..*count)
        {
            self.look(written);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}
