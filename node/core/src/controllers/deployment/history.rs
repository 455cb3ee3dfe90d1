//! A Deployment's past templates: their numbers, and how many are kept.

use std::collections::BTreeMap;

use skein_crdt_state::{ObjectKey, path};

use super::super::Step;
use super::super::draft::{Draft, set_text};
use crate::model::workload::{CHANGE_CAUSE_ANNOTATION, REVISION_ANNOTATION};
use crate::view::{DeploymentView, ReplicaSetView};

/// Numbers the ReplicaSets and lets the oldest empty ones go.
pub(super) fn reconcile(draft: &mut Draft<'_>, deployment: &DeploymentView, current: Option<&ReplicaSetView>) {
    let revisions = revisions(deployment, current);
    for set in &deployment.replica_sets {
        let mut edits = Vec::new();
        if let Some(revision) = revisions.get(&set.key).filter(|revision| **revision != set.spec.revision) {
            edits.push(set_text(&annotation(REVISION_ANNOTATION), &revision.to_string()));
        }
        let cause = &deployment.spec.change_cause;
        let is_current = current.is_some_and(|current| current.key == set.key);
        if is_current && !cause.is_empty() && *cause != set.spec.change_cause {
            edits.push(set_text(&annotation(CHANGE_CAUSE_ANNOTATION), cause));
        }
        if !edits.is_empty() {
            draft.objects.push(Step::Edit { key: set.key.clone(), edits });
        }
    }
    // What is still on its way may turn back, so the past is only let go when all is done.
    let Some(current) = current.filter(|_| !deployment.spec.paused) else { return };
    let mut old: Vec<&ReplicaSetView> = deployment.replica_sets.iter().filter(|set| set.key != current.key).collect();
    if old.iter().any(|set| !set.slots.is_empty()) {
        return;
    }
    old.sort_by_key(|set| (revisions.get(&set.key), &set.key));
    let surplus = old.len().saturating_sub(deployment.spec.revision_history_limit);
    draft.ending.extend(old.iter().take(surplus).map(|set| set.key.clone()));
}

/// The number that a new ReplicaSet takes.
pub(super) fn next_revision(deployment: &DeploymentView) -> u64 {
    revisions(deployment, None).values().max().copied().unwrap_or(0) + 1
}

/// The path of an annotation.
fn annotation(name: &str) -> String {
    let mut path = "metadata.annotations".to_owned();
    path::push_field(&mut path, name);
    path
}

/// Each ReplicaSet's number: as it is where that is unique, by birth where two sides of a partition gave the same one;
/// that of the template in force is the greatest, also after a rollback.
fn revisions(deployment: &DeploymentView, current: Option<&ReplicaSetView>) -> BTreeMap<ObjectKey, u64> {
    let mut sets: Vec<&ReplicaSetView> = deployment.replica_sets.iter().collect();
    let is_current = |set: &ReplicaSetView| current.is_some_and(|current| current.key == set.key);
    let numbered = |set: &ReplicaSetView| if set.spec.revision == 0 { u64::MAX } else { set.spec.revision };
    sets.sort_by_key(|set| (is_current(set), numbered(set), set.spec.born, &set.key));
    let mut last = 0;
    let mut revisions = BTreeMap::new();
    for set in sets {
        last = set.spec.revision.max(last + 1);
        revisions.insert(set.key.clone(), last);
    }
    revisions
}
