//! Writes that depend on what their author saw are decided by one peer, so that of two that saw the same only one is taken. This is
//! the side of the peer that a client asked: whom it asks in turn, how long it waits, and what it makes of the verdict.
//!
//! An object's *owner* decides: the first peer alive in an order that follows from the object's name. Apart from each other, two
//! components have an owner each. A Lease, which clients use as a lock, is decided by the quorate leader or by nobody. What either
//! does lives in `decider`, what the others are asked to uphold in `upholder`, what is compared before the voters change in `comparison`. Writes without condition need none of this: they
//! merge.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use skein_crdt_state::{ClusterId, Envelope, EpochId, Keyring, NameKey, Sealed, WriteId};
use skein_gossip::planted::{self, Bug};
use skein_gossip::{Instant, NodeId, Now};

use super::spread::batches;
use super::{Effect, Frame, Node, Wait};
use crate::request::{RequestId, WriteError, WriteOp, WriteReply, WriteRequest};
use crate::status::NodeStatus;

mod comparison;
mod decider;
mod upholder;

pub(crate) use upholder::Uphold;

/// The kind that is decided by a quorate leader alone.
const LEASE_KIND: &str = "Lease.coordination.k8s.io";
/// The most writes of clients of this node that wait for a verdict; one more is refused as busy.
const MAX_ASKED: usize = 4096;
/// How long a client waits for a verdict. The failure detector gives a lost peer up, and another leads, in less than half of it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon a decider that has not answered is asked again: frames get lost.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How soon one is asked again that does not see itself as the decider yet.
const SEE_AGAIN: Duration = Duration::from_millis(150);

/// Who decides a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The first peer alive in the order of the object's name.
    Owner,
    /// The quorate leader.
    Leader,
}

/// "Decide this."
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ask {
    /// Names the question among all that its author asks.
    token: u64,
    /// What is to be written, a [`WriteRequest`]: it may hold values that stand in clear nowhere.
    request: Sealed,
    /// What the author has of the object, so that it can be told the rest.
    known: Vec<WriteId>,
}

impl Ask {
    /// A question of a node, sealed for that node alone. `None`: the epoch's key is not here.
    pub(super) fn sealed(
        (keyring, epoch): (&Keyring, EpochId),
        (cluster, author): (&ClusterId, &NodeId),
        token: u64,
        request: &[u8],
        known: Vec<WriteId>,
    ) -> Option<Self> {
        let request = Sealed::seal_bytes(keyring, epoch, &about_question(cluster, author, token), request)?;
        Some(Ask { token, request, known })
    }
}

/// What a question is sealed for.
fn about_question(cluster: &ClusterId, author: &NodeId, token: u64) -> Vec<u8> {
    [&b"decide\0"[..], &cluster.0, &author.0, &token.to_be_bytes()].concat()
}

/// What became of a write that was to be decided.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Verdict {
    /// It is done.
    Done(WriteReply),
    /// It is not done, or may not be.
    Failed(WriteError),
    /// Somebody else decides it.
    NotMine,
    /// It depends on changes that are not known here; these are.
    Behind(Vec<WriteId>),
}

/// Whom a verdict is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// A client of this node: its question's token.
    Here(u64),
    /// A peer, its question's token, and what it has of the object.
    Peer(NodeId, u64, Vec<WriteId>),
}

/// Questions and verdicts on their way.
#[derive(Debug, Default)]
pub(crate) struct Decisions {
    asked: BTreeMap<u64, Asked>,
    next_token: u64,
    decider: decider::Deciding,
    /// What this leader knows itself, for the set that it is about to change.
    own: Option<comparison::Own>,
    /// A hash of all that is wanted, and of what is known of Leases then.
    known_of_leases: Option<([u8; 32], [u8; 32])>,
    /// What clients are told once what became different has been shown.
    concluded: Vec<(RequestId, Result<WriteReply, WriteError>)>,
}

impl Decisions {
    /// Nothing is on its way. `first_token` is drawn at each start, so that no peer takes a question for one of an earlier start.
    pub(super) fn new(first_token: u64) -> Self {
        Decisions { next_token: first_token, ..Decisions::default() }
    }

    fn token(&mut self) -> u64 {
        self.next_token = self.next_token.wrapping_add(1);
        self.next_token
    }
}

/// A client's write that waits for a verdict.
#[derive(Debug)]
struct Asked {
    id: RequestId,
    request: WriteRequest,
    by: By,
    /// Who may be about to answer.
    at: Option<NodeId>,
    /// Everybody who was asked.
    ever: BTreeSet<NodeId>,
    /// One of them may have done it and not been able to say so.
    may_be_done: bool,
    /// What it lacked was pushed to the decider already.
    pushed: bool,
    until: Instant,
}

/// Who decides a write, if it needs a decision.
pub(super) fn decided_by(op: &WriteOp) -> Option<By> {
    match op.name()?.kind().as_str() {
        LEASE_KIND => Some(By::Leader),
        _ => op.if_heads().map(|_| By::Owner),
    }
}

impl Node {
    /// Takes a client's write that needs a decision.
    pub(super) fn ask_decider(&mut self, now: Now, id: RequestId, request: WriteRequest, by: By) {
        if self.decisions.asked.len() >= MAX_ASKED {
            return self.effects.push_back(Effect::Written(id, Err(WriteError::Busy)));
        }
        let token = self.decisions.token();
        let (ever, until) = (BTreeSet::new(), now.mono + PATIENCE);
        let asked = Asked { id, request, by, at: None, ever, may_be_done: false, pushed: false, until };
        self.decisions.asked.insert(token, asked);
        self.consult(now, token);
    }

    /// A question's time has come: ask again, or give up.
    pub(super) fn consult(&mut self, now: Now, token: u64) {
        let Some(asked) = self.decisions.asked.get(&token) else { return };
        if asked.until <= now.mono {
            return self.give_question_up(token);
        }
        self.timers.set(Wait::Decision(token), (now.mono + ASK_AGAIN).min(asked.until));
        let (by, before) = (asked.by, asked.at);
        let Some(name) = asked.request.op.name() else { return };
        let Some(decider) = self.decider(by, &name) else { return };
        if before.is_some() && before == Some(self.me) && decider == self.me {
            return;
        }
        if decider != self.me && !self.peers.linked.contains(&decider) {
            return;
        }
        let known = self.heads_by_name(&name);
        let Some(asked) = self.decisions.asked.get_mut(&token) else { return };
        asked.may_be_done |= before.is_some_and(|before| before != decider);
        asked.at = Some(decider);
        asked.ever.insert(decider);
        let request = asked.request.clone();
        if decider == self.me {
            return self.decide(now, Origin::Here(token), request);
        }
        // Serialising into memory fails for no request.
        let request = postcard::to_stdvec(&request).unwrap_or_default();
        let keys = (self.store.keyring(), self.store.current_epoch());
        let Some(ask) = Ask::sealed(keys, (&self.config.cluster, &self.me), token, &request, known) else { return };
        self.send(decider, &Frame::Decide(Box::new(ask)), None);
    }

    /// A verdict of a peer's, with what this node may lack of the object.
    pub(super) fn decided(&mut self, now: Now, from: NodeId, token: u64, verdict: Verdict, news: &[Arc<Envelope>]) {
        if !self.decisions.asked.get(&token).is_some_and(|asked| asked.ever.contains(&from)) {
            return;
        }
        self.pushed(now, from, news, None, &[]);
        self.hear_verdict(now, token, from, verdict);
    }

    pub(super) fn hear_verdict(&mut self, now: Now, token: u64, from: NodeId, verdict: Verdict) {
        let Some(asked) = self.decisions.asked.get_mut(&token) else { return };
        match verdict {
            Verdict::Done(reply) => self.conclude(token, Ok(reply)),
            Verdict::Failed(WriteError::Conflict(key) | WriteError::AlreadyExists(key) | WriteError::NotFound(key))
                if asked.may_be_done =>
            {
                self.conclude(token, Err(WriteError::Uncertain(key.to_string())));
            }
            Verdict::Failed(error) => self.conclude(token, Err(error)),
            _ if asked.at != Some(from) => {}
            Verdict::NotMine => {
                asked.at = None;
                self.timers.set(Wait::Decision(token), now.mono + SEE_AGAIN);
            }
            Verdict::Behind(heads) => {
                asked.at = None;
                let first = !std::mem::replace(&mut asked.pushed, true);
                let name = asked.request.op.name();
                let news = name.map(|name| self.store.all_since(&name, &heads)).unwrap_or_default();
                for envelopes in batches(news) {
                    self.send(from, &Frame::Push { envelopes, token: None, pass_to: Vec::new() }, None);
                }
                let again = if first { now.mono } else { now.mono + SEE_AGAIN };
                self.timers.set(Wait::Decision(token), again);
            }
        }
    }

    /// Somebody came or went, or leads: whoever waits for a peer that will not answer asks the next.
    pub(super) fn deciders_changed(&mut self, now: Now) {
        let waiting: Vec<(u64, By, Option<NameKey>, Option<NodeId>)> = self
            .decisions
            .asked
            .iter()
            .map(|(token, asked)| (*token, asked.by, asked.request.op.name(), asked.at))
            .collect();
        for (token, by, name, at) in waiting {
            let is_lost = at.is_none_or(|at| !self.peers.alive.contains(&at));
            let decider = name.and_then(|name| self.decider(by, &name));
            // A leader that was followed by another may have done what it was asked before, and says so if it can.
            if decider.is_some() && decider != at && (is_lost || by == By::Leader) {
                self.consult(now, token);
            }
        }
    }

    /// The link to a peer is gone, and with it perhaps what it answered.
    pub(super) fn decider_unlinked(&mut self, peer: NodeId) {
        for asked in self.decisions.asked.values_mut().filter(|asked| asked.at == Some(peer)) {
            (asked.at, asked.may_be_done) = (None, true);
        }
    }

    /// Who decides what is written under this name, as far as this node knows.
    fn decider(&self, by: By, name: &NameKey) -> Option<NodeId> {
        match by {
            _ if planted::is(Bug::LocksDecidedApart) => Some(self.me),
            By::Owner => self.owners(name).next(),
            By::Leader => self.leadership().leader.filter(|_| self.leadership().quorate),
        }
    }

    /// The peers alive that take writes and are no observers, in the order of a name. Every node with the same view computes the same (rendezvous
    /// hashing).
    pub(super) fn owners(&self, name: &NameKey) -> impl Iterator<Item = NodeId> + '_ {
        let text = name.life(1).to_string();
        let place = |node: &NodeId| {
            let digest = Sha256::new().chain_update(b"skein owner").chain_update(&text).chain_update(node.0).finalize();
            <[u8; 32]>::from(digest)
        };
        let members = self.store.members();
        let mut order: Vec<NodeId> = self
            .peers
            .alive
            .iter()
            .copied()
            .filter(|node| members.is_active(node) && !members.is_observer(node))
            .collect();
        order.sort_by_cached_key(place);
        order.into_iter().filter(|node| self.takes_writes(node))
    }

    /// Whether a node has not said that its disk refuses what is to be written.
    fn takes_writes(&self, node: &NodeId) -> bool {
        let report = self.store.report(node, "node");
        report
            .and_then(|report| postcard::from_bytes::<NodeStatus>(&report.body).ok())
            .is_none_or(|status| status.disk.is_empty())
    }

    fn heads_by_name(&self, name: &NameKey) -> Vec<WriteId> {
        self.store.current_life(name).map(|key| self.heads_of(&key)).unwrap_or_default()
    }

    fn give_question_up(&mut self, token: u64) {
        let Some(asked) = self.decisions.asked.get(&token) else { return };
        let what = asked.request.op.name().map(|name| name.life(1).to_string()).unwrap_or_default();
        let error = if asked.may_be_done || asked.at.is_some() {
            WriteError::Uncertain(what)
        } else {
            WriteError::Undecided(match asked.by {
                By::Leader => "a Lease is written by a leader that more than half of the voters back, and there is none here now; nothing was changed".into(),
                By::Owner => format!("{what}: the peer that decides about it cannot be reached from here; nothing was changed. Ask another peer, or write without a resourceVersion"),
            })
        };
        self.conclude(token, Err(error));
    }

    fn conclude(&mut self, token: u64, outcome: Result<WriteReply, WriteError>) {
        self.timers.clear(&Wait::Decision(token));
        if let Some(asked) = self.decisions.asked.remove(&token) {
            self.decisions.concluded.push((asked.id, outcome));
        }
    }

    /// Tells clients what became of their writes. A verdict may come with the change itself, and whoever is told of a write must
    /// find it.
    pub(super) fn tell_conclusions(&mut self) {
        let concluded = self.decisions.concluded.drain(..);
        self.effects.extend(concluded.map(|(id, outcome)| Effect::Written(id, outcome)));
    }
}
