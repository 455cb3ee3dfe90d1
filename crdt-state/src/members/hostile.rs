//! What a member that means harm, or a key that was stolen, can do with statements, and what it cannot.
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use skein_gossip::Keypair;

use super::*;
use crate::Sequence;

struct World {
    cluster: ClusterId,
    members: Members,
    next: u64,
}

fn keys(n: u64) -> Keypair {
    let mut secret = [7; 32];
    secret[..8].copy_from_slice(&n.to_be_bytes());
    Keypair::from_secret(secret)
}

fn id(n: u64) -> NodeId {
    keys(n).node_id()
}

impl World {
    fn founded() -> Self {
        let nonce = [9; 32];
        let cluster = cluster_id(&id(1), &nonce);
        let mut world = World { cluster, members: Members::default(), next: 0 };
        world.say(1, Body::Founding { nonce, name: "n1".into(), stamp: Hlc(1) });
        world
    }

    /// Whether it was taken.
    fn say(&mut self, by: u64, body: Body) -> bool {
        self.next += 1;
        self.say_as(by, Sequence { boot: 1, number: self.next }, body)
    }

    fn say_as(&mut self, by: u64, sequence: Sequence, body: Body) -> bool {
        let envelope = Arc::new(Envelope::seal(&keys(by), &self.cluster, sequence, &body));
        let is_taken = self.members.insert(&self.cluster, &envelope, body).is_some();
        self.members.settle();
        is_taken
    }

    fn admission(&self, node: NodeId, stamp: u64) -> Body {
        Body::Admission { node, name: "n".into(), token: [1; 32], stamp: Hlc(stamp), role: Role::Member }
    }

    fn admit(&mut self, by: u64, of: u64) -> bool {
        let body = self.admission(id(of), 10 + self.next);
        self.say(by, body)
    }

    fn remove(&mut self, by: u64, of: u64) -> bool {
        let seen = self.members.admitted_by(&id(of));
        self.say(by, Body::Removal { node: id(of), stamp: Hlc(1_000_000), seen })
    }
}

#[test]
fn a_removed_key_that_admits_again_whom_it_had_admitted_throws_nobody_out() {
    let mut world = World::founded();
    assert!(world.admit(1, 2) && world.admit(2, 3) && world.admit(3, 4));
    assert!(world.remove(1, 2));
    assert!(world.admit(2, 3), "it is a later word of the same author, so it is kept");
    assert!([3, 4].iter().all(|n| world.members.is_active(&id(*n))));
    assert!(world.members.get(&id(2)).unwrap().is_removed());
}

#[test]
fn a_removed_key_brings_nobody_back_that_has_left() {
    let mut world = World::founded();
    assert!(world.admit(1, 2) && world.admit(2, 3) && world.remove(1, 2));
    world.say(3, Body::Departure { stamp: Hlc(2_000_000) });
    let again = world.admission(id(3), 3_000_000);
    assert!(world.say(2, again));
    assert!(!world.members.is_active(&id(3)));
}

#[test]
fn a_removed_key_brings_nobody_back_under_a_number_that_it_had_left_free() {
    let mut world = World::founded();
    world.next = 100;
    assert!(world.admit(1, 2) && world.admit(2, 3));
    world.next = 200;
    assert!(world.admit(2, 4) && world.remove(1, 2));
    world.say(3, Body::Departure { stamp: Hlc(2_000_000) });
    let again = world.admission(id(3), 3_000_000);
    assert!(world.say_as(2, Sequence { boot: 1, number: 150 }, again));
    assert!(!world.members.is_active(&id(3)) && world.members.is_active(&id(4)));
}

#[test]
fn whoever_lets_in_made_up_nodes_by_the_thousand_takes_nobody_with_it_whom_it_let_in_honestly() {
    let mut world = World::founded();
    assert!(world.admit(1, 2) && world.admit(2, 3) && world.admit(3, 4));
    for n in 0..=MAX_MEMBERS as u64 {
        let mut node = [0; 32];
        node[..8].copy_from_slice(&n.to_be_bytes());
        let body = world.admission(NodeId(node), 5);
        // What is signed is looked at by the store.
        world.next += 1;
        let said = Envelope::seal(&keys(2), &world.cluster, Sequence { boot: 1, number: world.next }, &body);
        world.members.insert(&world.cluster, &Arc::new(said), body);
    }
    assert!(world.remove(1, 2));
    assert!([1, 3, 4].iter().all(|n| world.members.is_active(&id(*n))));
}

#[test]
fn strangers_that_leave_and_nodes_with_long_names_fill_nobodys_disk() {
    let mut world = World::founded();
    let long = Body::Admission {
        node: id(2),
        name: "n".repeat(MAX_NAME_BYTES + 1),
        token: [1; 32],
        stamp: Hlc(5),
        role: Role::Member,
    };
    assert!(!world.say(1, long));
    assert!(world.admit(1, 2));
    assert!(world.say(77, Body::Departure { stamp: Hlc(5) }), "its admission may come later");
    world.members.bytes = MAX_STATEMENT_BYTES;
    assert!(!world.say(78, Body::Departure { stamp: Hlc(5) }), "there is no room for strangers");
    assert!(!world.admit(1, 3), "nor for anybody new");
    assert!(world.say(2, Body::Departure { stamp: Hlc(500) }), "who is in may leave");
}

#[test]
fn what_was_said_before_and_is_replayed_changes_nothing() {
    let mut world = World::founded();
    let early = Sequence { boot: 1, number: 1_000 };
    let admission = world.admission(id(2), 5);
    assert!(world.say_as(1, early, admission.clone()));
    assert!(!world.say_as(1, early, admission.clone()), "known");
    assert!(world.remove(1, 2));
    assert!(!world.say_as(1, early, admission));
    assert!(!world.members.is_active(&id(2)));
}

#[test]
fn whoever_fills_up_all_statements_can_still_be_removed_and_only_by_members() {
    let mut world = World::founded();
    assert!(world.admit(1, 2) && world.admit(1, 3));
    // Made-up nodes cost a member nothing; who would sign for them does not matter.
    let flood =
        Arc::new(Envelope::seal(&keys(2), &world.cluster, Sequence { boot: 9, number: 9 }, &world.admission(id(4), 4)));
    let body = world.admission(id(4), 4);
    for n in 0..MAX_STATEMENTS as u64 {
        let mut node = [0xee; 32];
        node[..8].copy_from_slice(&n.to_be_bytes());
        let name = (NodeId(node), ADMISSION, id(2));
        world.members.envelopes.insert(name, flood.clone());
        world.members.statements.insert(name, body.clone());
    }
    assert!(!world.admit(1, 5), "there is no room for admissions");
    assert!(world.remove(1, 2), "but for its removal there is");
    assert!(!world.members.is_active(&id(2)) && world.members.is_active(&id(3)));
    assert!(!world.remove(99, 3), "of a stranger there is not");
    let body = |n: u64| Body::Removal { node: id(n), stamp: Hlc(5), seen: Vec::new() };
    assert!(!world.say(3, body(88)), "nor of somebody whom nobody knows");
}

/// How long it takes is printed and decides nothing.
#[test]
#[expect(clippy::disallowed_methods, reason = "it is measured, and nothing follows from it")]
fn five_hundred_members_and_a_hundred_removals_come_in_one_by_one() {
    let mut world = World::founded();
    for n in 2..=500 {
        assert!(world.admit((n / 2).max(1), n));
    }
    let begun = Instant::now();
    for n in 401..=500 {
        assert!(world.remove(1, n));
    }
    let removed = begun.elapsed();
    let begun = Instant::now();
    assert!(world.admit(1, 501), "each admission is looked at with all removals from now on");
    assert_eq!(world.members.active().len(), 401);
    let depth = |world: &mut World| {
        for n in 1_000..1_500 {
            assert!(world.admit(if n == 1_000 { 1 } else { n - 1 }, n));
        }
    };
    let one = begun.elapsed();
    let begun = Instant::now();
    depth(&mut world);
    #[expect(clippy::print_stdout, reason = "it is measured here")]
    {
        println!("100 removals {removed:?}, one admission more {one:?}, a chain of 500 more {:?}", begun.elapsed());
    }
}
