//! Workloads that had nothing to do when they were last looked at. While neither they nor what they can see of the nodes became
//! different, and no time has come that was waited for, they have nothing to do still, and are not looked at.
//!
//! In a large cluster that is nearly all of them nearly always. What a workload may depend on beyond itself is listed here;
//! whoever lets a controller look at more must add it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_crdt_state::ObjectKey;
use skein_gossip::{Instant, NodeId};

use super::draft::Draft;
use crate::model::taint::Taint;
use crate::view::{DeploymentView, NodeView, ReplicaSetView, View};

/// The workloads that had nothing to do, and how all else was then.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    nodes: Vec<NodeFacts>,
    left: BTreeSet<NodeId>,
    has_half: bool,
    lingering: BTreeSet<String>,
    pub(super) deployments: Resting<DeploymentView>,
    pub(super) replica_sets: Resting<ReplicaSetView>,
}

/// What decides about pods that a node has.
#[derive(Debug, PartialEq)]
struct NodeFacts {
    id: NodeId,
    alive: bool,
    lost: bool,
    given_up: bool,
    engine_down_since: Option<Instant>,
    /// Of a node that is lost: since when its grace runs.
    silent_since: Option<Instant>,
    taints: Arc<[(Taint, Instant)]>,
}

impl NodeFacts {
    fn of(node: &NodeView) -> Self {
        NodeFacts {
            id: node.id,
            alive: node.alive,
            lost: node.lost,
            given_up: node.given_up,
            engine_down_since: node.engine_down_since,
            silent_since: node.lost.then_some(node.last_contact),
            taints: node.taints.clone(),
        }
    }
}

impl Quiet {
    /// A plan is made: what was noted counts if what all workloads depend on is as it was.
    pub(super) fn begin(&mut self, view: &View) {
        let facts = || view.nodes.values().map(NodeFacts::of);
        let same = self.has_half == view.has_half()
            && self.left == view.left
            && self.lingering == view.lingering
            && self.nodes.len() == view.nodes.len()
            && self.nodes.iter().zip(facts()).all(|(before, now)| *before == now);
        if !same {
            *self = Quiet {
                nodes: facts().collect(),
                left: view.left.clone(),
                has_half: view.has_half(),
                lingering: view.lingering.clone(),
                ..Quiet::default()
            };
        }
        self.deployments.sweep(view.deployments.len());
        self.replica_sets.sweep(view.replica_sets.len());
    }
}

/// Workloads that had nothing to do: as they were, and until when.
#[derive(Debug)]
pub(super) struct Resting<T>(BTreeMap<ObjectKey, (Arc<T>, Option<Instant>)>);

impl<T> Default for Resting<T> {
    fn default() -> Self {
        Resting(BTreeMap::new())
    }
}

impl<T> Resting<T> {
    /// Plans a workload, unless it is known that nothing comes of it but when to look again.
    pub(super) fn unless_quiet<'v>(
        &mut self,
        draft: &mut Draft<'v>,
        key: &ObjectKey,
        workload: &Arc<T>,
        plan: impl FnOnce(&mut Draft<'v>),
    ) {
        let now = draft.view.now.mono;
        let holds = |until: Option<Instant>| until.is_none_or(|until| until > now);
        let known = self.0.get(key).filter(|(known, until)| Arc::ptr_eq(known, workload) && holds(*until));
        if let Some((_, until)) = known {
            until.iter().for_each(|at| draft.look_again(*at));
            return;
        }
        let (size, next) = (draft.size(), draft.next.take());
        plan(draft);
        let until = std::mem::replace(&mut draft.next, next);
        until.iter().for_each(|at| draft.look_again(*at));
        if draft.size() == size && holds(until) {
            self.0.insert(key.clone(), (workload.clone(), until));
        } else {
            self.0.remove(key);
        }
    }

    /// Forgets all once there are fewer workloads than are noted: some are gone.
    fn sweep(&mut self, workloads: usize) {
        if self.0.len() > workloads {
            self.0.clear();
        }
    }
}
