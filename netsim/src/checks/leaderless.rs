//! Peers that reach each other have a leader soon after the last one was lost (promise P4).

use std::collections::BTreeSet;

use skein_core::node::Node;
use skein_gossip::NodeId;

use crate::world::World;

/// How long it may take, in virtual microseconds. The promise is 2 s; a node that lost its power is first missed, and frames
/// are lost and connections reset meanwhile.
const SOON_US: u64 = 6_000_000;

/// Since when the same hosts have been without a leader.
#[derive(Debug, Default)]
pub(crate) struct Leaderless {
    up: BTreeSet<usize>,
    since_us: u64,
}

impl Leaderless {
    /// That nobody leads for too long.
    pub(crate) fn look(&mut self, world: &World) -> Option<String> {
        let up = world.up();
        let nodes = || up.iter().filter_map(|host| world.hosts[*host].node.as_ref());
        let followed: BTreeSet<NodeId> = nodes().filter_map(|node| node.leadership().leader).collect();
        // Whose removal nobody here has heard of leads like anybody.
        let leads = |node: &Node| node.leadership().mine && followed.contains(&node.me());
        let led = world.hosts.iter().filter_map(|host| host.node.as_ref()).any(leads);
        let disturbed = !world.links.cuts().is_empty() || world.hosts.iter().any(|host| host.paused);
        // Observers alone have nobody who could lead, nor have those who take themselves for out.
        let is_in = |host: &usize| {
            world.hosts[*host].node.as_ref().is_some_and(|node| node.store().members().is_active(&node.me()))
        };
        let disturbed = disturbed || up.iter().all(|host| world.observes(*host) || !is_in(host));
        if up != self.up || led || disturbed {
            *self = Leaderless { up, since_us: world.now_us };
        }
        let ms = (world.now_us - self.since_us) / 1000;
        (ms * 1000 > SOON_US)
            .then(|| format!("nobody has led for {ms} ms, and {} hosts hear each other", self.up.len()))
    }
}
