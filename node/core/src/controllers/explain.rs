//! Why a pod is where it is, or why it is nowhere: the controllers' reasons in sentences for people.

use std::time::Duration;

use skein_crdt_state::ObjectKey;
use skein_gossip::Instant;

use super::refill::{self, Allowed, Condition};
use crate::model::needs::PodNeeds;
use crate::model::partition::PartitionPolicy;
use crate::scheduler::Room;
use crate::status::{Phase, PodStatus};
use crate::view::{PodView, ReplicaSetView, SlotView, View};

/// Why the pod of a slot, or an ownerless pod, is where it is; for each node why not, if it is nowhere. At least one
/// sentence.
#[must_use]
pub fn explain(view: &View, key: &ObjectKey) -> Vec<String> {
    if let Some((set, slot)) = view.slots().find(|(_, slot)| slot.key == *key) {
        return of_slot(view, set, slot);
    }
    let Some(solo) = view.pods.iter().find(|pod| pod.key == *key) else {
        return vec![format!(
            "Nothing is known of {key} here: it was deleted, or its owner has not arrived from a peer yet."
        )];
    };
    let mut said =
        vec!["Nothing owns it: it is placed once, and not replaced when it ends or its node is lost.".to_owned()];
    match &solo.pod {
        Some(pod) => said.extend(of_pod(view, pod)),
        None => said.extend(waits(view, &solo.needs)),
    }
    said
}

fn of_slot(view: &View, set: &ReplicaSetView, slot: &SlotView) -> Vec<String> {
    let owner = set.key.owner().filter(|owner| owner.kind().as_str() == crate::model::DEPLOYMENT_KIND);
    let deployment = owner.as_ref().and_then(|owner| view.deployments.iter().find(|known| known.key == *owner));
    let of = deployment.map_or_else(String::new, |deployment| format!(" of Deployment {}", deployment.key.name()));
    let mut said = vec![format!("It fills slot {} of ReplicaSet {}{of}.", slot.number, set.key.name())];
    if deployment.is_some_and(|deployment| deployment.current != set.key) {
        said.push("Its template is not the Deployment's latest: it goes when enough pods of that serve.".to_owned());
    }
    let needs = &set.spec.template.needs;
    let Some(pod) = &slot.pod else {
        said.extend(waits(view, needs));
        return said;
    };
    said.extend(of_pod(view, pod));
    if pod.claimed {
        let node = view.node_name(&pod.node);
        said.push(format!(
            "{node} was lost for a while; its pod was never interrupted, so {node} claimed the slot back."
        ));
    } else if let Some(displaced) = slot.sole.and_then(|sole| sole.placement.displaces).filter(|of| of.node != pod.node)
    {
        let node = view.node_name(&displaced.node);
        said.push(format!("It replaces a pod on {node}, which was lost. If that one still serves when {node} is back, it stays instead."));
    }
    let policy = deployment.map_or(set.spec.partition, |deployment| deployment.spec.partition);
    said.extend(of_condition(view, policy, &refill::condition(view, slot, needs)));
    let room = Room::new(view, Vec::new());
    let spread: Vec<String> = room.spread_of(set).map(|(node, count)| format!("{} {count}", node.name)).collect();
    if spread.len() > 1 {
        said.push(format!("Pods are spread by ReplicaSet first: {} has {}.", set.key.name(), spread.join(", ")));
    }
    said
}

fn of_pod(view: &View, pod: &PodView) -> Vec<String> {
    let name = view.node_name(&pod.node);
    let node = view.nodes.get(&pod.node);
    let mut said = vec![match node {
        None if view.left.contains(&pod.node) => format!("It ran on {name}, which has left the cluster."),
        None => format!("It was placed on {name}, of which nothing else is known here yet."),
        Some(node) if node.lost => {
            let silent = seconds(view.now.mono.since(node.last_contact));
            format!("It was placed on {name}, which has not been heard of here for {silent}.")
        }
        Some(_) => format!("It runs on {name}."),
    }];
    said.push(match pod.status.as_deref() {
        None => format!("{name} has not said anything of it yet."),
        Some(status) => format!("{name} says: {}.", of_status(status)),
    });
    said
}

fn of_status(status: &PodStatus) -> String {
    let phase = match status.phase {
        Phase::Pending => "it is being started",
        Phase::Running if status.ready => "it runs and is ready",
        Phase::Running => "it runs and is not ready",
        Phase::Succeeded => "it ended well",
        Phase::Failed => "it failed",
    };
    let detail = [&status.reason, &status.message].into_iter().filter(|text| !text.is_empty());
    [phase.to_owned()].into_iter().chain(detail.cloned()).collect::<Vec<_>>().join(", ")
}

fn of_condition(view: &View, policy: PartitionPolicy, condition: &Condition) -> Vec<String> {
    let until = |at: &Instant| seconds(at.since(view.now.mono));
    match condition {
        Condition::Held => vec!["Nothing asks for it to be moved.".to_owned()],
        Condition::HeldUntil(at) => vec![format!("It is replaced in {} unless that changes.", until(at))],
        Condition::Vacant => Vec::new(),
        Condition::Gone => vec!["Its node will not come back, so it is replaced now.".to_owned()],
        Condition::Ended => vec!["It ended, so it is replaced now.".to_owned()],
        Condition::Repelled(taint) => {
            vec![format!("It does not tolerate its node's taint {taint}, so it is replaced now.")]
        }
        Condition::EngineDown => {
            vec!["Its node's engine has not answered for too long.".to_owned(), of_policy(view, policy)]
        }
        Condition::Lost => vec![of_policy(view, policy)],
    }
}

/// What a partition policy makes of a lost node, in this component.
fn of_policy(view: &View, policy: PartitionPolicy) -> String {
    let (name, here, seen) = (policy.as_str(), view.here, view.seen);
    let many = if view.has_half() { "half or more" } else { "fewer than half" };
    let count = format!("{here} of the {seen} nodes seen within 24 hours are here, {many}");
    match (refill::allowed(view, policy), policy) {
        (Allowed::All, PartitionPolicy::Full) => format!("Its partition policy is `{name}`: it is replaced now."),
        (Allowed::All, _) => format!("Its partition policy is `{name}`, and {count}: it is replaced now."),
        (Allowed::One, _) => {
            format!(
                "Its partition policy is `{name}`, and {count}: it is replaced only if no other pod of its workload is here."
            )
        }
        (Allowed::None, PartitionPolicy::Quorum) => {
            format!(
                "Its partition policy is `{name}`: nothing proves that the lost pod has stopped, so it is not replaced."
            )
        }
        (Allowed::None, _) => format!("Its partition policy is `{name}`: it is not replaced."),
    }
}

/// Why a pod has no node: for each node why not.
fn waits(view: &View, needs: &PodNeeds) -> Vec<String> {
    let room = Room::new(view, Vec::new());
    let mut said = vec!["It waits for a node.".to_owned()];
    for (node, verdict) in room.verdicts(needs) {
        said.push(match verdict {
            Some(reason) => format!("{}: no, {reason}.", node.name),
            None => format!("{}: it would do; the leader places it there or on another in a moment.", node.name),
        });
    }
    said
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
