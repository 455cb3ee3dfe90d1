//! The promises, one file each, with the property in a sentence. Some are watched at every step, the others are asked for
//! once the faults have stopped.

use std::collections::BTreeSet;

use skein_core::election::Leadership;
use skein_core::node::{Inspected, Node};
use skein_core::request::{WriteOp, WriteReply};
use skein_crdt_state::Record;
use skein_crdt_state::store::Damaged;
use skein_gossip::NodeId;

use crate::disk::RowKey;
use crate::host::Host;
use crate::run::Violation;
use crate::world::World;

mod acknowledged;
mod agreement;
mod bounds;
mod deleted;
mod durable;
mod latest;
mod leader;
mod leaderless;
mod locks;
mod observers;
mod policy;
pub mod quiet;
mod removed;
mod replicas;
mod rising;
mod sealed;
mod served;
mod synced;
pub mod traffic;
mod votes;
mod words;

/// What is amiss, if anything is.
type Check = fn(&World) -> Option<String>;

/// What is watched while a run goes on.
#[derive(Debug, Default)]
pub struct Watch {
    /// What went over the network.
    pub traffic: traffic::Traffic,
    votes: votes::Votes,
    leaders: leader::Leaders,
    words: words::Words,
    rising: rising::Rising,
    served: served::Served,
    policies: policy::Policies,
    leaderless: leaderless::Leaderless,
    removed: removed::Removed,
}

impl Watch {
    /// A vote that has come to a host's disk; what is broken by it.
    pub fn vote(&mut self, host: usize, me: NodeId, row: &[u8]) -> Option<String> {
        self.votes.seen(host, me, row)
    }

    /// What a host sends to another; what is broken by it.
    pub fn sends(&mut self, from: usize, to: usize, said: &Inspected) -> Option<(&'static str, String)> {
        match said {
            Inspected::Vote(term) => Some(("vote", self.votes.sent(from, to, *term)?)),
            Inspected::News(envelopes) => Some(("words", self.words.sent(envelopes)?)),
            Inspected::Given(_) | Inspected::Other => None,
        }
    }

    /// What a host sends to a node that it knows to be out; what is broken by it.
    pub fn sends_to_removed(&self, world: &World, from: usize, to: &NodeId) -> Option<String> {
        self.removed.sends(world, from, to)
    }

    /// A host begins anew with an empty disk.
    pub fn begins_anew(&mut self, host: usize) {
        self.votes.forget(host);
    }

    /// A removed host comes with a disk as it was before.
    pub fn goes_back(&mut self, host: usize, node: NodeId) {
        self.begins_anew(host);
        self.words.goes_back(node);
    }

    /// A host was removed: what it led counts for nobody.
    pub fn is_removed(&mut self, host: usize) {
        self.leaders.forget(host);
    }

    /// What a host says of who leads; what is broken by it.
    pub fn leadership(&mut self, host: usize, leadership: &Leadership) -> Option<String> {
        self.leaders.seen(host, leadership)
    }

    /// What has come to a disk; what is broken by it.
    pub fn synced(&mut self, records: &[Record]) -> Option<String> {
        self.words.seen(records)
    }
}

/// A write that was acknowledged without a warning; what is broken by it.
#[must_use]
pub fn acknowledged(world: &World, host: usize, op: &WriteOp, reply: &WriteReply) -> Option<Violation> {
    violation(world, "durable", durable::check(world, host, op, reply))
}

/// A node that has just started, what its disk holds and has changed, and what the node says of that; what is broken.
pub fn started(
    world: &mut World,
    host: usize,
    node: &Node,
    rows: &[(String, Vec<u8>, Vec<u8>)],
    corrupted: &BTreeSet<RowKey>,
    damaged: &[Damaged],
) -> Option<Violation> {
    if corrupted.iter().any(|(table, _)| *table == "meta") {
        world.watch.votes.forget(host);
    }
    violation(world, "synced", synced::check(node, rows, corrupted, damaged))
}

/// All was mended a while ago and those that were removed have knocked since; what is broken.
#[must_use]
pub fn knocked(world: &World) -> Option<Violation> {
    violation(world, "removed", removed::lingers(world))
}

/// Everything is mended: it is noted whether all agree by now.
pub fn mended(world: &mut World) {
    world.note_removals();
    let agree = agreement::check(world).is_none();
    world.watch.served.agree(world.now_us, agree);
}

/// What must hold at all times and is looked at now and then; what is broken.
pub fn look(world: &mut World) -> Option<Violation> {
    let mut watch = std::mem::take(&mut world.watch);
    let mut rising = |host: &Host| {
        // What an old backup holds has gone back.
        let node = host.node.as_ref().filter(|_| !world.is_knocking(host.number))?;
        watch.rising.look(host.number, host.start, node, world.oracle.deleted())
    };
    let fallen = world.hosts.iter().find_map(&mut rising);
    let unserved = watch.served.check(world);
    let moved = watch.policies.look(world);
    let leaderless = watch.leaderless.look(world);
    let taken_back = watch.removed.look(world);
    world.watch = watch;
    let found = [
        ("rising", fallen),
        ("served", unserved),
        ("policy", moved),
        ("leaderless", leaderless),
        ("removed", taken_back),
        ("bounds", bounds::check(world)),
        ("observers", observers::check(world)),
    ];
    found.into_iter().find_map(|(check, what)| violation(world, check, what))
}

/// What must hold in the end and does not hold yet: a run goes on until there is none of it, or its deadline has come.
#[must_use]
pub fn unsettled(world: &World) -> Option<Violation> {
    let checks: [(&'static str, Check); 6] = [
        ("agreement", agreement::check),
        ("sealed", sealed::check),
        ("leader", leader::check),
        ("replicas", replicas::check),
        ("rollout", replicas::check_rollouts),
        ("bounds", bounds::check_quiet),
    ];
    checks.iter().find_map(|(check, ask)| violation(world, check, ask(world)))
}

/// What must hold once all is settled.
#[must_use]
pub fn broken(world: &World) -> Option<Violation> {
    let checks: [(&'static str, Check); 5] = [
        ("acknowledged", acknowledged::check),
        ("latest", latest::check),
        ("deleted", deleted::check),
        ("removed", removed::check),
        ("locks", locks::check),
    ];
    checks.iter().find_map(|(check, ask)| violation(world, check, ask(world)))
}

fn violation(world: &World, check: &'static str, what: Option<String>) -> Option<Violation> {
    Some(Violation { check, what: what?, at_us: world.now_us })
}
