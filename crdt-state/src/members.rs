//! Who was admitted, by whom, who left and who was removed: signed statements in a chain that ends at the founder.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use skein_gossip::NodeId;
use skein_gossip::planted::{self, Bug};

use crate::envelope::{Body, Envelope, Sequence};
use crate::keyring::MAX_EPOCHS;
use crate::{ClusterId, Hlc};

mod role;

pub use role::Role;
use role::admitted;

/// The most nodes that may ever be admitted to one cluster.
pub const MAX_MEMBERS: usize = 4096;
/// The most statements that are kept: beyond it nobody is admitted any more. Who leaves may always say so, and each member may
/// still remove [`RESERVED_REMOVALS`] others.
const MAX_STATEMENTS: usize = 3 * MAX_MEMBERS;
/// How many removals of each member's are taken though there are [`MAX_STATEMENTS`] already.
const RESERVED_REMOVALS: usize = 64;

/// A node that was admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub id: NodeId,
    /// What it was called when it was admitted.
    pub name: String,
    /// Who admitted it; the founder admitted itself.
    pub admitted_by: NodeId,
    /// When.
    pub stamp: Hlc,
    /// The hash of the token that it showed; zeros for the founder.
    pub token: [u8; 32],
    /// What it was admitted as; if as both, a member.
    pub role: Role,
    /// Why it does not belong to the cluster any more, if it does not.
    pub ended: Option<Ended>,
}

/// Why a node that was admitted does not belong to the cluster any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It left. It may be admitted again.
    Left(Hlc),
    /// A member removed it. Its key never comes back.
    Removed {
        /// Who did; of several the first in the order of their keys.
        by: NodeId,
        /// When.
        stamp: Hlc,
    },
    /// Only a removed node vouches for it, and whoever removed that node had not seen it admitted. Somebody else may admit it.
    Unvouched,
}

impl Member {
    /// Whether it belongs to the cluster.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.ended.is_none()
    }

    /// Whether it was removed.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        matches!(self.ended, Some(Ended::Removed { .. }))
    }
}

/// Names a statement: the node that it is about, its kind, and who says it.
pub type StatementName = (NodeId, u8, NodeId);

const FOUNDING: u8 = 0;
const ADMISSION: u8 = 1;
const DEPARTURE: u8 = 2;
/// The kind of the statements that remove somebody, in their names.
pub const REMOVAL: u8 = 3;

/// The name of a statement that this author makes, if the body is one.
#[must_use]
pub fn statement_name(author: NodeId, body: &Body) -> Option<StatementName> {
    match body {
        Body::Founding { .. } => Some((author, FOUNDING, author)),
        Body::Admission { node, .. } => Some((*node, ADMISSION, author)),
        Body::Departure { .. } => Some((author, DEPARTURE, author)),
        Body::Removal { node, .. } => Some((*node, REMOVAL, author)),
        _ => None,
    }
}

/// How an admission is named in the removal of who made it.
#[must_use]
pub fn short(node: &NodeId) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&node.0[..16]);
    short
}

/// All that is known of who belongs to the cluster.
///
/// An admission counts once its author's own admission as a member does, in whatever order they arrive: what an observer says
/// of others never counts. Of several admissions of one node the earliest counts, and the greatest role: a key that was let in
/// as a member does not become an observer's. Of several departures the latest. A removal ends a node for ever, whoever else says what, and
/// with it the admissions by that node that its remover had not seen: their stamps are the removed node's own word. Two
/// members that remove each other apart are both out.
#[derive(Debug, Clone, Default)]
pub struct Members {
    envelopes: BTreeMap<StatementName, Arc<Envelope>>,
    statements: BTreeMap<StatementName, Body>,
    members: BTreeMap<NodeId, Member>,
    active: BTreeSet<NodeId>,
    /// Whether an admission waits for that of its author, or there is a removal, whose author may not be known yet: then one more
    /// admission may change the standing of others.
    entangled: bool,
}

/// The cluster's id follows from who founded it and a nonce, so that the founding proves itself.
#[must_use]
pub fn cluster_id(founder: &NodeId, nonce: &[u8; 32]) -> ClusterId {
    let mut hash = Sha256::new();
    hash.update(b"skein cluster\0");
    hash.update(founder.0);
    hash.update(nonce);
    let digest = hash.finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    ClusterId(id)
}

impl Members {
    /// Whether a node belongs to the cluster: it was admitted, did not leave and was not removed.
    #[must_use]
    pub fn is_active(&self, node: &NodeId) -> bool {
        self.active.contains(node)
    }

    /// Whether a node was ever admitted: what it said then still counts.
    #[must_use]
    pub fn is_known(&self, node: &NodeId) -> bool {
        self.members.contains_key(node)
    }

    /// A member.
    #[must_use]
    pub fn get(&self, node: &NodeId) -> Option<&Member> {
        self.members.get(node)
    }

    /// All that were ever admitted, those that do not belong to the cluster any more included.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// Those who belong to the cluster.
    #[must_use]
    pub fn active(&self) -> &BTreeSet<NodeId> {
        &self.active
    }

    /// How many nodes a token let in, as far as is known here.
    #[must_use]
    pub fn admitted_with(&self, token: &[u8; 32]) -> usize {
        let with = |(name, body): (&StatementName, &Body)| match body {
            Body::Admission { token: shown, .. } => (shown == token && self.is_full(&name.2)).then_some(name.0),
            _ => None,
        };
        self.statements.iter().filter_map(with).collect::<BTreeSet<_>>().len()
    }

    /// Whether a node is known as a member, not only as an observer: then what it says of others counts.
    fn is_full(&self, node: &NodeId) -> bool {
        self.members.get(node).is_some_and(|member| member.role == Role::Member)
    }

    /// The stamp of the latest statement about a node: what is said of it next must be later, whatever clocks say.
    #[must_use]
    pub fn latest_word_on(&self, node: &NodeId) -> Hlc {
        self.about(node).filter_map(|(_, body)| stamp_of(body)).max().unwrap_or_default()
    }

    /// Whom a node has admitted, as far as is known here, and the last of these statements: what its removal says was seen.
    #[must_use]
    pub fn admitted_by(&self, author: &NodeId) -> (Vec<[u8; 16]>, Sequence) {
        let said = self.envelopes.iter().filter(|((_, kind, by), _)| *kind == ADMISSION && by == author);
        let (nodes, numbers): (Vec<_>, Vec<_>) =
            said.map(|((node, _, _), envelope)| (short(node), envelope.sequence())).take(MAX_MEMBERS).unzip();
        (nodes, numbers.into_iter().max().unwrap_or_default())
    }

    /// Whether something that a node said counts, by the name that its removals would call it: not if a member has removed the
    /// node and had not seen it, nor while nobody but a removed node vouches for the node.
    #[must_use]
    pub fn stands(&self, author: &NodeId, said: &[u8; 16]) -> bool {
        let is_vouched = self.members.get(author).is_none_or(|member| member.ended != Some(Ended::Unvouched));
        let unseen = |(name, body): (&StatementName, &Body)| match body {
            Body::Removal { seen, .. } => self.is_full(&name.2) && !seen.contains(said),
            _ => false,
        };
        is_vouched && !self.about(author).any(unseen)
    }

    /// The statements themselves, for storing and sending.
    pub fn envelopes(&self) -> impl Iterator<Item = (&StatementName, &Arc<Envelope>)> {
        self.envelopes.iter()
    }

    /// One statement.
    #[must_use]
    pub fn envelope(&self, item: &StatementName) -> Option<&Arc<Envelope>> {
        self.envelopes.get(item)
    }

    /// Takes a statement in. `None`: it is no news or no valid statement. Otherwise its name, by which it is stored.
    pub fn insert(&mut self, cluster: &ClusterId, envelope: &Arc<Envelope>, body: Body) -> Option<StatementName> {
        let author = envelope.author();
        let item = statement_name(author, &body)?;
        let is_valid = match &body {
            Body::Founding { nonce, .. } => cluster_id(&author, nonce) == *cluster,
            Body::Admission { .. } => self.envelopes.len() < MAX_STATEMENTS,
            // Who is asked to go leaves by itself; a removal of oneself would only make it impossible to come back.
            Body::Removal { node, seen, .. } => {
                *node != author && seen.len() <= MAX_MEMBERS + MAX_EPOCHS && self.has_room_for_removal(&author, node)
            }
            _ => true,
        };
        // Of two statements of one author about one node the later stands: who left and was admitted again, for example.
        let is_later = self.envelopes.get(&item).is_none_or(|known| known.sequence() < envelope.sequence());
        if !is_valid || !is_later {
            return None;
        }
        let first_word = self.envelopes.insert(item, envelope.clone()).is_none();
        if !(first_word && self.admit_simply(author, &body)) {
            self.statements.insert(item, body);
            self.recompute();
        } else {
            self.statements.insert(item, body);
        }
        Some(item)
    }

    /// Whoever fills up the statements must not become impossible to remove: beyond them each member may still remove some others.
    fn has_room_for_removal(&self, author: &NodeId, node: &NodeId) -> bool {
        if self.envelopes.len() < MAX_STATEMENTS {
            return true;
        }
        let by_author = self.envelopes.keys().filter(|(_, kind, by)| *kind == REMOVAL && by == author);
        self.is_known(author) && self.is_known(node) && by_author.count() < RESERVED_REMOVALS
    }

    /// Takes in the admission of somebody of whom nothing was said, where nobody else's standing follows from it: nearly all
    /// are such, and to compute everything again for each would take a cluster of a thousand minutes to form.
    fn admit_simply(&mut self, author: NodeId, body: &Body) -> bool {
        let Body::Admission { node, .. } = body else { return false };
        if self.entangled || !self.is_full(&author) || self.about(node).next().is_some() {
            return false;
        }
        if let Some(member) = admitted(*node, author, body) {
            self.take_in(member);
            self.active.insert(*node);
        }
        true
    }

    fn about(&self, node: &NodeId) -> impl Iterator<Item = (&StatementName, &Body)> {
        let about = *node;
        let from = (about, FOUNDING, NodeId([0; 32]));
        self.statements.range(from..).take_while(move |((of, _, _), _)| *of == about)
    }

    /// Finds out everything anew, in a time that grows little faster than the statements: any member may have made thousands.
    fn recompute(&mut self) {
        self.members.clear();
        let known = self.reached(|_| true);
        let statements = std::mem::take(&mut self.statements);
        for ((node, _, author), body) in &statements {
            let counts = matches!(body, Body::Founding { .. }) || known.get(author) == Some(&Role::Member);
            if let Some(member) = admitted(*node, *author, body).filter(|_| counts) {
                self.take_in(member);
            }
        }
        self.statements = statements;
        let entangles = |(_, kind, author): &StatementName| {
            *kind == REMOVAL || (*kind == ADMISSION && !self.members.contains_key(author))
        };
        self.entangled = self.statements.keys().any(entangles);
        let removals = self.removals();
        self.apply_departures(&removals);
        self.apply_removals(&removals);
        self.active = self.members.values().filter(|member| member.is_active()).map(|member| member.id).collect();
    }

    /// A departure holds unless the node was admitted again after it.
    fn apply_departures(&mut self, removals: &BTreeMap<NodeId, Removals>) {
        for ((node, _, _), body) in &self.statements {
            let Body::Departure { stamp: left } = body else { continue };
            let again = self.about(node).any(|(name, body)| {
                matches!(body, Body::Admission { stamp, .. } if stamp > left) && self.counts(name, removals)
            });
            if let Some(member) = self.members.get_mut(node).filter(|_| !again && !planted::is(Bug::LeftStaysIn)) {
                member.ended = Some(Ended::Left(*left));
            }
        }
    }

    /// Who was removed by somebody who was ever admitted.
    fn removals(&self) -> BTreeMap<NodeId, Removals> {
        let mut removals: BTreeMap<NodeId, Removals> = BTreeMap::new();
        for ((node, _, author), body) in &self.statements {
            let Body::Removal { stamp, seen, until, .. } = body else { continue };
            let again = |body: &Body| matches!(body, Body::Admission { stamp: at, .. } if at > stamp);
            let is_void = planted::is(Bug::RemovedComesBack) && self.about(node).any(|(_, body)| again(body));
            if is_void || !self.is_full(author) {
                continue;
            }
            let seen: BTreeSet<[u8; 16]> = seen.iter().copied().collect();
            match removals.get_mut(node) {
                Some(known) => {
                    known.seen.retain(|admitted| seen.contains(admitted));
                    known.until = known.until.min(*until);
                }
                None => drop(removals.insert(*node, Removals { by: *author, stamp: *stamp, seen, until: *until })),
            }
        }
        removals
    }

    /// Whether an admission counts against a departure before it: its author is no observer and was not removed, or all who removed
    /// it had seen it.
    fn counts(&self, name: &StatementName, removals: &BTreeMap<NodeId, Removals>) -> bool {
        let sequence = self.envelopes.get(name).map(|envelope| envelope.sequence());
        let until = |removals: &Removals| sequence.is_some_and(|sequence| sequence <= removals.until);
        let is_of_time = removals.get(&name.2).is_none_or(until);
        self.is_full(&name.2) && Self::was_seen(name, removals) && is_of_time
    }

    /// Whether all who removed an admission's author had seen one like it. What the author says of the same node since takes nothing
    /// away: a key that was stolen and removed must not throw out those whom it let in honestly.
    fn was_seen((node, _, author): &StatementName, removals: &BTreeMap<NodeId, Removals>) -> bool {
        let seen = |removals: &Removals| removals.seen.contains(&short(node));
        planted::is(Bug::UnseenAdmissionCounts) || removals.get(author).is_none_or(seen)
    }

    fn apply_removals(&mut self, removals: &BTreeMap<NodeId, Removals>) {
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

/// What all removals of one node say together.
struct Removals {
    by: NodeId,
    stamp: Hlc,
    /// The admissions by the removed node that each of its removers had seen.
    seen: BTreeSet<[u8; 16]>,
    until: Sequence,
}

/// When a statement about a member was made.
pub(crate) fn stamp_of(body: &Body) -> Option<Hlc> {
    match body {
        Body::Founding { stamp, .. }
        | Body::Admission { stamp, .. }
        | Body::Departure { stamp }
        | Body::Removal { stamp, .. } => Some(*stamp),
        _ => None,
    }
}

#[cfg(test)]
mod hostile;

#[cfg(test)]
mod tests;
