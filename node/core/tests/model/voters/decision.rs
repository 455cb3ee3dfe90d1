//! A decision on a Lease, made under one set of voters and asked for under another. It is acknowledged once a majority of its leader's
//! voters has it on disk, each of them while it took part in that leader's term. A later leader asks a majority of its own voters,
//! and decides without it if they know nothing. Elections and changes of the set do not live here.

use super::{NODES, Reign, State, Step, Voters, Weaker, has, mask, name};

/// What has become of the one decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Decision {
    /// It is not made yet.
    None,
    /// A leader has made it, and these have upheld it.
    Made { term: u8, by: u8, upheld: u8 },
    /// A user was told of it.
    Acknowledged { term: u8 },
}

impl State {
    /// A node that leads in its term, as far as it knows.
    fn reign(&self, node: usize) -> Option<Reign> {
        self.nodes[node].reign.filter(|reign| reign.term == self.nodes[node].term)
    }

    /// Whether its leader leads no more before anybody was told: then nobody ever is.
    fn is_lost(&self) -> bool {
        let Decision::Made { term, by, .. } = self.decision else { return false };
        self.reign(usize::from(by)).is_none_or(|reign| reign.term != term)
    }
}

impl Voters {
    /// Whether a leader may still come to decide without what was decided before.
    pub(super) fn may_forget(&self, state: &State) -> bool {
        let may_elect = usize::from(state.elections) < self.elections;
        let leads_after = |term| {
            let later = |n: &usize| state.reign(*n).is_some_and(|reign| reign.term > term && !state.nodes[*n].knows);
            may_elect || (0..NODES).any(|n| later(&n))
        };
        match state.decision {
            Decision::None => {
                may_elect || (0..NODES).filter_map(|n| state.reign(n)).any(|reign| leads_after(reign.term))
            }
            Decision::Made { term, .. } => !state.is_lost() && leads_after(term),
            Decision::Acknowledged { term } => leads_after(term),
        }
    }

    /// One decides, others uphold it. Who hears of it otherwise does so at the latest moment that matters: when a leader and its voters
    /// compare what they know.
    pub(super) fn decisions(&self, state: &State, node: usize, into: &mut Vec<(Step, State)>) {
        if !self.decides {
            return;
        }
        let me = &state.nodes[node];
        let mut then = *state;
        then.nodes[node].knows = true;
        match state.decision {
            Decision::None => {
                // Of what is decided in the last term nobody asks in a later one.
                let reign = state.reign(node).filter(|reign| usize::from(reign.term) < self.elections);
                if let Some(Reign { term, .. }) = reign.filter(|reign| self.is_majority(&me.set, reign.votes)) {
                    then.decision = Decision::Made { term, by: node as u8, upheld: 0 };
                    into.push((Step::Decides { node }, then));
                }
                return;
            }
            Decision::Made { term, by, upheld } if me.term == term && usize::from(by) != node && !has(upheld, node) => {
                let mut then = then;
                then.decision = Decision::Made { term, by, upheld: upheld | 1 << node };
                into.push((Step::Upholds { node }, then));
            }
            Decision::Made { .. } | Decision::Acknowledged { .. } => {}
        }
        let compares = |n: usize| state.reign(n).is_some_and(|reign| state.nodes[n].set.term == reign.term);
        let is_told = (0..NODES).any(|n| compares(n) && state.nodes[n].knows && state.nodes[n].term == me.term);
        if !me.knows && (compares(node) || is_told) {
            into.push((Step::Learns { node }, then));
        }
    }

    /// What is said of the decision without changing anything but who knows what was said: the sooner it is heard, the more may follow.
    pub(super) fn note_decisions(&self, state: &mut State) {
        if !self.decides {
            return;
        }
        if let Decision::Made { term, by, upheld } = state.decision
            && self.is_majority(&state.nodes[usize::from(by)].set, upheld | 1 << by)
        {
            state.decision = Decision::Acknowledged { term };
        }
        let nodes = state.nodes;
        for leader in 0..NODES {
            let me = &mut state.nodes[leader];
            let Some(reign) = me.reign.as_mut().filter(|reign| reign.term == me.term) else { continue };
            let takes_part = |n: &usize| *n == leader || nodes[*n].term == reign.term;
            let is_alike = |n: &usize| {
                let (here, there) = ([me.knows, reign.knew], nodes[*n].knows);
                match self.weaker {
                    _ if *n == leader => true,
                    Some(Weaker::OnlyTells) => !there || here.contains(&true),
                    Some(Weaker::OnlyHears) => there || here.contains(&false),
                    _ => here.contains(&there),
                }
            };
            if me.set.term == reign.term {
                reign.noted |= mask((0..NODES).filter(takes_part).filter(is_alike).filter(|n| me.set.weights[*n] > 0));
            }
            // Who knows it asks nobody.
            reign.told = if me.knows {
                0
            } else {
                reign.told | mask((0..NODES).filter(takes_part).filter(|n| !nodes[*n].knows))
            };
        }
    }

    /// Those of whom the leader knows that their disks and its own know the same.
    pub(super) fn have_compared(&self, reign: &Reign) -> u8 {
        let compares = self.decides && self.weaker != Some(Weaker::ComparesNoDecisions);
        if compares { reign.noted } else { u8::MAX }
    }

    /// A leader that decides without what was acknowledged in an earlier term. Nobody upholds what one of an earlier term than that decides.
    pub(super) fn forgotten(&self, state: &State) -> Option<String> {
        let Decision::Acknowledged { term } = state.decision else { return None };
        let leads = |n: &usize| {
            let node = &state.nodes[*n];
            let quorate = |reign: &Reign| {
                reign.term == node.term && reign.term > term && self.is_majority(&node.set, reign.votes)
            };
            let told = node.reign.filter(quorate).map(|reign| reign.told);
            !node.knows && told.is_some_and(|told| self.is_majority(&node.set, told | 1 << n))
        };
        let leader = (0..NODES).find(leads)?;
        Some(format!("most of {}'s voters know nothing of what was acknowledged", name(leader)))
    }
}
