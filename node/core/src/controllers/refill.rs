//! When a slot is filled anew: its pod's node is lost, its pod failed, its node repels it, or nothing is there.
//!
//! A pod is never moved without one of these reasons, and a node that was lost and is back in time keeps its pods.

use std::time::Duration;

use skein_crdt_state::ObjectKey;
use skein_gossip::planted::{self, Bug};
use skein_gossip::{Instant, NodeId};

use super::draft::{Draft, Target, Want};
use crate::model::needs::PodNeeds;
use crate::model::partition::PartitionPolicy;
use crate::model::taint::{Bears, Effect, NOT_READY, Taint, UNREACHABLE, bears};
use crate::slot::Displaced;
use crate::view::{LOST_AFTER, NodeView, PodView, ReplicaSetView, SlotView, View};

/// How long an engine may be silent, on a node that is there, before its pods are replaced.
pub(super) const ENGINE_GRACE: Duration = Duration::from_secs(30);

/// How a slot is, as far as filling it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// It has a pod that stays.
    Held,
    /// It has a pod that is replaced at this instant, if nothing gets better.
    HeldUntil(Instant),
    /// No pod is there.
    Vacant,
    /// Its node left for good, or somebody deleted the lost node's object.
    Gone,
    /// Its node is lost, for longer than the pod bears.
    Lost,
    /// Its node is there, but the engine has not answered for longer than the pod bears.
    EngineDown,
    /// It ended, or its node refused it.
    Ended,
    /// Its node repels it.
    Repelled(Taint),
}

/// How a slot is.
pub(super) fn condition(view: &View, slot: &SlotView, needs: &PodNeeds) -> Condition {
    let Some(pod) = &slot.pod else { return Condition::Vacant };
    if view.left.contains(&pod.node) {
        return Condition::Gone;
    }
    let Some(node) = view.nodes.get(&pod.node) else { return Condition::Held };
    if node.lost {
        // A node that others reach and this one does not has shown by its claim that the pod serves. Taking the slot from
        // it again would go on for ever.
        return if node.alive && pod.claimed { Condition::Held } else { lost(view, node, needs) };
    }
    if pod.has_ended() {
        return match slot.not_before {
            Some(at) if at > view.now.mono => Condition::HeldUntil(at),
            _ => Condition::Ended,
        };
    }
    let engine = node.engine_down_since.map(|since| due(since, grace(needs, NOT_READY, ENGINE_GRACE)));
    let engine = engine.map_or(Condition::Held, |at| when(view, at, Condition::EngineDown));
    if engine == Condition::EngineDown { engine } else { sooner(engine, repelled(view, node, needs)) }
}

fn lost(view: &View, node: &NodeView, needs: &PodNeeds) -> Condition {
    // Somebody who deletes the object of a node that is not there says that it will not come back.
    if node.given_up && !node.alive {
        return Condition::Gone;
    }
    when(view, due(node.last_contact, grace(needs, UNREACHABLE, LOST_AFTER)), Condition::Lost)
}

fn repelled(view: &View, node: &NodeView, needs: &PodNeeds) -> Condition {
    let mut result = Condition::Held;
    for (taint, since) in node.taints.iter().filter(|(taint, _)| taint.effect == Effect::NoExecute) {
        let at = match bears(&needs.tolerations, &taint.key, &taint.value) {
            Bears::No => Some(view.now.mono),
            Bears::Seconds(seconds) => Some(*since + Duration::from_secs(seconds)),
            Bears::ForEver => None,
        };
        result = sooner(result, when(view, at, Condition::Repelled(taint.clone())));
    }
    result
}

/// How long a pod bears one of the taints that nodes get by themselves; `None`: for ever.
fn grace(needs: &PodNeeds, taint: &str, default: Duration) -> Option<Duration> {
    match bears(&needs.tolerations, taint, "") {
        Bears::No => Some(default),
        Bears::Seconds(seconds) => Some(Duration::from_secs(seconds).max(LOST_AFTER)),
        Bears::ForEver => None,
    }
}

fn due(since: Instant, grace: Option<Duration>) -> Option<Instant> {
    grace.map(|grace| since + grace)
}

fn when(view: &View, at: Option<Instant>, condition: Condition) -> Condition {
    match at {
        None => Condition::Held,
        Some(at) if at > view.now.mono => Condition::HeldUntil(at),
        Some(_) => condition,
    }
}

/// The one that comes first: a reason before a deadline before none.
fn sooner(a: Condition, b: Condition) -> Condition {
    match (a, b) {
        (Condition::Held, b) => b,
        (a, Condition::Held) => a,
        (Condition::HeldUntil(a), Condition::HeldUntil(b)) => Condition::HeldUntil(a.min(b)),
        (Condition::HeldUntil(_), b) => b,
        (a, _) => a,
    }
}

/// What a policy says to replacing the pods of lost nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowed {
    /// All are replaced.
    All,
    /// One is, if the workload has none here.
    One,
    /// None is.
    None,
}

/// What a policy says to replacing the pods of lost nodes, in this component.
pub(super) fn allowed(view: &View, policy: PartitionPolicy) -> Allowed {
    match policy {
        _ if planted::is(Bug::PolicyIgnored) => Allowed::All,
        PartitionPolicy::Full => Allowed::All,
        PartitionPolicy::Alive if view.has_half() => Allowed::All,
        PartitionPolicy::Alive => Allowed::One,
        PartitionPolicy::Quorum | PartitionPolicy::Hold => Allowed::None,
    }
}

/// Fills the slots of one workload that stay and need it. `current` is the ReplicaSet whose pods matter most; `growing`:
/// new slots are made in the same plan.
pub(super) fn workload<'v>(
    draft: &mut Draft<'v>,
    key: &'v ObjectKey,
    policy: PartitionPolicy,
    sets: &[&'v ReplicaSetView],
    growing: bool,
) {
    let allowed = allowed(draft.view, policy);
    let (mut here, mut lost) = (growing, Vec::new());
    for set in sets {
        for slot in set.slots.iter().filter(|slot| !draft.ending.contains(&slot.key)).collect::<Vec<_>>() {
            match condition(draft.view, slot, &set.spec.template.needs) {
                Condition::Held => here |= pod_is_here(draft.view, slot),
                Condition::HeldUntil(at) => {
                    here |= pod_is_here(draft.view, slot);
                    draft.look_again(at);
                }
                Condition::Lost | Condition::EngineDown if allowed == Allowed::All => fill(draft, key, set, slot, true),
                Condition::Lost | Condition::EngineDown => lost.push((*set, slot)),
                Condition::Gone => {
                    here = true;
                    fill(draft, key, set, slot, true);
                }
                condition => {
                    here = true;
                    let evicted = matches!(condition, Condition::Repelled(_));
                    fill(draft, key, set, slot, false);
                    if let Some(want) = draft.wants.last_mut() {
                        want.evicted = evicted;
                    }
                }
            }
        }
    }
    if let Some((set, slot)) = lost.first().filter(|_| allowed == Allowed::One && !here) {
        fill(draft, key, set, slot, true);
    }
}

fn pod_is_here(view: &View, slot: &SlotView) -> bool {
    slot.pod.as_ref().is_some_and(|pod| !view.is_lost(&pod.node) && !pod.has_ended())
}

fn fill<'v>(
    draft: &mut Draft<'v>,
    workload: &'v ObjectKey,
    set: &'v ReplicaSetView,
    slot: &'v SlotView,
    displaced: bool,
) {
    let pod: Option<&PodView> = slot.pod.as_ref();
    let node: Option<NodeId> = pod.map(|pod| pod.node);
    if let Some(pod) = pod {
        draft.leaves(pod, set, workload);
    }
    let displaces = pod.filter(|_| displaced).map(|pod| Displaced { node: pod.node, write: pod.write });
    draft.wants.push(Want {
        target: Target::There(slot.key.clone()),
        needs: &set.spec.template.needs,
        group: set.key.clone(),
        workload,
        avoid: node,
        displaces,
        sole: slot.sole,
        evicted: false,
    });
}
