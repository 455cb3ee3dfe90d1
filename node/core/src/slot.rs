//! Slots: the register that says where a pod runs, and the rule that says which pod stays when a merge shows several.
//!
//! A slot's `placement` leaf holds a node. Each current value of that leaf is one pod. Two leaders that fill a slot apart
//! leave two values, hence two pods, until [`winner`] leaves one; it is a pure function of the values and the claims, so
//! that all nodes come to the same answer without talking.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skein_crdt_state::{ClusterId, Hlc, ObjectKey, ObjectState, Scalar, WriteId};
use skein_gossip::NodeId;

use crate::status::Claim;

/// The kind of a slot's object; its name is the slot's number.
pub const SLOT_KIND: &str = "Slot.skein.dev";
/// The leaf that holds a slot's (or an ownerless pod's) placement.
pub const PLACEMENT_LEAF: &str = "placement";

/// What the placement leaf holds, as canonical JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Placement {
    /// Where the pod runs; `None`: the slot was emptied and waits to be filled.
    pub node: Option<NodeId>,
    /// The pod that this one replaces because its node was lost: that node may claim the slot back.
    pub displaces: Option<Displaced>,
    /// Turns over each time the same node is to run another pod in place of the same one: a pod is a value, so the same value
    /// again would be the same pod.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

/// A pod that was given up for lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Displaced {
    /// Where it ran.
    pub node: NodeId,
    /// The value that placed it.
    pub write: WriteId,
}

/// One current value of a slot's placement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// The change that wrote it.
    pub write: WriteId,
    /// When.
    pub stamp: Hlc,
    /// What.
    pub placement: Placement,
}

/// The one pod of a slot that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Winner {
    /// Where it runs.
    pub node: NodeId,
    /// The value that placed it: the pod's identity. Under a claim it is the displaced value, which is not current any more.
    pub write: WriteId,
    /// Whether a claim decided. Then only the winner is wanted, and a loser that never started does not start.
    pub claimed: bool,
}

/// The current values of a slot's (or an ownerless pod's) placement. One that cannot be read is passed over.
#[must_use]
pub fn values(object: &ObjectState) -> Vec<Value> {
    let Some(leaf) = object.leaf(PLACEMENT_LEAF) else { return Vec::new() };
    let others = leaf.others.iter().map(|other| (&other.value, other.stamp, other.write));
    let all = [(&leaf.value, leaf.stamp, leaf.write)].into_iter().chain(others);
    all.filter_map(|(scalar, stamp, write)| {
        let Scalar::Json(text) = scalar else { return None };
        Some(Value { write, stamp, placement: serde_json::from_str(text).ok()? })
    })
    .collect()
}

/// Which pod keeps a slot.
///
/// `claims` are those that name this slot, each with the node that makes it; one that contests a value which is not
/// current, or that the contested value does not name as displaced, does not count. Among claims that count the lowest
/// (stamp and write of the contested value, then node) wins; without any, the lowest (stamp, write) among the values that
/// name a node. `None`: the slot waits to be filled.
#[must_use]
pub fn winner(values: &[Value], claims: &[(NodeId, Claim)]) -> Option<Winner> {
    let by_claim = values.iter().flat_map(|value| {
        claims.iter().filter_map(move |(node, claim)| {
            let displaced = value.placement.displaces?;
            let counts = claim.against == value.write && displaced == Displaced { node: *node, write: claim.kept };
            counts.then_some(((value.stamp, value.write, *node), claim.kept))
        })
    });
    if let Some(((_, _, node), write)) = by_claim.min() {
        return Some(Winner { node, write, claimed: true });
    }
    let by_order = values.iter().filter_map(|value| Some((value.stamp, value.write, value.placement.node?)));
    by_order.min().map(|(_, write, node)| Winner { node, write, claimed: false })
}

/// The uid of the pod that `write` placed into `slot`. An ownerless pod's uid is its key's: it is never refilled.
#[must_use]
pub fn pod_uid(cluster: &ClusterId, slot: &ObjectKey, write: &WriteId) -> String {
    if slot.kind().as_str() != SLOT_KIND {
        return slot.uid(cluster).to_string();
    }
    let name = format!("pod-{write}");
    slot.child(&skein_crdt_state::Kind::new("Pod"), &name, 1).uid(cluster).to_string()
}

/// The name of the pod that `write` placed into `slot`: its ReplicaSet's, then four letters of the uid, and those that stand for
/// the slot's number: by letters of the uid alone, three of ten thousand pods would be called as others are. An ownerless pod's
/// name is its own.
#[must_use]
pub fn pod_name(cluster: &ClusterId, slot: &ObjectKey, write: &WriteId) -> String {
    // Kubernetes' alphabet for suffixes: no vowels, so that no words come out.
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let Some(owner) = slot.owner().filter(|_| slot.kind().as_str() == SLOT_KIND) else {
        return slot.name().to_owned();
    };
    let letter = |number: u64| char::from(LETTERS[(number % 27) as usize]);
    let uid = pod_uid(cluster, slot, write);
    let mut number = u64::from_str_radix(&uid.replace('-', "")[..15], 16).unwrap_or(0);
    let mut name = format!("{}-", owner.name());
    for _ in 0..4 {
        name.push(letter(number));
        number /= 27;
    }
    let mut place: u64 = slot.name().parse().unwrap_or(number);
    loop {
        name.push(letter(place));
        place /= 27;
        if place == 0 {
            return name;
        }
    }
}

/// All claims of all nodes, by slot: what [`winner`] takes.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    by_slot: BTreeMap<ObjectKey, Vec<(NodeId, Claim)>>,
}

impl Claims {
    /// Adds what one node claims.
    pub fn add(&mut self, node: NodeId, claims: impl IntoIterator<Item = Claim>) {
        for claim in claims {
            self.by_slot.entry(claim.slot.clone()).or_default().push((node, claim));
        }
    }

    /// The claims on one slot.
    #[must_use]
    pub fn on(&self, slot: &ObjectKey) -> &[(NodeId, Claim)] {
        self.by_slot.get(slot).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_crdt_state::Kind;

    fn slot() -> ObjectKey {
        ObjectKey::root(&Kind::new("Namespace"), "a", 1).child(&Kind::new("ReplicaSet.apps"), "web", 1).child(
            &Kind::new(SLOT_KIND),
            "0",
            1,
        )
    }

    fn value(n: u8, node: Option<u8>, displaces: Option<(u8, u8)>) -> Value {
        Value {
            write: WriteId([n; 32]),
            stamp: Hlc(u64::from(n)),
            placement: Placement {
                node: node.map(|n| NodeId([n; 32])),
                again: false,
                displaces: displaces
                    .map(|(node, write)| Displaced { node: NodeId([node; 32]), write: WriteId([write; 32]) }),
            },
        }
    }

    fn claim(node: u8, against: u8, kept: u8) -> (NodeId, Claim) {
        (NodeId([node; 32]), Claim { slot: slot(), against: WriteId([against; 32]), kept: WriteId([kept; 32]) })
    }

    #[test]
    fn the_earliest_value_that_names_a_node_wins() {
        let values = [value(3, Some(1), None), value(2, Some(2), None), value(1, None, None)];
        assert_eq!(winner(&values, &[]).map(|w| w.write), Some(WriteId([2; 32])));
        assert_eq!(winner(&[value(1, None, None)], &[]), None);
    }

    #[test]
    fn a_displaced_pod_that_claims_goes_on() {
        let values = [value(5, Some(2), Some((1, 4)))];
        let won = winner(&values, &[claim(1, 5, 4)]);
        assert_eq!(won, Some(Winner { node: NodeId([1; 32]), write: WriteId([4; 32]), claimed: true }));
    }

    #[test]
    fn a_claim_on_a_value_that_was_replaced_or_by_somebody_else_does_not_count() {
        let values = [value(6, Some(3), Some((2, 5)))];
        for wrong in [claim(1, 5, 4), claim(1, 6, 5), claim(2, 6, 4)] {
            assert_eq!(winner(&values, &[wrong]).map(|w| w.write), Some(WriteId([6; 32])));
        }
    }

    #[test]
    fn a_pods_name_and_uid_follow_from_slot_and_write_alone() {
        let cluster = ClusterId([9; 16]);
        let (a, b) = (WriteId([1; 32]), WriteId([2; 32]));
        assert_eq!(pod_name(&cluster, &slot(), &a), pod_name(&cluster, &slot(), &a));
        assert_ne!(pod_name(&cluster, &slot(), &a), pod_name(&cluster, &slot(), &b));
        assert!(pod_name(&cluster, &slot(), &a).starts_with("web-"));
        assert_ne!(pod_uid(&cluster, &slot(), &a), pod_uid(&cluster, &slot(), &b));
    }

    #[test]
    fn no_two_pods_of_a_large_workload_have_one_name() {
        let (cluster, owner) = (ClusterId([7; 16]), ObjectKey::root(&Kind::new("ReplicaSet.apps"), "web", 1));
        let write = |number: u32| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&number.to_le_bytes());
            WriteId(id)
        };
        let named = |number: u32| {
            let slot = owner.child(&Kind::new(SLOT_KIND), &number.to_string(), 1);
            pod_name(&cluster, &slot, &write(number))
        };
        let names: std::collections::BTreeSet<String> = (0..20_000).map(named).collect();
        assert_eq!(names.len(), 20_000);
    }
}
