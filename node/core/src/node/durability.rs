//! When a write may be acknowledged: once it is on this disk and a peer has said that its disk includes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skein_crdt_state::{Edit, Envelope, NameKey, ObjectKey, WriteId};
use skein_gossip::planted::{self, Bug};
use skein_gossip::{NodeId, Now};

use super::{Effect, Frame, Node, Wait};
use crate::request::{Durability, RequestId, WriteError, WriteOp, WriteReply, WriteRequest};

/// The most writes that wait for their acknowledgement at once; one more is refused as busy.
pub const MAX_PENDING_WRITES: usize = 4096;
/// How long a peer has to say that its disk has a write; then this disk has to do, and the reply says so.
const PEER_TIMEOUT: Duration = Duration::from_millis(500);
/// The most acknowledgements that wait for this node's own disk before a peer is told.
const MAX_OWED: usize = 4096;

/// The writes that are not acknowledged yet, and what peers were promised.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    writes: BTreeMap<u64, PendingWrite>,
    next_token: u64,
}

#[derive(Debug)]
struct PendingWrite {
    id: RequestId,
    reply: WriteReply,
    batch: u64,
    /// How many peers must have it still.
    needed: usize,
    asked: usize,
    stored_by: BTreeSet<NodeId>,
    given_up: bool,
}

impl Pending {
    /// How many writes wait.
    pub(crate) fn len(&self) -> usize {
        self.writes.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.writes.len() >= MAX_PENDING_WRITES
    }
}

pub(super) type Written = Result<(ObjectKey, Vec<Arc<Envelope>>), WriteError>;

impl Node {
    pub(super) fn create(&mut self, now: Now, name: &NameKey, edits: &[Edit], message: &str) -> Written {
        if let Some(owner) = name.owner().filter(|owner| !self.store.is_live(owner)) {
            return Err(WriteError::OwnerGone(owner));
        }
        if let Some(key) = self.store.current_life(name) {
            return Err(WriteError::AlreadyExists(key));
        }
        let key = self.store.next_life(name);
        self.edit_store(now, &key, edits, message)
    }

    pub(super) fn edit(
        &mut self,
        now: Now,
        key: &ObjectKey,
        edits: &[Edit],
        if_heads: Option<&[WriteId]>,
        message: &str,
    ) -> Written {
        self.check_lock(key, if_heads)?;
        self.edit_store(now, key, edits, message)
    }

    pub(super) fn delete(&mut self, now: Now, key: &ObjectKey, if_heads: Option<&[WriteId]>) -> Written {
        self.check_lock(key, if_heads)?;
        Ok((key.clone(), self.store.delete(now, key).into_iter().collect()))
    }

    fn check_lock(&self, key: &ObjectKey, if_heads: Option<&[WriteId]>) -> Result<(), WriteError> {
        let object = self.store.object(key).filter(|_| self.store.is_live(key));
        let object = object.ok_or_else(|| WriteError::NotFound(key.clone()))?;
        match if_heads {
            Some(heads) if heads != object.heads() => Err(WriteError::Conflict(key.clone())),
            _ => Ok(()),
        }
    }

    fn edit_store(&mut self, now: Now, key: &ObjectKey, edits: &[Edit], message: &str) -> Written {
        let said = self.store.edit(now, key, edits, message).map_err(|error| WriteError::Refused(error.to_string()))?;
        Ok((key.clone(), said))
    }

    /// A write that changes nothing is as durable as what it found.
    pub(super) fn unchanged(&mut self, id: RequestId, key: ObjectKey) {
        let heads = self.heads_of(&key);
        self.effects
            .push_back(Effect::Written(id, Ok(WriteReply { key, heads, warnings: Vec::new(), changed: false })));
    }

    fn heads_of(&self, key: &ObjectKey) -> Vec<WriteId> {
        self.store.object(key).map(|object| object.heads().to_vec()).unwrap_or_default()
    }

    /// Pushes a write to peers and waits for the disks that it asked for.
    pub(super) fn await_durable(
        &mut self,
        now: Now,
        id: RequestId,
        request: &WriteRequest,
        key: ObjectKey,
        said: &[Arc<Envelope>],
    ) {
        let token = self.durable.next_token;
        self.durable.next_token += 1;
        let leaves = self.leaving == Some(id);
        let members = self.store.members().active().len() + usize::from(leaves);
        let is_kept_back = planted::is(Bug::DeletionNotSpread) && matches!(request.op, WriteOp::Delete { .. });
        let needed = match request.durability {
            _ if is_kept_back => 0,
            Durability::Local => 0,
            Durability::One => usize::from(members > 1),
            Durability::Majority => members / 2,
        };
        let asked = if is_kept_back { 0 } else { self.push_to_store(said, token, needed) };
        let reply = WriteReply { heads: self.heads_of(&key), key, warnings: Vec::new(), changed: true };
        if planted::is(Bug::AckBeforeDisk) && !leaves {
            return self.effects.push_back(Effect::Written(id, Ok(reply)));
        }
        // What was said in an earlier life is on disk already.
        let batch = if self.records_are_settled() { self.outbox.last_batch() } else { self.coming_batch() };
        // Nobody to ask: waiting would bring nothing.
        let given_up = asked < needed && asked == 0 && !leaves;
        let write = PendingWrite { id, reply, batch, needed, asked, stored_by: BTreeSet::new(), given_up };
        self.durable.writes.insert(token, write);
        if needed > 0 && !given_up {
            self.timers.set(Wait::Durable(token), now.mono + PEER_TIMEOUT);
        }
    }

    pub(super) fn stored(&mut self, _now: Now, from: NodeId, token: u64) {
        if let Some(write) = self.durable.writes.get_mut(&token) {
            write.stored_by.insert(from);
            self.finish_writes();
        }
    }

    pub(super) fn durable_late(&mut self, now: Now, token: u64) {
        if planted::is(Bug::UnboundedQueue) {
            return;
        }
        let leaves = self.durable.writes.get(&token).is_some_and(|write| self.leaving == Some(write.id));
        if leaves && self.tell_departure_again(token) {
            return self.timers.set(Wait::Durable(token), now.mono + PEER_TIMEOUT);
        }
        if let Some(write) = self.durable.writes.get_mut(&token) {
            write.given_up = true;
            self.finish_writes();
        }
    }

    /// The disk refused what was to be in this batch and in those after it.
    pub(super) fn refuse_writes_since(&mut self, batch: u64, reason: &str) {
        // A departure stands all the same: it is done when the disk takes it.
        let is_refused = |write: &PendingWrite| write.batch >= batch && self.leaving != Some(write.id);
        let failed: Vec<u64> =
            self.durable.writes.iter().filter(|(_, write)| is_refused(write)).map(|(token, _)| *token).collect();
        for token in failed {
            if let Some(write) = self.durable.writes.remove(&token) {
                self.timers.clear(&Wait::Durable(token));
                self.effects.push_back(Effect::Written(write.id, Err(WriteError::Disk(reason.to_owned()))));
            }
        }
    }

    pub(super) fn finish_writes(&mut self) {
        let on_disk = self.outbox.on_disk();
        let done =
            |write: &PendingWrite| write.batch <= on_disk && (write.given_up || write.stored_by.len() >= write.needed);
        let tokens: Vec<u64> =
            self.durable.writes.iter().filter(|(_, write)| done(write)).map(|(token, _)| *token).collect();
        for token in tokens {
            let Some(mut write) = self.durable.writes.remove(&token) else { continue };
            self.timers.clear(&Wait::Durable(token));
            if write.stored_by.len() < write.needed {
                write.reply.warnings.push(warning(&write));
            }
            let leaving = self.leaving == Some(write.id);
            self.effects.push_back(match leaving {
                true => Effect::Left(write.id, Ok(())),
                false => Effect::Written(write.id, Ok(write.reply)),
            });
        }
    }

    /// Tells the author of a push that its news is on this disk, once it is. What could not be applied is not promised.
    pub(super) fn owe_stored(&mut self, to: NodeId, token: u64, envelopes: &[Arc<Envelope>]) {
        if self.outbox.refusal().is_some() || !self.store.includes(envelopes) || self.effects.len() > MAX_OWED {
            return;
        }
        let after = self.batch_of_last_word().filter(|_| !planted::is(Bug::PromiseBeforeDisk));
        self.send(to, &Frame::Stored { token }, after);
    }

    /// The batch with which all that is known now is on disk; `None`: it is already.
    pub(super) fn batch_of_last_word(&self) -> Option<u64> {
        let unwritten = (self.outbox.last_batch() > self.outbox.on_disk()).then_some(self.outbox.last_batch());
        if self.records_are_settled() { unwritten } else { Some(self.coming_batch()) }
    }
}

fn warning(write: &PendingWrite) -> String {
    let (have, want) = (write.stored_by.len() + 1, write.needed + 1);
    let why = if write.asked == 0 { "no peer can be reached" } else { "no other peer answered within 500 ms" };
    format!("stored on {have} of {want} disks: {why}; the others will follow when they are back")
}
