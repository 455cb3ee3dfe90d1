//! In the end every member holds every key that one of them holds, all take the same epoch for the current one, and every value
//! is sealed under it. That no text was lost on the way is found by `acknowledged`.

use std::collections::BTreeSet;

use skein_crdt_state::EpochId;

use crate::world::World;

/// What is not sealed as it should be.
pub(super) fn check(world: &World) -> Option<String> {
    let running: Vec<_> = world.hosts.iter().filter_map(|host| Some((host, host.node.as_ref()?))).collect();
    let made: BTreeSet<EpochId> = running.iter().flat_map(|(host, _)| host.keyring.epochs().copied()).collect();
    let latest = running.first()?.1.store().current_epoch();
    for (host, node) in running {
        let store = node.store();
        if let Some(epoch) = made.iter().find(|epoch| !store.keyring().holds(epoch)) {
            return Some(format!("{} lacks the key of epoch {epoch}", host.name));
        }
        let last =
            store.rotations().into_iter().rev().map(|rotation| rotation.epoch).find(|epoch| made.contains(epoch));
        let current = store.current_epoch();
        if current != latest || current != last.unwrap_or(store.keyring().founding()) {
            return Some(format!("{} takes epoch {current} for the current one, another {latest}", host.name));
        }
        if let Some((epoch, count)) = store.sealed_under().into_iter().find(|(epoch, _)| *epoch != current) {
            return Some(format!("{} holds {count} values under epoch {epoch}, which is over", host.name));
        }
    }
    None
}
