//! The nodes that will do for the pods of one group, the best first. Filters and preferences look at all nodes once for a
//! group; placing a pod changes one node, so each further pod looks at the nodes that are best alike and at no others.
//!
//! What makes a node better than another lives in `score`.

use std::collections::BTreeMap;

use skein_crdt_state::ObjectKey;

use super::score::Standing;

/// The nodes that will do for one group, by number.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) group: ObjectKey,
    tiers: BTreeMap<Standing, Vec<usize>>,
}

impl Order {
    /// No node yet.
    pub(super) fn new(group: &ObjectKey) -> Self {
        Order { group: group.clone(), tiers: BTreeMap::new() }
    }

    /// Puts a node in.
    pub(super) fn insert(&mut self, node: usize, standing: Standing) {
        self.tiers.entry(standing).or_default().push(node);
    }

    /// Takes out the best node: of the nodes that stand alike the one with the greatest tie-break, then number. The node to
    /// `avoid` is taken if it is the only one.
    pub(super) fn take_best(&mut self, avoid: Option<usize>, tie_break: impl Fn(usize) -> u64) -> Option<usize> {
        let best_of = |tier: &[usize], avoid: Option<usize>| {
            let wanted = tier.iter().enumerate().filter(|(_, node)| Some(**node) != avoid);
            wanted.max_by_key(|(_, node)| (tie_break(**node), **node)).map(|(at, _)| at)
        };
        let first = |avoid| self.tiers.iter().find_map(|(standing, tier)| Some((*standing, best_of(tier, avoid)?)));
        let (standing, at) = first(avoid).or_else(|| first(None))?;
        let tier = self.tiers.get_mut(&standing)?;
        let node = tier.swap_remove(at);
        if tier.is_empty() {
            self.tiers.remove(&standing);
        }
        Some(node)
    }
}
