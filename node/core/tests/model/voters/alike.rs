//! States of the voters that are the same but for the names of nodes: of those the search visits one. Which states there are
//! does not live here.

use super::decision::Decision;
use super::{MAX_SETS, NOBODY, NODES, Node, Reign, Set, State, has, mask};

/// The smallest of the states that differ from this one in the names of nodes alone.
pub(super) fn smallest(state: &State) -> State {
    let mut order: [usize; NODES] = std::array::from_fn(|n| n);
    let profiles: [Profile; NODES] = std::array::from_fn(|n| Profile::of(state, n));
    order.sort_by_key(|n| profiles[*n]);
    let mut best = renamed(state, &order);
    // Nodes that look alike one by one may differ in who points to whom: all their orders are tried.
    permute_alike(&profiles, &mut order, 0, &mut |order| best = best.min(renamed(state, order)));
    best
}

/// What is to be seen of a node without the names of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Profile {
    record: (u8, (u8, u8), bool, bool, bool),
    reign: Option<(u8, u32, u32, u32, u32)>,
    weights: [u8; MAX_SETS],
    backers: u8,
}

impl Profile {
    fn of(state: &State, n: usize) -> Self {
        let node = &state.nodes[n];
        Profile {
            record: (node.term, node.set.at(), node.voted == NOBODY, usize::from(node.voted) == n, node.knows),
            reign: node.reign.map(|reign| {
                let Reign { term, votes, hold, told, noted, .. } = reign;
                (term, votes.count_ones(), hold.count_ones(), told.count_ones(), noted.count_ones())
            }),
            weights: std::array::from_fn(|s| state.sets[s].map_or(0, |set| set.weights[n])),
            backers: state.nodes.iter().filter(|node| usize::from(node.voted) == n).count() as u8,
        }
    }
}

/// Calls `each` with every order that differs from the first in places of nodes with the same profile.
fn permute_alike(
    profiles: &[Profile; NODES],
    order: &mut [usize; NODES],
    from: usize,
    each: &mut impl FnMut(&[usize; NODES]),
) {
    if from == NODES {
        return each(order);
    }
    for other in from..NODES {
        if profiles[order[other]] == profiles[order[from]] {
            order.swap(from, other);
            permute_alike(profiles, order, from + 1, each);
            order.swap(from, other);
        }
    }
}

/// The state with the node `order[n]` called `n`.
fn renamed(state: &State, order: &[usize; NODES]) -> State {
    let mut new_name = [0_u8; NODES];
    (0..NODES).for_each(|n| new_name[order[n]] = n as u8);
    let name = |old: u8| if old == NOBODY { NOBODY } else { new_name[usize::from(old)] };
    let names = |old: u8| mask((0..NODES).filter(|n| has(old, order[*n])));
    let set = |set: Set| Set { weights: std::array::from_fn(|n| set.weights[order[n]]), ..set };
    let reign = |reign: Reign| Reign {
        votes: names(reign.votes),
        hold: names(reign.hold),
        told: names(reign.told),
        noted: names(reign.noted),
        ..reign
    };
    let node = |n: usize| {
        let node = state.nodes[order[n]];
        let (before, reign) = (node.before.map(set), node.reign.map(reign));
        Node { voted: name(node.voted), set: set(node.set), before, reign, ..node }
    };
    let mut then = State { nodes: std::array::from_fn(node), ..*state };
    for asked in then.asked.iter_mut().flatten() {
        asked.candidate = name(asked.candidate);
    }
    then.asked.sort_unstable();
    for own in then.sets.iter_mut().flatten() {
        *own = set(*own);
    }
    then.sets.sort_unstable();
    if let Decision::Made { by, upheld, .. } = &mut then.decision {
        (*by, *upheld) = (name(*by), names(*upheld));
    }
    for leader in &mut then.quorate {
        *leader = name(*leader);
    }
    then
}
