//! Pods whose workload says that nothing moves are not replaced because their node was lost (DESIGN section 7, the policies
//! `hold` and `quorum`).

use std::collections::{BTreeMap, BTreeSet};

use skein_core::model::partition::{PARTITION_ANNOTATION, PartitionPolicy};
use skein_core::node::Node;
use skein_core::slot::{self, SLOT_KIND};
use skein_crdt_state::{Kind, ObjectKey, Scalar};
use skein_gossip::NodeId;

use crate::world::World;

/// What was seen of workloads and members.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    /// The Deployments that anybody ever showed with a policy under which something moves.
    moving: BTreeSet<ObjectKey>,
    /// The nodes that anybody ever showed as having left: their pods are replaced under every policy.
    left: BTreeSet<NodeId>,
    /// The Deployments of which it was looked at least once before.
    known: BTreeMap<ObjectKey, u64>,
}

impl Policies {
    /// A pod that was replaced and should not have been.
    pub(crate) fn look(&mut self, world: &World) -> Option<String> {
        let nodes: Vec<&Node> = world.hosts.iter().filter_map(|host| host.node.as_ref()).collect();
        nodes.iter().for_each(|node| self.learn(node, world.now_us));
        nodes.iter().find_map(|node| self.moved(node))
    }

    fn learn(&mut self, node: &Node, now_us: u64) {
        let store = node.store();
        self.left.extend(store.members().iter().filter(|member| !member.is_active()).map(|member| member.id));
        let path = format!("metadata.annotations[\"{PARTITION_ANNOTATION}\"]");
        for deployment in store.live(&Kind::new("Deployment.apps")) {
            let policy = deployment.get(&path).and_then(Scalar::as_str).unwrap_or_default();
            if matches!(PartitionPolicy::parse(policy), PartitionPolicy::Alive | PartitionPolicy::Full) {
                self.moving.insert(deployment.key().clone());
            }
            self.known.entry(deployment.key().clone()).or_insert(now_us);
        }
    }

    fn moved(&self, node: &Node) -> Option<String> {
        let kind = Kind::new(SLOT_KIND);
        let mut held = node.store().live(&kind).filter(|slot| {
            let mut owners = slot.key().lineage().filter(|link| link.kind().as_str() == "Deployment.apps");
            owners.any(|owner| self.known.contains_key(&owner) && !self.moving.contains(&owner))
        });
        held.find_map(|slot| {
            let values = slot::values(slot);
            // A pod that ended is replaced under every policy, where it was.
            let moved = |value: &slot::Value| {
                let displaced = value.placement.displaces?;
                let stays = !self.left.contains(&displaced.node) && value.placement.node != Some(displaced.node);
                stays.then(|| format!("{} was taken from {} though nothing of it may move", slot.key(), displaced.node))
            };
            values.iter().find_map(moved)
        })
    }
}
