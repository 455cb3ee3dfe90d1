//! Who may be left everything, and from when on.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::node::Input;
use crate::node::desk::*;
use crate::request::WriteRequest;

/// A founder that makes ready to leave, and the two that it let in, of whom others know.
fn retiring() -> (Host, [NodeId; 2]) {
    let mut host = Host::founder(9, "member");
    let peers = [1, 2].map(|n| {
        host.answer(n, &format!("n{n}"), TOKEN).unwrap();
        keys(n).node_id()
    });
    host.node.known_elsewhere.extend(peers);
    host.node.leave(now(0), 9);
    (host, peers)
}

fn writes(host: &mut Host) {
    let name = NameKey::root(&Kind::new("Namespace"), "late");
    let op = WriteOp::Create { name, edits: Vec::new() };
    let request = WriteRequest { op: op.clone(), ..statement_write(op) };
    host.input(Input::Write(2, Box::new(request)));
}

#[test]
fn a_peer_is_the_heir_once_its_disk_has_what_it_knows() {
    let (mut host, [peer, other]) = retiring();
    host.node.knows_as_much(peer);
    assert_eq!(host.node.heir(), None, "it may have it in memory alone");
    let token = host.node.inheritance.token;
    host.node.may_be_heir(other, token);
    host.node.may_be_heir(peer, token + 1);
    assert_eq!(host.node.heir(), None, "one was not asked, and one has answered something else");
    host.node.may_be_heir(peer, token);
    assert_eq!(host.node.heir(), Some(peer));
}

#[test]
fn an_answer_to_what_was_asked_before_a_write_does_not_count() {
    let (mut host, [peer, _]) = retiring();
    host.node.knows_as_much(peer);
    let before = host.node.inheritance.token;
    writes(&mut host);
    host.node.may_be_heir(peer, before);
    assert_eq!(host.node.heir(), None, "what was written no peer has said to have");
    host.node.knows_as_much(peer);
    host.node.may_be_heir(peer, before);
    assert_eq!(host.node.heir(), None, "the earlier answer came late");
    host.node.may_be_heir(peer, host.node.inheritance.token);
    assert_eq!(host.node.heir(), Some(peer));
}

#[test]
fn a_peer_whose_link_was_lost_must_be_asked_again() {
    let (mut host, [peer, _]) = retiring();
    host.node.knows_as_much(peer);
    host.input(Input::LinkDown(peer));
    host.node.may_be_heir(peer, host.node.inheritance.token);
    assert_eq!(host.node.heir(), None, "it may have been started anew, without what it was asked about");
}

#[test]
fn who_leaves_again_leaves_later_than_somebody_can_have_let_it_in_meanwhile() {
    let mut host = Host::founder(9, "member");
    let me = host.node.me();
    host.node.leave(now(0), 1);
    host.node.depart_or_stay(now(0));
    let stamp = |host: &Host| host.node.store.members().latest_word_on(&me);
    let first = stamp(&host);
    host.write_down();
    host.node.handle(now(60_000), Input::Leave(2));
    assert!(stamp(&host) > first && host.node.departure().is_some());
    assert!(stamp(&host) >= skein_crdt_state::Hlc::default().next(WALL_MS + 60_000), "by its clock");
}

#[test]
fn who_is_about_to_leave_is_nobodys_heir() {
    let (mut host, [peer, _]) = retiring();
    let stored = |host: &mut Host, envelopes: &[Arc<Envelope>]| {
        host.hear();
        host.node.owe_stored(peer, 5, envelopes);
        matches!(host.node.poll_effect(), Some(Effect::Send { to, .. }) if to == peer)
    };
    let known: Vec<_> = host.node.store.members().envelopes().map(|(_, said)| said.clone()).collect();
    assert!(!stored(&mut host, &[]), "of two that leave at one time each would leave all to the other");
    assert!(stored(&mut host, &known), "what it was sent it has");
}

fn told(host: &mut Host) -> Vec<(RequestId, Result<(), LeaveError>)> {
    let effects = std::iter::from_fn(|| host.node.poll_effect());
    effects.filter_map(|effect| if let Effect::Left(id, result) = effect { Some((id, result)) } else { None }).collect()
}

#[test]
fn who_is_removed_while_it_makes_ready_to_leave_has_left() {
    let mut host = Host::founder(9, "member");
    let statements = host.answer(1, "n1", TOKEN).unwrap();
    let rows = statements.iter().map(|said| ("members".to_owned(), said.digest().to_vec(), said.encode()));
    let mut remover = Host::start(1, rows.collect());
    host.node.leave(now(0), 9);
    assert_eq!(told(&mut host), []);
    let removal = remover.node.store.remove(now(1), host.node.me()).unwrap();
    let give = skein_crdt_state::exchange::Exchange::Give { envelopes: vec![removal], answer: false };
    host.node.store.exchange(now(2), give);
    host.node.members_changed(now(2));
    assert_eq!(told(&mut host), [(9, Ok(()))]);
    host.node.handle(now(60_000), Input::Timeout);
    assert_eq!(told(&mut host), [], "nobody waits for it any more");
}

#[test]
fn who_makes_ready_to_leave_is_not_asked_to_twice() {
    let (mut host, _) = retiring();
    host.hear();
    host.node.handle(now(0), Input::Leave(10));
    assert_eq!(told(&mut host), [(10, Err(LeaveError::Underway))]);
}

#[test]
fn who_has_lost_its_disk_does_not_leave_behind_the_backs_of_all_others() {
    let mut host = Host::start(1, Vec::new());
    host.node.handle(now(1), Input::Leave(1));
    assert_eq!(told(&mut host), [(1, Err(LeaveError::Lost))]);
}
