//! At most one quorate leader for a term at any time; and in the end one leader, whom all follow.

use std::collections::BTreeMap;

use skein_core::election::Leadership;
use skein_core::node::Node;

use crate::world::World;

/// The quorate leaders that were seen.
#[derive(Debug, Default)]
pub(crate) struct Leaders {
    quorate: BTreeMap<u64, usize>,
}

impl Leaders {
    /// A host was removed.
    pub(crate) fn forget(&mut self, host: usize) {
        self.quorate.retain(|_, leader| *leader != host);
    }

    /// What a host says of who leads; what is broken by it.
    pub(crate) fn seen(&mut self, host: usize, leadership: &Leadership) -> Option<String> {
        if !leadership.mine || !leadership.quorate {
            return None;
        }
        match self.quorate.insert(leadership.term, host) {
            Some(before) if before != host => {
                Some(format!("h{before} and h{host} are both quorate leaders of term {}", leadership.term))
            }
            _ => None,
        }
    }
}

/// One leader, whom all follow.
pub(super) fn check(world: &World) -> Option<String> {
    let nodes: Vec<&Node> = world.hosts.iter().filter_map(|host| host.node.as_ref()).collect();
    let leaders = nodes.iter().filter(|node| node.leadership().mine).count();
    if leaders != 1 {
        return Some(format!("{leaders} nodes lead"));
    }
    let first = nodes.first()?.leadership().leader;
    let other = nodes.iter().find(|node| node.leadership().leader != first)?;
    Some(format!("{} follows {:?}, others {first:?}", other.name(), other.leadership().leader))
}
