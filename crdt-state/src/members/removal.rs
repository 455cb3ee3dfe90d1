//! What a removal ends: the removed node, and what it said that its removers had not seen. Who says so is decided in `members`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use skein_gossip::NodeId;
use skein_gossip::planted::{self, Bug};

use super::{ADMISSION, Ended, MAX_STATEMENTS, Members, OBSERVATION, REMOVAL, StatementName};
use crate::Hlc;
use crate::envelope::{Body, Sequence};
use crate::keyring::MAX_EPOCHS;

/// The most that one removal names as seen: all that the removed node can have said. So none of it is ever left out, and whoever
/// lets in made-up nodes by the thousand cannot have those forgotten whom it let in honestly.
pub const MAX_SEEN: usize = MAX_STATEMENTS + MAX_EPOCHS;
/// How many removals of each member's are taken though there is no room for statements any more.
const RESERVED_REMOVALS: usize = 64;

/// How a removal calls something that the removed node had said: a hash, so that nobody can say something else later that is
/// called the same.
pub type SaidTag = [u8; 20];

/// Something that the removed node had said before, as far as its remover had seen: it stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// What.
    pub said: SaidTag,
    /// Its number: what is said of the same node later brings nobody back.
    pub sequence: Sequence,
}

/// What all removals of one node say together.
pub(super) struct Removals {
    by: NodeId,
    stamp: Hlc,
    /// What of the removed node each of its removers had seen, and under which number the first of them.
    seen: BTreeMap<SaidTag, Sequence>,
}

/// How an admission is called by the removal of who made it.
pub(super) fn tag_of_admission((node, kind, _): &StatementName) -> SaidTag {
    tag(*kind, &node.0)
}

/// How a rotation is called by the removal of who began it.
#[must_use]
pub fn tag_of_rotation(name: &[u8; 16]) -> SaidTag {
    const ROTATION: u8 = 255;
    tag(ROTATION, name)
}

fn tag(kind: u8, about: &[u8]) -> SaidTag {
    let mut hash = Sha256::new();
    hash.update(b"skein said\0");
    hash.update([kind]);
    hash.update(about);
    let mut tag = [0; 20];
    tag.copy_from_slice(&hash.finalize()[..20]);
    tag
}

impl Members {
    /// Whom a node has admitted, as far as is known here: what its removal says was seen.
    #[must_use]
    pub fn admitted_by(&self, author: &NodeId) -> Vec<Seen> {
        let said = self.envelopes.iter().filter(|(name, _)| is_admission(name) && name.2 == *author);
        said.map(|(name, envelope)| Seen { said: tag_of_admission(name), sequence: envelope.sequence() }).collect()
    }

    /// Whether something that a node said counts, by what its removals would call it: not if a member has removed the node and
    /// had not seen it, nor while nobody but a removed node vouches for the node.
    #[must_use]
    pub fn stands(&self, author: &NodeId, said: &SaidTag) -> bool {
        let is_vouched = self.members.get(author).is_none_or(|member| member.ended != Some(Ended::Unvouched));
        let unseen = |(name, body): (&StatementName, &Body)| match body {
            Body::Removal { seen, .. } => self.is_full(&name.2) && !seen.iter().any(|seen| seen.said == *said),
            _ => false,
        };
        is_vouched && !self.about(author).any(unseen)
    }

    /// Whoever fills up the statements must not become impossible to remove: beyond them each member may still remove some others.
    pub(super) fn is_reserved_removal(&mut self, author: &NodeId, node: &NodeId) -> bool {
        self.settle();
        let by_author = self.envelopes.keys().filter(|(_, kind, by)| *kind == REMOVAL && by == author);
        self.is_full(author) && self.is_known(node) && by_author.count() < RESERVED_REMOVALS
    }

    /// Who was removed by a member, whoever that is by now.
    pub(super) fn removals(&self) -> BTreeMap<NodeId, Removals> {
        // Of a node that has admitted nobody it does not matter what was seen.
        let authors: BTreeSet<NodeId> =
            self.statements.keys().filter(|name| is_admission(name)).map(|name| name.2).collect();
        let mut removals: BTreeMap<NodeId, Removals> = BTreeMap::new();
        for ((node, _, author), body) in &self.statements {
            let Body::Removal { stamp, seen, .. } = body else { continue };
            let again = |body: &Body| matches!(body, Body::Admission { stamp: at, .. } if at > stamp);
            let is_void = planted::is(Bug::RemovedComesBack) && self.about(node).any(|(_, body)| again(body));
            if is_void || !self.is_full(author) {
                continue;
            }
            let seen = if authors.contains(node) { &seen[..] } else { &[] };
            let seen: BTreeMap<SaidTag, Sequence> = seen.iter().map(|seen| (seen.said, seen.sequence)).collect();
            match removals.get_mut(node) {
                Some(known) => known.seen.retain(|said, sequence| {
                    seen.get(said).is_some_and(|other| {
                        *sequence = *other.min(sequence);
                        true
                    })
                }),
                None => drop(removals.insert(*node, Removals { by: *author, stamp: *stamp, seen })),
            }
        }
        removals
    }

    /// Whether an admission counts against a departure before it: its author is no observer and was not removed, or all who removed
    /// it had seen this very admission.
    pub(super) fn counts(&self, name: &StatementName, removals: &BTreeMap<NodeId, Removals>) -> bool {
        let sequence = self.envelopes.get(name).map(|envelope| envelope.sequence());
        let is_of_time = |removals: &Removals| {
            removals.seen.get(&tag_of_admission(name)).is_some_and(|seen| sequence.is_some_and(|said| said <= *seen))
        };
        let is_unseen = planted::is(Bug::UnseenAdmissionCounts);
        self.is_full(&name.2) && (is_unseen || removals.get(&name.2).is_none_or(is_of_time))
    }

    /// Whether all who removed an admission's author had seen one like it. What the author says of the same node since takes nothing
    /// away: a key that was stolen and removed must not throw out those whom it let in honestly.
    fn was_seen(name: &StatementName, removals: &BTreeMap<NodeId, Removals>) -> bool {
        let seen = |removals: &Removals| removals.seen.contains_key(&tag_of_admission(name));
        planted::is(Bug::UnseenAdmissionCounts) || removals.get(&name.2).is_none_or(seen)
    }

    pub(super) fn apply_removals(&mut self, removals: &BTreeMap<NodeId, Removals>) {
        if removals.is_empty() {
            return;
        }
        // Those whose chain of admissions to the founder has no link that a removal has cut.
        let vouched = self.reached(|name| Self::was_seen(name, removals));
        for member in self.members.values_mut() {
            if let Some(Removals { by, stamp, .. }) = removals.get(&member.id) {
                let for_ever = Ended::Removed { by: *by, stamp: *stamp };
                member.ended = Some(if planted::is(Bug::RemovedComesBack) { Ended::Left(*stamp) } else { for_ever });
            } else if let Some(role) = vouched.get(&member.id) {
                member.role = *role;
            } else {
                member.ended = Some(Ended::Unvouched);
            }
        }
    }
}

/// Whether a statement lets somebody in, in whatever role.
pub(super) fn is_admission((_, kind, _): &StatementName) -> bool {
    [ADMISSION, OBSERVATION].contains(kind)
}
