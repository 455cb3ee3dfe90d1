//! When the pod of a slot that was deleted may stop.
//!
//! A leader deletes a slot only when enough other pods serve. But two sides of a partition may each have deleted what the
//! other counted on: a rollout here and a rollback there merge to no slot at all. So a node asks once more, when it learns
//! of a deletion, whether anything of the workload serves; if not, its pod runs on until something does.

use std::time::Duration;

use skein_crdt_state::{ObjectKey, Scalar, Store};
use skein_gossip::NodeId;

use crate::model::workload::DeploymentSpec;
use crate::model::{DEPLOYMENT_KIND, REPLICA_SET_KIND};
use crate::slot::{self, Claims, SLOT_KIND};

/// How long a pod runs on at most when nothing else of its workload serves: what it holds, such as a port of the host, may
/// be what the others wait for.
pub const HANDOVER_PATIENCE: Duration = Duration::from_secs(30);

/// Whether the pod of a slot that is over may stop now. `serves` says whether the pod with this uid on this node is ready,
/// as far as is known here.
#[must_use]
pub fn may_stop(store: &Store, claims: &Claims, slot: &ObjectKey, serves: impl Fn(&NodeId, &str) -> bool) -> bool {
    let kinds = [DEPLOYMENT_KIND, REPLICA_SET_KIND];
    let owners = slot.lineage().filter(|key| kinds.contains(&key.kind().as_str()));
    // The outermost: a Deployment outlives its ReplicaSets.
    let Some(workload) = owners.last().filter(|key| store.is_live(key)) else { return true };
    let Some(object) = store.object(&workload) else { return true };
    let needed = if workload.kind().as_str() == DEPLOYMENT_KIND {
        let spec = DeploymentSpec::of(object);
        let (_, unavailable) = spec.strategy.bounds(spec.replicas);
        spec.replicas > unavailable
    } else {
        object.get("spec.replicas").and_then(Scalar::as_int).is_none_or(|replicas| replicas > 0)
    };
    let cluster = store.cluster();
    let mut slots = store.children(&workload).filter(|child| child.key().kind().as_str() == SLOT_KIND);
    !needed
        || slots.any(|object| {
            let won = slot::winner(&slot::values(object), claims.on(object.key()));
            won.is_some_and(|won| serves(&won.node, &slot::pod_uid(&cluster, object.key(), &won.write)))
        })
}
