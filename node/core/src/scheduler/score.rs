//! Which of the nodes that will do is taken.

use std::cmp::Reverse;

use crate::model::needs::PodNeeds;
use crate::model::taint::Effect;

use super::{Ask, NodeRoom};

/// What a pod that asks for no processor time counts as, in thousandths of a core (as in Kubernetes).
const ASSUMED_CPU_MILLIS: u64 = 100;
/// What a pod that asks for no memory counts as.
const ASSUMED_MEMORY_BYTES: u64 = 200 << 20;
/// Images of this size or more, present on a node, count fully.
const LARGE_IMAGES_BYTES: u64 = 1 << 30;

/// What runs on a node, for comparing nodes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weight {
    cpu_millis: u64,
    memory_bytes: u64,
}

impl Weight {
    /// Counts one more pod.
    pub(crate) fn add(&mut self, needs: &PodNeeds) {
        let or = |asked: u64, assumed: u64| if asked == 0 { assumed } else { asked };
        self.cpu_millis = self.cpu_millis.saturating_add(or(needs.cpu_millis, ASSUMED_CPU_MILLIS));
        self.memory_bytes = self.memory_bytes.saturating_add(or(needs.memory_bytes, ASSUMED_MEMORY_BYTES));
    }

    /// How much would be left of a node, of 100.
    fn left(self, cpu_millis: u64, memory_bytes: u64) -> u64 {
        let part = |used: u64, all: u64| {
            if all == 0 { 0 } else { 100 * u128::from(all.saturating_sub(used)) / u128::from(all) }
        };
        let sum = part(self.cpu_millis, cpu_millis) + part(self.memory_bytes, memory_bytes);
        u64::try_from(sum / 2).unwrap_or(0)
    }
}

/// A node's rank for a pod: the first difference decides, the greatest is taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Score {
    not_avoided: bool,
    repelling_taints: Reverse<usize>,
    of_group: Reverse<u32>,
    of_workload: Reverse<u32>,
    /// What would be left, of 10, and how much of the images is there, of 10. Coarse, so that small differences leave
    /// the choice to the tie-break, which spreads.
    room_and_images: u64,
    tie_break: u64,
}

/// A node's rank for a pod, when so many of its group and its workload are there already.
pub(crate) fn score(room: &NodeRoom<'_>, ask: &Ask<'_>, seed: u64, of_group: u32, of_workload: u32) -> Score {
    let (needs, capacity) = (ask.needs, &room.node.capacity);
    let repelling = |taint: &crate::model::taint::Taint| {
        taint.effect == Effect::PreferNoSchedule
            && !needs.tolerations.iter().any(|toleration| toleration.covers(&taint.key, &taint.value, taint.effect))
    };
    let mut weight = room.weight;
    weight.add(needs);
    let images: u64 = needs.images.iter().filter_map(|image| image_bytes(&capacity.images, image)).sum();
    Score {
        not_avoided: ask.avoid != Some(room.node.id),
        repelling_taints: Reverse(room.node.taints.iter().filter(|(taint, _)| repelling(taint)).count()),
        of_group: Reverse(of_group),
        of_workload: Reverse(of_workload),
        room_and_images: weight.left(capacity.cpu_millis, capacity.memory_bytes) / 10
            + 10 * images.min(LARGE_IMAGES_BYTES) / LARGE_IMAGES_BYTES,
        tie_break: mix(seed ^ room.seed),
    }
}

/// A number for some bytes (FNV-1a, then mixed): for ties alone, so nobody gains from making two collide.
pub(crate) fn seed(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood, 2014).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn image_bytes(images: &std::collections::BTreeMap<String, u64>, image: &str) -> Option<u64> {
    let tagged = image.rsplit('/').next().is_some_and(|last| last.contains(':') || last.contains('@'));
    images.get(image).or_else(|| if tagged { None } else { images.get(&format!("{image}:latest")) }).copied()
}
