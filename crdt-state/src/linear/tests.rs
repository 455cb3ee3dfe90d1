//! Whatever is written without a document is what Automerge would have written, and comes to what Automerge would have made.
#![allow(clippy::unwrap_used)]

use automerge::transaction::{CommitOptions, Transactable};
use automerge::{Automerge, ROOT, ReadDoc};
use proptest::prelude::*;
use skein_gossip::Keypair;

use super::*;
use crate::envelope::{Body, Envelope, Sequence};
use crate::memo::MemoLimits;
use crate::object::actor;
use crate::{ClusterId, Hlc, Kind, Memo, ObjectKey, gate};

const PATHS: [&str; 4] = ["spec.replicas", "spec.paused", "data.a", "metadata.labels.b"];

fn memo() -> Memo {
    Memo::new(MemoLimits { documents: 64, merges: 0, signatures: 0, shares_envelopes: false })
}

/// Somebody who writes.
fn author_number(n: u8) -> Keypair {
    Keypair::from_secret([n + 1; 32])
}

fn authorship(n: u8, stamp: u64) -> Authorship {
    let message = if stamp.is_multiple_of(3) { String::new() } else { "kubectl".to_owned() };
    Authorship { actor: actor(&author_number(n).node_id(), 7), stamp: Hlc::from_millis(1000 + stamp), message }
}

fn sealed(n: u8, chunk: &[u8]) -> Arc<Envelope> {
    let body = Body::Change { key: key(), layout: 1, chunk: chunk.to_vec() };
    Arc::new(Envelope::seal(&author_number(n), &ClusterId([1; 16]), Sequence { boot: 1, number: 1 }, &body))
}

fn key() -> ObjectKey {
    ObjectKey::root(&Kind::new("Namespace"), "a", 1)
}

/// What Automerge writes for the same edits on a document that has the whole history.
fn by_automerge(state: &ObjectState, edits: &[Edit], by: &Authorship) -> Option<Vec<u8>> {
    let mut doc = memo().document(state);
    doc.set_actor(ActorId::from(by.actor.as_slice()));
    let mut transaction = doc.transaction();
    for edit in edits {
        let leaf = state.leaf(&edit.path);
        match &edit.value {
            Some(value) if leaf.is_some_and(|leaf| leaf.value == *value && leaf.others.is_empty()) => {}
            Some(value) => {
                if leaf.is_some_and(|leaf| !leaf.others.is_empty()) {
                    transaction.delete(ROOT, &*edit.path).unwrap();
                }
                transaction.put(ROOT, &*edit.path, to_automerge(value)).unwrap();
            }
            None if leaf.is_some() => transaction.delete(ROOT, &*edit.path).unwrap(),
            None => {}
        }
    }
    let options = CommitOptions::default().with_time(by.stamp.0 as i64).with_message(by.message.clone());
    let (hash, _) = transaction.commit_with(options);
    doc.get_change_by_hash(&hash?).map(|change| change.raw_bytes().to_vec())
}

/// What a document that has the whole history shows.
fn as_a_document_shows(state: &ObjectState) -> ObjectState {
    let mut doc = Automerge::new();
    let chunks =
        state.changes_since(&[]).into_iter().map(|change| Change::from_bytes(change.chunk().to_vec()).unwrap());
    doc.apply_changes(chunks).unwrap();
    let newest = state.changes_since(&[]).last().map(|change| (*change).clone()).unwrap();
    state.with_change(&doc, newest)
}

fn assert_same(one: &ObjectState, other: &ObjectState) {
    assert_eq!((one.heads(), one.version(), one.generation()), (other.heads(), other.version(), other.generation()));
    assert_eq!((one.born(), one.newest()), (other.born(), other.newest()));
    assert_eq!(one.leaves(), other.leaves());
    assert!(one.changes().keys().eq(other.changes().keys()));
}

/// An edit of a few fields, by somebody, who had heard of all others or only of those before the last round.
#[derive(Debug, Clone)]
struct Write {
    by: u8,
    apart: bool,
    edits: Vec<(usize, Option<i64>)>,
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let edits = prop::collection::btree_map(0..PATHS.len(), prop::option::of(0..3_i64), 1..4);
    let write = (0..3_u8, prop::bool::weighted(0.3), edits).prop_map(|(by, apart, edits)| Write {
        by,
        apart,
        edits: edits.into_iter().collect(),
    });
    prop::collection::vec(write, 1..12)
}

fn edits_of(write: &Write) -> Vec<Edit> {
    let edit = |(path, value): &(usize, Option<i64>)| match value {
        Some(2) => Edit::set(PATHS[*path], Scalar::str("text")),
        Some(value) => Edit::set(PATHS[*path], Scalar::Int(*value)),
        None => Edit::unset(PATHS[*path]),
    };
    write.edits.iter().map(edit).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_history_comes_to_the_same_with_documents_and_without(writes in writes()) {
        let memo = memo();
        let mut state = Arc::new(ObjectState::empty(key()));
        let mut before = state.clone();
        for (write, stamp) in writes.iter().zip(1..) {
            // Who has written since cannot have heard of less than that: its numbers would come twice.
            let last = |state: &ObjectState| state.last_change(&authorship(write.by, 0).actor).map(|last| last.id);
            let heard_of = if write.apart && last(&before) == last(&state) { &before } else { &state };
            let (edits, by) = (edits_of(write), authorship(write.by, stamp));
            let chunk = author(heard_of, &edits, &by);
            prop_assert_eq!(&chunk, &by_automerge(heard_of, &edits, &by));
            let Some(chunk) = chunk else { continue };
            let envelope = sealed(write.by, &chunk);
            let unused = Memo::new(MemoLimits::DAEMON);
            let alone = gate::admit(&unused, heard_of, &envelope, &chunk).unwrap();
            prop_assert_eq!(unused.documents(), 0, "what was built on all that is there needs no document");
            assert_same(&alone, &as_a_document_shows(&alone));
            let next = gate::admit(&memo, &state, &envelope, &chunk).unwrap();
            assert_same(&next, &as_a_document_shows(&next));
            before = state;
            state = next;
        }
    }
}

fn started() -> Arc<ObjectState> {
    let state = ObjectState::empty(key());
    let chunk = author(&state, &[Edit::set("data.a", Scalar::str("x"))], &authorship(0, 1)).unwrap();
    gate::admit(&memo(), &Arc::new(state), &sealed(0, &chunk), &chunk).unwrap()
}

/// A change of `data.a` by somebody who may write operations as they like.
fn forged(state: &ObjectState, forge: impl FnOnce(&mut ExpandedChange)) -> (ExpandedChange, Arc<StoredChange>) {
    let chunk = author(state, &[Edit::set("data.a", Scalar::str("y"))], &authorship(0, 2)).unwrap();
    let mut expanded = Change::from_bytes(chunk).unwrap().decode();
    forge(&mut expanded);
    let change = Change::from(expanded.clone());
    let chunk = change.raw_bytes().to_vec();
    let stored = StoredChange {
        id: WriteId(change.hash().0),
        envelope: sealed(0, &chunk),
        deps: change.deps().iter().map(|dep| WriteId(dep.0)).collect(),
        actor: change.actor_id().to_bytes().to_vec(),
        sequence: change.seq(),
        max_op: change.max_op(),
        stamp: Hlc(change.timestamp() as u64),
        touches_spec: false,
        message: String::new(),
        decided: None,
        chunk_bytes: chunk.len(),
    };
    (expanded, Arc::new(stored))
}

#[test]
fn a_change_of_all_that_is_there_needs_no_document() {
    let state = started();
    let (expanded, stored) = forged(&state, |_| ());
    assert_eq!(after(&state, &expanded, &stored).unwrap().get("data.a"), Some(&Scalar::str("y")));
}

#[test]
fn operations_that_automerge_would_not_write_are_left_to_the_trial() {
    let state = started();
    let nobody = ActorId::from(&[9; 16][..]);
    let actor = ActorId::from(authorship(0, 0).actor.as_slice());
    let forge: [&dyn Fn(&mut ExpandedChange); 4] = [
        // It overwrites what never was, or nothing, or itself.
        &|change| change.operations[0].pred = vec![OpId(1, nobody.clone())].into(),
        &|change| change.operations[0].pred = vec![].into(),
        &|change| change.operations[0].pred = vec![OpId(2, actor.clone())].into(),
        // It strikes out what is not there.
        &|change| {
            change.operations[0].key = Key::Map("data.b".into());
            change.operations[0].action = OpType::Delete;
            change.operations[0].pred = vec![].into();
        },
    ];
    for forge in forge {
        let (expanded, stored) = forged(&state, forge);
        assert!(after(&state, &expanded, &stored).is_none());
    }
}

#[test]
fn another_encoding_of_the_same_operations_is_left_to_the_trial() {
    let state = started();
    let (expanded, stored) = forged(&state, |change| change.extra_bytes = vec![1, 2, 3]);
    assert!(after(&state, &expanded, &stored).is_none());
}

#[test]
fn what_was_made_apart_is_left_to_the_trial() {
    let state = started();
    let first = author(&state, &[Edit::set("data.a", Scalar::str("z"))], &authorship(1, 2)).unwrap();
    let disputed = gate::admit(&memo(), &state, &sealed(1, &first), &first).unwrap();
    let (expanded, stored) = forged(&state, |_| ());
    assert!(after(&disputed, &expanded, &stored).is_none());
    assert!(after(&state, &expanded, &stored).is_some());
}
