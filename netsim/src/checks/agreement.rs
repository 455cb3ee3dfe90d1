//! In the end all peers see all others alive, and hold the same state (INVARIANTS I1).

use std::collections::BTreeSet;

use skein_core::node::Node;
use skein_gossip::NodeId;

use crate::host::Standing;
use crate::world::World;

/// What peers do not agree on.
pub(super) fn check(world: &World) -> Option<String> {
    let nodes: Vec<&Node> = world.hosts.iter().filter_map(|host| host.node.as_ref()).collect();
    if let Some(host) = world.hosts.iter().find(|host| host.is_switched_on() && host.standing != Standing::Member) {
        return Some(format!("{} was asked to leave and has not", host.name));
    }
    if let Some(host) = world.hosts.iter().find(|host| host.standing == Standing::Joining) {
        return Some(format!("{} was not let in", host.name));
    }
    let members: BTreeSet<NodeId> = nodes.iter().map(|node| node.me()).collect();
    for node in &nodes {
        if *node.store().members().active() != members {
            let active = node.store().members().active().len();
            return Some(format!("{} takes {active} nodes for members, which are {}", node.name(), members.len()));
        }
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
