//! An observer neither votes nor leads, no set of voters has one, and it is taken for a member by nobody. That it starts no
//! container is looked at whenever one starts.

use skein_core::node::read_vote;

use crate::world::World;

/// An observer with a say.
pub(super) fn check(world: &World) -> Option<String> {
    if world.knobs.observers == 0 {
        return None;
    }
    for host in world.hosts.iter().filter(|host| world.observes(host.number)) {
        let row = host.disk.row("meta", b"vote");
        if let Some(vote) = row.and_then(|row| read_vote(row)).and_then(|record| record.voted_for) {
            return Some(format!("{} is an observer and has voted for {vote}", host.name));
        }
        if host.node.as_ref().is_some_and(|node| node.leadership().mine) {
            return Some(format!("{} is an observer and leads", host.name));
        }
    }
    for host in &world.hosts {
        let Some(record) = host.disk.row("meta", b"vote").and_then(|row| read_vote(row)) else { continue };
        let mut voters = record.voters.weights.keys().filter_map(|voter| world.host_of(voter));
        if let Some(observer) = voters.find(|voter| world.observes(*voter)) {
            return Some(format!("{} counts h{observer} among the voters, which is an observer", host.name));
        }
        let members = host.node.iter().flat_map(|node| node.store().members().iter());
        let mut as_members = members.filter(|member| member.role == skein_crdt_state::members::Role::Member);
        if let Some(wrong) = as_members.find(|member| world.host_of(&member.id).is_some_and(|of| world.observes(of))) {
            return Some(format!("{} takes {} for a member, which is an observer", host.name, wrong.name));
        }
    }
    None
}
