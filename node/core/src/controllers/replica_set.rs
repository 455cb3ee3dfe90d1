//! ReplicaSets that people made: as many slots as they ask for.

use super::announced::Announced;
use super::deployment::new_slots;
use super::draft::Draft;
use super::{Notes, refill};
use crate::view::ReplicaSetView;

/// Plans all ReplicaSets that no Deployment owns.
pub(super) fn reconcile(draft: &mut Draft<'_>, notes: &mut Notes) {
    let Notes { announced, quiet } = notes;
    for set in &draft.view.replica_sets {
        if draft.is_full() {
            return draft.cut_off();
        }
        if !draft.ending.contains(&set.key) {
            quiet.replica_sets.unless_quiet(draft, &set.key, set, |draft| one(draft, announced, set));
        }
    }
}

fn one<'v>(draft: &mut Draft<'v>, announced: &mut Announced, set: &'v ReplicaSetView) {
    if set.spec.closing {
        // It goes after its pods; `garbage` sees to that.
        for slot in &set.slots {
            draft.end_slot(slot, set, &set.key);
        }
        return;
    }
    let valid = set.spec.selector.matches(&set.spec.template.labels);
    let complaint = if valid { "" } else { "the selector does not match the template's labels: no pods are made" };
    announced.complain(draft, &set.key, "InvalidTemplate", complaint, "replicaset-controller");
    let wanted = set.spec.replicas as usize;
    for slot in set.slots.iter().rev().take(set.slots.len().saturating_sub(wanted)) {
        draft.end_slot(slot, set, &set.key);
    }
    let missing = if valid { wanted.saturating_sub(set.slots.len()) } else { 0 };
    refill::workload(draft, &set.key, set.spec.partition, &[set], missing > 0);
    new_slots(draft, &set.key, &set.key, Some(set), &set.spec.template.needs, missing);
}
