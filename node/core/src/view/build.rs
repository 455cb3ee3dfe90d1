//! How a snapshot is taken: nodes first, since claims come from their reports, then workloads with their slots and pods. What
//! did not become different is taken over from the snapshot before.

use std::collections::BTreeSet;
use std::sync::Arc;

use skein_crdt_state::Store;
use skein_gossip::Now;

use super::{Component, DeploymentView, View, ViewCache, nodes, owners, workloads};
use crate::model::workload::Strategy;
use crate::status::{Phase, PodStatus};

impl View {
    /// Takes a snapshot.
    #[must_use]
    pub fn build(store: &Store, component: &Component, now: Now, cache: &mut ViewCache) -> View {
        let changes = cache.begin(store, now.mono);
        let left = store.members().iter().filter(|member| !member.is_active()).map(|member| member.id).collect();
        let claimed = nodes::refresh(store, component, now, cache, &changes, &left);
        let roots = workloads::to_refresh(store, cache, &changes, &claimed);
        roots.iter().for_each(|root| workloads::refresh(store, now, cache, root));
        let nodes = nodes::views(store, component, now, cache);
        let mut seen = component.seen_24h.clone();
        seen.insert(component.me);
        // Observers run nothing, so where they are decides nothing.
        seen.retain(|id| !store.members().is_observer(id));
        let here = seen.iter().filter(|id| nodes.get(*id).is_some_and(|node| !node.lost)).count();
        let mut view = View {
            now,
            cluster: store.cluster(),
            me: component.me,
            quorate: component.quorate,
            here,
            seen: seen.len(),
            nodes,
            left,
            stale_nodes: cache.stale_nodes.clone(),
            deployments: cache.deployments.views(),
            replica_sets: cache.replica_sets.views(),
            pods: cache.pods.views(),
            lingering: BTreeSet::new(),
            orphans: Vec::new(),
            closing: Vec::new(),
            next_orphan: None,
        };
        view.lingering = lingering(store, &view);
        let found = owners::orphans(store, now, cache, &changes, &view);
        (view.orphans, view.closing, view.next_orphan) = (found.orphans, found.closing, found.next);
        cache.sweep(&changes, |key| store.is_live(key));
        view
    }
}

/// The slots of pods that still run though their slot is gone, for workloads that wait for that.
fn lingering(store: &Store, view: &View) -> BTreeSet<String> {
    let waits = |deployment: &&Arc<DeploymentView>| {
        let slots = |deployment: &DeploymentView| {
            let current = deployment.replica_sets.iter().find(|set| set.key == deployment.current);
            current.map_or(0, |set| set.slots.len())
        };
        let recreates = deployment.spec.strategy == Strategy::Recreate;
        deployment.spec.closing || recreates && slots(deployment) < deployment.spec.replicas as usize
    };
    let deployments = view.deployments.iter().filter(waits).map(|deployment| &deployment.key);
    let sets = view.replica_sets.iter().filter(|set| set.spec.closing).map(|set| &set.key);
    let prefixes: Vec<String> = deployments.chain(sets).map(|key| format!("{key}/")).collect();
    if prefixes.is_empty() {
        return BTreeSet::new();
    }
    let wanted: BTreeSet<String> = view.slots().map(|(_, slot)| slot.key.to_string()).collect();
    let pods = store.reports().filter(|(node, section, _)| section.starts_with("pod/") && !view.is_lost(node));
    let pods = pods.filter_map(|(_, _, report)| postcard::from_bytes::<PodStatus>(&report.body).ok());
    pods.filter(|status| matches!(status.phase, Phase::Pending | Phase::Running))
        .map(|status| status.slot)
        .filter(|slot| prefixes.iter().any(|prefix| slot.starts_with(prefix)) && !wanted.contains(slot))
        .collect()
}
