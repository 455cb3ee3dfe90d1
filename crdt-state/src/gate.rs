//! The gate: every change from outside passes here before it touches an object.
//!
//! Automerge panics on, or is poisoned by, well-formed hostile changes: an operation in an unknown object, a gap in a
//! sequence, a predecessor that does not exist. So a change is checked by our own rules first, then applied to a copy
//! under `catch_unwind`, saved, loaded again and compared by heads, and only then takes the object's place. The object
//! that was there stays untouched by whatever is refused.
//!
//! A change that was built on all that the object has, and is byte for byte what Automerge would have written, needs no
//! trial: see `linear`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use automerge::legacy::{Key, ObjectId, OpType};
use automerge::{Automerge, Change, ExpandedChange};
use sha2::{Digest, Sha256};

use crate::envelope::Envelope;
use crate::memo::Memo;
use crate::object::{ObjectState, StoredChange, actor, from_scalar, is_leaf_path};
use crate::{Hlc, Message, WriteId, linear};

/// The largest change, in bytes.
pub const MAX_CHANGE_BYTES: usize = 64 * 1024;
/// The most operations in one change.
pub const MAX_OPERATIONS: usize = 2 * crate::layout::MAX_LEAVES;
/// The greatest operation counter; beyond it Automerge's own arithmetic is near its end.
pub const MAX_OP_COUNTER: u64 = 1 << 31;
/// The most changes one object may hold.
pub const MAX_CHANGES: usize = 100_000;

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const CHUNK_TYPE_CHANGE: u8 = 1;

/// Why a change did not pass. The object is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// The object has it already.
    #[error("already applied")]
    Known,
    /// It was built on changes that are not here yet; ask for them and offer it again.
    #[error("built on {} changes that are not here", .0.len())]
    Missing(Vec<WriteId>),
    /// It breaks a rule, whatever the object has: everybody sees that.
    #[error("{0}")]
    Invalid(&'static str),
    /// It does not go with what this node has of the object: its author says one thing here and another thing there. Whoever has
    /// the other one cannot see that.
    #[error("{0}")]
    Contradicts(&'static str),
}

/// Applies a change from outside to an object.
///
/// # Errors
/// When it does not pass; nothing is changed then.
pub fn admit(
    memo: &Memo,
    state: &Arc<ObjectState>,
    envelope: &Arc<Envelope>,
    chunk: &[u8],
) -> Result<Arc<ObjectState>, GateError> {
    let id = news(state, chunk)?;
    if let Some(merged) = memo.merged(state, &id) {
        return Ok(merged);
    }
    let (change, expanded, stored) = read(state, id, envelope, chunk)?;
    let follow = catch_unwind(AssertUnwindSafe(|| linear::after(state, &expanded, &stored)));
    let merged = match follow {
        Ok(Some(merged)) => Arc::new(merged),
        // It was made apart from others, or by somebody who writes in another way.
        _ => catch_unwind(AssertUnwindSafe(|| merge(memo, state, change, stored)))
            .map_err(|_| GateError::Contradicts("applying it fails"))??,
    };
    memo.keep_merged(state, &id, merged.clone());
    Ok(merged)
}

/// Applies a change that this node authored itself a moment ago, or that passed the gate before it was stored on this
/// node's disk: without the trial load.
///
/// # Errors
/// When it does not fit; nothing is changed then.
pub fn admit_own(
    memo: &Memo,
    state: &Arc<ObjectState>,
    envelope: &Arc<Envelope>,
    chunk: &[u8],
) -> Result<Arc<ObjectState>, GateError> {
    let id = news(state, chunk)?;
    // Where many share a memo, as in the simulator, whoever starts again shares what it holds with those that ran on.
    if let Some(merged) = memo.merged(state, &id) {
        return Ok(merged);
    }
    let (change, expanded, stored) = read(state, id, envelope, chunk)?;
    if let Some(merged) = linear::after(state, &expanded, &stored) {
        let merged = Arc::new(merged);
        memo.keep_merged(state, &id, merged.clone());
        return Ok(merged);
    }
    let mut doc = memo.document(state);
    doc.apply_changes([change]).map_err(|_| GateError::Contradicts("applying it fails"))?;
    let merged = Arc::new(state.with_change(&doc, stored));
    memo.keep_document(&merged, doc);
    memo.keep_merged(state, &id, merged.clone());
    Ok(merged)
}

/// The hash of a chunk that the object does not have yet.
fn news(state: &ObjectState, chunk: &[u8]) -> Result<WriteId, GateError> {
    let id = check_chunk(chunk)?;
    if state.changes().contains_key(&id) { Err(GateError::Known) } else { Ok(id) }
}

/// Reads a change and holds it against the rules.
fn read(
    state: &ObjectState,
    id: WriteId,
    envelope: &Arc<Envelope>,
    chunk: &[u8],
) -> Result<(Change, ExpandedChange, Arc<StoredChange>), GateError> {
    let change = catch_unwind(|| Change::from_bytes(chunk.to_vec()).ok())
        .ok()
        .flatten()
        .ok_or(GateError::Invalid("not an Automerge change"))?;
    check_change(state, envelope, &change)?;
    let (expanded, stored) = catch_unwind(AssertUnwindSafe(|| {
        let expanded = change.decode();
        stored_change(id, envelope, chunk, &change, &expanded).map(|stored| (expanded, stored))
    }))
    .map_err(|_| GateError::Invalid("its operations cannot be read"))??;
    Ok((change, expanded, Arc::new(stored)))
}

/// Size, magic, type, length and checksum of a chunk, and the hash that names it. Automerge's own reader does not check
/// the checksum of a single change.
fn check_chunk(chunk: &[u8]) -> Result<WriteId, GateError> {
    if chunk.len() > MAX_CHANGE_BYTES {
        return Err(GateError::Invalid("a change may have at most 64 KB"));
    }
    let rest = chunk.strip_prefix(&MAGIC).ok_or(GateError::Invalid("not an Automerge chunk"))?;
    let (checksum, rest) = rest.split_at_checked(4).ok_or(GateError::Invalid("cut off"))?;
    let hash: [u8; 32] = Sha256::digest(rest).into();
    let (&kind, rest) = rest.split_first().ok_or(GateError::Invalid("cut off"))?;
    if kind != CHUNK_TYPE_CHANGE {
        return Err(GateError::Invalid("not an uncompressed change chunk"));
    }
    let (length, body) = leb128(rest).ok_or(GateError::Invalid("its length cannot be read"))?;
    if length != body.len() as u64 {
        return Err(GateError::Invalid("its length is wrong"));
    }
    if hash[..4] != *checksum {
        return Err(GateError::Invalid("its checksum is wrong"));
    }
    Ok(WriteId(hash))
}

fn leb128(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}

/// Author, dependencies, sequence and counters against what the object has.
fn check_change(state: &ObjectState, envelope: &Envelope, change: &Change) -> Result<(), GateError> {
    let have = state.changes();
    if have.len() >= MAX_CHANGES {
        return Err(GateError::Contradicts("the object has too many changes"));
    }
    let actor_bytes = change.actor_id().to_bytes();
    let own = actor(&envelope.author(), 0);
    if actor_bytes.len() != own.len() || actor_bytes[..8] != own[..8] {
        return Err(GateError::Invalid("its actor is not its author's"));
    }
    let mut missing = Vec::new();
    let mut max_op = 0;
    for dep in change.deps().iter().map(|dep| WriteId(dep.0)) {
        match have.get(&dep) {
            Some(known) => max_op = max_op.max(known.max_op),
            None => missing.push(dep),
        }
    }
    if !missing.is_empty() {
        return Err(GateError::Missing(missing));
    }
    if change.seq() != state.last_change(actor_bytes).map_or(0, |last| last.sequence) + 1 {
        return Err(GateError::Contradicts("its sequence number is not the actor's next"));
    }
    let operations = change.len();
    if operations == 0 || operations > MAX_OPERATIONS {
        return Err(GateError::Invalid("it has no or too many operations"));
    }
    if change.start_op().get() != max_op + 1 || max_op + operations as u64 > MAX_OP_COUNTER {
        return Err(GateError::Invalid("its operations do not count on from what it was built on"));
    }
    Ok(())
}

/// Reads the operations: only puts and deletes of leaves in the root map are taken.
fn stored_change(
    id: WriteId,
    envelope: &Arc<Envelope>,
    chunk: &[u8],
    change: &Change,
    expanded: &ExpandedChange,
) -> Result<StoredChange, GateError> {
    if envelope.end_of_body(chunk.len()) != chunk {
        return Err(GateError::Invalid("it is not what was signed"));
    }
    let stamp = u64::try_from(change.timestamp()).map_err(|_| GateError::Invalid("its time is negative"))?;
    let mut touches_spec = false;
    for op in &expanded.operations {
        let Key::Map(path) = &op.key else { return Err(GateError::Invalid("it edits something that is no field")) };
        if op.obj != ObjectId::Root || op.insert || !is_leaf_path(path) {
            return Err(GateError::Invalid("it edits something that is no field"));
        }
        match &op.action {
            OpType::Put(value) if from_scalar(value).is_some() => {}
            OpType::Delete => {}
            _ => return Err(GateError::Invalid("it writes a value of a kind that no field has")),
        }
        touches_spec |= path.as_str() == "spec" || path.starts_with("spec.");
    }
    let message: String = change.message().unwrap_or_default().chars().take(256).collect();
    Ok(StoredChange {
        id,
        envelope: envelope.clone(),
        chunk_bytes: chunk.len(),
        deps: change.deps().iter().map(|dep| WriteId(dep.0)).collect(),
        actor: change.actor_id().to_bytes().to_vec(),
        sequence: change.seq(),
        max_op: change.max_op(),
        stamp: Hlc(stamp),
        touches_spec,
        decided: Message::parse(&message).decided,
        message,
    })
}

fn merge(
    memo: &Memo,
    state: &Arc<ObjectState>,
    change: Change,
    stored: Arc<StoredChange>,
) -> Result<Arc<ObjectState>, GateError> {
    let mut doc = memo.document(state);
    doc.apply_changes([change]).map_err(|_| GateError::Contradicts("applying it fails"))?;
    let reloaded =
        Automerge::load(&doc.save()).map_err(|_| GateError::Contradicts("the result cannot be loaded again"))?;
    let sorted = |doc: &Automerge| {
        let mut heads = doc.get_heads();
        heads.sort_unstable();
        heads
    };
    let heads = sorted(&doc);
    if heads != sorted(&reloaded) || !heads.iter().any(|head| head.0 == stored.id.0) {
        return Err(GateError::Contradicts("the result does not come back as it was"));
    }
    let merged = Arc::new(state.with_change(&doc, stored));
    memo.keep_document(&merged, doc);
    Ok(merged)
}

#[cfg(test)]
mod tests;
