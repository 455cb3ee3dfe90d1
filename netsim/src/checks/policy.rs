//! Pods whose workload says that nothing moves are not replaced because their node was lost (DESIGN section 7, the policies
//! `hold` and `quorum`).

use std::collections::{BTreeMap, BTreeSet};

use skein_core::model::partition::{PARTITION_ANNOTATION, PartitionPolicy};
use skein_core::node::Node;
use skein_core::request::WriteOp;
use skein_core::slot::{self, SLOT_KIND};
use skein_crdt_state::{Edit, Kind, NameKey, ObjectKey, Scalar};
use skein_gossip::NodeId;

use crate::oracle::Answer;
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
        // It may have been made so, have moved, and have been made otherwise, before anybody looked.
        let done = world.oracle.acknowledged().filter(|(asked, _)| may_make_move(&asked.op).is_some());
        self.moving.extend(done.map(|(_, reply)| reply.key.clone()));
        let unanswered = world.oracle.all().filter(|(_, asked)| asked.answer == Answer::Unknown);
        let perhaps: BTreeSet<NameKey> = unanswered.filter_map(|(_, asked)| may_make_move(&asked.op)).collect();
        nodes.iter().find_map(|node| self.moved(node, &perhaps))
    }

    fn learn(&mut self, node: &Node, now_us: u64) {
        let store = node.store();
        self.left.extend(store.members().iter().filter(|member| !member.is_active()).map(|member| member.id));
        let path = policy_path();
        for deployment in store.live(&Kind::new("Deployment.apps")) {
            let policy = deployment.get(&path).and_then(Scalar::as_str).unwrap_or_default();
            if moves(policy) {
                self.moving.insert(deployment.key().clone());
            }
            self.known.entry(deployment.key().clone()).or_insert(now_us);
        }
    }

    fn moved(&self, node: &Node, perhaps: &BTreeSet<NameKey>) -> Option<String> {
        let kind = Kind::new(SLOT_KIND);
        let mut held = node.store().live(&kind).filter(|slot| {
            let mut owners = slot.key().lineage().filter(|link| link.kind().as_str() == "Deployment.apps");
            let may_move = |owner: &ObjectKey| self.moving.contains(owner) || perhaps.contains(&owner.name_key());
            owners.any(|owner| self.known.contains_key(&owner) && !may_move(&owner))
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

/// The name of a Deployment for which a write asks a policy under which something moves.
fn may_make_move(op: &WriteOp) -> Option<NameKey> {
    let path = policy_path();
    let policy = |edits: &[Edit]| {
        let edit = edits.iter().find(|edit| *edit.path == path)?;
        Some(edit.value.as_ref().and_then(Scalar::as_str).unwrap_or_default().to_owned())
    };
    match op {
        WriteOp::Create { name, edits } => moves(&policy(edits).unwrap_or_default()).then(|| name.clone()),
        WriteOp::Edit { key, edits, .. } => moves(&policy(edits)?).then(|| key.name_key()),
        WriteOp::Delete { .. } | WriteOp::Remove { .. } => None,
    }
}

fn policy_path() -> String {
    format!("metadata.annotations[\"{PARTITION_ANNOTATION}\"]")
}

fn moves(policy: &str) -> bool {
    matches!(PartitionPolicy::parse(policy), PartitionPolicy::Alive | PartitionPolicy::Full)
}
