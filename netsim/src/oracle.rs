//! The oracle: what users asked for, and what they were told.

use std::collections::{BTreeMap, BTreeSet};

use skein_core::request::{RequestId, WriteError, WriteOp, WriteReply};
use skein_crdt_state::{Hlc, ObjectKey};
use skein_gossip::NodeId;

/// What a user was told.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Nothing: the peer may have died first.
    Unknown,
    /// Done, and safe on as many disks as promised.
    Done(WriteReply),
    /// Done, with a warning that fewer disks have it.
    DoneWithWarning(WriteReply),
    /// Not done.
    Refused(WriteError),
}

/// One write of a user's.
#[derive(Debug, Clone)]
pub struct Asked {
    /// At which peer.
    pub peer: usize,
    /// What.
    pub op: WriteOp,
    /// What the user was told.
    pub answer: Answer,
    /// When the user asked and was told, in virtual microseconds; told 0: not yet.
    pub asked_us: u64,
    /// See `asked_us`.
    pub told_us: u64,
    /// The hosts that held the write when the user was told, each with how often it had been let in: of what is a lock only.
    pub held_by: Vec<(usize, u32)>,
    /// How the peer had stamped the write when the user was told, if it still had it.
    pub stamp: Option<Hlc>,
}

/// All writes of all users.
#[derive(Debug, Default)]
pub struct Oracle {
    asked: BTreeMap<RequestId, Asked>,
    damaged: BTreeMap<String, BTreeSet<usize>>,
    out: BTreeSet<usize>,
    /// Whether a host has left for good, and its disk with it.
    has_left: bool,
    /// Objects and names of which the last copy of something was lost with its disk, or damaged where disks are lost; until when, in
    /// virtual microseconds.
    gone: BTreeMap<String, u64>,
    /// To whom hosts have left what they held.
    heirs: BTreeMap<usize, BTreeSet<usize>>,
}

impl Oracle {
    /// A user asks.
    pub fn asked(&mut self, id: RequestId, peer: usize, op: WriteOp, now_us: u64) {
        let (answer, held_by) = (Answer::Unknown, Vec::new());
        self.asked.insert(id, Asked { peer, op, answer, asked_us: now_us, told_us: 0, held_by, stamp: None });
    }

    /// A user is told.
    pub fn answered(&mut self, id: RequestId, result: Result<WriteReply, WriteError>, now_us: u64) {
        let Some(asked) = self.asked.get_mut(&id) else { return };
        asked.told_us = now_us;
        asked.answer = match result {
            Ok(reply) if reply.warnings.is_empty() => Answer::Done(reply),
            Ok(reply) => Answer::DoneWithWarning(reply),
            Err(error) => Answer::Refused(error),
        };
    }

    /// A host has named a record of this object or name as damaged.
    pub fn damaged(&mut self, host: usize, key: &str) {
        self.damaged.entry(key.to_owned()).or_default().insert(host);
    }

    /// Whether a host ever had damaged records of an object.
    #[must_use]
    pub fn was_damaged_at(&self, host: usize, key: &ObjectKey) -> bool {
        self.damaged.get(&key.to_string()).is_some_and(|hosts| hosts.contains(&host))
    }

    /// A host was removed, or whoever alone had admitted it was: what it and its like have written apart is not taken.
    pub fn is_out(&mut self, host: usize) {
        self.out.insert(host);
    }

    /// A host has left for good: of what it and another had there is one copy less.
    pub fn leaves(&mut self) {
        self.has_left = true;
    }

    /// No disk holds something of this object or name any more: the only one that did was lost, or is damaged where disks are lost.
    pub fn is_gone(&mut self, key: &str, now_us: u64) {
        self.gone.insert(key.to_owned(), now_us);
    }

    /// A host leaves all that it holds to another.
    pub fn leaves_to(&mut self, host: usize, heir: usize) {
        self.heirs.entry(host).or_default().insert(heir);
    }

    /// These hosts hold what a user is about to be told of.
    pub fn held_by(&mut self, id: RequestId, hosts: Vec<(usize, u32)>) {
        if let Some(asked) = self.asked.get_mut(&id) {
            asked.held_by = hosts;
        }
    }

    /// The write that a user is about to be told of was stamped so.
    pub fn stamped(&mut self, id: RequestId, stamp: Option<Hlc>) {
        if let Some(asked) = self.asked.get_mut(&id) {
            asked.stamp = stamp;
        }
    }

    /// Whether a host was ever out, see [`Oracle::is_out`].
    #[must_use]
    pub fn was_out(&self, host: usize) -> bool {
        self.out.contains(&host)
    }

    /// Whether a write may be gone: the peer that took it was removed, or left all to one that was; or it was on one disk alone, as the user was told or
    /// since the other's host has left or was removed, and that disk was damaged; or no disk has it any more since disks were lost.
    #[must_use]
    pub fn may_be_lost(&self, asked: &Asked) -> bool {
        let (reply, was_on_one) = match &asked.answer {
            _ if self.out.contains(&asked.peer) => return true,
            _ if self.heirs.get(&asked.peer).is_some_and(|heirs| !heirs.is_disjoint(&self.out)) => return true,
            Answer::DoneWithWarning(reply) => (reply, true),
            Answer::Done(reply) => (reply, self.has_left || !self.out.is_empty()),
            _ => return false,
        };
        let mut links = reply.key.lineage().flat_map(|link| [link.to_string(), link.name_key().to_string()]);
        // What was acknowledged since is on other disks.
        let is_gone = |name: &str| self.gone.get(name).is_some_and(|at_us| asked.told_us <= *at_us);
        links.any(|name| is_gone(&name) || (was_on_one && self.damaged.contains_key(&name)))
    }

    /// The most replicas that anybody ever asked for.
    #[must_use]
    pub fn most_replicas(&self) -> i64 {
        let edits = self.asked.values().filter_map(|asked| match &asked.op {
            WriteOp::Create { edits, .. } | WriteOp::Edit { edits, .. } => Some(edits),
            WriteOp::Delete { .. } | WriteOp::Remove { .. } => None,
        });
        let replicas = edits.flatten().filter(|edit| &*edit.path == "spec.replicas");
        replicas.filter_map(|edit| edit.value.as_ref()?.as_int()).max().unwrap_or(0)
    }

    /// What was asked under a request.
    #[must_use]
    pub fn op(&self, id: RequestId) -> Option<&WriteOp> {
        Some(&self.asked.get(&id)?.op)
    }

    /// All writes.
    pub fn all(&self) -> impl Iterator<Item = (&RequestId, &Asked)> {
        self.asked.iter()
    }

    /// The writes that were acknowledged, with what was written.
    pub fn acknowledged(&self) -> impl Iterator<Item = (&Asked, &WriteReply)> {
        self.asked.values().filter_map(|asked| match &asked.answer {
            Answer::Done(reply) | Answer::DoneWithWarning(reply) => Some((asked, reply)),
            _ => None,
        })
    }

    /// The lives that users were told are over.
    pub fn deleted(&self) -> impl Iterator<Item = &ObjectKey> {
        self.acknowledged().filter(|(asked, _)| !self.may_be_lost(asked)).filter_map(|(asked, _)| match &asked.op {
            WriteOp::Delete { key, .. } => Some(key),
            _ => None,
        })
    }

    /// The nodes that users were told are removed.
    pub fn removed(&self) -> impl Iterator<Item = &NodeId> {
        self.removals().map(|(node, _)| node)
    }

    /// The same, with when each user was told, in virtual microseconds.
    pub fn removals(&self) -> impl Iterator<Item = (&NodeId, u64)> {
        self.acknowledged().filter(|(asked, _)| !self.may_be_lost(asked)).filter_map(|(asked, _)| match &asked.op {
            WriteOp::Remove { node } => Some((node, asked.told_us)),
            _ => None,
        })
    }

    /// Whether anybody ever asked to remove this node and was not refused, whatever became of who was asked.
    #[must_use]
    pub fn may_be_removed(&self, node: &NodeId) -> bool {
        let mut asked = self.asked.values().filter(|asked| !matches!(asked.answer, Answer::Refused(_)));
        asked.any(|asked| matches!(&asked.op, WriteOp::Remove { node: removed } if removed == node))
    }

    /// Whether anybody ever asked to remove a node.
    #[must_use]
    pub fn asked_to_remove(&self) -> bool {
        self.asked.values().any(|asked| matches!(asked.op, WriteOp::Remove { .. }))
    }

    /// The lives that users asked to end, whatever they were told.
    pub fn asked_to_delete(&self) -> impl Iterator<Item = &ObjectKey> {
        self.asked.values().filter_map(|asked| match &asked.op {
            WriteOp::Delete { key, .. } => Some(key),
            _ => None,
        })
    }
}
