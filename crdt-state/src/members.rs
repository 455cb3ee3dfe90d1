//! Who was admitted, by whom, who left and who was removed: signed statements in a chain that ends at the founder.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use skein_gossip::NodeId;
use skein_gossip::planted::{self, Bug};

use crate::envelope::{Body, Envelope};
use crate::{ClusterId, Hlc};

mod removal;
mod role;

pub use removal::{MAX_SEEN, SaidTag, Seen, tag_of_rotation};
use removal::{Removals, is_admission};
pub use role::Role;
use role::admitted;

/// The most nodes that may ever be admitted to one cluster.
pub const MAX_MEMBERS: usize = 4096;
/// The most statements that are kept: beyond it nobody is admitted any more. Who leaves may still say so, and each member may
/// still remove some others.
pub const MAX_STATEMENTS: usize = 3 * MAX_MEMBERS;
/// The most bytes that all statements together have, with the same exceptions. Statements of a node that was called by a short
/// name have some two hundred each.
pub const MAX_STATEMENT_BYTES: usize = 8 << 20;
/// The longest name of a node, in bytes: what DNS allows.
pub const MAX_NAME_BYTES: usize = 253;

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
/// An admission as an observer. A kind of its own, so that it takes nothing from what the same author says of a node as a member.
const OBSERVATION: u8 = 4;

/// The name of a statement that this author makes, if the body is one.
#[must_use]
pub fn statement_name(author: NodeId, body: &Body) -> Option<StatementName> {
    match body {
        Body::Founding { .. } => Some((author, FOUNDING, author)),
        Body::Admission { node, role: Role::Observer, .. } => Some((*node, OBSERVATION, author)),
        Body::Admission { node, .. } => Some((*node, ADMISSION, author)),
        Body::Departure { .. } => Some((author, DEPARTURE, author)),
        Body::Removal { node, .. } => Some((*node, REMOVAL, author)),
        _ => None,
    }
}

/// Whether a statement lets somebody in: the founding, or an admission in whatever role.
#[must_use]
pub fn lets_in(name: &StatementName) -> bool {
    name.1 == FOUNDING || is_admission(name)
}

/// All that is known of who belongs to the cluster.
///
/// An admission counts once its author's own admission as a member does, in whatever order they arrive: what an observer says
/// of others never counts. Of several admissions of one node the earliest counts, and the greatest role: a key that was let in
/// as a member does not become an observer's, whoever says so. Of several departures the latest. A removal ends a node for ever, whoever else says what, and
/// with it the admissions by that node that its remover had not seen: their stamps are the removed node's own word. Two
/// members that remove each other apart are both out.
#[derive(Debug, Clone, Default)]
pub struct Members {
    envelopes: BTreeMap<StatementName, Arc<Envelope>>,
    statements: BTreeMap<StatementName, Body>,
    members: BTreeMap<NodeId, Member>,
    active: BTreeSet<NodeId>,
    /// What the envelopes have together, in bytes.
    bytes: usize,
    /// Whether statements were taken in of which nothing was computed yet, see [`Members::settle`].
    stale: bool,
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

    /// The statements themselves, for storing and sending.
    pub fn envelopes(&self) -> impl Iterator<Item = (&StatementName, &Arc<Envelope>)> {
        self.envelopes.iter()
    }

    /// The statements that let a node in.
    pub fn admissions_of(&self, node: &NodeId) -> impl Iterator<Item = (&StatementName, &Arc<Envelope>)> {
        let names = self.about(node).map(|(name, _)| name).filter(|name| lets_in(name));
        names.filter_map(|name| self.envelopes.get_key_value(name))
    }

    /// What a node has said of its own departure, if it ever left.
    #[must_use]
    pub fn departure_of(&self, node: &NodeId) -> Option<&Arc<Envelope>> {
        self.envelopes.get(&(*node, DEPARTURE, *node))
    }

    /// One statement.
    #[must_use]
    pub fn envelope(&self, item: &StatementName) -> Option<&Arc<Envelope>> {
        self.envelopes.get(item)
    }

    /// Takes a statement in. `None`: it is no news or no valid statement. Otherwise its name, by which it is stored. What follows
    /// from it counts after [`Members::settle`].
    pub fn insert(&mut self, cluster: &ClusterId, envelope: &Arc<Envelope>, body: Body) -> Option<StatementName> {
        let author = envelope.author();
        let item = statement_name(author, &body)?;
        let is_valid = match &body {
            Body::Founding { nonce, name, .. } => {
                cluster_id(&author, nonce) == *cluster && name.len() <= MAX_NAME_BYTES
            }
            Body::Admission { name, .. } => name.len() <= MAX_NAME_BYTES && self.has_room(envelope),
            // Anybody can make up keys that leave.
            Body::Departure { .. } => self.has_room(envelope) || self.is_known_by_now(&author),
            // Who is asked to go leaves by itself; a removal of oneself would only make it impossible to come back.
            Body::Removal { node, seen, .. } => {
                let may_be = *node != author && seen.len() <= MAX_SEEN;
                may_be && (self.has_room(envelope) || self.is_reserved_removal(&author, node))
            }
            _ => true,
        };
        // Of two statements of one author about one node the later stands: who left and was admitted again, for example.
        let is_later = self.envelopes.get(&item).is_none_or(|known| known.sequence() < envelope.sequence());
        if !is_valid || !is_later {
            return None;
        }
        let before = self.envelopes.insert(item, envelope.clone());
        self.bytes = self.bytes + envelope.size() - before.as_ref().map_or(0, |before| before.size());
        self.stale = self.stale || before.is_some() || !self.admit_simply(author, &body);
        self.statements.insert(item, body);
        Some(item)
    }

    /// Finds out what follows from the statements that were taken in since the last time; whether there were any of which something
    /// may follow for others than those whom they are about. Once for many of them: a hostile member may have made thousands.
    pub fn settle(&mut self) -> bool {
        let is_stale = std::mem::take(&mut self.stale);
        if is_stale {
            self.recompute();
        }
        is_stale
    }

    fn has_room(&self, envelope: &Envelope) -> bool {
        self.envelopes.len() < MAX_STATEMENTS && self.bytes + envelope.size() <= MAX_STATEMENT_BYTES
    }

    fn is_known_by_now(&mut self, node: &NodeId) -> bool {
        self.settle();
        self.is_known(node)
    }

    /// Takes in the admission of somebody of whom nothing was said, where nobody else's standing follows from it: nearly all
    /// are such, and to compute everything again for each would take a cluster of a thousand minutes to form.
    fn admit_simply(&mut self, author: NodeId, body: &Body) -> bool {
        let Body::Admission { node, .. } = body else { return false };
        if self.stale || self.entangled || !self.is_full(&author) || self.about(node).next().is_some() {
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
        let entangles =
            |name: &StatementName| name.1 == REMOVAL || (is_admission(name) && !self.members.contains_key(&name.2));
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
