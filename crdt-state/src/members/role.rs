//! What a node is let in as, and what an admission makes of it. Which admissions count is decided in `members`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use skein_gossip::NodeId;

use super::{Member, Members, StatementName};
use crate::envelope::Body;

/// What a node was admitted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Role {
    /// It holds the state and serves the API. It runs nothing, does not vote, and neither admits nor removes anybody.
    Observer,
    /// It does all that a node does.
    #[default]
    Member,
}

impl Role {
    /// How people write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Observer => "observer",
            Role::Member => "member",
        }
    }
}

impl Members {
    /// Whether a node was let in as an observer only.
    #[must_use]
    pub fn is_observer(&self, node: &NodeId) -> bool {
        self.members.get(node).is_some_and(|member| member.role == Role::Observer)
    }

    /// Those who were let in as observers only, those who do not belong to the cluster any more included: until everybody has heard of
    /// an end, nobody may take them for members.
    #[must_use]
    pub fn observers(&self) -> BTreeSet<NodeId> {
        let is_observer = |member: &&Member| member.role == Role::Observer;
        self.members.values().filter(is_observer).map(|member| member.id).collect()
    }

    /// Whether a node was let in with a token.
    #[must_use]
    pub fn was_admitted_with(&self, node: &NodeId, token: &[u8; 32]) -> bool {
        let with = |body: &Body| matches!(body, Body::Admission { token: shown, .. } if shown == token);
        self.about(node).any(|(name, body)| with(body) && self.is_full(&name.2))
    }

    /// Takes in one admission of a node: the earliest counts, and the greatest role.
    pub(super) fn take_in(&mut self, mut member: Member) {
        if let Some(known) = self.members.get_mut(&member.id) {
            let role = known.role.max(member.role);
            if (known.stamp, known.admitted_by) < (member.stamp, member.admitted_by) {
                known.role = role;
                return;
            }
            member.role = role;
        }
        self.members.insert(member.id, member);
    }

    /// Who has a chain to the founder of admissions that count, each by a member, and as what: the greatest role of several.
    pub(super) fn reached(&self, counts: impl Fn(&StatementName) -> bool) -> BTreeMap<NodeId, Role> {
        let (mut said, mut open) = (BTreeMap::<NodeId, Vec<(NodeId, Role)>>::new(), Vec::new());
        for (name, body) in &self.statements {
            match body {
                Body::Founding { .. } => open.push((name.0, Role::Member)),
                Body::Admission { role, .. } if counts(name) => said.entry(name.2).or_default().push((name.0, *role)),
                _ => {}
            }
        }
        let mut reached = BTreeMap::new();
        while let Some((node, role)) = open.pop() {
            if reached.get(&node).is_some_and(|known| *known >= role) {
                continue;
            }
            reached.insert(node, role);
            if role == Role::Member {
                open.extend(said.remove(&node).into_iter().flatten());
            }
        }
        reached
    }
}

/// What a founding or an admission makes of a node, if its author's word counts.
pub(super) fn admitted(id: NodeId, admitted_by: NodeId, body: &Body) -> Option<Member> {
    let (name, token, stamp, role) = match body {
        Body::Founding { name, stamp, .. } => (name.clone(), [0; 32], *stamp, Role::Member),
        Body::Admission { name, token, stamp, role, .. } => (name.clone(), *token, *stamp, *role),
        _ => return None,
    };
    Some(Member { id, name, admitted_by, stamp, token, role, ended: None })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use proptest::prelude::*;
    use skein_gossip::Keypair;

    use super::super::cluster_id;
    use super::*;
    use crate::envelope::{Envelope, Sequence};
    use crate::{ClusterId, Hlc};

    type Said = (Arc<Envelope>, Body);

    fn keys(n: u8) -> Keypair {
        Keypair::from_secret([n; 32])
    }

    fn id(n: u8) -> NodeId {
        keys(n).node_id()
    }

    fn cluster() -> ClusterId {
        cluster_id(&id(1), &[9; 32])
    }

    fn say(by: u8, number: u64, body: Body) -> Said {
        (Arc::new(Envelope::seal(&keys(by), &cluster(), Sequence { boot: 1, number }, &body)), body)
    }

    fn founding() -> Said {
        say(1, 1, Body::Founding { nonce: [9; 32], name: "n1".into(), stamp: Hlc(1) })
    }

    fn admission(by: u8, of: u8, at: u64, role: Role) -> Said {
        let body = Body::Admission { node: id(of), name: format!("n{of}"), token: [of; 32], stamp: Hlc(at), role };
        say(by, at, body)
    }

    /// By somebody who had seen nothing of what the removed node had said.
    fn removal(by: u8, at: u64, of: u8) -> Said {
        say(by, at, Body::Removal { node: id(of), stamp: Hlc(at), seen: Vec::new() })
    }

    fn members(all: &[Said]) -> Members {
        let mut members = Members::default();
        for (envelope, body) in all {
            members.insert(&cluster(), envelope, body.clone());
        }
        members.settle();
        members
    }

    /// Who belongs to the cluster, and as what.
    fn standing(of: &Members) -> Vec<(u8, Role)> {
        (1..20).filter(|n| of.is_active(&id(*n))).map(|n| (n, of.get(&id(n)).unwrap().role)).collect()
    }

    /// Two members, an observer, and whom that one wants in and out.
    fn cluster_with_an_observer() -> Vec<Said> {
        vec![
            founding(),
            admission(1, 2, 2, Role::Member),
            admission(1, 3, 3, Role::Observer),
            admission(3, 4, 4, Role::Member),
            admission(3, 5, 5, Role::Observer),
            admission(4, 6, 6, Role::Member),
            removal(3, 20, 2),
        ]
    }

    #[test]
    fn what_an_observer_says_of_others_does_not_count() {
        let members = members(&cluster_with_an_observer());
        assert_eq!(standing(&members), [(1, Role::Member), (2, Role::Member), (3, Role::Observer)]);
        assert_eq!(members.observers(), [id(3)].into());
        assert!(!members.is_known(&id(4)) && !members.is_known(&id(6)));
        assert_eq!(members.admitted_with(&[4; 32]), 0);
    }

    #[test]
    fn an_observer_does_not_let_somebody_in_again_who_left() {
        let mut all = cluster_with_an_observer();
        all.push(say(2, 30, Body::Departure { stamp: Hlc(30) }));
        all.push(admission(3, 2, 31, Role::Member));
        assert_eq!(standing(&members(&all)), [(1, Role::Member), (3, Role::Observer)]);
        all.push(admission(1, 2, 32, Role::Member));
        assert!(members(&all).is_active(&id(2)));
    }

    #[test]
    fn an_observer_leaves_by_its_own_word() {
        let mut all = cluster_with_an_observer();
        all.push(say(3, 30, Body::Departure { stamp: Hlc(30) }));
        assert!(!members(&all).is_active(&id(3)) && members(&all).observers().contains(&id(3)));
    }

    #[test]
    fn who_is_let_in_as_a_member_later_on_is_one_and_all_that_it_said_counts() {
        let mut all = cluster_with_an_observer();
        all.push(admission(2, 3, 40, Role::Member));
        let members = members(&all);
        assert_eq!(members.get(&id(3)).unwrap().stamp, Hlc(3));
        assert!(members.get(&id(2)).unwrap().is_removed() && members.is_known(&id(6)));
        assert!(members.was_admitted_with(&id(3), &[3; 32]) && !members.was_admitted_with(&id(3), &[4; 32]));
    }

    #[test]
    fn who_is_a_member_stays_one_whoever_admits_it_as_an_observer() {
        let all = [founding(), admission(1, 2, 9, Role::Member), admission(2, 3, 4, Role::Member)];
        let mut lower = all.to_vec();
        lower.push(admission(1, 3, 2, Role::Observer));
        assert_eq!(standing(&members(&lower)), standing(&members(&all)));
    }

    #[test]
    fn who_is_a_member_stays_one_though_its_admitter_takes_it_back() {
        let mut all = vec![founding(), admission(1, 2, 2, Role::Member), removal(2, 10, 1)];
        assert!(!members(&all).is_active(&id(1)));
        all.push(admission(1, 2, 90, Role::Observer));
        let members = members(&all);
        assert!(!members.is_active(&id(1)), "what it says of others counts as before");
        assert_eq!(members.get(&id(2)).unwrap().role, Role::Member);
    }

    #[test]
    fn a_removed_key_makes_no_member_of_whom_it_had_admitted_as_an_observer() {
        let mut all = vec![founding(), admission(1, 2, 2, Role::Member), admission(2, 3, 3, Role::Observer)];
        let seen = members(&all).admitted_by(&id(2));
        all.push(say(1, 20, Body::Removal { node: id(2), stamp: Hlc(20), seen }));
        all.push(admission(2, 3, 90, Role::Member));
        assert_eq!(standing(&members(&all)), [(1, Role::Member), (3, Role::Observer)]);
    }

    #[test]
    fn who_is_a_member_by_a_word_that_a_removal_cuts_is_what_the_others_say() {
        let mut all = vec![founding(), admission(1, 2, 2, Role::Member), admission(1, 3, 3, Role::Observer)];
        all.push(admission(2, 3, 60, Role::Member));
        assert_eq!(standing(&members(&all))[2], (3, Role::Member));
        all.push(removal(1, 70, 2));
        assert_eq!(standing(&members(&all)), [(1, Role::Member), (3, Role::Observer)]);
    }

    proptest! {
        #[test]
        fn in_whatever_order_they_are_heard_roles_and_members_are_the_same(
            order in Just((0..13usize).collect::<Vec<_>>()).prop_shuffle(),
            promoted in any::<bool>(),
        ) {
            let mut all = cluster_with_an_observer();
            all.push(admission(1, 7, 7, Role::Observer));
            all.push(admission(2, 8, 8, Role::Member));
            all.push(removal(7, 21, 8));
            all.push(say(8, 30, Body::Departure { stamp: Hlc(30) }));
            all.push(admission(7, 8, 31, Role::Member));
            all.push(admission(1, 3, 40, if promoted { Role::Member } else { Role::Observer }));
            let wanted = standing(&members(&all));
            let shuffled: Vec<Said> = order.into_iter().map(|i| all[i].clone()).collect();
            let heard = members(&shuffled);
            prop_assert_eq!(standing(&heard), wanted);
            prop_assert!(promoted || !heard.is_known(&id(4)));
        }
    }
}
