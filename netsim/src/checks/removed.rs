//! A node that was removed never belongs to the cluster again, nor does whoever it alone admitted since (P8 of DESIGN
//! section 1).

use std::collections::{BTreeMap, BTreeSet};

use skein_gossip::NodeId;

use crate::host::{Host, Standing};
use crate::world::World;

/// Whom each start of a host's daemon has known to be out.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    known: BTreeMap<usize, (u64, BTreeSet<NodeId>)>,
}

impl Removed {
    /// A removed node that somebody who knew takes for a member again.
    pub(crate) fn look(&mut self, world: &World) -> Option<String> {
        let removed: Vec<NodeId> = world.oracle.removed().copied().collect();
        if removed.is_empty() {
            return None;
        }
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
}

/// In the end: a removed node that somebody takes for a member, or one whose only admission is by a node that had been removed.
pub(super) fn check(world: &World) -> Option<String> {
    let members = |host: &&Host| host.standing == Standing::Member && host.node.is_some();
    for host in world.hosts.iter().filter(members) {
        let node = host.node.as_ref()?;
        if let Some(id) = world.oracle.removed().find(|id| node.store().members().is_active(id)) {
            return Some(format!("{} takes {id}, which was removed, for a member", host.name));
        }
        let me = node.me();
        let statements = node.store().members().envelopes();
        let mut admitters = statements.filter(|((of, kind, _), _)| *of == me && *kind == 1).map(|((_, _, by), _)| by);
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
    let removed_us = world.oracle.removed().any(|id| id == by).then(|| world.removed_us.get(by)).flatten();
    removed_us.zip(admitted_us).is_some_and(|(removed_us, (_, admitted_us))| removed_us < admitted_us)
}
