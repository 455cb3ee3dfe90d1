//! What the nodes say to each other about who leads, and its form in bytes. Reading is total: what does not parse, or
//! claims what no node of ours would, is dropped.

use serde::{Deserialize, Serialize};
use skein_gossip::NodeId;

use super::voters::{SetVersion, VoterSet};

/// The longest frame, in bytes: the router's limit for control frames.
pub const MAX_FRAME_BYTES: usize = 16 * 1024;
/// The greatest term that is believed, so that one bad frame cannot use the numbers up.
const MAX_TERM: u64 = 1 << 62;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Frame {
    /// "I lead", every 250 ms.
    Heartbeat { term: u64, beat: u64, set: SetVersion, quorate: bool, tenure_left_ms: u32 },
    /// The answer to a heartbeat.
    Ack { term: u64, beat: u64, state: State, stand: Stand, better: Option<Claim> },
    /// "Would you vote for me in `term`?" Changes nothing, so that a node which cannot win does not raise the term.
    PreVote { term: u64, set: SetVersion },
    /// The answer. `leader` is one that the author heard of at first hand just now.
    PreVoteReply { term: u64, granted: bool, state: State, leader: Option<Claim> },
    /// "Vote for me." `handover`: the leader asked me to, so do not refuse for its sake.
    Vote { term: u64, set: SetVersion, handover: bool },
    /// The answer.
    VoteReply { term: u64, granted: bool, state: State, leader: Option<Claim> },
    /// The voters, for a peer that holds an older set.
    Set(VoterSet),
    /// "My tenure in `term` is over: campaign now."
    Handover { term: u64 },
    /// "Before you restarted you told me of `term`, so your disk went back in time."
    Amnesia { term: u64 },
    /// "My disk takes no votes: elect without me."
    Mute,
}

/// What a node says of its own record with each answer. It is on disk before the frame leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Drawn at each start of the daemon.
    pub(super) boot: u64,
    /// The term that the disk held at that start.
    pub(super) restored: u64,
    /// The term it holds now.
    pub(super) term: u64,
    /// Whether its vote counts among the voters; not after its disk went back in time.
    pub(super) seated: bool,
    /// Whether it is about to leave, and asks the leader to go on without its vote.
    pub(super) retiring: bool,
    /// The set it holds.
    pub(super) set: SetVersion,
}

/// How the author of an [`Frame::Ack`] stands to the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stand {
    /// Its one vote of the term is this leader's.
    Backs,
    /// It follows, but has voted for another in this term, or in a later one.
    Bound,
    /// It follows, but holds a newer set, or another reason not to vote.
    Follows,
    /// It follows another.
    Declines,
}

/// Who is said to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    /// The leader.
    pub(super) leader: NodeId,
    /// Its term.
    pub(super) term: u64,
    /// Whether more than half of the voters back it.
    pub(super) quorate: bool,
}

impl Claim {
    /// What decides between two leaders that meet: quorate first, then the later term, then the rank in that term.
    pub(super) fn strength(&self) -> (bool, u64, u64, NodeId) {
        (self.quorate, self.term, super::rank::rank(self.term, &self.leader), self.leader)
    }
}

/// The wire version that goes before each frame.
const VERSION: u8 = 1;

impl Frame {
    /// The frame in bytes; at most [`MAX_FRAME_BYTES`], since a set has at most 99 voters.
    pub(super) fn encode(&self) -> Vec<u8> {
        // Writing plain data into a growing vector has no way to fail; an empty frame is dropped by who reads it.
        postcard::to_extend(self, vec![VERSION]).unwrap_or_default()
    }

    /// The frame in `bytes`, or `None` when there is none that a node of ours would send.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        if *version != VERSION || bytes.len() > MAX_FRAME_BYTES {
            return None;
        }
        let (frame, rest) = postcard::take_from_bytes::<Frame>(rest).ok()?;
        (rest.is_empty() && frame.check()).then_some(frame)
    }

    fn check(&self) -> bool {
        let state = |s: &State| s.term < MAX_TERM && s.restored <= s.term && s.set.term < MAX_TERM;
        let claim = |c: &Option<Claim>| c.is_none_or(|c| c.term < MAX_TERM);
        match self {
            Frame::Heartbeat { term, set, .. } | Frame::PreVote { term, set } | Frame::Vote { term, set, .. } => {
                *term < MAX_TERM && set.term < MAX_TERM
            }
            Frame::Ack { term, state: s, better, .. } => *term < MAX_TERM && state(s) && claim(better),
            Frame::PreVoteReply { term, state: s, leader, .. } | Frame::VoteReply { term, state: s, leader, .. } => {
                *term < MAX_TERM && state(s) && claim(leader)
            }
            Frame::Set(set) => set.at.term < MAX_TERM && set.at.version < MAX_TERM && set.check(),
            Frame::Handover { term } | Frame::Amnesia { term } => *term < MAX_TERM,
            Frame::Mute => true,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::election::voters::MAX_VOTERS;
    use proptest::prelude::*;

    #[test]
    fn the_greatest_set_fits_one_frame_and_comes_back() {
        let weights = (0..MAX_VOTERS).map(|n| (NodeId([u8::try_from(n).unwrap(); 32]), 2)).collect();
        let frame = Frame::Set(VoterSet { at: SetVersion { term: 1 << 40, version: 1 << 40 }, weights });
        assert!(frame.encode().len() < MAX_FRAME_BYTES / 4);
        assert_eq!(Frame::decode(&frame.encode()), Some(frame));
    }

    #[test]
    fn a_term_out_of_reach_and_a_weight_of_three_are_dropped() {
        let set = SetVersion { term: 1, version: 1 };
        assert_eq!(Frame::decode(&Frame::PreVote { term: u64::MAX, set }.encode()), None);
        let weights = [(NodeId([1; 32]), 3)].into();
        assert_eq!(Frame::decode(&Frame::Set(VoterSet { at: set, weights }).encode()), None);
    }

    proptest! {
        #[test]
        fn random_bytes_are_a_frame_that_checks_or_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(frame) = Frame::decode(&bytes) {
                prop_assert_eq!(Frame::decode(&frame.encode()), Some(frame));
            }
        }
    }
}
