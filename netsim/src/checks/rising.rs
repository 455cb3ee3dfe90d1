//! Numbers only rise, as each node sees them: terms, deletion numbers, the sequences of reports. And nothing that a user was
//! told is deleted returns at a node that knew (INVARIANTS I4).

use std::collections::{BTreeMap, BTreeSet};

use skein_core::node::Node;
use skein_crdt_state::{NameKey, ObjectKey, Sequence};
use skein_gossip::NodeId;

/// What a host's node showed last. A node that was started again may know less: what was not on its disk is gone.
#[derive(Debug, Default)]
struct Seen {
    start: u64,
    term: u64,
    deletions: BTreeMap<NameKey, u32>,
    reports: BTreeMap<(NodeId, String), Sequence>,
    over: BTreeSet<ObjectKey>,
}

/// What all nodes showed last.
#[derive(Debug, Default)]
pub(crate) struct Rising {
    hosts: BTreeMap<usize, Seen>,
}

impl Rising {
    /// Looks at a node; what has fallen. `deleted` are the lives that users were told are over.
    pub(crate) fn look<'a>(
        &mut self,
        host: usize,
        start: u64,
        node: &Node,
        deleted: impl Iterator<Item = &'a ObjectKey>,
    ) -> Option<String> {
        let seen = self.hosts.entry(host).or_default();
        if seen.start != start {
            *seen = Seen { start, ..Seen::default() };
        }
        let fallen = seen.term(node).or_else(|| seen.deletions(node)).or_else(|| seen.reports(node));
        fallen.or_else(|| seen.returned(node, deleted)).map(|what| format!("h{host}: {what}"))
    }
}

impl Seen {
    fn term(&mut self, node: &Node) -> Option<String> {
        // A leader's term may lie behind that of this node's own vote; the voters' never falls.
        let term = node.leadership().voters.at.term;
        let before = std::mem::replace(&mut self.term, term);
        (term < before).then(|| format!("the voters' term fell from {before} to {term}"))
    }

    fn deletions(&mut self, node: &Node) -> Option<String> {
        let store = node.store();
        let now: BTreeMap<NameKey, u32> = store.deletions().map(|(name, number)| (name.clone(), number)).collect();
        let before = std::mem::replace(&mut self.deletions, now);
        before.into_iter().find_map(|(name, number)| {
            let kept = self.deletions.get(&name).is_some_and(|now| *now >= number);
            // Where an owner is over its own number speaks for all below.
            let owner_is_over = name.owner().is_some_and(|owner| !store.is_live(&owner));
            (!kept && !owner_is_over).then(|| format!("the deletion number of {name} fell from {number}"))
        })
    }

    fn reports(&mut self, node: &Node) -> Option<String> {
        let mut fallen = None;
        for (author, section, report) in node.store().reports() {
            let before = self.reports.insert((*author, section.to_owned()), report.sequence);
            if before.is_some_and(|before| before > report.sequence) {
                fallen =
                    Some(format!("the report {section} of {author} fell from {before:?} to {:?}", report.sequence));
            }
        }
        fallen
    }

    fn returned<'a>(&mut self, node: &Node, deleted: impl Iterator<Item = &'a ObjectKey>) -> Option<String> {
        let mut returned = None;
        for key in deleted {
            let is_over =
                key.lineage().any(|link| node.store().next_life(&link.name_key()).incarnation() > link.incarnation());
            if is_over {
                self.over.insert(key.clone());
            } else if node.store().is_live(key) && self.over.contains(key) {
                returned = Some(format!("{key} was deleted and is back"));
            }
        }
        returned
    }
}
