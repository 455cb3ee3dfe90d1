//! The scheduler: which node a pod goes to, or for each node why not. Pure; a [`Room`] is made from a view and shrinks with
//! each pod that a plan places.
//!
//! Which pods need a node is decided by the controllers; filters live in [`filter`], preferences in `score`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_crdt_state::ObjectKey;
use skein_gossip::NodeId;

use crate::model::needs::{HostPort, PodNeeds};
use crate::view::{NodeView, PodView, View};

pub mod filter;
mod message;
mod score;

pub use filter::Refusal;

/// A pod that needs a node.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    /// What it fills, as text: breaks ties, so that equal nodes are used evenly and every leader chooses alike.
    pub name: &'a str,
    /// What it asks of a node.
    pub needs: &'a PodNeeds,
    /// The ReplicaSet whose pods are spread first; of an ownerless pod its own key.
    pub group: &'a ObjectKey,
    /// The workload whose pods are spread next.
    pub workload: &'a ObjectKey,
    /// A node to take only if no other will do: a pod of this slot failed there.
    pub avoid: Option<NodeId>,
}

/// What is free on every node.
#[derive(Debug)]
pub struct Room<'a> {
    nodes: Vec<NodeRoom<'a>>,
    spread: BTreeMap<ObjectKey, Vec<u32>>,
    refused: BTreeMap<ObjectKey, Arc<str>>,
}

/// What is free on one node.
#[derive(Debug)]
pub(crate) struct NodeRoom<'a> {
    pub(crate) node: &'a NodeView,
    pub(crate) seed: u64,
    pub(crate) cpu_millis: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) pods: u32,
    /// Requests, with Kubernetes' assumptions for those that ask for nothing: for preferences alone.
    pub(crate) weight: score::Weight,
    pub(crate) ports: BTreeSet<HostPort>,
}

impl<'a> Room<'a> {
    /// What is free when all pods stay but those of the slots in `leaving`.
    #[must_use]
    pub fn new(view: &'a View, leaving: &BTreeSet<ObjectKey>) -> Self {
        let nodes = view.nodes.values().map(|node| NodeRoom {
            node,
            seed: score::seed(&node.id.0),
            cpu_millis: 0,
            memory_bytes: 0,
            pods: 0,
            weight: score::Weight::default(),
            ports: BTreeSet::new(),
        });
        let mut room = Room { nodes: nodes.collect(), spread: BTreeMap::new(), refused: BTreeMap::new() };
        let index: BTreeMap<NodeId, usize> = room.nodes.iter().enumerate().map(|(i, room)| (room.node.id, i)).collect();
        let at = |pod: &Option<PodView>| {
            let pod = pod.as_ref().filter(|pod| !pod.has_ended());
            pod.and_then(|pod| index.get(&pod.node).copied())
        };
        let mut staying: Vec<(usize, &PodNeeds, &ObjectKey, &ObjectKey)> = Vec::new();
        for deployment in &view.deployments {
            for set in &deployment.replica_sets {
                let kept = set.slots.iter().filter(|slot| !leaving.contains(&slot.key));
                let placed = kept.filter_map(|slot| at(&slot.pod));
                staying.extend(placed.map(|i| (i, &set.spec.template.needs, &set.key, &deployment.key)));
            }
        }
        for set in &view.replica_sets {
            let kept = set.slots.iter().filter(|slot| !leaving.contains(&slot.key));
            staying.extend(
                kept.filter_map(|slot| at(&slot.pod)).map(|i| (i, &set.spec.template.needs, &set.key, &set.key)),
            );
        }
        let solo = view.pods.iter().filter_map(|pod| Some((at(&pod.pod)?, &*pod.needs, &pod.key, &pod.key)));
        staying.extend(solo);
        for (i, needs, group, workload) in staying {
            room.take(i, needs, group, workload);
        }
        room
    }

    /// Places a pod: the node, whose room shrinks.
    ///
    /// # Errors
    /// When no node will do: for each why not, in Kubernetes' words.
    pub fn place(&mut self, ask: &Ask<'_>) -> Result<NodeId, Arc<str>> {
        // Room only shrinks, and what a group's pods ask for is the same.
        if let Some(message) = self.refused.get(ask.group) {
            return Err(message.clone());
        }
        let seed = score::seed(ask.name.as_bytes());
        let group = self.spread.get(ask.group);
        let workload = self.spread.get(ask.workload);
        let count = |counts: Option<&Vec<u32>>, i: usize| counts.map_or(0, |counts| counts[i]);
        let fitting = self.nodes.iter().enumerate().filter(|(_, room)| filter::refusal(room, ask.needs).is_none());
        let best = fitting
            .map(|(i, room)| (score::score(room, ask, seed, count(group, i), count(workload, i)), i))
            .max_by(|a, b| a.0.cmp(&b.0))
            .map(|(_, i)| i);
        let Some(best) = best else {
            let message: Arc<str> = self.explain(ask.needs).into();
            self.refused.insert(ask.group.clone(), message.clone());
            return Err(message);
        };
        self.take(best, ask.needs, ask.group, ask.workload);
        Ok(self.nodes[best].node.id)
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

    /// How many pods of a group each node has, the nodes that have none left out.
    pub fn spread_of(&self, group: &ObjectKey) -> impl Iterator<Item = (&NodeView, u32)> {
        let counts = self.spread.get(group).into_iter().flatten().copied();
        self.nodes.iter().map(|room| room.node).zip(counts).filter(|(_, count)| *count > 0)
    }

    fn take(&mut self, i: usize, needs: &PodNeeds, group: &ObjectKey, workload: &ObjectKey) {
        let room = &mut self.nodes[i];
        room.cpu_millis = room.cpu_millis.saturating_add(needs.cpu_millis);
        room.memory_bytes = room.memory_bytes.saturating_add(needs.memory_bytes);
        room.pods += 1;
        room.weight.add(needs);
        room.ports.extend(needs.host_ports.iter().cloned());
        let count = self.nodes.len();
        for owner in [group, workload] {
            match self.spread.get_mut(owner) {
                Some(counts) => counts[i] += 1,
                None => {
                    let mut counts = vec![0; count];
                    counts[i] = 1;
                    self.spread.insert(owner.clone(), counts);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
