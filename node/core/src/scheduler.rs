//! The scheduler: which node a pod goes to, or for each node why not. Pure; a [`Room`] is made from a view and shrinks with
//! each pod that a plan places.
//!
//! Which pods need a node is decided by the controllers; filters live in [`filter`], preferences in `score`, what a node's
//! pods take in [`used`]. The nodes are looked at once for each group of pods that ask for the same, see `order`.

use std::collections::BTreeMap;
use std::sync::Arc;

use skein_crdt_state::ObjectKey;
use skein_gossip::NodeId;

use crate::model::needs::PodNeeds;
use crate::view::{NodeView, PodView, ReplicaSetView, View};

pub mod filter;
pub mod images;
mod message;
mod order;
mod score;
pub mod used;

pub use filter::Refusal;
use images::{Images, Wanted};
use order::Order;
use score::Standing;
use used::Used;

/// A pod that needs a node.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    /// What it fills, as text: breaks ties, so that equal nodes are used evenly and every leader chooses alike.
    pub name: &'a str,
    /// What it asks of a node. All pods of a group ask for the same.
    pub needs: &'a PodNeeds,
    /// The ReplicaSet whose pods are spread first; of an ownerless pod its own key.
    pub group: &'a ObjectKey,
    /// The workload whose pods are spread next.
    pub workload: &'a ObjectKey,
    /// A node to take only if no other will do: a pod of this slot failed there.
    pub avoid: Option<NodeId>,
}

/// A pod that goes, or in whose place another is put: its room is free.
#[derive(Debug, Clone)]
pub struct Leaving<'a> {
    /// Where it is.
    pub node: NodeId,
    /// What it asked for.
    pub needs: &'a PodNeeds,
    /// Its ReplicaSet.
    pub group: &'a ObjectKey,
    /// Its workload.
    pub workload: &'a ObjectKey,
}

/// What is free on every node.
#[derive(Debug)]
pub struct Room<'a> {
    view: &'a View,
    /// By id.
    nodes: Vec<NodeRoom<'a>>,
    /// The nodes' part in breaking ties: of nodes that stand alike it is asked for with every pod.
    seeds: Vec<u64>,
    /// By workload.
    leaving: Vec<Leaving<'a>>,
    /// How many pods of a ReplicaSet or a workload each node has, of those that were asked for.
    spread: BTreeMap<ObjectKey, Vec<u32>>,
    /// The nodes as they stand for the group that was asked for last.
    order: Option<(Order, Wanted)>,
    /// Groups for which no node will do, with the reasons once somebody asks.
    refused: BTreeMap<ObjectKey, Option<Arc<str>>>,
}

/// What is free on one node. What is asked of every node for every group lies here and not behind the node, where looking for
/// it would take longer than all that is done with it.
#[derive(Debug)]
pub(crate) struct NodeRoom<'a> {
    pub(crate) node: &'a NodeView,
    /// Whether the node is here, takes pods and has no taints: then nothing but the pod can be a reason against it.
    is_open: bool,
    cpu_millis: u64,
    memory_bytes: u64,
    max_pods: u32,
    images: Images,
    pub(crate) used: Used,
}

impl<'a> NodeRoom<'a> {
    fn new(node: &'a NodeView, used: Used) -> Self {
        NodeRoom {
            node,
            is_open: node.is_ready() && !node.unschedulable && !node.observes && node.taints.is_empty(),
            cpu_millis: node.capacity.cpu_millis,
            memory_bytes: node.capacity.memory_bytes,
            max_pods: node.capacity.max_pods,
            images: node.images.clone(),
            used,
        }
    }
}

impl<'a> Room<'a> {
    /// What is free when all pods stay but those in `leaving`.
    #[must_use]
    pub fn new(view: &'a View, mut leaving: Vec<Leaving<'a>>) -> Self {
        let free = |node: &'a NodeView| NodeRoom::new(node, node.used.clone());
        leaving.sort_by_key(|leaving| leaving.workload);
        let mut room = Room {
            view,
            nodes: view.nodes.values().map(free).collect(),
            seeds: view.nodes.keys().map(|id| score::seed(&id.0)).collect(),
            leaving,
            spread: BTreeMap::new(),
            order: None,
            refused: BTreeMap::new(),
        };
        for leaving in &room.leaving {
            if let Some(i) = index_of(&room.nodes, &leaving.node) {
                room.nodes[i].used.remove(leaving.needs);
            }
        }
        room
    }

    /// Places a pod: the node, whose room shrinks. `None`: no node will do; [`Room::why_not`] says why.
    pub fn place(&mut self, ask: &Ask<'_>) -> Option<NodeId> {
        // Room only shrinks, and what a group's pods ask for is the same.
        if self.refused.contains_key(ask.group) {
            return None;
        }
        let (mut order, wanted) = match self.order.take() {
            Some(known) if known.0.group == *ask.group => known,
            _ => self.order_for(ask),
        };
        let avoid = ask.avoid.and_then(|avoid| index_of(&self.nodes, &avoid));
        let seed = score::seed(ask.name.as_bytes());
        let best = order.take_best(avoid, |i| score::tie_break(seed, self.seeds[i]));
        if let Some(i) = best {
            self.take(i, ask);
            if filter::refusal(&self.nodes[i], ask.needs).is_none() {
                order.insert(i, self.standing(&wanted, i, ask));
            }
        } else {
            self.refused.insert(ask.group.clone(), None);
        }
        self.order = Some((order, wanted));
        best.map(|i| self.nodes[i].node.id)
    }

    /// Why no node will do for a pod that could not be placed, in Kubernetes' words, then for each node. The pods of a group
    /// share what was true for the first of them that asks.
    pub fn why_not(&mut self, ask: &Ask<'_>) -> Arc<str> {
        if let Some(Some(known)) = self.refused.get(ask.group) {
            return known.clone();
        }
        let message: Arc<str> = self.explain(ask.needs).into();
        self.refused.insert(ask.group.clone(), Some(message.clone()));
        message
    }

    /// Why no node will do, or on which it could go.
    #[must_use]
    pub fn explain(&self, needs: &PodNeeds) -> String {
        message::explain(self.nodes.iter().map(|room| (room, filter::refusal(room, needs))), needs)
    }

    /// For each node whether it would do, and why not, in words.
    pub fn verdicts<'b>(&'b self, needs: &'b PodNeeds) -> impl Iterator<Item = (&'b NodeView, Option<String>)> {
        self.nodes.iter().map(|room| {
            let refusal = filter::refusal(room, needs);
            (room.node, refusal.map(|refusal| message::detail(room, &refusal, needs)))
        })
    }

    /// How many pods of a ReplicaSet each node has, the nodes that have none left out.
    pub fn spread_of(&self, set: &ReplicaSetView) -> impl Iterator<Item = (&NodeView, u32)> {
        let counts = self.count([set], &[]);
        self.nodes.iter().map(|room| room.node).zip(counts).filter(|(_, count)| *count > 0)
    }

    /// Looks at all nodes for a group.
    fn order_for(&mut self, ask: &Ask<'_>) -> (Order, Wanted) {
        let will_do = |i: &usize| filter::refusal(&self.nodes[*i], ask.needs).is_none();
        let fitting: Vec<usize> = (0..self.nodes.len()).filter(will_do).collect();
        if !fitting.is_empty() {
            self.count_spread(ask);
        }
        let (mut order, wanted) = (Order::new(ask.group), Wanted::of(&ask.needs.images));
        // Keys are long to compare, and nodes are many.
        let [of_group, of_workload] = [ask.group, ask.workload].map(|owner| self.spread.get(owner));
        let count = |counts: Option<&Vec<u32>>, i: usize| counts.map_or(0, |counts| counts[i]);
        for i in fitting {
            let (of_group, of_workload) = (count(of_group, i), count(of_workload, i));
            order.insert(i, score::standing(&self.nodes[i], ask.needs, &wanted, of_group, of_workload));
        }
        (order, wanted)
    }

    /// How a node stands now.
    fn standing(&self, wanted: &Wanted, i: usize, ask: &Ask<'_>) -> Standing {
        let count = |owner: &ObjectKey| self.spread.get(owner).map_or(0, |counts| counts[i]);
        score::standing(&self.nodes[i], ask.needs, wanted, count(ask.group), count(ask.workload))
    }

    fn take(&mut self, i: usize, ask: &Ask<'_>) {
        self.nodes[i].used.add(ask.needs);
        let owners = [ask.group, ask.workload];
        // Of an ownerless pod, and of a ReplicaSet that nothing owns, both are the same.
        for owner in &owners[..if ask.group == ask.workload { 1 } else { 2 }] {
            if let Some(counts) = self.spread.get_mut(*owner) {
                counts[i] += 1;
            }
        }
    }

    /// Counts the pods that stay of a group and of its workload, unless they were counted already.
    fn count_spread(&mut self, ask: &Ask<'_>) {
        if self.spread.contains_key(ask.group) {
            return;
        }
        let view = self.view;
        let sets = || view.replica_sets_of(ask.workload).into_iter().flatten();
        let from = self.leaving.partition_point(|leaving| leaving.workload < ask.workload);
        let until = self.leaving.partition_point(|leaving| leaving.workload <= ask.workload);
        let leaving = &self.leaving[from..until];
        let of_group: Vec<&Leaving<'_>> = leaving.iter().filter(|leaving| leaving.group == ask.group).collect();
        let group = self.count(sets().filter(|set| set.key == *ask.group), &of_group);
        if ask.group != ask.workload && !self.spread.contains_key(ask.workload) {
            let workload = self.count(sets(), &leaving.iter().collect::<Vec<_>>());
            self.spread.insert(ask.workload.clone(), workload);
        }
        self.spread.insert(ask.group.clone(), group);
    }

    /// How many pods of some ReplicaSets each node has, those that leave not counted.
    fn count<'b>(&self, sets: impl IntoIterator<Item = &'b ReplicaSetView>, leaving: &[&Leaving<'_>]) -> Vec<u32> {
        let mut counts = vec![0_u32; self.nodes.len()];
        let pods = sets.into_iter().flat_map(|set| set.slots.iter().filter_map(|slot| slot.pod.as_ref()));
        for pod in pods.filter(|pod| takes_room(pod)) {
            if let Some(i) = index_of(&self.nodes, &pod.node) {
                counts[i] += 1;
            }
        }
        for leaving in leaving {
            if let Some(i) = index_of(&self.nodes, &leaving.node) {
                counts[i] = counts[i].saturating_sub(1);
            }
        }
        counts
    }
}

/// Whether a pod that was placed takes room: one that has ended does not.
#[must_use]
pub fn takes_room(pod: &PodView) -> bool {
    !pod.has_ended()
}

/// Where a node is among all.
fn index_of(nodes: &[NodeRoom<'_>], id: &NodeId) -> Option<usize> {
    nodes.binary_search_by(|room| room.node.id.cmp(id)).ok()
}

#[cfg(test)]
mod tests;
