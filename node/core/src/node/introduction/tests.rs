//! Who is told what it is, and what of it is kept.
#![allow(clippy::unwrap_used)]

use skein_crdt_state::members::Role;
use skein_crdt_state::store::tables;
use skein_crdt_state::{Body, Sequence};

use super::*;
use crate::node::Input;
use crate::node::desk::*;
use crate::request::{Durability, WriteOp};

type Answer = Result<Vec<Arc<Envelope>>, AdmissionError>;

fn id(n: u16) -> NodeId {
    keys(n).node_id()
}

/// A founder, and a member of which it knows.
fn two() -> (Host, Host) {
    let mut founder = Host::founder(9, "member");
    let first = admit(&mut founder, 1);
    (founder, first)
}

fn admit(by: &mut Host, of: u16) -> Host {
    let said = by.answer(of, &format!("n{of}"), TOKEN).unwrap();
    let row = |said: &Arc<Envelope>| (tables::MEMBERS.to_owned(), said.digest().to_vec(), said.encode());
    Host::start(of, said.iter().map(row).collect())
}

/// A member that somebody has let in with a statement of its own, without a token.
fn let_in(by: &mut Host, of: u16) -> Host {
    by.node.store.admit_as(now(0), id(of), &format!("n{of}"), TOKEN, Role::Member);
    let said = crate::node::credentials::credentials(by.node.store.members(), &id(of));
    let row = |said: &Arc<Envelope>| (tables::MEMBERS.to_owned(), said.digest().to_vec(), said.encode());
    Host::start(of, said.iter().map(row).collect())
}

fn remove(at: &mut Host, of: u16) {
    let request = crate::request::WriteRequest {
        op: WriteOp::Remove { node: id(of) },
        durability: Durability::Local,
        user: "root".into(),
        manager: "test".into(),
        operation: skein_crdt_state::Operation::Update,
        request_id: String::new(),
    };
    at.input(Input::Write(2, Box::new(request)));
    at.write_down();
    assert!(!at.node.store.members().is_active(&id(of)));
}

/// What a node shows a peer that refuses it at these milliseconds.
fn shown(host: &mut Host, to: NodeId, at_ms: &[u64]) -> Vec<Vec<Arc<Envelope>>> {
    let mut shown = Vec::new();
    for ms in at_ms {
        host.node.handle(now(*ms), Input::Unwelcome(to));
        while let Some(effect) = host.node.poll_effect() {
            if let Effect::Introduce { to: peer, said } = effect {
                assert_eq!(peer, to);
                shown.push(said);
            }
        }
    }
    shown
}

fn asked(host: &mut Host, stranger: u16, said: &[Arc<Envelope>]) -> Answer {
    host.node.handle(now(0), Input::Introduced { id: 7, stranger: id(stranger), said: said.to_vec() });
    let mut answer = None;
    while let Some(effect) = host.node.poll_effect() {
        if let Effect::Acquainted(7, said) = effect {
            answer = Some(said);
        }
    }
    answer.unwrap()
}

/// A stranger introduces itself and hears the answer.
fn meet(stranger: &mut Host, n: u16, peer: &mut Host) -> Answer {
    let said = shown(stranger, peer.node.me(), &[0, 3_000]).pop().unwrap();
    let answer = asked(peer, n, &said);
    if let Ok(said) = &answer {
        stranger.input(Input::Acquainted { peer: peer.node.me(), said: said.clone() });
    }
    answer
}

fn ended(host: &Host) -> Option<Ended> {
    host.node.store.members().get(&host.node.me()).and_then(|member| member.ended)
}

#[test]
fn a_node_introduces_itself_once_it_was_refused_for_a_while_and_not_all_the_time() {
    let (founder, mut first) = two();
    let to = founder.node.me();
    assert_eq!(shown(&mut first, to, &[0, 1_000, 2_999]).len(), 0, "its admission may be on the way");
    assert_eq!(shown(&mut first, to, &[3_000, 4_000, 12_999, 13_000]).len(), 2);
    first.node.handle(now(14_000), Input::LinkUp(to));
    first.node.handle(now(15_000), Input::LinkDown(to));
    assert_eq!(shown(&mut first, to, &[24_000]).len(), 0, "it was welcome meanwhile");
    assert_eq!(shown(&mut first, id(99), &[0, 3_000, 6_000]).len(), 0, "who is no member may refuse it");
}

#[test]
fn whom_only_a_lost_member_knew_is_known_after_it_introduced_itself() {
    let (mut founder, mut first) = two();
    let mut second = let_in(&mut first, 2);
    assert!(!founder.node.store.members().is_known(&id(2)));
    assert_eq!(meet(&mut second, 2, &mut founder), Ok(Vec::new()));
    assert!(founder.node.store.members().is_active(&id(2)));
    assert_eq!(ended(&second), None);
}

#[test]
fn who_was_removed_while_it_was_away_hears_it_from_whoever_refuses_it() {
    let (mut founder, mut first) = two();
    remove(&mut founder, 1);
    assert!(meet(&mut first, 1, &mut founder).is_ok());
    assert!(matches!(ended(&first), Some(Ended::Removed { by, .. }) if by == founder.node.me()));
    assert!(first.node.left, "it runs nothing any more");
}

#[test]
fn whom_a_removed_node_alone_had_let_in_hears_that_it_is_out() {
    let (mut founder, mut first) = two();
    let mut second = let_in(&mut first, 2);
    remove(&mut founder, 1);
    assert!(meet(&mut second, 2, &mut founder).is_ok());
    assert_eq!(ended(&second), Some(Ended::Unvouched));
    assert!(!founder.node.store.members().is_known(&id(2)), "nothing of it was kept");
}

#[test]
fn who_left_and_whose_disk_went_back_hears_that_it_left() {
    let (mut founder, mut first) = two();
    let rows = crate::node::credentials::credentials(first.node.store.members(), &id(1));
    let departure = first.node.store.depart(now(5));
    let give = Exchange::Give { envelopes: vec![departure], answer: false };
    founder.node.store.exchange(now(6), give);
    let row = |said: &Arc<Envelope>| (tables::MEMBERS.to_owned(), said.digest().to_vec(), said.encode());
    let mut back = Host::start(1, rows.iter().map(row).collect());
    assert!(meet(&mut back, 1, &mut founder).is_ok());
    assert!(matches!(ended(&back), Some(Ended::Left(_))));
}

#[test]
fn a_removed_key_brings_in_nobody_and_fills_up_nothing() {
    let (mut founder, _) = two();
    remove(&mut founder, 1);
    let count = |host: &Host| host.node.store.members().envelopes().count();
    let before = count(&founder);
    let stamp = skein_crdt_state::Hlc(1);
    let made_up: Vec<Arc<Envelope>> = (100..200u16)
        .map(|of| {
            let body =
                Body::Admission { node: id(of), name: format!("n{of}"), token: TOKEN, stamp, role: Role::Member };
            Arc::new(Envelope::seal(&keys(1), &cluster(), Sequence { boot: u64::MAX, number: u64::from(of) }, &body))
        })
        .collect();
    let answer = asked(&mut founder, 100, &made_up);
    assert!(answer.is_ok_and(|said| !said.is_empty()), "it is told whose removal makes it nobody");
    assert_eq!(asked(&mut founder, 300, &made_up), Err(AdmissionError::Unproved), "none of it is about this one");
    let too_many: Vec<_> = made_up.iter().cycle().take(MAX_INTRODUCTION + 1).cloned().collect();
    assert_eq!(asked(&mut founder, 100, &too_many), Err(AdmissionError::Unproved));
    assert_eq!(count(&founder), before);
}

#[test]
fn a_stranger_that_shows_nothing_learns_nothing() {
    let (mut founder, _) = two();
    assert_eq!(asked(&mut founder, 50, &[]), Err(AdmissionError::Unproved));
    assert_eq!(asked(&mut founder, 1, &[]), Ok(Vec::new()), "a member is a member");
}
