//! Who is here and who is gone: SWIM with suspicion, as a machine without IO.
//!
//! The protocol is `foca`'s. On top of it are here: checking that a sender speaks for itself and is a member, local
//! health (a node that misses its own deadlines doubts itself first), probing when a link is lost, coming back after a
//! verdict, the exchange of whole rosters (rumours alone do not reach everybody), and the schedule on which members
//! are dialled. Who is a member is decided elsewhere and told with [`Input::Members`].

mod comebacks;
mod health;
mod machine;
mod swim;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

pub use self::machine::{DIALS_PER_TICK, GREETINGS_AT_ONCE, MAX_OUTPUTS, Membership};
pub use self::swim::Tempo;
pub use self::wire::MAX_FRAME;
use crate::NodeId;

/// The waits of a small and of a large cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MembershipConfig {
    /// Up to `large_above` members.
    pub small: Tempo,
    /// Above it.
    pub large: Tempo,
    /// The number of members above which the cluster is large; it is small again at four fifths of it.
    pub large_above: usize,
    /// How often a whole roster goes to one random member of a small cluster; half as often in a large one.
    pub roster_every: Duration,
    /// Whether the node doubts itself when it misses its own deadlines, hears nobody or is suspected, and then waits longer
    /// before it accuses anybody. Without it no wait is ever stretched, and a node that wakes late judges at once by what
    /// it has read so far. Only measurements of what it is worth turn it off.
    pub local_health: bool,
}

impl Default for MembershipConfig {
    fn default() -> Self {
        let tempo = |period, round_trip, suspicion| Tempo {
            period: Duration::from_millis(period),
            round_trip: Duration::from_millis(round_trip),
            suspicion: Duration::from_millis(suspicion),
        };
        Self {
            small: tempo(500, 150, 1500),
            large: tempo(1000, 300, 4000),
            large_above: 50,
            roster_every: Duration::from_secs(5),
            local_health: true,
        }
    }
}

/// What happens to the machine.
#[derive(Debug, Clone)]
pub enum Input {
    /// A membership frame arrived on the authenticated link of `from`.
    Frame {
        /// The peer of the connection.
        from: NodeId,
        /// The frame.
        bytes: Vec<u8>,
    },
    /// The deadline of [`Membership::poll_timeout`] has come.
    Timeout,
    /// There is a link to this peer now. Frames are only sent over links.
    LinkUp(NodeId),
    /// The last link to this peer is gone: a reason to look, not a verdict.
    LinkDown(NodeId),
    /// All nodes that were admitted and neither left nor were removed. Frames from and about others are ignored, and a
    /// node that is in the set no longer is down at once.
    Members(BTreeSet<NodeId>),
    /// The node stops: say goodbye. Nothing is done afterwards.
    Leave,
}

/// What the machine wants done, or has found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this frame to a member that has a link. Losing it is allowed.
    Send {
        /// The member.
        to: NodeId,
        /// The frame, at most [`MAX_FRAME`] bytes.
        bytes: Vec<u8>,
    },
    /// The member is here: it was not known, down, or under suspicion before.
    Alive(NodeId),
    /// The member did not answer, and has some time left to speak up. Until then it counts as alive.
    Suspect(NodeId),
    /// The member is down, or left, or is no member any more.
    Down(NodeId),
    /// There should be a link to this member: dial it now.
    Dial(NodeId),
}

/// What is believed of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerState {
    /// It answers.
    Alive,
    /// It did not answer, and has not yet been declared down.
    Suspect,
    /// It was declared down, or said goodbye.
    Down,
}

/// What was ignored, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames from nodes that are no members.
    pub strangers: u64,
    /// Frames whose sender is not the peer of the connection.
    pub forged: u64,
    /// Frames that could not be read.
    pub malformed: u64,
    /// Own frames that were dropped since nobody polled them.
    pub dropped: u64,
    /// How often this node found itself late.
    pub late: u64,
    /// How often this node was declared down, and came back.
    pub rejoins: u64,
}
