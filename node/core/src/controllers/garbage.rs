//! Objects whose owners, which people wrote into them, are gone; and nodes' objects and pods that nothing owns.

use skein_crdt_state::ObjectKey;

use super::Step;
use super::draft::{Draft, Target, Want, set_text};
use crate::model::closing::set_finalizers;
use crate::model::{PROVIDER_ID_LEAF, PROVIDER_ID_PREFIX};
use crate::view::{SoloView, View};

/// Ends what lost its owners.
pub(super) fn collect(draft: &mut Draft<'_>) {
    draft.ending.extend(draft.view.orphans.iter().cloned());
    if let Some(at) = draft.view.next_orphan {
        draft.look_again(at);
    }
    for (key, finalizers) in draft.view.closing.iter().filter(|(key, _)| !has_pods(draft.view, key)) {
        if finalizers.is_empty() {
            draft.ending.insert(key.clone());
        } else {
            draft.objects.push(Step::Edit { key: key.clone(), edits: vec![set_finalizers(finalizers)] });
        }
    }
}

/// Whether a workload still has ReplicaSets or pods, or pods of its that are being stopped where that can be seen.
fn has_pods(view: &View, key: &ObjectKey) -> bool {
    let prefix = format!("{key}/");
    let sets = view.replica_sets_of(key).unwrap_or_default();
    sets.iter().any(|set| set.key != *key || !set.slots.is_empty())
        || view.lingering.iter().any(|slot| slot.starts_with(&prefix))
}

/// Keeps one object for each node that is here and says what it is, and none for those that left.
pub(super) fn node_objects(draft: &mut Draft<'_>) {
    draft.ending.extend(draft.view.stale_nodes.iter().cloned());
    for node in draft.view.nodes.values().filter(|node| !node.lost) {
        let Some(name) = &node.free_name else { continue };
        let edits = vec![set_text(PROVIDER_ID_LEAF, &format!("{PROVIDER_ID_PREFIX}{}", node.id))];
        draft.objects.push(Step::Create { name: name.clone(), edits });
    }
}

/// Places pods that nothing owns, once.
pub(super) fn solo_pods<'v>(draft: &mut Draft<'v>) {
    let orphaned = |key: &ObjectKey| draft.ending.contains(key);
    let wants: Vec<Want<'v>> =
        draft.view.pods.iter().filter(|pod| pod.pod.is_none() && !orphaned(&pod.key)).map(|pod| want(pod)).collect();
    draft.wants.extend(wants);
}

fn want(pod: &SoloView) -> Want<'_> {
    Want {
        target: Target::There(pod.key.clone()),
        needs: &pod.needs,
        group: pod.key.clone(),
        workload: &pod.key,
        avoid: None,
        displaces: None,
        sole: None,
        evicted: false,
    }
}
