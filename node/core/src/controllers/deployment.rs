//! Deployments: one plan for a Deployment, its ReplicaSets and their slots.
//!
//! How many replicas an owned ReplicaSet has is stored nowhere: its live slots are its replicas. So a rollout on one side of
//! a partition and a rollback on the other merge to slots, which the next plan adds up, and every deletion is weighed
//! against what all ReplicaSets together have available.

use std::collections::BTreeSet;

use skein_crdt_state::ObjectKey;
use skein_gossip::planted::{self, Bug};

use super::announced::Announced;
use super::draft::{Draft, Target, Want};
use super::{Notes, refill};
use crate::model::needs::PodNeeds;
use crate::model::workload::Strategy;
use crate::slot::SLOT_KIND;
use crate::view::{DeploymentView, ReplicaSetView};

mod history;
mod replica_set;
mod rollout;

use rollout::Tally;

const SOURCE: &str = "deployment-controller";

/// Plans all Deployments.
pub(super) fn reconcile(draft: &mut Draft<'_>, notes: &mut Notes) {
    let Notes { announced, quiet } = notes;
    for deployment in &draft.view.deployments {
        if draft.is_full() {
            return draft.cut_off();
        }
        quiet.deployments.unless_quiet(draft, &deployment.key, deployment, |draft| one(draft, announced, deployment));
    }
}

fn one<'v>(draft: &mut Draft<'v>, announced: &mut Announced, deployment: &'v DeploymentView) {
    let spec = &*deployment.spec;
    if spec.closing {
        // It goes after its ReplicaSets and their pods; `garbage` sees to that.
        draft.ending.extend(deployment.replica_sets.iter().map(|set| set.key.clone()));
        return;
    }
    let valid = spec.selector.matches(&spec.template.labels);
    let complaint = if valid {
        ""
    } else {
        "the selector does not match the template's labels: the last valid template stays in force"
    };
    announced.complain(draft, &deployment.key, "InvalidTemplate", complaint, SOURCE);
    let current = deployment.replica_sets.iter().find(|set| set.key == deployment.current);
    if current.is_none() && valid && !spec.paused {
        replica_set::create(draft, deployment);
    }
    let mut tally = Tally::new(draft.view, deployment);
    let mut grow = 0;
    if current.is_none() && (!valid || spec.paused) || current.is_some() && spec.paused {
        grow = rollout::hold(draft, deployment, &mut tally);
    } else if spec.strategy == Strategy::Recreate {
        grow = rollout::recreate(draft, deployment, current, &mut tally);
    } else if spec.strategy != Strategy::Recreate {
        grow = rollout::roll(draft, deployment, current, &mut tally);
    }
    rollout::wait_for_min_ready(draft, deployment);
    history::reconcile(draft, deployment, current);
    events(draft, deployment, &tally);
    let holder = if spec.paused || !valid { rollout::newest(deployment) } else { current };
    let mut sets: Vec<&ReplicaSetView> = holder.into_iter().collect();
    sets.extend(deployment.replica_sets.iter().filter(|set| holder.is_none_or(|holder| holder.key != set.key)));
    refill::workload(draft, &deployment.key, spec.partition, &sets, grow > 0);
    let (key, needs) =
        holder.map_or((&deployment.current, &spec.template.needs), |set| (&set.key, &set.spec.template.needs));
    new_slots(draft, &deployment.key, key, holder, needs, grow + usize::from(planted::is(Bug::FightingController)));
}

/// Makes slots with the lowest numbers that are free, as far as the plan has room for them.
pub(super) fn new_slots<'v>(
    draft: &mut Draft<'v>,
    workload: &'v ObjectKey,
    set: &ObjectKey,
    known: Option<&'v ReplicaSetView>,
    needs: &'v PodNeeds,
    count: usize,
) {
    let count = draft.claim_new_slots(count);
    let taken: BTreeSet<u32> = known.into_iter().flat_map(|set| set.slots.iter().map(|slot| slot.number)).collect();
    let kind = skein_crdt_state::Kind::new(SLOT_KIND);
    let first = if planted::is(Bug::SlotsByChance) { draft.view.now.wall_ms % 97 } else { 0 };
    for number in (u32::try_from(first).unwrap_or(0)..).filter(|number| !taken.contains(number)).take(count) {
        draft.wants.push(Want {
            target: Target::NewSlot(set.name_of_child(&kind, &number.to_string())),
            needs,
            group: set.clone(),
            workload,
            avoid: None,
            displaces: None,
            sole: None,
            evicted: false,
        });
    }
}

/// Says how ReplicaSets were scaled.
fn events(draft: &mut Draft<'_>, deployment: &DeploymentView, tally: &Tally) {
    for (name, from, to) in tally.scaled() {
        let direction = if to > from { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
        draft.event(&deployment.key, false, "ScalingReplicaSet", message, SOURCE);
    }
}
