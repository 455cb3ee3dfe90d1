//! Nothing that a user was told is deleted ever returns (INVARIANTS I4).

use crate::world::World;

/// Something that returned.
pub(super) fn check(world: &World) -> Option<String> {
    for host in &world.hosts {
        let Some(node) = &host.node else { continue };
        for key in world.oracle.deleted() {
            if node.store().is_live(key) {
                return Some(format!("{} was deleted and is back at {}", key, host.name));
            }
            let slot = key.to_string();
            if let Some(info) = host.engine.running().find(|info| info.slot.starts_with(&format!("{slot}/"))) {
                return Some(format!("a container of {} runs at {}: {}", key, host.name, info.pod));
            }
        }
    }
    None
}
