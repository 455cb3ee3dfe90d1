//! What the network tells the daemon.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use skein_gossip::{NodeId, Offence};
use tokio::sync::oneshot;

use crate::{MAX_BULK_FRAME, MAX_CONTROL_FRAME, Stream};

/// One of the two ways of frames between members. Order holds within a lane only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Small and urgent: probes, votes, news. Frames of at most 16 KB.
    Control,
    /// Large and patient: catching up. Frames of at most 1 MiB, 64 KB of which are under way at a time.
    Bulk,
}

impl Lane {
    /// The longest frame, in bytes.
    #[must_use]
    pub fn max_frame(self) -> usize {
        match self {
            Lane::Control => MAX_CONTROL_FRAME,
            Lane::Bulk => MAX_BULK_FRAME,
        }
    }
}

/// What happened. The receiver must keep reading: at 4096 unread events, reading from peers pauses.
#[derive(Debug)]
pub enum NetEvent {
    /// Frames can be exchanged with this member now.
    LinkUp {
        /// The member.
        peer: NodeId,
        /// Its end of the connection.
        addr: SocketAddr,
    },
    /// The last connection with this member is gone, or was silent for 8 seconds.
    LinkDown {
        /// The member.
        peer: NodeId,
    },
    /// There is a connection to this member, which takes this node for none. Told again about once a second while that is so.
    Unwelcome {
        /// The member.
        peer: NodeId,
    },
    /// A frame from a member.
    Frame {
        /// The member, authenticated.
        peer: NodeId,
        /// The lane.
        lane: Lane,
        /// What it sent; never empty.
        bytes: Bytes,
    },
    /// A member opened a stream.
    Stream {
        /// The member.
        peer: NodeId,
        /// What it opened the stream with.
        header: Bytes,
        /// The stream.
        stream: Stream,
    },
    /// Somebody, most likely no member, asks to be admitted. Dropping `reply` closes without an answer.
    Admission {
        /// Who asks, authenticated.
        peer: NodeId,
        /// From where.
        addr: SocketAddr,
        /// The question.
        request: Bytes,
        /// Takes the answer, at most 64 KB.
        reply: oneshot::Sender<Bytes>,
    },
    /// A member said, by mDNS or over its link, that it can be reached here.
    Found {
        /// The member.
        peer: NodeId,
        /// The address, good for dialling.
        addr: SocketAddr,
    },
    /// mDNS has found somebody who is no member; only for a network that was started to tell of them.
    Stranger {
        /// Who it says it is: a connection proves it.
        peer: NodeId,
        /// Where it says it is.
        addr: SocketAddr,
    },
    /// This node can be reached here; announced to peers.
    Listening(SocketAddr),
    /// A member broke the protocol; the connection was dropped and the case counted.
    Violation {
        /// The member.
        peer: NodeId,
        /// What it did.
        what: &'static str,
    },
    /// A member broke rules so often that it is not heard for a while: its connections are closed, and it gets none.
    Refused {
        /// The member.
        peer: NodeId,
        /// What it did last.
        offence: Offence,
        /// For how long.
        length: Duration,
    },
}
