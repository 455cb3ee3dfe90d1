//! Who was admitted, by whom, and who left: signed statements in a chain that ends at the founder.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use skein_gossip::NodeId;
use skein_gossip::planted::{self, Bug};

use crate::envelope::{Body, Envelope};
use crate::{ClusterId, Hlc};

/// The most nodes that may ever be admitted to one cluster.
pub const MAX_MEMBERS: usize = 4096;

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
    /// When it left for good, if it did.
    pub left: Option<Hlc>,
}

/// All that is known of who belongs to the cluster.
///
/// An admission counts once its author's own admission does, in whatever order they arrive. Of several admissions of one
/// node the earliest counts; of several departures the latest.
#[derive(Debug, Clone, Default)]
pub struct Members {
    envelopes: BTreeMap<(NodeId, u8, NodeId), Arc<Envelope>>,
    statements: BTreeMap<(NodeId, u8, NodeId), Body>,
    members: BTreeMap<NodeId, Member>,
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
    /// Whether a node was admitted and has not left.
    #[must_use]
    pub fn is_active(&self, node: &NodeId) -> bool {
        self.members.get(node).is_some_and(|member| member.left.is_none())
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

    /// All members, those that left included.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// Those who were admitted and have not left.
    #[must_use]
    pub fn active(&self) -> BTreeSet<NodeId> {
        self.members.values().filter(|member| member.left.is_none()).map(|member| member.id).collect()
    }

    /// How many nodes a token let in, as far as is known here.
    #[must_use]
    pub fn admitted_with(&self, token: &[u8; 32]) -> usize {
        self.members.values().filter(|member| member.token == *token).count()
    }

    /// The stamp of the latest statement about a node: what is said of it next must be later, whatever clocks say.
    #[must_use]
    pub fn latest_word_on(&self, node: &NodeId) -> Hlc {
        let about = self.statements.iter().filter(|((of, _, _), _)| of == node);
        let stamps = about.filter_map(|(_, body)| match body {
            Body::Founding { stamp, .. } | Body::Admission { stamp, .. } | Body::Departure { stamp } => Some(*stamp),
            _ => None,
        });
        stamps.max().unwrap_or_default()
    }

    /// The statements themselves, for storing and sending.
    pub fn envelopes(&self) -> impl Iterator<Item = (&(NodeId, u8, NodeId), &Arc<Envelope>)> {
        self.envelopes.iter()
    }

    /// One statement.
    #[must_use]
    pub fn envelope(&self, item: &(NodeId, u8, NodeId)) -> Option<&Arc<Envelope>> {
        self.envelopes.get(item)
    }

    /// Takes a statement in. `None`: it is no news or no valid statement. Otherwise its name, by which it is stored.
    pub fn insert(
        &mut self,
        cluster: &ClusterId,
        envelope: &Arc<Envelope>,
        body: Body,
    ) -> Option<(NodeId, u8, NodeId)> {
        let author = envelope.author();
        let item = match &body {
            Body::Founding { nonce, .. } if cluster_id(&author, nonce) == *cluster => (author, 0, author),
            Body::Admission { node, .. } if self.envelopes.len() < 3 * MAX_MEMBERS => (*node, 1, author),
            Body::Departure { .. } => (author, 2, author),
            _ => return None,
        };
        // Of two statements of one author about one node the later stands: who left and was admitted again, for example.
        if self.envelopes.get(&item).is_some_and(|known| known.sequence() >= envelope.sequence()) {
            return None;
        }
        self.envelopes.insert(item, envelope.clone());
        self.statements.insert(item, body);
        self.recompute();
        Some(item)
    }

    fn recompute(&mut self) {
        self.members.clear();
        // Each round admits those whose admitter is in already, so it ends after at most one round for each link.
        loop {
            let mut progress = false;
            for ((node, _, author), body) in &self.statements {
                let (name, token, stamp) = match body {
                    Body::Founding { name, stamp, .. } => (name, [0; 32], *stamp),
                    Body::Admission { name, token, stamp, .. } if self.members.contains_key(author) => {
                        (name, *token, *stamp)
                    }
                    _ => continue,
                };
                let earlier =
                    self.members.get(node).is_none_or(|known| (stamp, *author) < (known.stamp, known.admitted_by));
                if earlier {
                    let member =
                        Member { id: *node, name: name.clone(), admitted_by: *author, stamp, token, left: None };
                    self.members.insert(*node, member);
                    progress = true;
                }
            }
            if !progress {
                break;
            }
        }
        self.apply_departures();
    }

    /// A departure holds unless the node was admitted again after it.
    fn apply_departures(&mut self) {
        for ((node, _, _), body) in &self.statements {
            let Body::Departure { stamp: left } = body else { continue };
            let again = self.statements.iter().any(|((admitted, _, _), body)| {
                admitted == node && matches!(body, Body::Admission { stamp, .. } if stamp > left)
            });
            if let Some(member) = self.members.get_mut(node).filter(|_| !again && !planted::is(Bug::LeftStaysIn)) {
                member.left = Some(*left);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Sequence;
    use proptest::prelude::*;
    use skein_gossip::Keypair;

    fn keys(n: u8) -> Keypair {
        Keypair::from_secret([n; 32])
    }

    fn say(cluster: &ClusterId, by: u8, number: u64, body: Body) -> (Arc<Envelope>, Body) {
        (Arc::new(Envelope::seal(&keys(by), cluster, Sequence { boot: 1, number }, &body)), body)
    }

    fn admission(cluster: &ClusterId, by: u8, of: u8) -> (Arc<Envelope>, Body) {
        let node = keys(of).node_id();
        let body = Body::Admission { node, name: format!("n{of}"), token: [1; 32], stamp: Hlc(u64::from(of)) };
        say(cluster, by, u64::from(of), body)
    }

    fn statements() -> (ClusterId, Vec<(Arc<Envelope>, Body)>) {
        let nonce = [9; 32];
        let cluster = cluster_id(&keys(1).node_id(), &nonce);
        let founding = Body::Founding { nonce, name: "n1".into(), stamp: Hlc(1) };
        let all = vec![
            say(&cluster, 1, 1, founding),
            admission(&cluster, 1, 2),
            admission(&cluster, 2, 3),
            admission(&cluster, 3, 4),
            say(&cluster, 3, 9, Body::Departure { stamp: Hlc(50) }),
            admission(&cluster, 77, 78),
        ];
        (cluster, all)
    }

    proptest! {
        #[test]
        fn in_whatever_order_statements_arrive_the_members_are_the_same(order in Just((0..6usize).collect::<Vec<_>>()).prop_shuffle()) {
            let (cluster, all) = statements();
            let mut members = Members::default();
            for i in order {
                members.insert(&cluster, &all[i].0, all[i].1.clone());
            }
            let active = [1, 2, 4].map(|n| keys(n).node_id()).into_iter().collect::<BTreeSet<_>>();
            prop_assert_eq!(members.active(), active);
            prop_assert!(members.is_known(&keys(3).node_id()));
            prop_assert!(!members.is_known(&keys(78).node_id()));
        }
    }

    #[test]
    fn who_leaves_is_out_and_who_is_let_in_again_is_in() {
        let (cluster, all) = statements();
        let mut members = Members::default();
        for (envelope, body) in &all {
            members.insert(&cluster, envelope, body.clone());
        }
        let node = keys(3).node_id();
        assert_eq!(members.latest_word_on(&node), Hlc(50));
        let admission = Body::Admission { node, name: "n3".into(), token: [1; 32], stamp: Hlc(51) };
        let (envelope, body) = say(&cluster, 2, 20, admission);
        members.insert(&cluster, &envelope, body);
        assert!(members.is_active(&node));
        let (envelope, body) = say(&cluster, 3, 10, Body::Departure { stamp: members.latest_word_on(&node).next(0) });
        members.insert(&cluster, &envelope, body);
        assert!(!members.is_active(&node));
    }

    #[test]
    fn nobody_founds_somebody_elses_cluster() {
        let (cluster, _) = statements();
        let (envelope, body) = say(&cluster, 5, 1, Body::Founding { nonce: [9; 32], name: "x".into(), stamp: Hlc(0) });
        let mut members = Members::default();
        assert_eq!(members.insert(&cluster, &envelope, body), None);
        assert_eq!(members.iter().count(), 0);
    }
}
