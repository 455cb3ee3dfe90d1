//! Every acknowledged write is there, was overwritten by somebody who saw it, is listed beside the value that won, or is gone
//! with an object that somebody deleted (INVARIANTS I5, I11).

use std::collections::BTreeSet;

use skein_core::request::WriteOp;
use skein_crdt_state::{ObjectKey, ObjectState, Scalar, Store, WriteId};

use crate::world::World;

/// A write that was lost.
pub(super) fn check(world: &World) -> Option<String> {
    let store = world.hosts.iter().find_map(|host| host.node.as_ref())?.store();
    let deleted: BTreeSet<&ObjectKey> = world.oracle.asked_to_delete().collect();
    for (asked, reply) in world.oracle.acknowledged() {
        let edits = match &asked.op {
            WriteOp::Create { edits, .. } | WriteOp::Edit { edits, .. } => edits,
            WriteOp::Delete { .. } | WriteOp::Remove { .. } => continue,
        };
        // Somebody who wrote what was there already has written nothing.
        if !reply.changed || world.oracle.may_be_lost(asked) {
            continue;
        }
        if !store.is_live(&reply.key) {
            let ended = reply.key.lineage().any(|link| {
                deleted
                    .iter()
                    .any(|over| over.name_key() == link.name_key() && over.incarnation() >= link.incarnation())
            });
            if !ended {
                return Some(format!("{} is gone though nobody deleted it", reply.key));
            }
            continue;
        }
        let Some(object) = store.object(&reply.key) else { continue };
        // Of a value that is taken away and one that is written apart the written one stays: a put beats a removal.
        for edit in edits.iter().filter(|edit| edit.value.is_some()) {
            if !reply.heads.iter().any(|head| is_kept(object, &edit.path, head)) {
                let shown = object.leaf(&edit.path);
                return Some(format!(
                    "{} {}: an acknowledged value is gone without a trace: {:?} by {:?}, there is {shown:?}",
                    reply.key, edit.path, edit.value, reply.heads
                ));
            }
            if let Some(lost) = lost_text(store, object, &edit.path, edit.value.as_ref(), &reply.heads) {
                return Some(lost);
            }
        }
    }
    None
}

/// A text that is kept beside the document, is still mentioned by the field that was written, and cannot be had.
fn lost_text(
    store: &Store,
    object: &ObjectState,
    path: &str,
    written: Option<&Scalar>,
    heads: &[WriteId],
) -> Option<String> {
    let Some(Scalar::Aside(text)) = written else { return None };
    let leaf = object.leaf(path)?;
    let values = std::iter::once((&leaf.write, &leaf.value));
    let values = values.chain(leaf.others.iter().map(|other| (&other.write, &other.value)));
    let mut still_there = values.filter(|(write, _)| heads.contains(write));
    still_there.find_map(|(write, value)| {
        let is_there = matches!(value, Scalar::Blob(blob) if store.text_of(object.key(), blob) == Some(text));
        let lost =
            || format!("{} {path}: the text of an acknowledged value is gone: {write:?} {value:?}", object.key());
        (!is_there).then(lost)
    })
}

/// Whether what is shown of a field, or listed beside it, is this write or was written by somebody who had seen it.
fn is_kept(object: &ObjectState, path: &str, write: &WriteId) -> bool {
    if !object.changes().contains_key(write) {
        return false;
    }
    let Some(leaf) = object.leaf(path) else { return true };
    let shown = std::iter::once(leaf.write).chain(leaf.others.iter().map(|other| other.write));
    shown.into_iter().any(|id| descends(object, id, write))
}

pub(super) fn descends(object: &ObjectState, from: WriteId, write: &WriteId) -> bool {
    let mut open = vec![from];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if id == *write {
            return true;
        }
        if seen.insert(id) {
            open.extend(object.changes().get(&id).into_iter().flat_map(|change| change.deps.iter().copied()));
        }
    }
    false
}
