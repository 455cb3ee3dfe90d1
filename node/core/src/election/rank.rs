//! Who flies at the front next: an order of the nodes that is another one for each term.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use sha2::{Digest, Sha256};
use skein_gossip::NodeId;

/// A node's place in the order of a term; the greatest leads. Every node computes the same (rendezvous hashing).
pub(super) fn rank(term: u64, node: &NodeId) -> u64 {
    let digest =
        Sha256::new().chain_update(b"skein rank").chain_update(term.to_le_bytes()).chain_update(node.0).finalize();
    u64::from_le_bytes([digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7]])
}

/// How many of `nodes` come before `node` in a term.
pub(super) fn place(term: u64, node: &NodeId, nodes: &BTreeSet<NodeId>) -> usize {
    let own = (rank(term, node), *node);
    nodes.iter().filter(|other| (rank(term, other), **other) > own).count()
}

/// `nodes` in the order of a term, the first in line first.
pub(super) fn in_order(term: u64, nodes: &BTreeSet<NodeId>) -> Vec<NodeId> {
    let mut order: Vec<NodeId> = nodes.iter().copied().collect();
    order.sort_by_cached_key(|node| Reverse((rank(term, node), *node)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_moves_around() {
        let nodes: BTreeSet<NodeId> = (0..5).map(|n| NodeId([n; 32])).collect();
        let fronts: BTreeSet<NodeId> = (0..40).map(|term| in_order(term, &nodes)[0]).collect();
        assert_eq!(fronts, nodes);
        let order = in_order(7, &nodes);
        assert!(order.iter().enumerate().all(|(i, node)| place(7, node, &nodes) == i));
    }
}
