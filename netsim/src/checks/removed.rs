//! A node that was removed never belongs to the cluster again, nor does whoever it alone admitted since (P8 of DESIGN
//! section 1). Whoever knows of it sends it nothing more, and once all is mended it has no vote, leads nobody and counts for no
//! slot, however it knocks.

use std::collections::{BTreeMap, BTreeSet};

use skein_core::node::Node;
use skein_core::slot::SLOT_KIND;
use skein_crdt_state::Kind;
use skein_gossip::NodeId;

use super::replicas::claims_on;
use crate::host::{Host, Standing};
use crate::world::World;

/// How long a removed node may still be sent something: it is told why it is out.
const FAREWELL_US: u64 = 2_000_000;
/// The kinds of statements that name an admission, as a member or as an observer, and a removal.
const ADMISSIONS: [u8; 2] = [1, 4];
const REMOVAL: u8 = 3;

/// Whom each start of a host's daemon has known to be out.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    known: BTreeMap<usize, (u64, BTreeSet<NodeId>)>,
    /// Since when a start (the second) of a host's daemon has known that a node was removed, while its machine goes on. What a disk
    /// refused, the next start need not know.
    since_us: BTreeMap<(usize, u64, NodeId), u64>,
}

impl Removed {
    /// A removed node that somebody who knew takes for a member again.
    pub(crate) fn look(&mut self, world: &World) -> Option<String> {
        if !world.oracle.asked_to_remove() {
            return None;
        }
        self.note_since(world);
        let removed: Vec<NodeId> = world.oracle.removed().copied().collect();
        for host in &world.hosts {
            let Some(node) = &host.node else { continue };
            let (start, out) = self.known.entry(host.number).or_default();
            if *start != host.start {
                (*start, *out) = (host.start, BTreeSet::new());
            }
            for id in &removed {
                match node.store().members().is_active(id) {
                    true if out.contains(id) => return Some(format!("{} takes {id} back", host.name)),
                    // Who knows only that it once left may let it in again until the removal is heard of.
                    false if node.store().members().get(id).is_some_and(|member| member.is_removed()) => {
                        out.insert(*id);
                    }
                    _ => {}
                }
            }
        }
        None
    }

    fn note_since(&mut self, world: &World) {
        let before = std::mem::take(&mut self.since_us);
        for host in world.hosts.iter().filter(|host| host.standing == Standing::Member) {
            let Some(node) = host.node.as_ref().filter(|node| node.store().members().is_active(&node.me())) else {
                continue;
            };
            for member in node.store().members().iter().filter(|member| member.is_removed()) {
                let known = before.get(&(host.number, host.start, member.id)).filter(|_| !host.paused);
                self.since_us.insert((host.number, host.start, member.id), known.copied().unwrap_or(world.now_us));
            }
        }
    }

    /// A host sends something to a node that it has known for long to be out.
    pub(crate) fn sends(&self, world: &World, from: usize, to: &NodeId) -> Option<String> {
        let since_us = self.since_us.get(&(from, world.hosts[from].start, *to))?;
        let ms = (world.now_us - since_us) / 1000;
        let still_in = world.hosts[from].node.as_ref().is_some_and(|node| node.store().members().is_active(&node.me()));
        (ms * 1000 > FAREWELL_US && still_in)
            .then(|| format!("h{from} sends something to {to}, {ms} ms after it knew that it is removed"))
    }
}

/// What of a removed node is left once all is mended and it has knocked for a while.
pub(super) fn lingers(world: &World) -> Option<String> {
    let members = || world.hosts.iter().filter(|host| host.standing == Standing::Member);
    let nodes: Vec<(&Host, &Node)> = members().filter_map(|host| Some((host, host.node.as_ref()?))).collect();
    let statements = nodes.iter().flat_map(|(_, node)| node.store().members().envelopes());
    let said = statements.filter(|((_, kind, _), _)| *kind == REMOVAL).map(|((of, _, _), _)| *of);
    let removed: BTreeSet<NodeId> = said.chain(world.oracle.removed().copied()).collect();
    for (host, node) in &nodes {
        for id in &removed {
            let what = if node.store().members().is_active(id) {
                "a member"
            } else if node.alive().contains(id) {
                "alive"
            } else if node.voters().any(|voter| voter == id) && !may_lack_votes(world, node, &removed) {
                "a voter"
            } else if node.leadership().leader == Some(*id) {
                "the leader"
            } else if world.host_of(id).is_some_and(|other| world.links.connection(host.number, other).is_some()) {
                "somebody to talk to"
            } else {
                continue;
            };
            return Some(format!("{} takes {id}, which was removed, for {what}", host.name));
        }
        if let Some(slot) = counted(node, &removed) {
            return Some(format!("{} counts on a removed node for {slot}", host.name));
        }
    }
    None
}

/// Whether somebody who votes and was not removed has left, or has no vote for now since its disk was emptied or damaged: then those
/// who are left may be no majority for good, and no leader may change the voters.
fn may_lack_votes(world: &World, node: &Node, removed: &BTreeSet<NodeId>) -> bool {
    let lacks = |host: usize| {
        let host = &world.hosts[host];
        host.standing != Standing::Member || host.let_in > 1 || host.node.as_ref().is_some_and(Node::has_lost_vote)
    };
    let rest = node.voters().filter(|voter| !removed.contains(*voter));
    !node.leadership().quorate && rest.filter_map(|voter| world.host_of(voter)).any(lacks)
}

/// A slot whose pod is wanted where a removed node is.
fn counted(node: &Node, removed: &BTreeSet<NodeId>) -> Option<String> {
    let (store, kind) = (node.store(), Kind::new(SLOT_KIND));
    for slot in store.live(&kind) {
        let values = skein_core::slot::values(slot);
        if values.iter().all(|value| value.placement.node.is_none_or(|node| !removed.contains(&node))) {
            continue;
        }
        let mut claims = claims_on(store, slot.key());
        claims.retain(|(node, _)| !removed.contains(node));
        let won = skein_core::slot::winner(&values, &claims);
        if won.is_some_and(|won| removed.contains(&won.node)) {
            return Some(format!("{}, of {values:?}, claims {claims:?}", slot.key()));
        }
    }
    None
}

/// In the end: a removed node that somebody takes for a member, or one whose only admission is by a node that had been removed.
pub(super) fn check(world: &World) -> Option<String> {
    if let Some(what) = lingers(world) {
        return Some(what);
    }
    let members = |host: &&Host| host.standing == Standing::Member && host.node.is_some();
    for host in world.hosts.iter().filter(members) {
        let node = host.node.as_ref()?;
        let me = node.me();
        let statements = node.store().members().envelopes();
        let mut admitters =
            statements.filter(|((of, kind, _), _)| *of == me && ADMISSIONS.contains(kind)).map(|((_, _, by), _)| by);
        let mut count = 0;
        if admitters.all(|by| was_removed_before(world, by, host.number, &mut count)) && count > 0 {
            return Some(format!("{} is in, whom only removed nodes have admitted", host.name));
        }
    }
    None
}

/// Whether users were told that a node is removed before it admitted a host.
fn was_removed_before(world: &World, by: &NodeId, host: usize, count: &mut usize) -> bool {
    *count += 1;
    let admitted_us = world.host_of(by).and_then(|via| world.admissions.get(&(host, via)));
    let told_us = world.oracle.removals().filter(|(node, _)| *node == by).map(|(_, told_us)| told_us).min();
    told_us.zip(admitted_us).is_some_and(|(told_us, (_, admitted_us))| told_us < *admitted_us)
}
