//! In the end exactly the asked-for replicas run, one container for each wanted slot and none besides, and rollouts are
//! complete (INVARIANTS I2).

use std::collections::BTreeMap;

use skein_core::runtime::ContainerInfo;
use skein_core::slot::SLOT_KIND;
use skein_crdt_state::{Kind, Scalar};

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
            None | Some([]) => return Some(format!("nothing runs for {}", slot.key())),
            Some(many) => {
                let places: Vec<&String> = many.iter().map(|(host, _)| host).collect();
                return Some(format!("{} containers run for {}: {places:?}", many.len(), slot.key()));
            }
        }
    }
    let (slot, places) = by_slot.first_key_value()?;
    Some(format!("an orphan of {slot} runs on {:?}", places.iter().map(|(host, _)| host).collect::<Vec<_>>()))
}

/// Deployments whose slots are not what they ask for.
pub(super) fn check_rollouts(world: &World) -> Option<String> {
    let store = world.hosts.iter().find_map(|host| host.node.as_ref())?.store();
    for deployment in store.live(&Kind::new("Deployment.apps")) {
        let wanted = deployment.get("spec.replicas").and_then(Scalar::as_int).unwrap_or(1);
        let slots = store.children(deployment.key()).filter(|child| child.key().kind().as_str() == SLOT_KIND);
        let owners: Vec<String> = slots.filter_map(|slot| Some(slot.key().owner()?.to_string())).collect();
        if owners.len() as i64 != wanted {
            return Some(format!("{} asks for {wanted} replicas and has {} slots", deployment.key(), owners.len()));
        }
        if owners.iter().any(|owner| *owner != owners[0]) {
            return Some(format!("the rollout of {} is not complete", deployment.key()));
        }
    }
    None
}
