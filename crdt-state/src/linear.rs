//! Changes that were built on all that an object has, which nearly all are. Nothing is merged then: what Automerge would make
//! of them follows from their operations alone, so they are written and applied without a document, in a fraction of the time
//! and with nothing kept in memory.
//!
//! Only what Automerge itself would have written passes here, byte for byte; all else, and every change that was made apart
//! from another, is for the gate's trial on a document. Property tests hold both against each other.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::sync::Arc;

use automerge::legacy::{Key, ObjectId, Op, OpId, OpType};
use automerge::{ActorId, Change, ChangeHash, ExpandedChange};

use crate::WriteId;
use crate::leaf::{Edit, LeafPath, Scalar};
use crate::object::{Authorship, Leaf, ObjectState, StoredChange, from_scalar, to_automerge};

/// The operations that stand for a field's value now, in Automerge's order; none for a field that is not there.
type Standing = Vec<OpId>;

/// Authors a change of an object: the chunk, or `None` when the edits change nothing.
pub(crate) fn author(state: &ObjectState, edits: &[Edit], by: &Authorship) -> Option<Vec<u8>> {
    let actor = ActorId::from(by.actor.as_slice());
    let start_op = state.max_op() + 1;
    let mut writer = Writer { state, actor: &actor, start_op, operations: Vec::new(), pending: BTreeMap::new() };
    edits.iter().for_each(|edit| writer.edit(edit));
    let operations = writer.operations;
    if operations.is_empty() {
        return None;
    }
    let change = Change::from(ExpandedChange {
        operations,
        seq: state.last_change(&by.actor).map_or(0, |change| change.sequence) + 1,
        actor_id: actor,
        hash: None,
        start_op: NonZeroU64::new(start_op)?,
        time: i64::try_from(by.stamp.0).unwrap_or(i64::MAX),
        message: Some(by.message.clone()),
        deps: all_of(state, &by.actor).into_iter().map(|id| ChangeHash(id.0)).collect(),
        extra_bytes: Vec::new(),
        author: None,
    });
    Some(change.raw_bytes().to_vec())
}

/// An object after a change that passed the gate's rules. `None`: it was made apart from others, or not in the way in which
/// Automerge writes; then a document has to show what comes of it.
pub(crate) fn after(state: &ObjectState, expanded: &ExpandedChange, stored: &Arc<StoredChange>) -> Option<ObjectState> {
    let mut deps = stored.deps.clone();
    deps.sort_unstable();
    if deps != all_of(state, &stored.actor) || !is_as_automerge_writes(expanded, stored.chunk()) {
        return None;
    }
    let mut leaves = state.leaves().clone();
    let mut standing: BTreeMap<&str, Standing> = BTreeMap::new();
    let start_op = stored.max_op.checked_sub(expanded.operations.len() as u64)? + 1;
    for (operation, counter) in expanded.operations.iter().zip(start_op..) {
        let Key::Map(path) = &operation.key else { return None };
        let before = standing.remove(path.as_str()).or_else(|| standing_of(state, path))?;
        if !operation.pred.iter().eq(before.iter()) {
            return None;
        }
        let now = match &operation.action {
            OpType::Put(value) => {
                let leaf = Leaf {
                    value: from_scalar(value)?,
                    stamp: stored.stamp,
                    author: stored.envelope.author(),
                    write: stored.id,
                    counter,
                    others: Vec::new(),
                };
                leaves.insert(LeafPath::from(path.as_str()), leaf);
                vec![OpId::new(counter, &expanded.actor_id)]
            }
            // To strike out what is not there leaves no trace in a document, which would then not be what was signed.
            OpType::Delete if !before.is_empty() => {
                leaves.remove(path.as_str());
                Standing::new()
            }
            _ => return None,
        };
        standing.insert(path.as_str(), now);
    }
    Some(state.followed_by(leaves, stored))
}

/// What a change names as its past when it was built on all that is there: the heads, and, as Automerge has it, the actor's own
/// last change also where others have built on it since.
fn all_of(state: &ObjectState, actor: &[u8]) -> Vec<WriteId> {
    let own = state.last_change(actor).map(|change| change.id);
    let all: BTreeSet<WriteId> = state.heads().iter().copied().chain(own).collect();
    all.into_iter().collect()
}

/// Whether the chunk is what Automerge makes of the operations in it: no other encoding, nothing beside them.
fn is_as_automerge_writes(expanded: &ExpandedChange, chunk: &[u8]) -> bool {
    expanded.extra_bytes.is_empty() && Change::from(expanded.clone()).raw_bytes() == chunk
}

/// What stands for a field in an object. `None`: the object does not know who wrote it, which cannot be.
fn standing_of(state: &ObjectState, path: &str) -> Option<Standing> {
    let Some(leaf) = state.leaf(path) else { return Some(Standing::new()) };
    let writes = std::iter::once((leaf.write, leaf.counter));
    let writes = writes.chain(leaf.others.iter().map(|other| (other.write, other.counter)));
    let id = |(write, counter): (WriteId, u64)| {
        let change = state.changes().get(&write)?;
        Some(OpId::new(counter, &ActorId::from(change.actor.as_slice())))
    };
    let mut standing: Standing = writes.map(id).collect::<Option<_>>()?;
    standing.sort_unstable();
    Some(standing)
}

/// A change in the making.
struct Writer<'a> {
    state: &'a ObjectState,
    actor: &'a ActorId,
    start_op: u64,
    operations: Vec<Op>,
    /// Fields that this change has written: what stands for them now, and their value.
    pending: BTreeMap<&'a str, (Standing, Option<&'a Scalar>)>,
}

impl<'a> Writer<'a> {
    fn edit(&mut self, edit: &'a Edit) {
        let (standing, value) = match self.pending.remove(&*edit.path) {
            Some(pending) => pending,
            None => {
                let leaf = self.state.leaf(&edit.path);
                let standing = standing_of(self.state, &edit.path).unwrap_or_default();
                (standing, leaf.filter(|leaf| leaf.others.is_empty()).map(|leaf| &leaf.value))
            }
        };
        let is_disputed = standing.len() > 1;
        let (standing, value) = match &edit.value {
            Some(wanted) if value == Some(wanted) => (standing, value),
            Some(wanted) => {
                // Writing what one side of a dispute says must be a write of its own. Automerge would only strike out
                // the other sides, and whoever replaces the value apart would take this write along unseen.
                let before = if is_disputed { self.push(edit, OpType::Delete, standing) } else { standing };
                (self.push(edit, OpType::Put(to_automerge(wanted)), before), Some(wanted))
            }
            None if standing.is_empty() => (standing, None),
            None => (self.push(edit, OpType::Delete, standing), None),
        };
        self.pending.insert(&edit.path, (standing, value));
    }

    /// Adds an operation on what stands for a field. Returns what stands for it then.
    fn push(&mut self, edit: &Edit, action: OpType, standing: Standing) -> Standing {
        let counter = self.start_op + self.operations.len() as u64;
        let after = match action {
            OpType::Delete => Standing::new(),
            _ => vec![OpId::new(counter, self.actor)],
        };
        let key = Key::Map((*edit.path).into());
        self.operations.push(Op { action, obj: ObjectId::Root, key, pred: standing.into(), insert: false });
        after
    }
}

#[cfg(test)]
mod tests;
