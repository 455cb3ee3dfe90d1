//! What became different since the last snapshot: what is to be looked at again. All else is as it was.

use std::collections::BTreeSet;
use std::sync::Arc;

use skein_crdt_state::{ObjectKey, StoreChange};
use skein_gossip::NodeId;

use crate::model::NODE_KIND;

/// The most changes that are noted one by one; with more, all is looked at.
const MAX_NOTED: usize = 100_000;

/// What is to be looked at again.
#[derive(Debug, Clone, Default)]
pub(super) struct Changes {
    /// Whether all is to be looked at, since what changed is not known.
    pub(super) everything: bool,
    /// Objects, live or not.
    pub(super) objects: BTreeSet<ObjectKey>,
    /// Whether an object that stands for a node is among them: names, and whose object stands for which node, depend on all.
    pub(super) node_objects: bool,
    /// Whether somebody was admitted or left.
    pub(super) members: bool,
    /// Nodes whose word on themselves is new.
    pub(super) nodes: BTreeSet<NodeId>,
    /// Sections in which nodes speak of pods.
    pub(super) pods: BTreeSet<Arc<str>>,
}

impl Changes {
    /// All is to be looked at.
    pub(super) fn everything() -> Self {
        Changes { everything: true, node_objects: true, members: true, ..Changes::default() }
    }

    /// Takes in what the store says.
    pub(super) fn add(&mut self, changes: &BTreeSet<StoreChange>) {
        for change in changes {
            match change {
                StoreChange::Object(key) | StoreChange::EditLost(key, _) => {
                    self.node_objects |= key.kind().as_str() == NODE_KIND;
                    self.objects.insert(key.clone());
                }
                StoreChange::Report(node, section) if &**section == "node" => drop(self.nodes.insert(*node)),
                StoreChange::Report(_, section) if section.starts_with("pod/") => {
                    self.pods.insert(section.clone());
                }
                StoreChange::Report(..) | StoreChange::Epochs => {}
                StoreChange::Members => self.members = true,
            }
        }
    }

    /// Whether it is more than is worth noting.
    pub(super) fn are_too_many(&self) -> bool {
        self.objects.len() + self.pods.len() > MAX_NOTED
    }
}
