//! The voters: elections, and changes of the set that says who is quorate; what of a Lease was decided meanwhile lives in
//! `decision.rs`. Nodes, terms, sets of voters and the rules by
//! which they change; no time, no heartbeats as such. How the set travels is that any node may come to hear of any set that
//! was ever on a disk, at any later time or never, which covers frames that are lost, late, doubled or out of order.
//!
//! A reply is counted when it is given; that its receiver acts on it later, or never, covers its delay and its loss.

use std::fmt;

use super::checker::Model;

mod alike;
mod decision;
mod tests;

use decision::Decision;

/// How many nodes there are.
const NODES: usize = 4;
/// The most elections, and the greatest term.
const MAX_ELECTIONS: usize = 4;
/// The most sets on disks: one at the start, one for each election, and the changes.
const MAX_SETS: usize = 9;
/// Nobody.
const NOBODY: u8 = u8::MAX;

/// A rule that is made weaker, to see that it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weaker {
    /// A leader changes the set by two units of weight at once.
    ChangesByTwo,
    /// A leader changes the set of an earlier term without having written it again in its own.
    ChangesAtOnce,
    /// A leader changes the set before a majority holds the last change.
    ChangesUnheld,
    /// A voter counts as holding the set that has voted for another in a later term since it backed this leader.
    HoldsWithoutBacking,
    /// A voter votes for candidates that hold an older set than it does.
    ComparesNoSets,
    /// A newer set does not raise its receiver's term.
    RaisesNoTerm,
    /// A restarted node has forgotten its vote.
    ForgetsItsVote,
    /// A restarted node has forgotten the newest set that it held.
    ForgetsItsSet,
    /// Half of the weight is enough.
    HalfIsEnough,
    /// A leader changes the set whatever its voters know of decisions.
    ComparesNoDecisions,
    /// A leader compares decisions with its voters before the first change, and not before later ones.
    ComparesOnce,
    /// A voter that has told the leader all that it knows need not know what the leader knows.
    OnlyTells,
    /// A voter that knows all that the leader knows need not have told what it knows itself.
    OnlyHears,
}

/// The model's scope, and the weaker rule if there is one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Voters {
    /// The weights that the first set gives to the nodes.
    pub(super) first: [u8; NODES],
    /// The most elections.
    pub(super) elections: usize,
    /// The most changes of the set, those aside by which a leader writes it again.
    pub(super) changes: usize,
    /// Whether nodes are restarted. A restart only takes away what a leader may do, as long as the disk forgets nothing.
    pub(super) restarts: bool,
    /// Whether a leader decides something, once.
    pub(super) decides: bool,
    pub(super) weaker: Option<Weaker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Set {
    term: u8,
    version: u8,
    weights: [u8; NODES],
}

impl Set {
    fn at(&self) -> (u8, u8) {
        (self.term, self.version)
    }

    fn weight_of(&self, nodes: u8) -> u8 {
        (0..NODES).filter(|n| has(nodes, *n)).map(|n| self.weights[n]).sum()
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "set {}.{} of", self.term, self.version)?;
        for (n, weight) in self.weights.iter().enumerate().filter(|(_, weight)| **weight > 0) {
            write!(f, " {}", name(n))?;
            if *weight > 1 {
                write!(f, "(weighs {weight})")?;
            }
        }
        Ok(())
    }
}

/// A node: what its disk holds, and what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Node {
    term: u8,
    voted: u8,
    set: Set,
    /// The set that it held before; only kept where a restart may bring it back.
    before: Option<Set>,
    reign: Option<Reign>,
    /// Whether the decision is on its disk.
    knows: bool,
}

/// A candidate that has asked for votes, or a leader: the one becomes the other when enough have answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Reign {
    term: u8,
    /// Who gave it their vote.
    votes: u8,
    /// Who said, while their vote was this leader's, that they hold its set.
    hold: u8,
    /// Who said, in this term, what they know of decisions, and that was nothing.
    told: u8,
    /// Who said, in this term and since it wrote its set, that they know the decisions that it knew since then, and no others.
    noted: u8,
    /// Whether it knew the decision when it wrote its set.
    knew: bool,
}

/// That a node asked for votes. It may be heard at any later time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Asked {
    term: u8,
    candidate: u8,
    /// The newest set that it has shown.
    set: (u8, u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct State {
    nodes: [Node; NODES],
    asked: [Option<Asked>; MAX_ELECTIONS],
    /// All sets that were ever on a disk.
    sets: [Option<Set>; MAX_SETS],
    elections: u8,
    changes: u8,
    /// Who was able to confirm a majority, for each term.
    quorate: [u8; MAX_ELECTIONS],
    decision: Decision,
}

/// One thing that may happen.
#[derive(Debug)]
pub(super) enum Step {
    Asks { node: usize, term: u8, set: Set },
    Votes { node: usize, candidate: usize, term: u8 },
    Hears { node: usize, set: Set },
    Writes { node: usize, set: Set },
    Restarts { node: usize },
    Decides { node: usize },
    Upholds { node: usize },
    Learns { node: usize },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Asks { node, term, set } => write!(f, "{} asks for votes in term {term}, holding {set}", name(*node)),
            Step::Votes { node, candidate, term } => {
                write!(f, "{} votes for {} in term {term}", name(*node), name(*candidate))
            }
            Step::Hears { node, set } => write!(f, "{} hears of {set}", name(*node)),
            Step::Writes { node, set } => write!(f, "{} writes {set}", name(*node)),
            Step::Restarts { node } => write!(f, "{} is restarted", name(*node)),
            Step::Decides { node } => write!(f, "{} decides", name(*node)),
            Step::Upholds { node } => write!(f, "{} upholds the decision", name(*node)),
            Step::Learns { node } => write!(f, "{} hears of the decision", name(*node)),
        }
    }
}

impl Model for Voters {
    type State = State;
    type Step = Step;

    fn starts(&self) -> Vec<State> {
        let set = Set { term: 0, version: 1, weights: self.first };
        let node = Node { term: 0, voted: NOBODY, set, before: None, reign: None, knows: false };
        let mut sets = [None; MAX_SETS];
        insert(&mut sets, set);
        let (asked, quorate) = ([None; MAX_ELECTIONS], [NOBODY; MAX_ELECTIONS]);
        let decision = Decision::None;
        vec![State { nodes: [node; NODES], asked, sets, elections: 0, changes: 0, quorate, decision }]
    }

    fn steps(&self, state: &State, into: &mut Vec<(Step, State)>) {
        for node in 0..NODES {
            self.asks(state, node, into);
            self.votes(state, node, into);
            self.hears(state, node, into);
            self.writes(state, node, into);
            self.decisions(state, node, into);
            if self.restarts && (state.nodes[node].reign.is_some() || self.forgets()) {
                into.push((Step::Restarts { node }, self.restarted(state, node)));
            }
        }
        for (_, then) in into.iter_mut() {
            self.note_who_holds(then);
            self.note_who_is_quorate(then);
            self.note_decisions(then);
        }
        if self.decides {
            into.retain(|(_, then)| self.may_forget(then));
        }
    }

    fn broken(&self, state: &State) -> Option<String> {
        let able: Vec<usize> = (0..NODES).filter(|n| self.is_able(state, *n)).collect();
        if let [a, b, ..] = able[..] {
            return Some(format!("{} and {} are both able to confirm a majority of their voters", name(a), name(b)));
        }
        let other = able.iter().find_map(|n| {
            let term = state.nodes[*n].reign?.term;
            let first = state.quorate[usize::from(term) - 1];
            (first != NOBODY && usize::from(first) != *n).then_some((term, usize::from(first), *n))
        });
        let other = other.map(|(term, a, b)| format!("{} and {} are both quorate in term {term}", name(a), name(b)));
        other.or_else(|| self.forgotten(state))
    }

    fn canonical(&self, mut state: State) -> State {
        self.forget_what_cannot_matter(&mut state);
        alike::smallest(&state)
    }
}

impl Voters {
    /// Frames that nobody would take any more, and what only they would have changed.
    fn forget_what_cannot_matter(&self, state: &mut State) {
        // A disk that forgets may take them again.
        if self.forgets() {
            return;
        }
        let nodes = state.nodes;
        let may_vote = |term: u8| {
            let free = move |node: &Node| node.term < term || (node.term == term && node.voted == NOBODY);
            nodes.iter().any(free)
        };
        for asked in &mut state.asked {
            asked.take_if(|asked| !may_vote(asked.term));
        }
        state.asked.sort_unstable();
        for set in &mut state.sets {
            set.take_if(|set| nodes.iter().all(|node| node.set.at() >= set.at()));
        }
        state.sets.sort_unstable();
        for n in 0..NODES {
            let me = &mut state.nodes[n];
            let Some(reign) = &mut me.reign else { continue };
            if reign.term != me.term {
                // It writes no more sets.
                (reign.votes, reign.hold, reign.told, reign.noted, reign.knew) = (0, 0, 0, 0, false);
                let term = reign.term;
                if !may_vote(term) && !nodes.iter().any(|node| backs(node, n, term)) {
                    me.reign = None;
                }
            }
        }
        for (term, first) in (1..).zip(&mut state.quorate) {
            let others = |n: usize| n != usize::from(*first) && state.nodes[n].reign.is_some_and(|r| r.term == term);
            if nodes.iter().all(|node| node.term >= term) && !(0..NODES).any(others) {
                *first = NOBODY;
            }
        }
    }

    fn forgets(&self) -> bool {
        matches!(self.weaker, Some(Weaker::ForgetsItsVote | Weaker::ForgetsItsSet))
    }

    fn is_majority(&self, set: &Set, nodes: u8) -> bool {
        let (weight, total) = (set.weight_of(nodes), set.weight_of(u8::MAX));
        if self.weaker == Some(Weaker::HalfIsEnough) { weight * 2 >= total } else { weight * 2 > total }
    }

    /// Whether a majority of this leader's own voters would back it, were they asked now.
    fn is_able(&self, state: &State, leader: usize) -> bool {
        let Node { reign: Some(reign), set, .. } = &state.nodes[leader] else { return false };
        let backs = |n: &usize| {
            let node = &state.nodes[*n];
            backs(node, leader, reign.term) && node.set.at() <= set.at()
        };
        self.is_majority(set, mask((0..NODES).filter(backs)))
    }

    fn note_who_is_quorate(&self, state: &mut State) {
        for n in 0..NODES {
            if self.is_able(state, n)
                && let Some(reign) = state.nodes[n].reign
            {
                let first = &mut state.quorate[usize::from(reign.term) - 1];
                if *first == NOBODY {
                    *first = n as u8;
                }
            }
        }
    }

    fn asks(&self, state: &State, node: usize, into: &mut Vec<(Step, State)>) {
        if usize::from(state.elections) >= self.elections {
            return;
        }
        let highest = state.nodes.iter().map(|node| node.term).max().unwrap_or(0);
        let me = &state.nodes[node];
        for term in me.term + 1..=(highest + 1).min(self.elections as u8) {
            let mut then = *state;
            let reign = Reign { term, votes: 1 << node, hold: 0, told: 0, noted: 0, knew: false };
            then.nodes[node] = Node { term, voted: node as u8, reign: Some(reign), ..*me };
            insert(&mut then.asked, Asked { term, candidate: node as u8, set: me.set.at() });
            then.elections += 1;
            into.push((Step::Asks { node, term, set: me.set }, then));
        }
    }

    fn votes(&self, state: &State, node: usize, into: &mut Vec<(Step, State)>) {
        let me = &state.nodes[node];
        for asked in state.asked.iter().flatten().filter(|asked| usize::from(asked.candidate) != node) {
            let is_free = asked.term > me.term || (asked.term == me.term && me.voted == NOBODY);
            let knows = asked.set >= me.set.at() || self.weaker == Some(Weaker::ComparesNoSets);
            if is_free && knows {
                let (candidate, term) = (usize::from(asked.candidate), asked.term);
                let mut then = *state;
                // Whoever votes for another follows.
                then.nodes[node] = Node { term, voted: asked.candidate, reign: None, ..*me };
                if let Some(reign) = then.nodes[candidate].reign.as_mut().filter(|reign| reign.term == term) {
                    reign.votes |= 1 << node;
                }
                into.push((Step::Votes { node, candidate, term }, then));
            }
        }
    }

    fn hears(&self, state: &State, node: usize, into: &mut Vec<(Step, State)>) {
        let me = &state.nodes[node];
        for set in state.sets.iter().flatten().filter(|set| set.at() > me.set.at()) {
            let mut then = *state;
            let raised = set.term > me.term && self.weaker != Some(Weaker::RaisesNoTerm);
            let (term, voted) = if raised { (set.term, NOBODY) } else { (me.term, me.voted) };
            let mut reign = me.reign;
            // What was told of the set that it had written itself is not told of this one.
            reign.iter_mut().for_each(|reign| (reign.hold, reign.noted) = (0, 0));
            then.nodes[node] = Node { term, voted, set: *set, before: self.before(me), reign, ..*me };
            into.push((Step::Hears { node, set: *set }, then));
        }
    }

    fn before(&self, node: &Node) -> Option<Set> {
        (self.weaker == Some(Weaker::ForgetsItsSet)).then_some(node.set)
    }

    /// Voters that back a leader say which set they hold.
    fn note_who_holds(&self, state: &mut State) {
        for leader in 0..NODES {
            let Node { reign: Some(reign), set, .. } = state.nodes[leader] else { continue };
            if set.term == reign.term {
                let loosely = |n: usize| self.weaker == Some(Weaker::HoldsWithoutBacking) && has(reign.votes, n);
                let says = |n: &usize| {
                    let node = &state.nodes[*n];
                    node.set == set && (loosely(*n) || backs(node, leader, reign.term))
                };
                let hold = reign.hold | mask((0..NODES).filter(says));
                state.nodes[leader].reign = Some(Reign { hold, ..reign });
            }
        }
    }

    /// A leader writes the set anew, or changes it, as far as it may.
    fn writes(&self, state: &State, node: usize, into: &mut Vec<(Step, State)>) {
        let me = &state.nodes[node];
        let Some(reign) = me.reign.filter(|reign| reign.term == me.term) else { return };
        if !self.is_majority(&me.set, reign.votes) {
            return;
        }
        let is_own = me.set.term == reign.term;
        if !is_own {
            let set = Set { term: reign.term, version: 0, weights: me.set.weights };
            self.wrote(state, node, set, 0, into);
        }
        let held = self.is_majority(&me.set, reign.hold & reign.votes & self.have_compared(&reign));
        let may_change = match self.weaker {
            Some(Weaker::ChangesAtOnce) => !is_own || held,
            Some(Weaker::ChangesUnheld) => is_own,
            _ => is_own && held,
        };
        if !may_change || usize::from(state.changes) >= self.changes {
            return;
        }
        let version = if is_own { me.set.version + 1 } else { 0 };
        for weights in neighbours(&me.set.weights) {
            self.wrote(state, node, Set { term: reign.term, version, weights }, 1, into);
            if self.weaker == Some(Weaker::ChangesByTwo) {
                for weights in neighbours(&weights).into_iter().filter(|w| *w != me.set.weights) {
                    self.wrote(state, node, Set { term: reign.term, version, weights }, 1, into);
                }
            }
        }
    }

    /// The set is on this leader's disk before anybody hears of it. A set that is lost with the memory was as good as never
    /// written.
    fn wrote(&self, state: &State, node: usize, set: Set, changes: u8, into: &mut Vec<(Step, State)>) {
        let mut then = *state;
        then.changes += changes;
        let me = &mut then.nodes[node];
        (me.before, me.set) = (self.before(&state.nodes[node]), set);
        let (knows, stays) = (me.knows, self.weaker == Some(Weaker::ComparesOnce) && set.version > 0);
        if let Some(reign) = &mut me.reign {
            (reign.hold, reign.knew) = (0, knows && self.decides);
            reign.noted = if stays { reign.noted } else { 0 };
        }
        // Its heartbeats show the new set from now on: who may vote by the older may also vote by this.
        let own = |asked: &&mut Asked| asked.term == set.term && usize::from(asked.candidate) == node;
        if let Some(asked) = then.asked.iter_mut().flatten().find(own) {
            asked.set = set.at();
        }
        insert(&mut then.sets, set);
        into.push((Step::Writes { node, set }, then));
    }

    fn restarted(&self, state: &State, node: usize) -> State {
        let mut then = *state;
        let me = &mut then.nodes[node];
        me.reign = None;
        match self.weaker {
            Some(Weaker::ForgetsItsVote) => me.voted = NOBODY,
            Some(Weaker::ForgetsItsSet) => me.set = me.before.take().unwrap_or(me.set),
            _ => {}
        }
        then
    }
}

fn name(node: usize) -> char {
    char::from(b'A' + node as u8)
}

fn has(nodes: u8, node: usize) -> bool {
    nodes >> node & 1 == 1
}

fn mask(nodes: impl Iterator<Item = usize>) -> u8 {
    nodes.fold(0, |mask, n| mask | 1 << n)
}

/// Adds `new`, in order; beyond the room the model's scope is wrong.
fn insert<T: Copy + Ord, const N: usize>(all: &mut [Option<T>; N], new: T) {
    if !all.contains(&Some(new)) {
        assert!(all[0].is_none(), "no room: the model's scope is too large for its arrays");
        all[0] = Some(new);
        all.sort_unstable();
    }
}

fn backs(node: &Node, leader: usize, term: u8) -> bool {
    node.term == term && usize::from(node.voted) == leader
}

/// The sets that differ by one unit of weight.
fn neighbours(weights: &[u8; NODES]) -> Vec<[u8; NODES]> {
    let mut found = Vec::new();
    for n in 0..NODES {
        let raised = (weights[n] < 2).then(|| weights[n] + 1);
        for weight in raised.into_iter().chain(weights[n].checked_sub(1)) {
            let mut next = *weights;
            next[n] = weight;
            if next != [0; NODES] {
                found.push(next);
            }
        }
    }
    found
}
