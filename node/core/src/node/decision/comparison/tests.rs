//! Who says that it knows the same, and when.
#![allow(clippy::unwrap_used)]

use skein_crdt_state::{Edit, NameKey, Scalar};

use super::*;
use crate::node::desk::*;
use crate::node::{Effect, Input};
use crate::request::{Durability, WriteOp, WriteRequest};

fn hash(host: &Host) -> [u8; 32] {
    host.node.store.hash_of(&Kind::new(LEASE_KIND))
}

/// A leader's set in the term that a voter takes part in.
fn set_of(voter: &Host) -> SetVersion {
    SetVersion { term: voter.node.election.record().term, version: 3 }
}

/// What a voter answers to a leader that knows this.
fn answers(voter: &mut Host, at: SetVersion, known: &[u8; 32]) -> Vec<Frame> {
    voter.hear();
    voter.node.asked_to_compare(keys(7).node_id(), at, known);
    let mut answers = Vec::new();
    while let Some(effect) = voter.node.poll_effect() {
        if let Effect::Send { to, bytes, .. } = effect {
            assert_eq!(to, keys(7).node_id());
            answers.extend(postcard::from_bytes::<Frame>(&bytes));
        }
    }
    answers
}

/// Somebody writes a Lease here, with a majority or without.
fn writes_lease(host: &mut Host) {
    let name = NameKey::root(&Kind::new(LEASE_KIND), "lock");
    let op = WriteOp::Create { name, edits: vec![Edit::set("spec.holderIdentity", Scalar::str("a"))] };
    let request = WriteRequest {
        op,
        durability: Durability::Local,
        user: "u".into(),
        manager: "m".into(),
        operation: skein_crdt_state::Operation::Update,
        request_id: String::new(),
    };
    host.node.write_if_able(now(0), &request, Some(1)).unwrap();
}

#[test]
fn a_voter_that_knows_the_same_says_so_and_one_that_does_not_compares_notes() {
    let (mut voter, mut other) = (Host::founder(1, "member"), Host::start(1, Vec::new()));
    other.write_down();
    let (at, same) = (set_of(&voter), hash(&other));
    assert!(matches!(answers(&mut voter, at, &same)[..], [Frame::Alike { at: of, whole: true }] if of == at));
    writes_lease(&mut voter);
    assert!(matches!(answers(&mut voter, at, &same)[..], [Frame::Exchange(_)]), "it knows of a Lease");
    let same = hash(&voter);
    assert!(matches!(answers(&mut voter, at, &same)[..], [Frame::Alike { .. }]));
}

#[test]
fn a_voter_answers_in_its_own_term_alone_and_not_while_its_disk_refuses() {
    let mut voter = Host::founder(1, "member");
    let (at, same) = (set_of(&voter), hash(&voter));
    for term in [at.term + 1, at.term.wrapping_sub(1)] {
        assert!(answers(&mut voter, SetVersion { term, ..at }, &same).is_empty(), "{term}");
    }
    writes_lease(&mut voter);
    voter.input(Input::Timeout);
    let (batch, same) = (voter.batches.remove(0), hash(&voter));
    voter.input(Input::PersistFailed(batch, "full".into()));
    assert!(answers(&mut voter, at, &same).is_empty());
}

#[test]
fn a_leader_counts_itself_once_what_it_knows_is_on_its_disk() {
    let mut leader = Host::founder(1, "member");
    writes_lease(&mut leader);
    let (me, at) = (leader.node.me(), set_of(&leader));
    leader.node.compare_decisions(now(0), me, at);
    assert!(leader.node.decisions.own.is_some(), "it might forget it with its power");
    leader.input(Input::Timeout);
    leader.write_down();
    assert!(leader.node.decisions.own.is_none());
}
