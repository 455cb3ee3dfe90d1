//! Queues stay in their bounds, and are empty when all is quiet.

use skein_core::node::MAX_PENDING_WRITES;

use crate::world::World;

/// The most frames that may wait for one host's disk, as in the daemon.
const MAX_HELD: usize = 10_000;

/// A queue that is too long.
pub(super) fn check(world: &World) -> Option<String> {
    for host in &world.hosts {
        let held: usize = host.held.values().map(Vec::len).sum();
        if held > MAX_HELD {
            return Some(format!("{held} frames wait for the disk of {}", host.name));
        }
        let pending = host.node.as_ref().map_or(0, skein_core::node::Node::pending_writes);
        if pending > MAX_PENDING_WRITES {
            return Some(format!("{pending} writes wait at {}", host.name));
        }
    }
    None
}

/// A queue that is not empty though nothing happens.
pub(super) fn check_quiet(world: &World) -> Option<String> {
    let waits = |host: &&crate::host::Host| host.node.as_ref().is_some_and(|node| node.pending_writes() > 0);
    let host = world.hosts.iter().find(waits)?;
    Some(format!("writes still wait at {}", host.name))
}
