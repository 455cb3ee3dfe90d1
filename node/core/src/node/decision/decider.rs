//! The peer that decides: an object's owner, or the quorate leader for Leases.
//!
//! An owner compares what the write depends on with what it has, writes, and says so once the peer that would be asked if it were
//! gone has upheld it. A leader asks a majority of the voters what they know of a name before its first decision on it in its
//! term, and says that something is decided once a majority has upheld it; a voter that took part in a later term does neither.
//! So each decision of a leader is built on all that were acknowledged before, and of what was not, the later term's holds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use skein_crdt_state::sealed::SealError;
use skein_crdt_state::{Envelope, Message, NameKey, ObjectKey, WriteId};
use skein_gossip::planted::{self, Bug};
use skein_gossip::{Instant, NodeId, Now, Offence};

use super::super::durability::{ReplyTo, Rule};
use super::super::spread::batches;
use super::super::token::is_fit_to_decide;
use super::super::{Effect, Frame, Node, Wait};
use super::{ASK_AGAIN, Ask, By, Origin, PATIENCE, Verdict, about_question, decided_by};
use crate::request::{WriteError, WriteOp, WriteReply, WriteRequest};

/// The most questions of peers that are remembered, so that one which is asked again gets the first answer.
const MAX_REMEMBERED: usize = 4096;
/// The most writes that wait until it is known what voters know of a name; one more is refused as busy.
const MAX_WAITING: usize = 256;
/// The most names that voters are asked about at once; a write of one more is refused as busy.
const MAX_RECALLS: usize = 4096;
/// The most names that a leader remembers to have asked about in its term; beyond that it asks anew.
const MAX_RECALLED: usize = 65_536;

/// What a decider keeps.
#[derive(Debug, Default)]
pub(super) struct Deciding {
    /// Questions of peers, oldest first, and their verdicts.
    answers: BTreeMap<(NodeId, u64), Option<Verdict>>,
    order: VecDeque<(NodeId, u64)>,
    /// The term for which the rest holds.
    term: u64,
    /// The names of which this leader knows all that was decided before its term.
    recalled: BTreeSet<NameKey>,
    recalls: BTreeMap<u64, Recall>,
}

/// A name that a leader asks voters about.
#[derive(Debug)]
struct Recall {
    name: NameKey,
    told: BTreeSet<NodeId>,
    waiting: Vec<(Origin, WriteRequest)>,
    until: Instant,
}

impl Node {
    /// A peer wants a write decided.
    pub(in super::super) fn asked_to_decide(&mut self, now: Now, from: NodeId, ask: Ask) {
        let Ask { token, request, known } = ask;
        let origin = Origin::Peer(from, token, known);
        let about = about_question(&self.config.cluster, &from, token);
        let request = match request.open_bytes(self.store.keyring(), &about) {
            Ok(bytes) => postcard::from_bytes::<WriteRequest>(&bytes).ok(),
            // Its key may be on its way; who asks does so again.
            Err(SealError::NoKey(_)) => return self.tell_verdict(now, origin, None, Verdict::NotMine),
            Err(_) => None,
        };
        let Some(request) = request else {
            let what = "a question that cannot be read".into();
            return self.effects.push_back(Effect::Offence { peer: from, offence: Offence::Unreadable, what });
        };
        if !is_fit_to_decide(&request.op) {
            let error = WriteError::Refused("of a join token peers decide that it was used, and nothing else".into());
            return self.tell_verdict(now, origin, request.op.name(), Verdict::Failed(error));
        }
        match self.decisions.decider.answers.get(&(from, token)) {
            Some(Some(verdict)) => {
                let verdict = verdict.clone();
                return self.tell_verdict(now, origin, request.op.name(), verdict);
            }
            Some(None) => return,
            None => {}
        }
        let deciding = &mut self.decisions.decider;
        deciding.answers.insert((from, token), None);
        deciding.order.push_back((from, token));
        while deciding.order.len() > MAX_REMEMBERED {
            if let Some(oldest) = deciding.order.pop_front() {
                deciding.answers.remove(&oldest);
            }
        }
        self.decide(now, origin, request);
    }

    /// Decides a write, if that is for this node to do.
    pub(super) fn decide(&mut self, now: Now, origin: Origin, request: WriteRequest) {
        let name = request.op.name();
        match (decided_by(&request.op), name) {
            (Some(By::Owner), Some(name)) => self.decide_as_owner(now, origin, &request, name),
            (Some(By::Leader), Some(name)) => self.decide_as_leader(now, origin, request, name),
            (_, name) => {
                let error = WriteError::Refused("a write that needs no decision was sent to be decided".into());
                self.tell_verdict(now, origin, name, Verdict::Failed(error));
            }
        }
    }

    fn decide_as_owner(&mut self, now: Now, origin: Origin, request: &WriteRequest, name: NameKey) {
        let mut owners = self.owners(&name);
        let (first, next) = (owners.next(), owners.next());
        drop(owners);
        let is_mine = first == Some(self.me);
        if !is_mine {
            return self.tell_verdict(now, origin, Some(name), Verdict::NotMine);
        }
        let depends = |key: &ObjectKey, heads: &Option<Vec<WriteId>>| {
            let heads = heads.as_deref().unwrap_or_default();
            (!self.store.is_over(key) && !self.store.has_changes(key, heads)).then(|| self.heads_of(key))
        };
        let lacks = match &request.op {
            WriteOp::Edit { key, if_heads, .. } | WriteOp::Delete { key, if_heads } => depends(key, if_heads),
            WriteOp::Create { .. } | WriteOp::Remove { .. } => None,
        };
        if let Some(heads) = lacks {
            return self.tell_verdict(now, origin, Some(name), Verdict::Behind(heads));
        }
        if self.gives_uses_back(&request.op) {
            let error = WriteError::Refused("a join token was used more often than this says".into());
            return self.tell_verdict(now, origin, Some(name), Verdict::Failed(error));
        }
        self.decide_now(now, origin, request, name, Rule::Next(next), 0);
    }

    fn decide_as_leader(&mut self, now: Now, origin: Origin, request: WriteRequest, name: NameKey) {
        let (mine, term) = (self.leadership().mine && self.leadership().quorate, self.leadership().term);
        if planted::is(Bug::LocksDecidedApart) {
            return self.decide_now(now, origin, &request, name, Rule::Disks, term);
        }
        if !mine {
            return self.tell_verdict(now, origin, Some(name), Verdict::NotMine);
        }
        if self.decisions.decider.term != term {
            self.forget_recalls(now);
            self.decisions.decider.term = term;
        }
        let is_known = self.decisions.decider.recalled.contains(&name) || planted::is(Bug::LeaseWithoutRecall);
        if is_known || self.is_backed_by(&BTreeSet::new(), &self.store.next_life(&name)) {
            return self.decide_now(now, origin, &request, name, Rule::Voters(term), term);
        }
        if let Some(recall) = self.decisions.decider.recalls.values_mut().find(|recall| recall.name == name) {
            if recall.waiting.len() < MAX_WAITING {
                return recall.waiting.push((origin, request));
            }
            return self.tell_verdict(now, origin, Some(name), Verdict::Failed(WriteError::Busy));
        }
        if self.decisions.decider.recalls.len() >= MAX_RECALLS {
            return self.tell_verdict(now, origin, Some(name), Verdict::Failed(WriteError::Busy));
        }
        let token = self.decisions.token();
        let (told, waiting, until) = (BTreeSet::new(), vec![(origin, request)], now.mono + PATIENCE);
        self.decisions.decider.recalls.insert(token, Recall { name, told, waiting, until });
        self.recall(now, token);
    }

    /// Asks voters what they know of a name, for the first time or again.
    pub(in super::super) fn recall(&mut self, now: Now, token: u64) {
        let Some(recall) = self.decisions.decider.recalls.get(&token) else { return };
        if recall.until <= now.mono {
            // Who waits has given up by now.
            self.decisions.decider.recalls.remove(&token);
            return;
        }
        let (name, term) = (recall.name.clone(), self.decisions.decider.term);
        let heads = self.heads_by_name(&name);
        let voters: Vec<NodeId> = self.other_voters().filter(|voter| !recall.told.contains(voter)).collect();
        for voter in voters {
            self.send(voter, &Frame::Recall { token, term, name: name.clone(), heads: heads.clone() }, None);
        }
        self.timers.set(Wait::Recall(token), now.mono + ASK_AGAIN);
    }

    /// A voter said what it knows of a name, and takes part in no earlier term any more.
    pub(in super::super) fn recalled(&mut self, now: Now, from: NodeId, token: u64, known: &[Arc<Envelope>]) {
        if !self.decisions.decider.recalls.contains_key(&token) {
            return;
        }
        self.pushed(now, from, known, None, &[]);
        if !self.store.includes(known) {
            return;
        }
        let Some(recall) = self.decisions.decider.recalls.get_mut(&token) else { return };
        recall.told.insert(from);
        let (told, life) = (recall.told.clone(), self.store.next_life(&recall.name));
        if !self.is_backed_by(&told, &life) {
            return;
        }
        self.timers.clear(&Wait::Recall(token));
        let Some(recall) = self.decisions.decider.recalls.remove(&token) else { return };
        if self.decisions.decider.recalled.len() >= MAX_RECALLED {
            self.decisions.decider.recalled.clear();
        }
        self.decisions.decider.recalled.insert(recall.name);
        for (origin, request) in recall.waiting {
            self.decide(now, origin, request);
        }
    }

    /// This node does not lead any more, or in another term: what it knew does not count, and who waits asks again.
    pub(in super::super) fn forget_recalls(&mut self, now: Now) {
        self.decisions.decider.recalled.clear();
        for (token, recall) in std::mem::take(&mut self.decisions.decider.recalls) {
            self.timers.clear(&Wait::Recall(token));
            for (origin, request) in recall.waiting {
                self.tell_verdict(now, origin, request.op.name(), Verdict::NotMine);
            }
        }
    }

    /// Whether these voters and this node are a majority. A node that may have forgotten what it knew of the object does not count.
    pub(in super::super) fn is_backed_by(&self, voters: &BTreeSet<NodeId>, key: &ObjectKey) -> bool {
        let record = self.election.record();
        let counts = !record.unseated && !self.store.has_lost_changes(key);
        let backers = voters.iter().chain(std::iter::once(&self.me).filter(|me| !voters.contains(*me) && counts));
        self.election.is_carried_by(backers)
    }

    /// The voters beside this node that have a link.
    pub(in super::super) fn other_voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        let voters = self.election.record().voters.weights.keys().copied();
        voters.filter(|voter| *voter != self.me && self.peers.linked.contains(voter))
    }

    fn decide_now(&mut self, now: Now, origin: Origin, request: &WriteRequest, name: NameKey, rule: Rule, term: u64) {
        let outcome = self.write_if_able(now, request, Some(term));
        match outcome {
            Ok((key, said)) if said.is_empty() => {
                let reply = WriteReply { heads: self.heads_of(&key), key, warnings: Vec::new(), changed: false };
                self.tell_verdict(now, origin, Some(name), Verdict::Done(reply));
            }
            Ok((key, said)) => self.await_durable(now, ReplyTo::Decision(origin), request, key, &said, rule),
            Err(error) => self.tell_verdict(now, origin, Some(name), Verdict::Failed(error)),
        }
    }

    /// Tells whoever asked, with what it lacks of the object.
    pub(in super::super) fn tell_verdict(&mut self, now: Now, origin: Origin, name: Option<NameKey>, verdict: Verdict) {
        let (peer, token, known) = match origin {
            Origin::Here(token) => return self.hear_verdict(now, token, self.me, verdict),
            Origin::Peer(peer, token, known) => (peer, token, known),
        };
        // Who is told to ask somebody else, or to say more, may ask here again.
        match &verdict {
            Verdict::NotMine | Verdict::Behind(_) => drop(self.decisions.decider.answers.remove(&(peer, token))),
            Verdict::Done(_) | Verdict::Failed(_) => {
                if let Some(answer) = self.decisions.decider.answers.get_mut(&(peer, token)) {
                    *answer = Some(verdict.clone());
                }
            }
        }
        let tells = matches!(verdict, Verdict::Done(_) | Verdict::Failed(_));
        let news = name.filter(|_| tells).map(|name| self.store.all_since(&name, &known)).unwrap_or_default();
        let mut news = batches(news);
        let last = news.pop().unwrap_or_default();
        for envelopes in news {
            self.send(peer, &Frame::Push { envelopes, token: None, pass_to: Vec::new() }, None);
        }
        self.send(peer, &Frame::Decided { token, verdict, news: last }, None);
    }

    /// Writes, marked as a decision if it is one, unless this node cannot write now.
    pub(in super::super) fn write_if_able(
        &mut self,
        now: Now,
        request: &WriteRequest,
        decided: Option<u64>,
    ) -> super::super::durability::Written {
        if self.durable.is_full() {
            return Err(WriteError::Busy);
        }
        if let Some(reason) = self.outbox.refusal() {
            return Err(WriteError::Disk(reason.to_owned()));
        }
        // What is written now no peer has yet.
        self.inheritance.begin_anew();
        let (manager, user, operation) = (request.manager.as_str(), request.user.as_str(), request.operation);
        let message = Message { manager, user, operation, decided }.to_string();
        match &request.op {
            WriteOp::Create { name, edits } => self.create(now, name, edits, &message),
            WriteOp::Edit { key, edits, if_heads } => self.edit(now, key, edits, if_heads.as_deref(), &message),
            WriteOp::Delete { key, if_heads } => self.delete(now, key, if_heads.as_deref()),
            WriteOp::Remove { node } => self.remove(now, *node),
        }
    }
}
