//! A slot that a container serves once everything is mended, and all have heard of it, is served from then on, until nobody
//! wants it any more (INVARIANTS I9). Before they have, a node may let go of a pod for another's that was lost meanwhile; and a pod
//! that was displaced before it served is no pod that serves, though its container runs until it is stopped.

use std::collections::{BTreeMap, BTreeSet};

use skein_core::node::Node;
use skein_core::slot::{self, SLOT_KIND};
use skein_crdt_state::{Kind, ObjectKey, ObjectState};

use crate::host::Standing;
use crate::world::World;

/// How long what was decided before all agreed may take to be carried out, in virtual microseconds.
const UNDER_WAY_US: u64 = 1_000_000;

/// The slots that were served when all agreed.
#[derive(Debug, Default)]
pub(crate) struct Served {
    agreed_us: Option<u64>,
    slots: Option<BTreeSet<ObjectKey>>,
}

impl Served {
    /// Everything is mended, and all agree since some time, or not yet.
    pub(crate) fn agree(&mut self, now_us: u64, agree: bool) {
        self.agreed_us = self.agreed_us.filter(|_| agree).or(agree.then_some(now_us));
    }

    /// A slot that is not served any more.
    pub(crate) fn check(&mut self, world: &World) -> Option<String> {
        let agreed_us = self.agreed_us?;
        if self.slots.is_none() && world.now_us < agreed_us + UNDER_WAY_US {
            return None;
        }
        let live = wanted_everywhere(world);
        let slots = self.slots.get_or_insert_with(|| {
            let served = live.iter().filter(|(slot, writes)| runs(world, slot, |write| writes.contains(write)));
            served.map(|(slot, _)| slot.clone()).collect()
        });
        slots.retain(|slot| live.contains_key(slot));
        let slot = slots.iter().find(|slot| !runs(world, slot, |_| true))?;
        Some(format!("{slot} was served when all agreed, and is not any more"))
    }
}

/// The slots that are live at every node, each with the values that it has at all of them. A pod that none of these placed may
/// have been displaced before it ever served: its container runs for as long as it takes to stop it.
fn wanted_everywhere(world: &World) -> BTreeMap<ObjectKey, BTreeSet<String>> {
    let slots = |node: &Node| -> BTreeMap<ObjectKey, BTreeSet<String>> {
        let writes = |slot: &ObjectState| slot::values(slot).iter().map(|value| value.write.to_string()).collect();
        node.store().live(&Kind::new(SLOT_KIND)).map(|slot| (slot.key().clone(), writes(slot))).collect()
    };
    let mut all = world.hosts.iter().filter_map(|host| host.node.as_ref()).map(slots);
    let first = all.next().unwrap_or_default();
    all.fold(first, |mut both, next| {
        both.retain(|slot, _| next.contains_key(slot));
        for (slot, writes) in &mut both {
            writes.retain(|write| next.get(slot).is_some_and(|others| others.contains(write)));
        }
        both
    })
}

fn runs(world: &World, slot: &ObjectKey, is_meant: impl Fn(&str) -> bool) -> bool {
    let slot = slot.to_string();
    let members = world.hosts.iter().filter(|host| host.standing == Standing::Member);
    members.flat_map(|host| host.engine.running()).any(|info| info.slot == slot && is_meant(&info.write))
}
