//! What comes of the envelopes of one message, whoever sent them and in whatever order.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::members::Role;
use crate::store::desk::{NOW, keys, store};
use crate::{Body, Edit, Kind, NameKey, Scalar, Sequence};

/// A founder and members, all of whom know each other; and what they know.
fn cluster(of: u8) -> (Vec<Store>, Vec<Arc<Envelope>>) {
    let mut stores: Vec<Store> = (1..=of).map(|n| store(n, 1)).collect();
    let mut said = vec![stores[0].found(NOW, [5; 32], "n1")];
    said.extend((2..=of).map(|n| {
        let name = format!("n{n}");
        stores[0].admit_as(NOW, keys(n).node_id(), &name, [1; 32], Role::Member)
    }));
    for store in &mut stores {
        give(store, &said);
    }
    (stores, said)
}

fn give(to: &mut Store, envelopes: &[Arc<Envelope>]) -> Outcome {
    to.exchange(NOW, Exchange::Give { envelopes: envelopes.to_vec(), answer: false })
}

fn map() -> NameKey {
    NameKey::root(&Kind::new("ConfigMap"), "c")
}

fn edit(store: &mut Store, value: &str) -> Vec<Arc<Envelope>> {
    store.edit(NOW, &map().life(1), &[Edit::set("data.a", Scalar::str(value))], "user\ttest").unwrap()
}

#[test]
fn a_message_in_the_opposite_order_is_taken_in_whole_and_none_of_it_is_looked_at_more_than_a_few_times() {
    let (mut stores, _) = cluster(2);
    let mut said: Vec<_> = (0..300).flat_map(|n| edit(&mut stores[0], &n.to_string())).collect();
    said.reverse();
    let outcome = give(&mut stores[1], &said);
    assert_eq!((outcome.applied.len(), outcome.replies.len()), (said.len(), 0));
    // In an order that fits neither way the rest is asked for instead.
    let mut said: Vec<_> = (0..300).flat_map(|n| edit(&mut stores[0], &format!("b{n}"))).collect();
    said.sort_by_key(|envelope| envelope.digest());
    let outcome = give(&mut stores[1], &said);
    assert!(outcome.applied.len() < said.len() && outcome.refused.is_empty());
    assert!(matches!(&outcome.replies[..], [Exchange::Want { objects, .. }] if objects.len() == 1));
}

#[test]
fn who_says_one_thing_here_and_another_there_is_to_blame_and_not_who_passes_it_on() {
    let (mut stores, said) = cluster(4);
    // The third lies: it is two.
    let mut other = store(3, 1);
    give(&mut other, &said);
    let (here, there) = (edit(&mut stores[2], "here"), edit(&mut other, "there"));
    assert_eq!(give(&mut stores[0], &here).applied.len(), 1);
    let passed_on = give(&mut stores[1], &there).applied;
    let refused = give(&mut stores[0], &passed_on).refused;
    assert!(matches!(&refused[..], [Refusal { by: Some(by), .. }] if *by == keys(3).node_id()), "{refused:?}");
}

#[test]
fn what_breaks_a_rule_is_the_fault_of_who_sends_it_and_is_passed_on_by_nobody_who_did_not_look() {
    let (mut stores, _) = cluster(3);
    let made = edit(&mut stores[0], "a");
    for store in &mut stores[1..] {
        assert_eq!(give(store, &made).applied.len(), 1);
    }
    let broken = Body::Change { key: map().life(1), layout: 1, chunk: b"no change".to_vec() };
    let broken = [Arc::new(Envelope::seal(&keys(3), &stores[0].cluster(), Sequence { boot: 1, number: 99 }, &broken))];
    let refused = give(&mut stores[0], &broken).refused;
    assert!(matches!(&refused[..], [Refusal { by: None, .. }]), "{refused:?}");
    // Where the object is over nobody looks, so nobody vouches for it.
    stores[1].delete(NOW, &map().life(1));
    let outcome = give(&mut stores[1], &broken);
    assert!(outcome.refused.is_empty() && outcome.applied.is_empty() && outcome.known.is_empty());
}
