//! The slots: which pod of a slot stays after partitions, and that one serves at every moment meanwhile. The judgement is
//! the product's own (`skein_core::agent::judge`, and with it `skein_core::slot::winner`); around it are modelled the writes
//! of leaders, what each node knows of them and of the others' reports, and the pods.
//!
//! A node judges as soon as it learns something, as the agent does. What it learns, from whom and in which order, is open.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use skein_core::agent::SlotFacts;
use skein_core::agent::judge::{Ours, judge};
use skein_core::model::pod::PodSpecError;
use skein_core::slot::{Displaced, Placement, SLOT_KIND, Value, pod_uid, winner};
use skein_core::status::Claim;
use skein_crdt_state::{ClusterId, Hlc, Kind, ObjectKey, WriteId};
use skein_gossip::NodeId;

use super::checker::Model;

mod tests;

/// How many nodes there are.
const NODES: usize = 3;
/// The most values that are written.
const MAX_WRITES: usize = 4;
const CLUSTER: ClusterId = ClusterId([9; 16]);

/// A rule that is made weaker, to see that it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weaker {
    /// A pod that is not wanted stops although the one that is wanted is not ready yet.
    StopsAtOnce,
    /// Of several values the one with the greatest stamp wins. None names whom it displaces, so nobody claims.
    GreatestStamp,
    /// Each node wants the pod that is ready as far as it knows, its own first.
    MostReady,
    /// What a node heard of another's pods before the two were cut apart counts again as soon as they are not.
    BelievesOldReports,
    /// A slot is emptied before the node that fills it fills it again.
    Empties,
}

/// The model's scope, and the weaker rule if there is one.
pub(super) struct Slots {
    /// Whether the slot has a pod at the start, ready at A, that all know of.
    pub(super) placed: bool,
    /// The most values written, the first included.
    pub(super) writes: usize,
    /// How often the network changes before it is whole for good.
    pub(super) cuts: u8,
    /// How often a probe fails before that.
    pub(super) failures: u8,
    /// How often a daemon is restarted, before or after.
    pub(super) restarts: u8,
    pub(super) weaker: Option<Weaker>,
    slot: ObjectKey,
    uids: [Arc<str>; MAX_WRITES],
    judged: RefCell<BTreeMap<Case, Verdict>>,
}

/// What a leader wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Write {
    /// Where the pod runs; `None`: the slot was emptied.
    node: Option<u8>,
    /// The node and the value that it displaces.
    displaces: Option<(u8, u8)>,
    /// The writes that its author knew, and so replaced.
    seen: u8,
    /// Its place in the order of stamps. It is greater than those of all that its author knew; otherwise clocks differ.
    stamp: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Pod {
    None,
    /// Taken on, without containers yet.
    Waiting,
    /// Its containers run.
    Started,
    Ready,
    Stopping,
}

/// What a node last heard from another: which of its pods are ready, and which values it contests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
struct Heard {
    ready: u8,
    claims: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Node {
    /// The writes that it knows.
    known: u8,
    /// Its pods, by the write that placed them.
    pods: [Pod; MAX_WRITES],
    /// The writes that it contests.
    claims: u8,
    heard: [Heard; NODES],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct State {
    writes: [Option<Write>; MAX_WRITES],
    nodes: [Node; NODES],
    /// The component that each node is in.
    sides: [u8; NODES],
    cuts: u8,
    failures: u8,
    restarts: u8,
    /// Whether the network is whole for good; then, whether a pod was ready at that moment.
    healed: Option<bool>,
}

/// All that one judgement depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    me: usize,
    writes: [Option<Write>; MAX_WRITES],
    node: Node,
    /// The values that are ready at nodes which are alive.
    ready: u8,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
struct Verdict {
    start: Option<usize>,
    stop: u8,
    claims: u8,
}

/// One thing that may happen.
#[derive(Debug)]
pub(super) enum Step {
    Cut([u8; NODES]),
    Heal,
    Writes { node: usize, write: usize, what: Write, refill: bool },
    Learns { node: usize, write: usize },
    HearsPods { node: usize, of: usize },
    HearsClaims { node: usize, of: usize },
    Starts { node: usize, write: usize },
    Ready { node: usize, write: usize },
    Gone { node: usize, write: usize },
    Fails { node: usize, write: usize },
    Restarts { node: usize },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Cut(sides) => write!(f, "the network becomes {}", told(sides)),
            Step::Heal => write!(f, "the network becomes whole for good"),
            Step::Writes { node, write, what, refill } => {
                let place = what.node.map_or("nowhere".into(), |n| format!("at {}", name(n.into())));
                let why = if *refill { "leads and refills the slot" } else { "leads and fills the slot" };
                let whom =
                    what.displaces.map_or(String::new(), |(n, w)| format!(", in place of {w} at {}", name(n.into())));
                write!(f, "{} {why}: pod {write} {place}{whom} (stamp {})", name(*node), what.stamp)
            }
            Step::Learns { node, write } => write!(f, "{} learns of pod {write}", name(*node)),
            Step::HearsPods { node, of } => write!(f, "{} hears how the pods of {} are", name(*node), name(*of)),
            Step::HearsClaims { node, of } => write!(f, "{} hears what {} claims", name(*node), name(*of)),
            Step::Starts { node, write } => write!(f, "pod {write} starts at {}", name(*node)),
            Step::Ready { node, write } => write!(f, "pod {write} is ready at {}", name(*node)),
            Step::Gone { node, write } => write!(f, "pod {write} is gone at {}", name(*node)),
            Step::Fails { node, write } => write!(f, "pod {write} at {} is not ready any more", name(*node)),
            Step::Restarts { node } => write!(f, "the daemon of {} is restarted", name(*node)),
        }
    }
}

impl Model for Slots {
    type State = State;
    type Step = Step;

    fn starts(&self) -> Vec<State> {
        let mut node = Node { known: 0, pods: [Pod::None; MAX_WRITES], claims: 0, heard: [Heard::default(); NODES] };
        let mut writes = [None; MAX_WRITES];
        if self.placed {
            writes[0] = Some(Write { node: Some(0), displaces: None, seen: 0, stamp: 0 });
            node.known = 1;
        }
        let mut nodes = [node; NODES];
        if self.placed {
            nodes[0].pods[0] = Pod::Ready;
            nodes[1..].iter_mut().for_each(|node| node.heard[0].ready = 1);
        }
        vec![State { writes, nodes, sides: [0; NODES], cuts: 0, failures: 0, restarts: 0, healed: None }]
    }

    fn steps(&self, state: &State, into: &mut Vec<(Step, State)>) {
        self.network(state, into);
        for node in 0..NODES {
            self.learns(state, node, into);
            self.pods(state, node, into);
            self.leads(state, node, into);
            if state.restarts < self.restarts {
                let mut then = *state;
                then.restarts += 1;
                // Its own reports, and so its claims, are on its disk; those of others are not.
                then.nodes[node].heard = [Heard::default(); NODES];
                into.push((Step::Restarts { node }, then));
            }
        }
        for (_, then) in into.iter_mut() {
            (0..NODES).for_each(|node| self.settle(then, node));
        }
    }

    fn canonical(&self, mut state: State) -> State {
        // Nothing depends on what a node hears that has no pod and gets none.
        let full = state.writes.iter().flatten().count() >= self.writes;
        for n in 0..NODES {
            let placed = state.writes.iter().flatten().any(|write| usize::from(write.node.unwrap_or(u8::MAX)) == n);
            if full && !placed && state.nodes[n].pods == [Pod::None; MAX_WRITES] {
                state.nodes[n].heard = std::array::from_fn(|of| Heard {
                    ready: if of == n { 0 } else { ready_pods(&state.nodes[of]) },
                    claims: if of == n { 0 } else { state.nodes[of].claims },
                });
            }
        }
        state
    }

    fn broken(&self, state: &State) -> Option<String> {
        (state.healed == Some(true) && !is_served(state)).then(|| {
            "the slot had a ready pod when the network became whole, nothing failed since, and it has none".into()
        })
    }

    fn is_own(&self, step: &Step) -> bool {
        !matches!(step, Step::Cut(_) | Step::Heal | Step::Fails { .. } | Step::Restarts { .. })
    }

    fn unsettled(&self, state: &State) -> Option<String> {
        state.healed?;
        let pods = state.nodes.iter().flat_map(|node| &node.pods).filter(|pod| **pod != Pod::None);
        let all: Vec<Pod> = pods.copied().collect();
        // No value is left to fill it with, or none was ever written.
        let waits = self.wanted(state, 0).is_none();
        (all != [Pod::Ready] && !(waits && all.is_empty()))
            .then(|| format!("nothing is left to happen, and these pods are there: {all:?}"))
    }
}

impl Slots {
    /// A model of this scope.
    pub(super) fn new(placed: bool, writes: usize, cuts: u8, failures: u8, restarts: u8) -> Self {
        let set = ObjectKey::root(&Kind::new("Namespace"), "shop", 1).child(&Kind::new("ReplicaSet.apps"), "web", 1);
        let slot = set.child(&Kind::new(SLOT_KIND), "0", 1);
        let uids = std::array::from_fn(|n| pod_uid(&CLUSTER, &slot, &write_id(n)).into());
        let judged = RefCell::default();
        Slots { placed, writes, cuts, failures, restarts, weaker: None, slot, uids, judged }
    }

    fn network(&self, state: &State, into: &mut Vec<(Step, State)>) {
        if state.healed.is_some() {
            return;
        }
        if state.cuts < self.cuts {
            for sides in [[0, 0, 0], [0, 1, 1], [0, 1, 0], [0, 0, 1], [0, 1, 2]] {
                if sides != state.sides {
                    let mut then = State { sides, cuts: state.cuts + 1, ..*state };
                    self.forget_old_reports(&mut then);
                    into.push((Step::Cut(sides), then));
                }
            }
        }
        if state.sides == [0; NODES] && self.cuts > 0 {
            return;
        }
        let healed = Some(is_served(state));
        into.push((Step::Heal, State { sides: [0; NODES], healed, ..*state }));
    }

    /// Whether a pod is ready counts only if its node has said so since it was last out of reach.
    fn forget_old_reports(&self, state: &mut State) {
        let sides = state.sides;
        for (n, node) in state.nodes.iter_mut().enumerate().filter(|_| self.weaker != Some(Weaker::BelievesOldReports))
        {
            let apart = node.heard.iter_mut().zip(sides).filter(|(_, side)| *side != sides[n]);
            apart.for_each(|(heard, _)| heard.ready = 0);
        }
    }

    fn learns(&self, state: &State, node: usize, into: &mut Vec<(Step, State)>) {
        let me = &state.nodes[node];
        for other in (0..NODES).filter(|other| *other != node && state.sides[*other] == state.sides[node]) {
            let theirs = &state.nodes[other];
            for write in (0..MAX_WRITES).filter(|w| has(theirs.known, *w) && !has(me.known, *w)) {
                // A change is applied after those that it builds on.
                if state.writes[write].is_some_and(|w| w.seen & !me.known == 0) {
                    let mut then = *state;
                    then.nodes[node].known |= 1 << write;
                    into.push((Step::Learns { node, write }, then));
                }
            }
            let ready = ready_pods(theirs);
            if me.heard[other].ready != ready {
                let mut then = *state;
                then.nodes[node].heard[other].ready = ready;
                into.push((Step::HearsPods { node, of: other }, then));
            }
            if me.heard[other].claims != theirs.claims {
                let mut then = *state;
                then.nodes[node].heard[other].claims = theirs.claims;
                into.push((Step::HearsClaims { node, of: other }, then));
            }
        }
    }

    fn pods(&self, state: &State, node: usize, into: &mut Vec<(Step, State)>) {
        for write in 0..MAX_WRITES {
            let (pod, step) = match state.nodes[node].pods[write] {
                Pod::None => continue,
                Pod::Waiting => (Pod::Started, Step::Starts { node, write }),
                Pod::Started => (Pod::Ready, Step::Ready { node, write }),
                Pod::Ready if state.sides != [0; NODES] && state.failures < self.failures => {
                    (Pod::Started, Step::Fails { node, write })
                }
                Pod::Ready => continue,
                Pod::Stopping => (Pod::None, Step::Gone { node, write }),
            };
            let mut then = *state;
            then.nodes[node].pods[write] = pod;
            if matches!(step, Step::Fails { .. }) {
                then.failures += 1;
                serves_no_more(&mut then, node, write);
            }
            into.push((step, then));
        }
    }

    /// Any node may lead its component, several may at once, and each goes by what it knows itself.
    fn leads(&self, state: &State, node: usize, into: &mut Vec<(Step, State)>) {
        let count = state.writes.iter().flatten().count();
        if count >= self.writes {
            return;
        }
        let won = self.wanted(state, node);
        let values = current(state, state.nodes[node].known);
        let sole = values.first().filter(|_| values.len() == 1).and_then(|n| state.writes[*n]);
        let (displaces, refill) = match won {
            Some((on, write)) if state.sides[on] != state.sides[node] => (Some((on as u8, write as u8)), true),
            Some(_) => return,
            None => (None, false),
        };
        let avoid = won.map(|(on, _)| on);
        for to in (0..NODES).filter(|to| state.sides[*to] == state.sides[node] && Some(*to) != avoid) {
            // A pod is a value, so the same again is written as another value.
            let again = sole.filter(|sole| (sole.node, sole.displaces) == (Some(to as u8), displaces));
            if again.is_some() && self.weaker == Some(Weaker::Empties) {
                self.write(state, node, None, displaces, refill, into);
            } else {
                self.write(state, node, Some(to as u8), displaces, refill, into);
            }
        }
    }

    fn write(
        &self,
        state: &State,
        author: usize,
        node: Option<u8>,
        displaces: Option<(u8, u8)>,
        refill: bool,
        into: &mut Vec<(Step, State)>,
    ) {
        let Some(write) = state.writes.iter().position(Option::is_none) else { return };
        let seen = state.nodes[author].known;
        let after = (0..write).filter(|n| has(seen, *n)).filter_map(|n| state.writes[n]).map(|w| w.stamp + 1);
        for stamp in after.max().unwrap_or(0)..=write as u8 {
            let mut then = *state;
            then.writes.iter_mut().flatten().filter(|w| w.stamp >= stamp).for_each(|w| w.stamp += 1);
            let what = Write { node, displaces, seen, stamp };
            then.writes[write] = Some(what);
            then.nodes[author].known |= 1 << write;
            into.push((Step::Writes { node: author, write, what, refill }, then));
        }
    }

    /// The pod that a node takes for the one that is wanted: where it runs and the write that placed it.
    fn wanted(&self, state: &State, node: usize) -> Option<(usize, usize)> {
        let case = case(state, node);
        let facts = self.facts(&case);
        let own = self.claims(&case, case.node.claims).into_iter().map(|claim| (node_id(node), claim));
        let claims: Vec<(NodeId, Claim)> = facts.claims.iter().cloned().chain(own).collect();
        let won = winner(&facts.values, &claims)?;
        Some((won.node.0[0].into(), won.write.0[0].into()))
    }

    /// Judges until nothing changes any more.
    fn settle(&self, state: &mut State, node: usize) {
        loop {
            let case = case(state, node);
            let verdict = *self.judged.borrow_mut().entry(case).or_insert_with(|| self.judge(&case));
            let me = &mut state.nodes[node];
            me.claims = verdict.claims;
            for write in (0..MAX_WRITES).filter(|write| has(verdict.stop, *write)) {
                me.pods[write] = match me.pods[write] {
                    Pod::None | Pod::Waiting => Pod::None,
                    Pod::Started | Pod::Ready | Pod::Stopping => Pod::Stopping,
                };
            }
            if let Some(write) = verdict.start {
                me.pods[write] = Pod::Waiting;
            }
            let unchanged = *me == case.node;
            for write in (0..MAX_WRITES).filter(|write| has(verdict.stop, *write)) {
                serves_no_more(state, node, write);
            }
            if unchanged {
                return;
            }
        }
    }

    fn judge(&self, case: &Case) -> Verdict {
        let facts = self.facts(case);
        let is_there = |write: &usize| case.node.pods[*write] != Pod::None;
        let ours: Vec<Ours> = (0..MAX_WRITES).filter(is_there).map(|write| self.ours(case, write)).collect();
        let before = self.claims(case, case.node.claims);
        let judgement = judge(&node_id(case.me), &CLUSTER, Some(&facts), &ours, &before);
        let mut stop = mask((0..MAX_WRITES).filter(|write| judgement.stop.contains(&self.uids[*write])));
        if self.weaker == Some(Weaker::StopsAtOnce) {
            let own = judgement.claims.iter().map(|claim| (node_id(case.me), claim.clone()));
            let claims: Vec<(NodeId, Claim)> = facts.claims.iter().cloned().chain(own).collect();
            let won = winner(&facts.values, &claims).filter(|won| won.node == node_id(case.me));
            let stays = |write: &usize| won.is_some_and(|won| won.write == write_id(*write));
            stop |= mask((0..MAX_WRITES).filter(is_there).filter(|write| !stays(write)));
        }
        Verdict {
            start: judgement.start.map(|write| write.0[0].into()),
            stop,
            claims: mask(judgement.claims.iter().map(|claim| claim.against.0[0].into())),
        }
    }

    fn facts(&self, case: &Case) -> SlotFacts {
        let values = (0..MAX_WRITES).filter_map(|n| {
            let write = case.writes[n]?;
            let displaces = write.displaces.filter(|_| self.weaker != Some(Weaker::GreatestStamp));
            let displaces = displaces.map(|(n, w)| Displaced { node: node_id(n.into()), write: write_id(w.into()) });
            let node = write.node.map(|n| node_id(n.into()));
            let placement = Placement { node, displaces, again: false };
            let stamp = Hlc(self.stamp(case, n, &write).into());
            Some(Value { write: write_id(n), stamp, placement })
        });
        let claims = (0..NODES).filter(|n| *n != case.me).flat_map(|n| {
            let claims = self.claims(case, case.node.heard[n].claims);
            claims.into_iter().map(move |claim| (node_id(n), claim))
        });
        SlotFacts {
            sources: Default::default(),
            added: Default::default(),
            slot: self.slot.clone(),
            live: true,
            values: values.collect(),
            claims: claims.collect(),
            ready: (0..MAX_WRITES).filter(|n| has(case.ready, *n)).map(write_id).collect(),
            template: Err(PodSpecError("no part of the model".into())),
        }
    }

    /// By what values are ordered, the least first.
    fn stamp(&self, case: &Case, n: usize, write: &Write) -> u8 {
        match self.weaker {
            Some(Weaker::GreatestStamp) => MAX_WRITES as u8 - write.stamp,
            Some(Weaker::MostReady) => {
                let own = case.node.pods[n] == Pod::Ready;
                let before = if own {
                    0
                } else if has(case.ready, n) {
                    1
                } else {
                    2
                };
                before * 16 + write.stamp
            }
            _ => write.stamp,
        }
    }

    fn claims(&self, case: &Case, against: u8) -> BTreeSet<Claim> {
        let all = (0..MAX_WRITES).filter(|n| has(against, *n));
        let claim = |n: usize| {
            let (_, kept) = case.writes[n]?.displaces?;
            Some(Claim { slot: self.slot.clone(), against: write_id(n), kept: write_id(kept.into()) })
        };
        all.filter_map(claim).collect()
    }

    fn ours(&self, case: &Case, write: usize) -> Ours {
        let pod = case.node.pods[write];
        Ours {
            uid: self.uids[write].clone(),
            started: pod != Pod::Waiting,
            ready: pod == Pod::Ready,
            stopping: pod == Pod::Stopping,
        }
    }
}

/// A pod fails or is stopped. Whoever is in reach hears of it at once: a pod that ends while its last report is on the way is
/// not to be told from one that ends a moment later.
fn serves_no_more(state: &mut State, node: usize, write: usize) {
    for other in (0..NODES).filter(|other| state.sides[*other] == state.sides[node]) {
        state.nodes[other].heard[node].ready &= !(1 << write);
    }
}

/// What a node judges by. Writes that are not current for it are left out: nothing depends on them.
fn case(state: &State, me: usize) -> Case {
    let node = state.nodes[me];
    let mut writes = [None; MAX_WRITES];
    current(state, node.known).into_iter().for_each(|n| writes[n] = state.writes[n]);
    let alive = (0..NODES).filter(|n| *n != me && state.sides[*n] == state.sides[me]);
    Case { me, writes, node, ready: alive.fold(0, |ready, n| ready | node.heard[n].ready) }
}

/// The writes that no other known write has replaced.
fn current(state: &State, known: u8) -> Vec<usize> {
    let all = (0..MAX_WRITES).filter(|n| has(known, *n));
    let replaced = all.clone().filter_map(|n| state.writes[n]).fold(0, |seen, write| seen | write.seen);
    all.filter(|n| !has(replaced, *n)).collect()
}

fn is_served(state: &State) -> bool {
    state.nodes.iter().any(|node| node.pods.contains(&Pod::Ready))
}

fn ready_pods(node: &Node) -> u8 {
    mask((0..MAX_WRITES).filter(|write| node.pods[*write] == Pod::Ready))
}

fn told(sides: &[u8; NODES]) -> String {
    let component = |side: u8| (0..NODES).filter(|n| sides[*n] == side).map(name).collect::<String>();
    (0..NODES as u8).map(component).filter(|names| !names.is_empty()).collect::<Vec<_>>().join(" | ")
}

fn name(node: usize) -> char {
    char::from(b'A' + node as u8)
}

fn has(set: u8, n: usize) -> bool {
    set >> n & 1 == 1
}

fn mask(of: impl Iterator<Item = usize>) -> u8 {
    of.fold(0, |mask, n| mask | 1 << n)
}

fn node_id(n: usize) -> NodeId {
    NodeId([n as u8; 32])
}

fn write_id(n: usize) -> WriteId {
    WriteId([n as u8; 32])
}
