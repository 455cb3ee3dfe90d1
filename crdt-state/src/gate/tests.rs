//! Tests of the gate: hostile changes are errors, and the object stays as it was.
#![allow(clippy::unwrap_used)]

use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, ObjType, ROOT, ReadDoc};
use proptest::prelude::*;
use skein_gossip::Keypair;

use super::*;
use crate::envelope::{Body, Sequence};
use crate::memo::MemoLimits;
use crate::{ClusterId, Edit, Kind, ObjectKey, Scalar, object::Authorship};

fn key() -> ObjectKey {
    ObjectKey::root(&Kind::new("Namespace"), "a", 1)
}

fn memo() -> Memo {
    Memo::new(MemoLimits { documents: 8, merges: 0, signatures: 8, shares_envelopes: false })
}

fn keys() -> Keypair {
    Keypair::from_secret([3; 32])
}

fn envelope(chunk: &[u8]) -> Arc<Envelope> {
    let body = Body::Change { key: key(), layout: 1, chunk: chunk.to_vec() };
    Arc::new(Envelope::seal(&keys(), &ClusterId([1; 16]), Sequence { boot: 1, number: 1 }, &body))
}

fn authorship() -> Authorship {
    Authorship { actor: actor(&keys().node_id(), 5), stamp: Hlc::from_millis(1000), message: "test".into() }
}

fn started() -> (Memo, Arc<ObjectState>) {
    let memo = memo();
    let empty = Arc::new(ObjectState::empty(key()));
    let edits = [Edit::set("spec.replicas", Scalar::Int(3)), Edit::set("data.a", Scalar::str("x"))];
    let chunk = empty.edit(&edits, &authorship()).unwrap();
    let state = admit(&memo, &empty, &envelope(&chunk), &chunk).unwrap();
    (memo, state)
}

fn raw(build: impl FnOnce(&mut automerge::transaction::Transaction<'_>)) -> Vec<u8> {
    let mut doc = Automerge::new().with_actor(ActorId::from(authorship().actor.as_slice()));
    let mut transaction = doc.transaction();
    build(&mut transaction);
    let (hash, _) = transaction.commit_with(CommitOptions::default().with_time(1));
    doc.get_change_by_hash(&hash.unwrap()).unwrap().raw_bytes().to_vec()
}

fn refused(chunk: &[u8]) -> GateError {
    let empty = Arc::new(ObjectState::empty(key()));
    admit(&memo(), &empty, &envelope(chunk), chunk).unwrap_err()
}

#[test]
fn an_honest_change_passes_and_is_known_afterwards() {
    let (memo, state) = started();
    assert_eq!(state.get("spec.replicas"), Some(&Scalar::Int(3)));
    assert_eq!((state.generation(), state.heads().len()), (1, 1));
    let chunk = state.edit(&[Edit::unset("data.a")], &authorship()).unwrap();
    let next = admit(&memo, &state, &envelope(&chunk), &chunk).unwrap();
    assert_eq!(next.get("data.a"), None);
    assert_eq!(admit(&memo, &next, &envelope(&chunk), &chunk).unwrap_err(), GateError::Known);
}

#[test]
fn a_change_whose_past_is_not_here_says_what_is_missing() {
    let (_, state) = started();
    let chunk = state.edit(&[Edit::unset("data.a")], &authorship()).unwrap();
    assert!(matches!(refused(&chunk), GateError::Missing(missing) if missing == state.heads()));
}

#[test]
fn an_edit_that_changes_nothing_is_no_change() {
    let (_, state) = started();
    assert_eq!(state.edit(&[Edit::set("spec.replicas", Scalar::Int(3))], &authorship()), None);
    assert_eq!(state.edit(&[Edit::unset("spec.paused")], &authorship()), None);
}

#[test]
fn settling_a_dispute_with_one_of_its_values_is_a_write_of_its_own() {
    let (memo, state) = started();
    let other = Keypair::from_secret([4; 32]);
    let by_other = Authorship { actor: actor(&other.node_id(), 1), stamp: Hlc::from_millis(900), ..authorship() };
    let sealed = |keys: &Keypair, chunk: &[u8]| {
        let body = Body::Change { key: key(), layout: 1, chunk: chunk.to_vec() };
        Arc::new(Envelope::seal(keys, &ClusterId([1; 16]), Sequence { boot: 1, number: 1 }, &body))
    };
    let apart: Vec<_> = [(keys(), authorship(), 5), (other, by_other, 6)]
        .into_iter()
        .map(|(keys, by, n)| (keys, state.edit(&[Edit::set("spec.replicas", Scalar::Int(n))], &by).unwrap()))
        .collect();
    let disputed =
        apart.iter().fold(state, |state, (keys, chunk)| admit(&memo, &state, &sealed(keys, chunk), chunk).unwrap());
    assert_eq!(disputed.leaf("spec.replicas").unwrap().others.len(), 1);
    for value in [5, 6] {
        let by = Authorship { actor: actor(&keys().node_id(), 9), ..authorship() };
        let chunk = disputed.edit(&[Edit::set("spec.replicas", Scalar::Int(value))], &by).unwrap();
        let settled = admit(&memo, &disputed, &envelope(&chunk), &chunk).unwrap();
        let leaf = settled.leaf("spec.replicas").unwrap();
        assert_eq!((&leaf.value, leaf.others.len()), (&Scalar::Int(value), 0));
        assert_eq!(settled.heads(), [leaf.write]);
    }
}

#[test]
fn what_no_layout_writes_is_refused() {
    let nested = raw(|t| drop(t.put_object(ROOT, "spec", ObjType::Map)));
    let counter = raw(|t| t.put(ROOT, "spec.a", automerge::ScalarValue::counter(1)).unwrap());
    let path = raw(|t| t.put(ROOT, "spec..a", 1).unwrap());
    let json = raw(|t| t.put(ROOT, "spec.a", b"{".to_vec()).unwrap());
    for chunk in [nested, counter, path, json] {
        assert!(matches!(refused(&chunk), GateError::Invalid(_)));
    }
}

#[test]
fn a_chunk_that_is_not_what_was_signed_is_refused() {
    let (memo, state) = started();
    let [one, other] = [1, 2].map(|n| state.edit(&[Edit::set("data.a", Scalar::Int(n))], &authorship()).unwrap());
    let error = admit(&memo, &state, &envelope(&one), &other).unwrap_err();
    assert_eq!(error, GateError::Invalid("it is not what was signed"));
}

#[test]
fn somebody_elses_actor_is_refused() {
    let (memo, state) = started();
    let by = Authorship { actor: actor(&Keypair::from_secret([4; 32]).node_id(), 1), ..authorship() };
    let chunk = state.edit(&[Edit::unset("data.a")], &by).unwrap();
    let error = admit(&memo, &state, &envelope(&chunk), &chunk).unwrap_err();
    assert_eq!(error, GateError::Invalid("its actor is not its author's"));
}

/// Mutates a chunk and repairs its checksum, which is what somebody hostile would do.
fn mutated(chunk: &[u8], at: usize, to: u8) -> Vec<u8> {
    let mut bytes = chunk.to_vec();
    let at = 8 + at % (bytes.len() - 8);
    bytes[at] = to;
    let hash: [u8; 32] = Sha256::digest(&bytes[8..]).into();
    bytes[4..8].copy_from_slice(&hash[..4]);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn a_hostile_change_is_refused_or_harmless(at in any::<usize>(), to in any::<u8>(), again in any::<usize>()) {
        let (memo, state) = started();
        let edits = [Edit::set("spec.replicas", Scalar::Int(4)), Edit::set("data.b", Scalar::Bool(true))];
        let chunk = state.edit(&edits, &authorship()).unwrap();
        let hostile = mutated(&mutated(&chunk, at, to), again, to.wrapping_add(1));
        if let Ok(merged) = admit(&memo, &state, &envelope(&hostile), &hostile) {
            // What passes can be edited, stored and loaded.
            let by = Authorship { actor: actor(&keys().node_id(), 6), ..authorship() };
            let chunk = merged.edit(&[Edit::set("data.c", Scalar::Null)], &by).unwrap();
            let edited = admit(&memo, &merged, &envelope(&chunk), &chunk).unwrap();
            let fresh = Memo::new(MemoLimits { documents: 1, merges: 0, signatures: 0, shares_envelopes: false });
            prop_assert_eq!(fresh.document(&edited).get_heads().len(), edited.heads().len());
        }
        prop_assert_eq!(state.get("spec.replicas"), Some(&Scalar::Int(3)));
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let empty = Arc::new(ObjectState::empty(key()));
        prop_assert!(admit(&memo(), &empty, &envelope(&bytes), &bytes).is_err());
    }
}
