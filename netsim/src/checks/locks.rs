//! What depends on what its author saw is taken once. Of a Lease this holds everywhere and always: what was acknowledged is one
//! chain, each write made with knowledge of all that were acknowledged before it was asked for, and the last one stands. Of other
//! objects it holds where nothing ever broke (INVARIANTS I10). What only such nodes held as were removed since went with them.

use std::collections::BTreeMap;

use skein_core::request::WriteReply;
use skein_crdt_state::{ObjectKey, WriteId};

use super::acknowledged::descends;
use crate::host::Standing;
use crate::knobs::Faults;
use crate::oracle::Asked;
use crate::workload::LOCK_KIND;
use crate::world::World;

/// Two writes that exclude each other and were both acknowledged.
pub(super) fn check(world: &World) -> Option<String> {
    both_taken(world).or_else(|| forgotten(world))
}

/// Two that saw the same and were both taken.
fn both_taken(world: &World) -> Option<String> {
    let is_calm = world.knobs.faults == Faults::default();
    let mut taken: BTreeMap<(&ObjectKey, &[WriteId]), &[WriteId]> = BTreeMap::new();
    for (asked, reply) in acknowledged(world) {
        let Some(seen) = asked.op.if_heads() else { continue };
        if !is_calm && reply.key.kind().as_str() != LOCK_KIND {
            continue;
        }
        if let Some(other) = taken.insert((&reply.key, seen), &reply.heads) {
            let key = &reply.key;
            return Some(format!(
                "{key}: {other:?} and {:?} both depend on {seen:?}, and both were taken",
                reply.heads
            ));
        }
    }
    None
}

/// An acknowledged write of a Lease that a later one was made without, or that does not stand though it was the last.
fn forgotten(world: &World) -> Option<String> {
    let store = world.hosts.iter().find_map(|host| host.node.as_ref())?.store();
    let mut locks: BTreeMap<&ObjectKey, Vec<(&Asked, &WriteId)>> = BTreeMap::new();
    for (asked, reply) in acknowledged(world) {
        if let ([head], LOCK_KIND) = (&reply.heads[..], reply.key.kind().as_str()) {
            locks.entry(&reply.key).or_default().push((asked, head));
        }
    }
    for (key, writes) in locks {
        let Some(object) = store.object(key).filter(|_| store.is_live(key)) else { continue };
        for (earlier, first) in &writes {
            let mut later = writes.iter().filter(|(asked, _)| asked.asked_us >= earlier.told_us);
            if let Some((_, second)) = later.find(|(_, second)| !descends(object, **second, first)) {
                return Some(format!("{key}: {second:?} was made without {first:?}, which had been acknowledged"));
            }
            let holder = object.leaf("spec.holderIdentity").map(|leaf| leaf.write);
            let renewed = object.leaf("spec.renewTime").map(|leaf| leaf.write);
            let stands = renewed.is_some_and(|write| descends(object, write, first));
            if !stands {
                return Some(format!(
                    "{key}: {first:?} was acknowledged, and what stands ({holder:?}) was made without it"
                ));
            }
        }
    }
    None
}

/// What was acknowledged and must be known to whoever decides since.
fn acknowledged(world: &World) -> impl Iterator<Item = (&Asked, &WriteReply)> {
    world
        .oracle
        .acknowledged()
        .filter(|(asked, reply)| reply.changed && !went_with_the_removed(world, asked, &reply.key))
}

/// Whether nobody that held a write when it was acknowledged has it any more, and some of them were removed, or one alone was more than
/// half of the voters, as its user was told. More than half of the voters held it, so this takes that most of these were removed, or left to
/// one that was, or that their disks were damaged.
fn went_with_the_removed(world: &World, asked: &Asked, key: &ObjectKey) -> bool {
    let has_it = |(number, let_in): &(usize, u32)| {
        let host = &world.hosts[*number];
        let is_in = host.standing == Standing::Member && host.let_in == *let_in;
        is_in && !world.oracle.was_damaged_at(*number, key)
    };
    let may_be_gone =
        asked.held_by.iter().any(|(host, _)| world.oracle.was_out(*host)) || world.oracle.may_be_lost(asked);
    may_be_gone && !asked.held_by.iter().any(has_it)
}
