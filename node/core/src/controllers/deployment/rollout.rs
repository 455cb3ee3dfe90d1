//! Going from one template to the next: how many slots each ReplicaSet gains or loses now.
//!
//! Bounds of `RollingUpdate`: never more live slots than replicas + maxSurge, never an available pod deleted when only
//! replicas - maxUnavailable are. Surplus slots go from the highest number down, never the least ready: both sides of a
//! partition must choose alike.

use std::collections::BTreeMap;
use std::time::Duration;

use skein_crdt_state::ObjectKey;
use skein_gossip::Instant;
use skein_gossip::planted::{self, Bug};

use super::super::draft::Draft;
use crate::model::workload::DeploymentSpec;
use crate::status::ContainerPhase;
use crate::view::{Availability, DeploymentView, PodView, ReplicaSetView, SlotView, View};

/// How long a slot that goes anyway waits for one that stays to become available, from when that one was placed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a Deployment's ReplicaSets have, and what they will have.
#[derive(Debug)]
pub(super) struct Tally {
    /// Live slots by ReplicaSet, before and after.
    slots: BTreeMap<ObjectKey, (usize, usize)>,
    /// Slots that are available, of those that stay.
    available: BTreeMap<ObjectKey, usize>,
}

impl Tally {
    pub(super) fn new(view: &View, deployment: &DeploymentView) -> Self {
        let seconds = deployment.spec.min_ready_seconds;
        let available = |slot: &&SlotView| view.availability(slot.pod.as_ref(), seconds) == Availability::Yes;
        let sets = || deployment.replica_sets.iter();
        Tally {
            slots: sets().map(|set| (set.key.clone(), (set.slots.len(), set.slots.len()))).collect(),
            available: sets().map(|set| (set.key.clone(), set.slots.iter().filter(available).count())).collect(),
        }
    }

    /// ReplicaSets that are scaled: name, from, to.
    pub(super) fn scaled(&self) -> Vec<(String, usize, usize)> {
        let scaled = self.slots.iter().filter(|(_, (from, to))| from != to);
        scaled.map(|(key, (from, to))| (key.name().to_owned(), *from, *to)).collect()
    }

    fn total(&self) -> usize {
        self.slots.values().map(|(_, to)| *to).sum()
    }

    fn slots_of(&self, set: &ObjectKey) -> usize {
        self.slots.get(set).map_or(0, |(_, to)| *to)
    }

    fn available(&self) -> usize {
        self.available.values().sum()
    }

    fn unavailable_of(&self, set: &ObjectKey) -> usize {
        self.slots_of(set) - self.available.get(set).copied().unwrap_or(0)
    }

    fn remove<'v>(
        &mut self,
        draft: &mut Draft<'v>,
        deployment: &'v DeploymentView,
        set: &'v ReplicaSetView,
        slot: &'v SlotView,
    ) {
        let available = is_available(draft, deployment, slot);
        if !draft.end_slot(slot, set, &deployment.key) {
            return;
        }
        if let Some((_, to)) = self.slots.get_mut(&set.key) {
            *to -= 1;
        }
        if let Some(count) = self.available.get_mut(&set.key).filter(|_| available) {
            *count -= 1;
        }
    }

    fn grow(&mut self, set: &ObjectKey, count: usize) -> usize {
        self.slots.entry(set.clone()).or_insert((0, 0)).1 += count;
        count
    }
}

/// A rolling update: how many slots the current ReplicaSet gains.
pub(super) fn roll<'v>(
    draft: &mut Draft<'v>,
    deployment: &'v DeploymentView,
    current: Option<&'v ReplicaSetView>,
    tally: &mut Tally,
) -> usize {
    let (replicas, surge, floor) = bounds(&deployment.spec);
    if let Some(current) = current {
        shrink(draft, deployment, current, replicas, floor, tally);
    }
    let key = current.map_or(&deployment.current, |set| &set.key);
    let total = tally.total();
    let missing = replicas.saturating_sub(tally.slots_of(key));
    let grow = missing.min((replicas + surge).saturating_sub(total));
    // What the rollout may take away now: as in Kubernetes, new pods that are not available yet are not counted upon, so
    // that a template whose pods never get ready takes no more than maxUnavailable of the old ones along.
    let mut budget = total.saturating_sub(floor + tally.unavailable_of(key));
    let mut old: Vec<&ReplicaSetView> = deployment.replica_sets.iter().filter(|set| set.key != *key).collect();
    old.sort_by_key(|set| (set.spec.revision, set.spec.born, &set.key));
    for set in old {
        for slot in set.slots.iter().rev() {
            let available = is_available(draft, deployment, slot);
            if budget > 0 && (!available || tally.available() > floor) {
                tally.remove(draft, deployment, set, slot);
                budget -= 1;
            }
        }
    }
    tally.grow(key, grow)
}

/// Recreate: all old pods end, then the new ones start.
pub(super) fn recreate<'v>(
    draft: &mut Draft<'v>,
    deployment: &'v DeploymentView,
    current: Option<&'v ReplicaSetView>,
    tally: &mut Tally,
) -> usize {
    let key = current.map_or(&deployment.current, |set| &set.key);
    let replicas = deployment.spec.replicas as usize;
    if let Some(current) = current {
        shrink(draft, deployment, current, replicas, 0, tally);
    }
    let old: Vec<&ReplicaSetView> = deployment.replica_sets.iter().filter(|set| set.key != *key).collect();
    let mut ended = true;
    for set in old {
        for slot in set.slots.iter().rev() {
            ended = false;
            tally.remove(draft, deployment, set, slot);
        }
    }
    let (own, all) = (format!("{key}/"), format!("{}/", deployment.key));
    let lingers = |slot: &String| slot.starts_with(&all) && !slot.starts_with(&own);
    if !ended || draft.view.lingering.iter().any(lingers) {
        return 0;
    }
    let missing = replicas.saturating_sub(tally.slots_of(key));
    tally.grow(key, missing)
}

/// A paused Deployment, or one without a valid template, is scaled and nothing else: its newest ReplicaSet grows, its
/// oldest shrink first.
pub(super) fn hold<'v>(draft: &mut Draft<'v>, deployment: &'v DeploymentView, tally: &mut Tally) -> usize {
    let (replicas, surge, floor) = bounds(&deployment.spec);
    let Some(newest) = newest(deployment) else { return 0 };
    let mut sets: Vec<&ReplicaSetView> = deployment.replica_sets.iter().collect();
    sets.sort_by_key(|set| (set.key == newest.key, set.spec.revision, set.spec.born, &set.key));
    let active = sets.iter().filter(|set| !set.slots.is_empty()).count();
    // Halfway through a rollout the surge stays as it is.
    let most = if active > 1 { replicas + surge } else { replicas };
    for set in sets {
        let surplus = tally.total().saturating_sub(most);
        let keep = tally.slots_of(&set.key).saturating_sub(surplus);
        shrink(draft, deployment, set, keep, floor, tally);
    }
    let missing = replicas.saturating_sub(tally.total());
    tally.grow(&newest.key, missing)
}

/// The ReplicaSet that holds the place of the current one while there is none: the newest with slots, else the newest.
pub(super) fn newest(deployment: &DeploymentView) -> Option<&ReplicaSetView> {
    let order = |set: &&ReplicaSetView| (!set.slots.is_empty(), set.spec.revision, set.spec.born, set.key.clone());
    deployment.replica_sets.iter().max_by_key(order)
}

/// Takes a ReplicaSet's slots from the highest down until `keep` are left. One that is available waits while those that
/// stay have not become available, unless there is no hope for them.
fn shrink<'v>(
    draft: &mut Draft<'v>,
    deployment: &'v DeploymentView,
    set: &'v ReplicaSetView,
    keep: usize,
    floor: usize,
    tally: &mut Tally,
) {
    let kept = &set.slots[..keep.min(set.slots.len())];
    let hopes: Vec<Instant> = kept
        .iter()
        .filter(|slot| !is_available(draft, deployment, slot))
        .filter_map(|slot| hope(draft.view, slot.pod.as_ref()?))
        .collect();
    for slot in set.slots[kept.len()..].iter().rev() {
        let available = is_available(draft, deployment, slot);
        if available && tally.available() <= floor && !hopes.is_empty() {
            hopes.iter().for_each(|at| draft.look_again(*at));
            continue;
        }
        tally.remove(draft, deployment, set, slot);
    }
}

/// Replicas, how many more there may be, and how many must be available.
fn bounds(spec: &DeploymentSpec) -> (usize, usize, usize) {
    let (surge, unavailable) = spec.strategy.bounds(spec.replicas);
    let replicas = spec.replicas as usize + usize::from(planted::is(Bug::OneTooMany));
    (replicas, surge as usize, spec.replicas.saturating_sub(unavailable) as usize)
}

fn is_available(draft: &Draft<'_>, deployment: &DeploymentView, slot: &SlotView) -> bool {
    draft.view.availability(slot.pod.as_ref(), deployment.spec.min_ready_seconds) == Availability::Yes
}

/// Until when a pod that is not available may be expected to become it.
fn hope(view: &View, pod: &PodView) -> Option<Instant> {
    let until = pod.first_seen + PATIENCE;
    let fails = |status: &crate::status::ContainerStatus| {
        let backs_off = matches!(&status.state, ContainerPhase::Waiting { reason, .. }
            if !matches!(reason.as_str(), "ContainerCreating" | "PodInitializing"));
        status.restart_count > 0 || backs_off
    };
    let failing = pod.status.as_ref().is_some_and(|status| status.containers.iter().any(fails));
    (until > view.now.mono && !view.is_lost(&pod.node) && !pod.has_ended() && !failing).then_some(until)
}

/// Looks again when a pod that is ready will have been for long enough.
pub(super) fn wait_for_min_ready(draft: &mut Draft<'_>, deployment: &DeploymentView) {
    for slot in deployment.replica_sets.iter().flat_map(|set| &set.slots) {
        if let Availability::From(at) = draft.view.availability(slot.pod.as_ref(), deployment.spec.min_ready_seconds) {
            draft.look_again(at);
        }
    }
}
