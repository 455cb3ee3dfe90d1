//! Who belongs to the cluster, in whatever order it is heard.
use super::*;
use crate::Sequence;
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
    let body =
        Body::Admission { node, name: format!("n{of}"), token: [1; 32], stamp: Hlc(u64::from(of)), role: Role::Member };
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
            members.settle();
        }
        let active = [1, 2, 4].map(|n| keys(n).node_id()).into_iter().collect::<BTreeSet<_>>();
        prop_assert_eq!(members.active(), &active);
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
        members.settle();
    }
    let node = keys(3).node_id();
    assert_eq!(members.latest_word_on(&node), Hlc(50));
    let admission = Body::Admission { node, name: "n3".into(), token: [1; 32], stamp: Hlc(51), role: Role::Member };
    let (envelope, body) = say(&cluster, 2, 20, admission);
    members.insert(&cluster, &envelope, body);
    members.settle();
    assert!(members.is_active(&node));
    let (envelope, body) = say(&cluster, 3, 10, Body::Departure { stamp: members.latest_word_on(&node).next(0) });
    members.insert(&cluster, &envelope, body);
    members.settle();
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

fn removal(cluster: &ClusterId, by: u8, number: u64, of: u8, seen: &[u8]) -> (Arc<Envelope>, Body) {
    // Each was admitted under its own number.
    let seen = seen.iter().map(|n| {
        let said = removal::tag_of_admission(&(keys(*n).node_id(), ADMISSION, keys(of).node_id()));
        Seen { said, sequence: Sequence { boot: 1, number: u64::from(*n) } }
    });
    say(cluster, by, number, Body::Removal { node: keys(of).node_id(), stamp: Hlc(60), seen: seen.collect() })
}

fn actives(of: &Members) -> Vec<u8> {
    (1..10).filter(|n| of.is_active(&keys(*n).node_id())).collect()
}

/// A chain in which each node was admitted by the one before, and one more that the second admitted.
fn chain() -> (ClusterId, Vec<(Arc<Envelope>, Body)>) {
    let (cluster, all) = statements();
    let mut all: Vec<_> = all.into_iter().take(4).collect();
    all.push(admission(&cluster, 2, 5));
    (cluster, all)
}

fn members_of(cluster: &ClusterId, all: &[(Arc<Envelope>, Body)]) -> Members {
    let mut members = Members::default();
    for (envelope, body) in all {
        members.insert(cluster, envelope, body.clone());
        members.settle();
    }
    members
}

#[test]
fn who_was_removed_stays_out_whatever_is_said_later_and_whom_it_admitted_before_stays() {
    let (cluster, mut all) = chain();
    all.push(removal(&cluster, 1, 20, 2, &[3, 5]));
    let again = Body::Admission {
        node: keys(2).node_id(),
        name: "n2".into(),
        token: [1; 32],
        stamp: Hlc(99),
        role: Role::Member,
    };
    all.push(say(&cluster, 1, 21, again));
    let members = members_of(&cluster, &all);
    assert_eq!(actives(&members), [1, 3, 4, 5]);
    assert!(members.is_known(&keys(2).node_id()));
    assert!(members.get(&keys(2).node_id()).is_some_and(Member::is_removed));
}

#[test]
fn whom_a_removed_node_admitted_unseen_is_out_with_all_below_until_somebody_else_admits_it() {
    let (cluster, mut all) = chain();
    all.push(removal(&cluster, 1, 20, 2, &[5]));
    assert_eq!(actives(&members_of(&cluster, &all)), [1, 5]);
    let ended = members_of(&cluster, &all).get(&keys(4).node_id()).and_then(|member| member.ended);
    assert_eq!(ended, Some(Ended::Unvouched));
    let again = Body::Admission {
        node: keys(3).node_id(),
        name: "n3".into(),
        token: [1; 32],
        stamp: Hlc(99),
        role: Role::Member,
    };
    all.push(say(&cluster, 5, 22, again));
    assert_eq!(actives(&members_of(&cluster, &all)), [1, 3, 4, 5]);
}

#[test]
fn who_left_and_was_admitted_again_by_a_removed_node_alone_is_out() {
    let (cluster, mut all) = chain();
    all.push(say(&cluster, 5, 9, Body::Departure { stamp: Hlc(50) }));
    all.push(removal(&cluster, 1, 20, 2, &[3, 5]));
    let again = Body::Admission {
        node: keys(5).node_id(),
        name: "n5".into(),
        token: [1; 32],
        stamp: Hlc(51),
        role: Role::Member,
    };
    all.push(say(&cluster, 2, 30, again));
    assert_eq!(actives(&members_of(&cluster, &all)), [1, 3, 4]);
}

#[test]
fn of_two_removals_of_one_node_each_cuts_what_it_had_not_seen() {
    let (cluster, mut all) = chain();
    all.push(removal(&cluster, 1, 20, 2, &[3, 5]));
    all.push(removal(&cluster, 5, 20, 2, &[5]));
    assert_eq!(actives(&members_of(&cluster, &all)), [1, 5]);
}

#[test]
fn a_removal_that_comes_before_everything_it_rests_on_holds_in_the_end() {
    let (cluster, all) = chain();
    let mut shuffled = vec![removal(&cluster, 3, 20, 5, &[])];
    shuffled.extend(all);
    assert_eq!(actives(&members_of(&cluster, &shuffled)), [1, 2, 3, 4]);
}

#[test]
fn two_that_remove_each_other_apart_are_both_out() {
    let (cluster, mut all) = chain();
    all.push(removal(&cluster, 4, 20, 5, &[]));
    all.push(removal(&cluster, 5, 20, 4, &[]));
    assert_eq!(actives(&members_of(&cluster, &all)), [1, 2, 3]);
}

#[test]
fn a_stranger_removes_nobody_and_nobody_removes_itself() {
    let (cluster, mut all) = chain();
    all.push(removal(&cluster, 9, 20, 2, &[]));
    all.push(removal(&cluster, 5, 20, 5, &[]));
    assert_eq!(actives(&members_of(&cluster, &all)), [1, 2, 3, 4, 5]);
}

proptest! {
    #[test]
    fn in_whatever_order_removals_arrive_the_members_are_the_same(
        order in Just((0..9usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let (cluster, mut all) = chain();
        all.push(removal(&cluster, 4, 20, 2, &[3]));
        all.push(removal(&cluster, 5, 20, 3, &[4]));
        all.push(say(&cluster, 3, 30, Body::Departure { stamp: Hlc(70) }));
        all.push(admission(&cluster, 3, 6));
        let wanted = actives(&members_of(&cluster, &all));
        let shuffled: Vec<_> = order.into_iter().map(|i| all[i].clone()).collect();
        prop_assert_eq!(actives(&members_of(&cluster, &shuffled)), wanted);
    }
}
