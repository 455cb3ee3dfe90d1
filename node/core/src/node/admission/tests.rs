//! What strangers are told, and when.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use skein_crdt_state::{Edit, Envelope, Scalar};

use super::*;
use crate::node::admission::hex;
use crate::node::desk::*;
use crate::node::token::is_fit_to_decide;
use crate::node::{Frame, Input, KnownToken, TOKEN_KIND};
use crate::request::WriteRequest;

#[test]
fn nobody_is_told_that_it_was_admitted_before_that_is_on_disk() {
    let mut host = Host::founder(9, "member");
    host.ask(1, "n1", TOKEN);
    assert!(host.answers.is_empty() && !host.batches.is_empty());
    host.write_down();
    assert!(host.answers.pop().unwrap().is_ok());
}

#[test]
fn a_node_whose_disk_refuses_admits_nobody_and_a_refused_admission_is_told() {
    let mut host = Host::founder(9, "member");
    host.ask(1, "n1", TOKEN);
    let batch = host.batches.remove(0);
    host.input(Input::PersistFailed(batch, "full".into()));
    assert!(matches!(host.answers.pop(), Some(Err(AdmissionError::Unavailable(text))) if text.contains("full")));
    host.ask(2, "n2", TOKEN);
    assert!(matches!(host.answers.pop(), Some(Err(AdmissionError::Unavailable(text))) if text.contains("full")));
    assert!(!host.node.store().members().is_known(&keys(2).node_id()), "nothing was said");
}

#[test]
fn an_admission_waits_for_a_peer_that_answers_and_not_for_long_for_one_that_does_not() {
    let mut host = Host::founder(9, "member");
    let statements = host.answer(1, "n1", TOKEN).unwrap();
    let rows = statements.iter().map(|said| ("members".to_owned(), said.digest().to_vec(), said.encode()));
    let mut peer = Host::start(1, rows.collect());
    peer.write_down();
    for _ in 0..20 {
        host.speak_to(&mut peer);
        peer.speak_to(&mut host);
    }
    assert!(host.node.alive().contains(&peer.node.me()), "they hear each other");
    host.ask(2, "n2", TOKEN);
    host.write_down();
    assert!(host.answers.is_empty(), "the peer has not said that its disk has it");
    host.node.handle(now(600), Input::Timeout);
    host.hear();
    assert!(host.answers.pop().unwrap().is_ok());
}

#[test]
fn who_shows_no_token_that_counts_learns_nothing_of_who_is_here() {
    let mut host = Host::founder(1, "member");
    host.answer(1, "n1", TOKEN).unwrap();
    let node = keys(1).node_id();
    let remove = WriteRequest { op: WriteOp::Remove { node }, ..statement_write(WriteOp::Remove { node }) };
    host.answer(2, "n2", TOKEN).expect_err("it is used up");
    // The founder's name, no name that a node can have, and a name that nobody has.
    for name in ["n0", "No Name", "free"] {
        assert_eq!(host.answer(2, name, [8; 32]), Err(AdmissionError::UnknownToken), "{name}");
        assert_eq!(host.answer(2, name, TOKEN), Err(AdmissionError::UsedUp(1)), "{name}");
    }
    host.input(Input::Write(77, Box::new(remove)));
    assert_eq!(host.answer(1, "n1", [8; 32]), Err(AdmissionError::UnknownToken), "also who was removed");
}

#[test]
fn an_observer_says_that_it_is_one_to_those_alone_who_show_a_token() {
    let mut host = Host::founder(9, "observer");
    let statements = host.answer(1, "n1", TOKEN).unwrap();
    let rows = statements.iter().map(|said| ("members".to_owned(), said.digest().to_vec(), said.encode()));
    let mut observer = Host::start(1, rows.collect());
    assert_eq!(observer.answer(2, "n2", [8; 32]), Err(AdmissionError::UnknownToken));
    assert_eq!(observer.node.client_token(now(0), &[8; 32]), Err(AdmissionError::UnknownToken));
}

#[test]
fn the_thousandth_that_is_admitted_starts_as_a_member_that_knows_all_the_others() {
    let mut host = Host::founder(1000, "member");
    let name = |of: u16| format!("{of:063}");
    (1..1000).for_each(|of| drop(host.answer(of, &name(of), TOKEN).unwrap()));
    let statements = host.answer(1000, &name(1000), TOKEN).unwrap();
    let bytes = postcard::to_stdvec(&statements).unwrap();
    assert!((64 << 10..1 << 20).contains(&bytes.len()), "{}", bytes.len());
    let statements: Vec<Arc<Envelope>> = postcard::from_bytes(&bytes).unwrap();
    let rows = statements.iter().map(|said| ("members".to_owned(), said.digest().to_vec(), said.encode()));
    let newcomer = Host::start(1000, rows.collect());
    let members = newcomer.node.store().members();
    assert!(members.is_active(&newcomer.node.me()));
    assert_eq!(members.active().len(), 1001);
}

/// What a peer says of a token and signs, as changes that others hear.
fn minted_by(host: &mut Host, name: [u8; 32], role: &str) -> Vec<Arc<Envelope>> {
    let name = NameKey::root(&Kind::new(TOKEN_KIND), &hex(&name));
    let edits = vec![
        Edit::set("spec.expiresMs", Scalar::Int(i64::MAX)),
        Edit::set("spec.uses", Scalar::Int(9)),
        Edit::set("spec.role", Scalar::str(role)),
    ];
    let op = WriteOp::Create { name: name.clone(), edits };
    host.input(Input::Write(7, Box::new(WriteRequest { op: op.clone(), ..statement_write(op) })));
    host.write_down();
    let key = host.node.store().current_life(&name).unwrap();
    let object = host.node.store().object(&key).unwrap();
    object.changes().values().map(|change| change.envelope.clone()).collect()
}

/// A host that was let in, as it starts.
fn let_in(founder: &mut Host, n: u16) -> Host {
    let statements = founder.answer(n, &format!("n{n}"), TOKEN).unwrap();
    let rows = statements.iter().map(|said| ("members".to_owned(), said.digest().to_vec(), said.encode()));
    let mut host = Host::start(n, rows.collect());
    host.write_down();
    host
}

fn hear_from(host: &mut Host, from: &Host, envelopes: Vec<Arc<Envelope>>) {
    let from = from.node.me();
    host.input(Input::LinkUp(from));
    let push = Frame::Push { envelopes, token: None, pass_to: Vec::new() };
    host.input(Input::Frame { from, bytes: postcard::to_stdvec(&push).unwrap().into() });
    host.write_down();
}

#[test]
fn a_token_ends_with_the_removal_of_who_made_it() {
    let mut founder = Host::founder(9, "member");
    let mut thief = let_in(&mut founder, 1);
    let token = [5; 32];
    let said = minted_by(&mut thief, token, "member");
    hear_from(&mut founder, &thief, said);
    founder.answer(2, "n2", token).expect("a member's token counts at every member");
    let node = thief.node.me();
    founder.input(Input::Write(8, Box::new(statement_write(WriteOp::Remove { node }))));
    let refused = founder.answer(3, "n3", token).unwrap_err();
    assert!(matches!(refused, AdmissionError::UnknownToken), "{refused}");
    assert_eq!(founder.node.tokens().len(), 1, "the founder's is there still");
    assert!(founder.answer(4, "n4", TOKEN).is_ok());
}

#[test]
fn a_token_that_an_observer_has_made_lets_nobody_in() {
    let mut founder = Host::founder(9, "observer");
    let mut observer = let_in(&mut founder, 1);
    let token = [5; 32];
    // Its program was changed: an honest one refuses.
    let said = minted_by(&mut observer, token, "member");
    hear_from(&mut founder, &observer, said);
    assert!(matches!(founder.answer(1, "n1", token), Err(AdmissionError::UnknownToken)));
    assert!(matches!(founder.answer(2, "n2", token), Err(AdmissionError::UnknownToken)));
}

#[test]
fn of_a_token_peers_have_nothing_decided_but_that_it_was_used() {
    let mut founder = Host::founder(9, "client");
    let name = NameKey::root(&Kind::new(TOKEN_KIND), &hex(&TOKEN));
    let key = founder.node.store().current_life(&name).unwrap();
    let heads = founder.node.store().object(&key).unwrap().heads().to_vec();
    let edit = |path: &str, value| WriteOp::Edit {
        key: key.clone(),
        edits: vec![Edit::set(path, value)],
        if_heads: Some(heads.clone()),
    };
    let (used, other) = (edit("spec.clients", Scalar::Int(1)), edit("spec.role", Scalar::str("member")));
    assert!(is_fit_to_decide(&used) && !is_fit_to_decide(&other));
    assert!(!is_fit_to_decide(&WriteOp::Delete { key: key.clone(), if_heads: Some(heads.clone()) }));
    // A question that is asked again finds its answer: what it says is known by then, and nothing is refused for that.
    let verdict = |founder: &mut Host, op: &WriteOp| {
        let request = WriteRequest { op: op.clone(), ..statement_write(op.clone()) };
        founder.input(Input::Write(9, Box::new(request)));
        founder.write_down();
        let clients = |token: &KnownToken| token.spec.clients;
        founder.node.tokens().iter().map(clients).sum::<i64>()
    };
    assert_eq!(verdict(&mut founder, &used), 1);
    assert!(is_fit_to_decide(&used) && !founder.node.gives_uses_back(&used), "its state is over: it conflicts");
    let heads = founder.node.store().object(&key).unwrap().heads().to_vec();
    let again = |count| WriteOp::Edit {
        key: key.clone(),
        edits: vec![Edit::set("spec.clients", Scalar::Int(count))],
        if_heads: Some(heads.clone()),
    };
    assert!(founder.node.gives_uses_back(&again(0)) && !founder.node.gives_uses_back(&again(2)));
    assert_eq!(verdict(&mut founder, &again(0)), 1, "nobody gives uses back");
    assert_eq!(verdict(&mut founder, &again(2)), 2);
}
