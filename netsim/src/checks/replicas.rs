//! In the end exactly the asked-for replicas run, one container for each wanted slot and none besides, and rollouts are
//! complete (INVARIANTS I2).

use std::collections::BTreeMap;

use skein_core::runtime::ContainerInfo;
use skein_core::slot::SLOT_KIND;
use skein_core::status::{Claim, NodeStatus, PodStatus};
use skein_crdt_state::{Kind, ObjectKey, ObjectState, Scalar, Store};
use skein_gossip::NodeId;

use crate::world::World;

/// What runs and should not, or should and does not.
pub(super) fn check(world: &World) -> Option<String> {
    let store = world.hosts.iter().find_map(|host| host.node.as_ref())?.store();
    let mut by_slot: BTreeMap<String, Vec<(String, ContainerInfo)>> = BTreeMap::new();
    for host in &world.hosts {
        for info in host.engine.running() {
            by_slot.entry(info.slot.clone()).or_default().push((host.name.clone(), info.clone()));
        }
    }
    for slot in store.live(&Kind::new(SLOT_KIND)) {
        match by_slot.remove(&slot.key().to_string()).as_deref() {
            Some([_]) => {}
            None | Some([]) => return Some(format!("nothing runs for {}: {}", slot.key(), why(store, slot))),
            Some(many) => {
                let places: Vec<(&String, &str)> = many.iter().map(|(host, info)| (host, &info.write[..8])).collect();
                let values = skein_core::slot::values(slot);
                let claims = claims_on(store, slot.key());
                let text = format!("{} containers run for {}: {places:?}", many.len(), slot.key());
                return Some(format!("{text}; values {values:?}, claims {claims:?}"));
            }
        }
    }
    for pod in store.live(&Kind::new("Pod")) {
        // A pod without an owner is not started elsewhere when its node has left.
        let places = by_slot.remove(&pod.key().to_string()).unwrap_or_default();
        let won = skein_core::slot::winner(&skein_core::slot::values(pod), &claims_on(store, pod.key()));
        let stays = won.is_some_and(|won| store.members().is_active(&won.node));
        if places.len() > 1 || (stays && places.is_empty()) {
            let places: Vec<_> = places.iter().map(|(host, info)| (host, info.id.attempt)).collect();
            return Some(format!("attempts {places:?} run for {}: {}", pod.key(), why(store, pod)));
        }
    }
    let (slot, places) = by_slot.first_key_value()?;
    Some(format!("an orphan of {slot} runs on {:?}", places.iter().map(|(host, _)| host).collect::<Vec<_>>()))
}

/// Where a slot's pods are placed and what their nodes say of them, for the report.
fn why(store: &Store, slot: &ObjectState) -> String {
    let values = skein_core::slot::values(slot);
    let said = values.iter().filter_map(|value| {
        let uid = skein_core::slot::pod_uid(&store.cluster(), slot.key(), &value.write);
        let report = store.report(&value.placement.node?, &format!("pod/{uid}"))?;
        postcard::from_bytes::<PodStatus>(&report.body).ok()
    });
    let said: Vec<String> =
        said.map(|status| format!("{:?} {} {}", status.phase, status.reason, status.message)).collect();
    format!("values {values:?}, reports {said:?}, claims {:?}", claims_on(store, slot.key()))
}

/// What nodes claim of a slot, for the report.
pub(super) fn claims_on(store: &Store, slot: &ObjectKey) -> Vec<(NodeId, Claim)> {
    let said = store.reports().filter(|(_, section, _)| *section == "node");
    let claims = said
        .filter_map(|(node, _, report)| Some((*node, postcard::from_bytes::<NodeStatus>(&report.body).ok()?.claims)));
    claims
        .flat_map(|(node, claims)| claims.into_iter().map(move |claim| (node, claim)))
        .filter(|(_, c)| c.slot == *slot)
        .collect()
}

/// Deployments whose slots are not what they ask for.
pub(super) fn check_rollouts(world: &World) -> Option<String> {
    let store = world.hosts.iter().find_map(|host| host.node.as_ref())?.store();
    for deployment in store.live(&Kind::new("Deployment.apps")) {
        let wanted = deployment.get("spec.replicas").and_then(Scalar::as_int).unwrap_or(1);
        let slots = store.children(deployment.key()).filter(|child| child.key().kind().as_str() == SLOT_KIND);
        let slots: Vec<&ObjectKey> = slots.map(|slot| slot.key()).collect();
        let owners: Vec<String> = slots.iter().filter_map(|slot| Some(slot.owner()?.to_string())).collect();
        if owners.len() as i64 != wanted {
            return Some(format!("{} asks for {wanted} replicas and has {} slots", deployment.key(), owners.len()));
        }
        if owners.iter().any(|owner| *owner != owners[0]) {
            return Some(format!("the rollout of {} is not complete", deployment.key()));
        }
        // Both sides of a partition must name the same ones: the lowest that were free. A rollout may have one more.
        let most = world.oracle.most_replicas().max(wanted) + 1;
        if let Some(slot) = slots.iter().find(|slot| slot.name().parse().is_ok_and(|number: i64| number >= most)) {
            return Some(format!("{slot} is not one of the slots from 0 to {}", most - 1));
        }
    }
    None
}
