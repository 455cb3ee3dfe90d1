//! Which of the nodes that will do is taken.

use std::cmp::Reverse;

use crate::model::needs::PodNeeds;
use crate::model::taint::{Effect, Taint};

use super::NodeRoom;
use super::images::Wanted;

/// Images of this size or more, present on a node, count fully.
const LARGE_IMAGES_BYTES: u64 = 1 << 30;

/// How a node stands for the pods of a group: the first difference decides, the least is best. Nodes that stand alike are
/// told apart by [`tie_break`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Standing {
    repelling_taints: usize,
    of_group: u32,
    /// How much the pods would rather be there.
    preference: Reverse<u32>,
    of_workload: u32,
    /// What would be left, of 10, and how much of the images is there, of 10. Coarse, so that small differences leave
    /// the choice to the tie-break, which spreads.
    room_and_images: Reverse<u64>,
}

/// How a node stands for pods that ask for `needs` and run the images in `wanted`, when so many of their group and of their
/// workload are there already.
pub(super) fn standing(
    room: &NodeRoom<'_>,
    needs: &PodNeeds,
    wanted: &Wanted,
    of_group: u32,
    of_workload: u32,
) -> Standing {
    let repelling = |taint: &&Taint| {
        taint.effect == Effect::PreferNoSchedule
            && !needs.tolerations.iter().any(|toleration| toleration.covers(&taint.key, &taint.value, taint.effect))
    };
    let left = room.used.left_with(needs, room.cpu_millis, room.memory_bytes);
    let images = wanted.bytes_on(&room.images).min(LARGE_IMAGES_BYTES);
    let taints = || room.node.taints.iter().map(|(taint, _)| taint);
    Standing {
        repelling_taints: if room.is_open { 0 } else { taints().filter(repelling).count() },
        of_group,
        preference: Reverse(needs.node_affinity.preference(&room.node.name, &room.node.labels)),
        of_workload,
        room_and_images: Reverse(left / 10 + 10 * images / LARGE_IMAGES_BYTES),
    }
}

/// Tells nodes that stand alike apart, from what a pod fills and the node: the greatest is taken, so that equal nodes are
/// used evenly and every leader chooses alike.
pub(super) fn tie_break(pod_seed: u64, node_seed: u64) -> u64 {
    mix(pod_seed ^ node_seed)
}

/// A number for some bytes (FNV-1a, then mixed): for ties alone, so nobody gains from making two collide.
pub(super) fn seed(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood, 2014).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
