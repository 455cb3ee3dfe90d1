//! When a write may be acknowledged: once it is on this disk and a peer has said that its disk includes it; a decision, once those
//! have upheld it that answer for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skein_crdt_state::{Edit, Envelope, NameKey, ObjectKey, Operation, WriteId};
use skein_gossip::planted::{self, Bug};
use skein_gossip::{Instant, NodeId, Now};

use super::decision::{Origin, Uphold, Verdict};
use super::{Effect, Frame, Node, Wait};
use crate::request::{Durability, RequestId, WriteError, WriteOp, WriteReply, WriteRequest};

/// The most writes that wait for their acknowledgement at once; one more is refused as busy.
pub const MAX_PENDING_WRITES: usize = 4096;
/// How long a peer has to say that its disk has a write; then this disk has to do, and the reply says so.
const PEER_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a decision waits for those that uphold it: then nobody knows whether it stands. Longer than a lost peer is noticed.
const UPHELD_WITHIN: Duration = Duration::from_secs(5);
/// The most acknowledgements that wait for this node's own disk before a peer is told.
const MAX_OWED: usize = 4096;

/// The writes that are not acknowledged yet, and what peers were promised.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    writes: BTreeMap<u64, PendingWrite>,
    next_token: u64,
}

impl Pending {
    /// Nothing waits. `first_token` is drawn at each start: a peer may answer late, when its disk is done, what an earlier start asked,
    /// and that must not count for a write of this one.
    pub(super) fn new(first_token: u32) -> Self {
        Pending { writes: BTreeMap::new(), next_token: first_token.into() }
    }
}

#[derive(Debug)]
struct PendingWrite {
    to: ReplyTo,
    reply: WriteReply,
    batch: u64,
    /// How many peers must have it still.
    needed: usize,
    asked: usize,
    stored_by: BTreeSet<NodeId>,
    given_up: bool,
    rule: Rule,
    /// What those who uphold it are asked, and who does.
    decision: Option<Uphold>,
    upheld_by: BTreeSet<NodeId>,
    until: Instant,
}

/// Whom the outcome of a write is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReplyTo {
    /// A client of this node.
    Client(RequestId),
    /// Whoever asked for a decision.
    Decision(Origin),
    /// Whoever began an epoch here.
    Rotation(RequestId),
    /// The stranger that was admitted.
    Admission(RequestId, NodeId),
}

/// Who must uphold a write beside the disks that have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Nobody.
    Disks,
    /// The peer that decides next if this one is lost, if there is one.
    Next(Option<NodeId>),
    /// More than half of the voters, in this term.
    Voters(u64),
}

impl Pending {
    /// How many writes wait.
    pub(crate) fn len(&self) -> usize {
        self.writes.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.writes.len() >= MAX_PENDING_WRITES
    }

    /// A number that peers answer with and that nothing else of this start has.
    pub(super) fn take_token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token - 1
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

    pub(super) fn heads_of(&self, key: &ObjectKey) -> Vec<WriteId> {
        self.store.object(key).map(|object| object.heads().to_vec()).unwrap_or_default()
    }

    /// Pushes a write to peers and waits for the disks that it asked for, and for those who must uphold it.
    pub(super) fn await_durable(
        &mut self,
        now: Now,
        to: ReplyTo,
        request: &WriteRequest,
        key: ObjectKey,
        said: &[Arc<Envelope>],
        rule: Rule,
    ) {
        let token = self.durable.take_token();
        let leaves = self.leaves_by(&to);
        let members = self.store.members().active().len() + usize::from(leaves);
        let is_kept_back = planted::is(Bug::DeletionNotSpread) && matches!(request.op, WriteOp::Delete { .. });
        let needed = match request.durability {
            _ if is_kept_back => 0,
            Durability::Local => 0,
            Durability::One => usize::from(members > 1),
            Durability::Majority => members / 2,
        };
        let reply = WriteReply { heads: self.heads_of(&key), key, warnings: Vec::new(), changed: true };
        let decision = decision(token, request, &reply, said, rule);
        // Those who must uphold it hear of it first as what it is.
        let asked_to_uphold = self.upholders(rule, &BTreeSet::new());
        if let Some(uphold) = &decision {
            self.ask_to_uphold(uphold, asked_to_uphold);
        }
        let asked = if is_kept_back { 0 } else { self.push_to_store(said, token, needed) };
        if planted::is(Bug::AckBeforeDisk) && !leaves {
            return self.tell_outcome(now, to, Ok(reply));
        }
        // What was said in an earlier life is on disk already.
        let batch = if self.records_are_settled() { self.outbox.last_batch() } else { self.coming_batch() };
        // Nobody to ask: waiting would bring nothing.
        let given_up = asked < needed && asked == 0 && !leaves;
        let (stored_by, upheld_by, until) = (BTreeSet::new(), BTreeSet::new(), now.mono + UPHELD_WITHIN);
        let waits = (needed > 0 && !given_up) || decision.is_some();
        let write =
            PendingWrite { to, reply, batch, needed, asked, stored_by, given_up, rule, decision, upheld_by, until };
        self.durable.writes.insert(token, write);
        if waits {
            self.timers.set(Wait::Durable(token), now.mono + PEER_TIMEOUT);
        }
    }

    fn leaves_by(&self, to: &ReplyTo) -> bool {
        matches!(to, ReplyTo::Client(id) if self.leaving == Some(*id))
    }

    fn tell_outcome(&mut self, now: Now, to: ReplyTo, outcome: Result<WriteReply, WriteError>) {
        match to {
            ReplyTo::Client(id) => self.effects.push_back(Effect::Written(id, outcome)),
            ReplyTo::Rotation(id) => self.tell_rotated(id, outcome.map(|reply| reply.warnings)),
            ReplyTo::Admission(id, node) => self.tell_admitted(id, node, outcome),
            ReplyTo::Decision(origin) => {
                let name = outcome.as_ref().ok().map(|reply| reply.key.name_key());
                self.tell_verdict(now, origin, name, outcome.map_or_else(Verdict::Failed, Verdict::Done));
            }
        }
    }

    /// Who can be asked to uphold a decision and has not done it.
    fn upholders(&self, rule: Rule, have: &BTreeSet<NodeId>) -> Vec<NodeId> {
        match rule {
            Rule::Disks => Vec::new(),
            Rule::Next(next) => next.into_iter().filter(|next| !have.contains(next)).collect(),
            Rule::Voters(_) => self.other_voters().filter(|voter| !have.contains(voter)).collect(),
        }
    }

    fn ask_to_uphold(&mut self, decision: &Uphold, peers: Vec<NodeId>) {
        let frame = Frame::Uphold(Box::new(decision.clone()));
        peers.into_iter().for_each(|peer| self.send(peer, &frame, None));
    }

    /// A peer upholds a decision: it has it on its disk and knows of nothing that was decided apart from it.
    pub(super) fn upheld(&mut self, now: Now, from: NodeId, token: u64) {
        if let Some(write) = self.durable.writes.get_mut(&token) {
            write.upheld_by.insert(from);
            write.stored_by.insert(from);
            self.finish_writes(now);
        }
    }

    /// A peer knows of another decision that was made without this one, or of a later term.
    pub(super) fn overtaken(&mut self, now: Now, from: NodeId, token: u64) {
        let is_over = |write: &PendingWrite| write.rule == Rule::Next(Some(from));
        if self.durable.writes.get(&token).is_some_and(is_over) {
            self.give_decision_up(now, token);
        }
    }

    fn give_decision_up(&mut self, now: Now, token: u64) {
        self.timers.clear(&Wait::Durable(token));
        if let Some(write) = self.durable.writes.remove(&token) {
            let error = WriteError::Uncertain(write.reply.key.to_string());
            self.tell_outcome(now, write.to, Err(error));
        }
    }

    /// Somebody came or went: of a decision whose next decider is lost, the one after that must know.
    pub(super) fn upholders_changed(&mut self, now: Now) {
        let is_lost =
            |write: &PendingWrite| matches!(write.rule, Rule::Next(Some(next)) if !self.peers.alive.contains(&next));
        let lost: Vec<(u64, NameKey)> = self
            .durable
            .writes
            .iter()
            .filter(|(_, write)| is_lost(write))
            .map(|(token, write)| (*token, write.reply.key.name_key()))
            .collect();
        for (token, name) in lost {
            let me = self.me;
            let next = self.owners(&name).find(|node| *node != me);
            let Some(write) = self.durable.writes.get_mut(&token) else { continue };
            write.rule = Rule::Next(next);
            if let (Some(decision), Some(next)) = (write.decision.clone(), next) {
                self.ask_to_uphold(&decision, vec![next]);
            }
        }
        self.finish_writes(now);
    }

    /// This node does not lead in that term any more: of what its voters have not upheld nobody knows whether it stands.
    pub(super) fn leadership_lost(&mut self, now: Now) {
        let leadership = self.leadership();
        let term = leadership.term;
        let leads = leadership.mine;
        let is_lost = |write: &PendingWrite| matches!(write.rule, Rule::Voters(of) if !leads || of != term);
        let lost: Vec<u64> =
            self.durable.writes.iter().filter(|(_, write)| is_lost(write)).map(|(token, _)| *token).collect();
        lost.into_iter().for_each(|token| self.give_decision_up(now, token));
    }

    pub(super) fn stored(&mut self, now: Now, from: NodeId, token: u64) {
        if let Some(write) = self.durable.writes.get_mut(&token) {
            write.stored_by.insert(from);
            self.finish_writes(now);
        }
        self.may_be_heir(from, token);
    }

    pub(super) fn durable_late(&mut self, now: Now, token: u64) {
        if planted::is(Bug::UnboundedQueue) {
            return;
        }
        let Some(write) = self.durable.writes.get(&token) else { return };
        let leaves = self.leaves_by(&write.to);
        if leaves && self.tell_departure_again(token) {
            return self.timers.set(Wait::Durable(token), now.mono + PEER_TIMEOUT);
        }
        let Some(write) = self.durable.writes.get_mut(&token) else { return };
        write.given_up = true;
        let (rule, have, decision, until) = (write.rule, write.upheld_by.clone(), write.decision.clone(), write.until);
        self.finish_writes(now);
        if let Some(decision) = decision.filter(|_| self.durable.writes.contains_key(&token)) {
            if until <= now.mono {
                return self.give_decision_up(now, token);
            }
            let peers = self.upholders(rule, &have);
            self.ask_to_uphold(&decision, peers);
            self.timers.set(Wait::Durable(token), (now.mono + PEER_TIMEOUT).min(until));
        }
    }

    /// The disk refused what was to be in this batch and in those after it.
    pub(super) fn refuse_writes_since(&mut self, now: Now, batch: u64, reason: &str) {
        // A departure stands all the same: it is done when the disk takes it.
        let is_refused = |write: &PendingWrite| write.batch >= batch && !self.leaves_by(&write.to);
        let failed: Vec<u64> =
            self.durable.writes.iter().filter(|(_, write)| is_refused(write)).map(|(token, _)| *token).collect();
        for token in failed {
            if let Some(write) = self.durable.writes.remove(&token) {
                self.timers.clear(&Wait::Durable(token));
                self.tell_outcome(now, write.to, Err(WriteError::Disk(reason.to_owned())));
            }
        }
    }

    pub(super) fn finish_writes(&mut self, now: Now) {
        let on_disk = self.outbox.on_disk();
        let is_upheld = |write: &PendingWrite| match write.rule {
            Rule::Disks | Rule::Next(None) => true,
            Rule::Next(Some(next)) => write.upheld_by.contains(&next),
            Rule::Voters(_) => self.is_backed_by(&write.upheld_by, &write.reply.key),
        };
        let is_stored = |write: &PendingWrite| write.given_up || write.stored_by.len() >= write.needed;
        let done = |write: &PendingWrite| write.batch <= on_disk && is_stored(write) && is_upheld(write);
        let tokens: Vec<u64> =
            self.durable.writes.iter().filter(|(_, write)| done(write)).map(|(token, _)| *token).collect();
        for token in tokens {
            let Some(mut write) = self.durable.writes.remove(&token) else { continue };
            self.timers.clear(&Wait::Durable(token));
            if write.stored_by.len() < write.needed {
                write.reply.warnings.push(warning(&write));
            }
            match write.to {
                ReplyTo::Client(id) if self.leaving == Some(id) => self.effects.push_back(Effect::Left(id, Ok(()))),
                to => self.tell_outcome(now, to, Ok(write.reply)),
            }
        }
    }

    /// Tells the author of a push that its news is on this disk, once it is. What could not be applied is not promised.
    pub(super) fn owe_stored(&mut self, to: NodeId, token: u64, envelopes: &[Arc<Envelope>]) {
        if envelopes.is_empty() && !self.may_be_left_everything() {
            return;
        }
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

/// How a statement about members or secrets, which is no object, waits for disks: as any write does.
pub(super) fn statement_write(op: WriteOp) -> WriteRequest {
    WriteRequest {
        op,
        durability: Durability::One,
        user: String::new(),
        manager: String::new(),
        operation: Operation::Update,
        request_id: String::new(),
    }
}

/// What those are asked who must uphold a write.
fn decision(
    token: u64,
    request: &WriteRequest,
    reply: &WriteReply,
    said: &[Arc<Envelope>],
    rule: Rule,
) -> Option<Uphold> {
    let term = match rule {
        Rule::Disks => return None,
        Rule::Next(_) => None,
        Rule::Voters(term) => Some(term),
    };
    let ends = matches!(request.op, WriteOp::Delete { .. });
    let before = request.op.if_heads().map(<[WriteId]>::to_vec).unwrap_or_default();
    let heads = if ends { before } else { reply.heads.clone() };
    Some(Uphold { token, term, key: reply.key.clone(), heads, ends, envelopes: said.to_vec() })
}

fn warning(write: &PendingWrite) -> String {
    let (have, want) = (write.stored_by.len() + 1, write.needed + 1);
    let why = if write.asked == 0 { "no peer can be reached" } else { "no other peer answered within 500 ms" };
    format!("stored on {have} of {want} disks: {why}; the others will follow when they are back")
}
