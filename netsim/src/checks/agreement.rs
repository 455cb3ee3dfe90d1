//! In the end all peers see all others alive, and hold the same state (INVARIANTS I1).

use skein_core::node::Node;

use crate::world::World;

/// What peers do not agree on.
pub(super) fn check(world: &World) -> Option<String> {
    let nodes: Vec<&Node> = world.hosts.iter().filter_map(|host| host.node.as_ref()).collect();
    for node in &nodes {
        if node.alive().len() != nodes.len() {
            return Some(format!("{} sees {} of {} alive", node.name(), node.alive().len(), nodes.len()));
        }
    }
    let first = nodes.first()?;
    for node in &nodes[1..] {
        if node.store().state_hash() != first.store().state_hash() {
            return Some(format!("{} and {} hold different states", first.name(), node.name()));
        }
        if node.store().reported().root() != first.store().reported().root() {
            return Some(format!("{} and {} hold different reports", first.name(), node.name()));
        }
    }
    None
}
