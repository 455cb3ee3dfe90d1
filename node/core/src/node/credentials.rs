//! What a newcomer is given of the statements about members: enough to find itself in the cluster and to know who was removed,
//! and of the rest what there is room for. What it lacks then it hears from its peers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use skein_crdt_state::Envelope;
use skein_crdt_state::members::{Ended, Members, REMOVAL, StatementName, lets_in};
use skein_gossip::NodeId;

/// The most that a newcomer is given, in bytes. All statements that honest members can make fit: a cluster keeps 12 288, of up to
/// 260 bytes each, and removals name each admission once.
pub const MAX_CREDENTIALS_BYTES: usize = 4 * 1024 * 1024;

/// The most that a peer is told of removals, in bytes.
pub const MAX_REMOVALS_BYTES: usize = 1024 * 1024;

/// The most statements by which a node introduces itself, and the most bytes: they fit into one question.
pub const MAX_INTRODUCTION: usize = 128;
const MAX_INTRODUCTION_BYTES: usize = 56 * 1024;

/// The statements for a newcomer, those that it cannot do without first.
#[must_use]
pub fn credentials(members: &Members, newcomer: &NodeId) -> Vec<Arc<Envelope>> {
    credentials_within(members, newcomer, MAX_CREDENTIALS_BYTES)
}

fn credentials_within(members: &Members, newcomer: &NodeId, limit: usize) -> Vec<Arc<Envelope>> {
    let let_in_by = let_in_by(members);
    let vouchers = closure(&let_in_by, [*newcomer].into());
    // A removal counts once its author is known as a member.
    let judges = closure(&let_in_by, removers(members, |_| true));
    let need = |name: &StatementName| match name {
        (node, _, _) if lets_in(name) && vouchers.contains(node) => Some(0),
        (_, REMOVAL, _) => Some(1),
        (node, _, _) if lets_in(name) && judges.contains(node) => Some(1),
        _ => Some(2),
    };
    chosen(members, need, limit)
}

/// The removals that are known here, of nodes that would be members without them, and what makes their authors members: for a peer
/// that must not take any of these for a member.
#[must_use]
pub fn removals(members: &Members) -> Vec<Arc<Envelope>> {
    removals_of(members, |node| members.is_known(node))
}

/// The removals of these nodes, and what makes their authors members: whoever hears them may not have heard of the authors.
pub(super) fn removals_of(members: &Members, whom: impl Fn(&NodeId) -> bool) -> Vec<Arc<Envelope>> {
    let judges = closure(&let_in_by(members), removers(members, &whom));
    let need = |name: &StatementName| match name {
        (node, REMOVAL, _) if whom(node) => Some(0),
        (node, _, _) if lets_in(name) && judges.contains(node) => Some(0),
        _ => None,
    };
    chosen(members, need, MAX_REMOVALS_BYTES)
}

/// What makes somebody no member any more that was one: its removals, or those of whoever had let it in; with what makes their
/// authors members. Nothing if it left, since it says so itself, or if it is one.
pub(super) fn why_out(members: &Members, node: &NodeId) -> Vec<Arc<Envelope>> {
    match members.get(node).and_then(|member| member.ended) {
        Some(Ended::Removed { .. }) => removals_of(members, |removed| removed == node),
        Some(Ended::Unvouched) => {
            let vouchers = closure(&let_in_by(members), [*node].into());
            removals_of(members, |removed| vouchers.contains(removed))
        }
        Some(Ended::Left(_)) | None => Vec::new(),
    }
}

/// What makes a node a member, the nearest first: who let it in, who let those in, and so on, as much as there is room for. Whoever is
/// shown it knows one of them, or the founder is among them.
pub(super) fn introduction(members: &Members, node: &NodeId) -> Vec<Arc<Envelope>> {
    let (mut said, mut bytes) = (Vec::new(), 0);
    let (mut known, mut open) = (BTreeSet::from([*node]), VecDeque::from([*node]));
    while let Some(one) = open.pop_front() {
        for ((_, _, author), envelope) in members.admissions_of(&one) {
            bytes += envelope.size();
            if said.len() == MAX_INTRODUCTION || bytes > MAX_INTRODUCTION_BYTES {
                return said;
            }
            said.push(envelope.clone());
            if known.insert(*author) {
                open.push_back(*author);
            }
        }
    }
    said
}

fn let_in_by(members: &Members) -> BTreeMap<NodeId, Vec<NodeId>> {
    let mut let_in_by: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    for ((node, _, author), _) in members.envelopes().filter(|(name, _)| lets_in(name)) {
        let_in_by.entry(*node).or_default().push(*author);
    }
    let_in_by
}

fn removers(members: &Members, whom: impl Fn(&NodeId) -> bool) -> BTreeSet<NodeId> {
    let removals = members.envelopes().filter(|((node, kind, _), _)| *kind == REMOVAL && whom(node));
    removals.map(|((_, _, author), _)| *author).collect()
}

/// Statements in the order of how much they are needed, the short ones first: a member that makes long ones keeps out none but its
/// own. As many as there is room for.
fn chosen(members: &Members, need: impl Fn(&StatementName) -> Option<u8>, limit: usize) -> Vec<Arc<Envelope>> {
    let needed = members.envelopes().filter_map(|(name, said)| Some((need(name)?, said.size(), said)));
    let mut all: Vec<(u8, usize, &Arc<Envelope>)> = needed.collect();
    all.sort_by_key(|(need, bytes, _)| (*need, *bytes));
    let mut left = limit;
    all.retain(|(_, bytes, _)| match left.checked_sub(*bytes) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    });
    all.into_iter().map(|(_, _, said)| said.clone()).collect()
}

/// These nodes, who let them in, who let those in, and so on.
fn closure(let_in_by: &BTreeMap<NodeId, Vec<NodeId>>, nodes: BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let (mut found, mut open) = (nodes.clone(), Vec::from_iter(nodes));
    while let Some(node) = open.pop() {
        for author in let_in_by.get(&node).into_iter().flatten() {
            if found.insert(*author) {
                open.push(*author);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use skein_crdt_state::members::{Role, Seen, cluster_id};
    use skein_crdt_state::{Body, ClusterId, Hlc, Sequence};
    use skein_gossip::Keypair;

    use super::*;

    fn keys(n: u16) -> Keypair {
        let mut secret = [1; 32];
        secret[..2].copy_from_slice(&n.to_be_bytes());
        Keypair::from_secret(secret)
    }

    fn id(n: u16) -> NodeId {
        keys(n).node_id()
    }

    fn cluster() -> ClusterId {
        cluster_id(&id(0), &[9; 32])
    }

    fn say(members: &mut Members, by: u16, body: &Body) {
        let number = members.envelopes().count() as u64;
        let said = Arc::new(Envelope::seal(&keys(by), &cluster(), Sequence { boot: 1, number }, body));
        assert!(members.insert(&cluster(), &said, body.clone()).is_some());
        members.settle();
    }

    fn admit(members: &mut Members, by: u16, of: u16, name: &str) {
        let (node, name, stamp) = (id(of), name.to_owned(), Hlc(u64::from(of)));
        say(members, by, &Body::Admission { node, name, token: [1; 32], stamp, role: Role::Member });
    }

    /// A founder, so many that it admitted one after the other's word, and one that the last admitted.
    fn chain(count: u16) -> Members {
        let mut members = Members::default();
        say(&mut members, 0, &Body::Founding { nonce: [9; 32], name: "n0".into(), stamp: Hlc(0) });
        (1..=count).for_each(|of| admit(&mut members, of - 1, of, &format!("{of:063}")));
        members
    }

    fn members_of(said: &[Arc<Envelope>]) -> Members {
        let mut members = Members::default();
        for said in said {
            members.insert(&cluster(), said, said.open(&cluster()).expect("it was sealed for this cluster"));
        }
        members.settle();
        members
    }

    #[test]
    fn all_that_honest_members_say_is_given_to_a_newcomer() {
        let mut members = chain(40);
        (41..400).for_each(|of| admit(&mut members, 0, of, &format!("{of:063}")));
        let given = credentials(&members, &id(399));
        assert_eq!(given.len(), members.envelopes().count());
        let longest = members.envelopes().map(|(_, said)| said.encode().len()).max();
        assert!(longest.is_some_and(|longest| 12_288 * longest <= MAX_CREDENTIALS_BYTES), "{longest:?}");
        assert!(members.envelopes().all(|(_, said)| said.encode().len() <= said.size()));
    }

    #[test]
    fn who_is_given_little_finds_itself_in_and_those_who_were_removed_out() {
        let mut members = chain(9);
        (20..60).for_each(|of| admit(&mut members, 0, of, &format!("{of:063}")));
        // The ninth was let in by the eighth, which is removed by somebody on another branch who had seen it.
        let seen = members.admitted_by(&id(8));
        say(&mut members, 20, &Body::Removal { node: id(8), stamp: Hlc(99), seen });
        let given = members_of(&credentials_within(&members, &id(9), 12 * 300));
        assert!(given.iter().count() < 20, "the others had no room");
        assert!(given.is_active(&id(9)) && given.is_active(&id(20)) && !given.is_active(&id(8)));
    }

    #[test]
    fn removals_are_told_with_what_makes_their_authors_members() {
        let mut members = chain(5);
        assert_eq!(removals(&members), []);
        for of in [3, 77] {
            let seen = members.admitted_by(&id(of));
            say(&mut members, 2, &Body::Removal { node: id(of), stamp: Hlc(99), seen });
        }
        // Who hears them knows those that are removed, and their removers not yet.
        let told = removals(&members);
        assert_eq!(told.len(), 4, "founder, two admissions and the removal of somebody who is known");
        let heard = members_of(&told);
        assert!(heard.is_active(&id(2)) && heard.envelope(&(id(3), REMOVAL, id(2))).is_some());
    }

    #[test]
    fn a_member_that_makes_long_statements_keeps_nobody_out() {
        let mut members = chain(3);
        (100..140).for_each(|of| admit(&mut members, 3, of, &"long".repeat(63)));
        let seen = vec![Seen { said: [7; 20], sequence: Sequence { boot: 1, number: 1 } }; 8000];
        for of in 200..240 {
            say(&mut members, 3, &Body::Removal { node: id(of), stamp: Hlc(1), seen: seen.clone() });
        }
        admit(&mut members, 2, 300, "newcomer");
        // The hostile one admits the newcomer as well, and its admitter.
        admit(&mut members, 3, 2, &"long".repeat(63));
        let given = credentials(&members, &id(300));
        assert!(given.iter().map(|said| said.encode().len()).sum::<usize>() <= MAX_CREDENTIALS_BYTES);
        assert!(members_of(&given).is_active(&id(300)));
    }
}
