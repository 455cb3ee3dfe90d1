//! What members say to each other about membership: the frames, read and written.
//!
//! Here is only the form. Who may say what, and what follows from it, is decided in the machine above.

use foca::{Header, Member};
use serde::de::DeserializeOwned;

use super::swim::Identity;
use crate::NodeId;

/// The longest frame that a member sends or accepts, in bytes: 16 KB less the room that the envelope around it takes.
pub const MAX_FRAME: usize = 16 * 1024 - 256;

/// The highest bump that is believed. Counting there by rejoins takes longer than any cluster lives, so a higher one is
/// an error or an attempt to lock the node out.
pub(super) const MAX_BUMP: u64 = 1 << 62;

const KIND_SWIM: u8 = 1;
const KIND_ROSTER: u8 = 2;
const KIND_ROSTER_REPLY: u8 = 3;
const KIND_ASK: u8 = 4;
const KIND_VOUCH: u8 = 5;

/// A frame as it came in.
#[derive(Debug)]
pub(super) enum Frame<'a> {
    /// A packet of the SWIM protocol, taken apart so that it can be checked before the protocol sees it.
    Swim(SwimPacket<'a>),
    /// What the sender knows of members. With `wants_reply` it would like to hear what we know better.
    Roster { members: Vec<Member<Identity>>, wants_reply: bool },
    /// `origin` has not heard `target` and asks it to speak up, directly or through one other member.
    Ask { target: NodeId, origin: NodeId },
    /// `target` tells `origin` that it is here, the way the question came.
    Vouch { target: NodeId, origin: NodeId },
}

/// A SWIM packet: the bytes, and what they say.
#[derive(Debug)]
pub(super) struct SwimPacket<'a> {
    pub header: Header<Identity>,
    pub members: Vec<Member<Identity>>,
    bytes: &'a [u8],
    header_len: usize,
}

impl<'a> SwimPacket<'a> {
    /// The packet's own bytes.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The same packet with only these members in it.
    pub(super) fn rewritten(&self, members: &[Member<Identity>]) -> Vec<u8> {
        let mut bytes = self.bytes[..self.header_len].to_vec();
        // There were at most u16::MAX members in the packet, and these are some of them.
        bytes.extend_from_slice(&u16::try_from(members.len()).unwrap_or(u16::MAX).to_be_bytes());
        for member in members {
            push(&mut bytes, member);
        }
        bytes
    }
}

/// Reads a frame. Total: whatever is not exactly a frame is `None`.
pub(super) fn read(bytes: &[u8]) -> Option<Frame<'_>> {
    if bytes.len() > MAX_FRAME {
        return None;
    }
    let (kind, body) = bytes.split_first()?;
    match *kind {
        KIND_SWIM => read_swim(body).map(Frame::Swim),
        KIND_ROSTER => Some(Frame::Roster { members: read_members(body)?, wants_reply: true }),
        KIND_ROSTER_REPLY => Some(Frame::Roster { members: read_members(body)?, wants_reply: false }),
        KIND_ASK => read_pair(body).map(|(target, origin)| Frame::Ask { target, origin }),
        KIND_VOUCH => read_pair(body).map(|(target, origin)| Frame::Vouch { target, origin }),
        _ => None,
    }
}

/// The frame around a SWIM packet.
pub(super) fn write_swim(packet: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(packet.len() + 1);
    bytes.push(KIND_SWIM);
    bytes.extend_from_slice(packet);
    bytes
}

/// Who speaks in a packet of the SWIM protocol, and in which incarnation.
pub(super) fn speaker(packet: &[u8]) -> Option<(Identity, u16)> {
    // These are the first two fields of a header.
    take::<(Identity, u16)>(packet).map(|(speaker, _)| speaker)
}

/// As many frames as these members take.
pub(super) fn write_roster(members: &[Member<Identity>], wants_reply: bool) -> Vec<Vec<u8>> {
    let kind = if wants_reply { KIND_ROSTER } else { KIND_ROSTER_REPLY };
    let mut frames = Vec::new();
    let mut frame = vec![kind];
    for member in members {
        let before = frame.len();
        push(&mut frame, member);
        if frame.len() > MAX_FRAME {
            let overflow = frame.split_off(before);
            frames.push(std::mem::replace(&mut frame, vec![kind]));
            frame.extend_from_slice(&overflow);
        }
    }
    if frame.len() > 1 {
        frames.push(frame);
    }
    frames
}

/// The question of `origin` whether `target` is here.
pub(super) fn write_ask(target: &NodeId, origin: &NodeId) -> Vec<u8> {
    [&[KIND_ASK], &target.0[..], &origin.0[..]].concat()
}

/// The answer of `target` to `origin`.
pub(super) fn write_vouch(target: &NodeId, origin: &NodeId) -> Vec<u8> {
    [&[KIND_VOUCH], &target.0[..], &origin.0[..]].concat()
}

fn read_pair(body: &[u8]) -> Option<(NodeId, NodeId)> {
    let (first, second) = body.split_first_chunk::<32>()?;
    Some((NodeId(*first), NodeId(second.try_into().ok()?)))
}

fn read_swim(bytes: &[u8]) -> Option<SwimPacket<'_>> {
    let (header, rest) = take::<Header<Identity>>(bytes)?;
    let header_len = bytes.len() - rest.len();
    let mut members = Vec::new();
    if !rest.is_empty() {
        let (count, mut rest) = rest.split_first_chunk::<2>()?;
        for _ in 0..u16::from_be_bytes(*count) {
            let (member, after) = take::<Member<Identity>>(rest)?;
            members.push(member);
            rest = after;
        }
        if !rest.is_empty() {
            return None;
        }
    }
    let believable = plausible(&header.src) && plausible(&header.dst) && members.iter().all(|m| plausible(m.id()));
    believable.then_some(SwimPacket { header, members, bytes, header_len })
}

fn read_members(mut bytes: &[u8]) -> Option<Vec<Member<Identity>>> {
    let mut members = Vec::new();
    while !bytes.is_empty() {
        let (member, rest) = take::<Member<Identity>>(bytes)?;
        if !plausible(member.id()) {
            return None;
        }
        members.push(member);
        bytes = rest;
    }
    Some(members)
}

fn plausible(identity: &Identity) -> bool {
    identity.bump <= MAX_BUMP
}

fn take<T: DeserializeOwned>(bytes: &[u8]) -> Option<(T, &[u8])> {
    postcard::take_from_bytes(bytes).ok()
}

fn push(bytes: &mut Vec<u8>, member: &Member<Identity>) {
    // Writing plain data to memory cannot fail; were it to, an absent member is only one that is told of later.
    if let Ok(encoded) = postcard::to_stdvec(member) {
        bytes.extend_from_slice(&encoded);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use foca::State;

    use super::*;

    #[test]
    fn a_roster_larger_than_a_frame_is_cut_between_members_and_read_back_whole() {
        let members: Vec<_> = (0..1000u64)
            .map(|i| {
                let mut key = [0; 32];
                key[..8].copy_from_slice(&i.to_le_bytes());
                Member::new(Identity { node: NodeId(key), bump: i }, 3, State::Suspect)
            })
            .collect();
        let frames = write_roster(&members, true);
        assert!(frames.len() > 1 && frames.iter().all(|frame| frame.len() <= MAX_FRAME));
        let mut back = Vec::new();
        for frame in &frames {
            let Some(Frame::Roster { members, wants_reply: true }) = read(frame) else { unreachable!() };
            back.extend(members);
        }
        assert_eq!(back, members);
    }

    #[test]
    fn a_bump_that_would_lock_a_node_out_is_not_believed() {
        let member = Member::alive(Identity { node: NodeId([1; 32]), bump: MAX_BUMP + 1 });
        assert!(read(&write_roster(&[member], false)[0]).is_none());
    }
}
