//! What must hold when plans have come to rest, counted from the store alone and not from what the leader sees of it.

use std::collections::{BTreeMap, BTreeSet};

use skein_core::slot::{self, SLOT_KIND};
use skein_crdt_state::{Kind, ObjectKey};
use skein_gossip::NodeId;

use super::cluster::Cluster;
use super::fleet::{self, Wish};

/// What runs on one node.
#[derive(Debug, Default)]
struct Load {
    pods: u32,
    cpu_millis: u64,
    memory_bytes: u64,
    ports: BTreeSet<u16>,
}

/// Checks all; the first thing that does not hold.
pub(super) fn all(cluster: &Cluster) -> Result<(), String> {
    let numbers: BTreeMap<&ObjectKey, usize> =
        cluster.deployments.iter().enumerate().map(|(number, key)| (key, number)).collect();
    let lost = cluster.lost();
    let mut loads: BTreeMap<NodeId, Load> = BTreeMap::new();
    let mut slots: Vec<BTreeSet<(Option<ObjectKey>, String)>> = vec![BTreeSet::new(); cluster.deployments.len()];
    for object in cluster.store.live(&Kind::new(SLOT_KIND)) {
        let key = object.key();
        let number = key.lineage().find_map(|owner| numbers.get(&owner).copied());
        let number = number.ok_or_else(|| format!("{key} belongs to nothing"))?;
        let values = slot::values(object);
        let [value] = values.as_slice() else { return Err(format!("{key} has {} values", values.len())) };
        let node = value.placement.node.ok_or_else(|| format!("{key} has no node"))?;
        if lost.contains(&node) {
            return Err(format!("{key} is left on a node that is lost"));
        }
        slots[number].insert((key.owner(), key.name().to_owned()));
        take(cluster, loads.entry(node).or_default(), key, number, node)?;
    }
    filled(&slots)
}

/// Counts one pod on its node, which must do for it and have room.
fn take(cluster: &Cluster, load: &mut Load, key: &ObjectKey, number: usize, node: NodeId) -> Result<(), String> {
    let place = cluster.numbers.get(&node).copied().ok_or_else(|| format!("{key} is on a node that nobody knows"))?;
    let (name, wish, offers) = (fleet::name(place), fleet::wish(number), fleet::node(place).capacity);
    let (cpu_millis, memory_bytes) = fleet::request(number);
    load.pods += 1;
    load.cpu_millis += cpu_millis;
    load.memory_bytes += memory_bytes;
    if load.pods > offers.max_pods || load.cpu_millis > offers.cpu_millis || load.memory_bytes > offers.memory_bytes {
        return Err(format!("{name} is over its capacity: {load:?}"));
    }
    if fleet::is_cordoned(place) {
        return Err(format!("{key} is on {name}, which is cordoned"));
    }
    if fleet::is_dedicated(place) && !matches!(wish, Wish::Batch | Wish::Port(_)) {
        return Err(format!("{key} is on {name}, whose taint it does not tolerate"));
    }
    if wish == Wish::Disk && !fleet::has_disk(place) {
        return Err(format!("{key} is on {name}, which lacks the label that it asks for"));
    }
    match wish {
        Wish::Port(port) if !load.ports.insert(port) => Err(format!("two pods want port {port} of {name}")),
        _ => Ok(()),
    }
}

/// Each Deployment has its slots, each number once, all of one ReplicaSet.
fn filled(slots: &[BTreeSet<(Option<ObjectKey>, String)>]) -> Result<(), String> {
    let wanted: BTreeSet<String> = (0..fleet::REPLICAS).map(|number| number.to_string()).collect();
    for (number, slots) in slots.iter().enumerate() {
        let sets: BTreeSet<&Option<ObjectKey>> = slots.iter().map(|(set, _)| set).collect();
        let names: BTreeSet<String> = slots.iter().map(|(_, name)| name.clone()).collect();
        if sets.len() != 1 || names != wanted || slots.len() != wanted.len() {
            return Err(format!("app-{number} has {} slots of {} ReplicaSets", slots.len(), sets.len()));
        }
    }
    Ok(())
}
