//! What the runtime says, carried to the pods that it concerns; and the list of containers that everything starts with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skein_crdt_state::{ObjectKey, WriteId};
use skein_gossip::Now;

use super::backoff::{Backoff, Pace};
use super::pod::{Identity, Pod};
use super::{Agent, Deadline, Output};
use crate::runtime::{Capacity, ContainerInfo, ContainerRef, RuntimeAction, RuntimeEvent};
use crate::slot::SLOT_KIND;
use crate::status::{Claim, PodStatus};

/// When the agent looks again after its first list. What an earlier life of the daemon had asked for may still be under
/// way when this one asks for its first list: a start comes true later, and nobody would know of that container. Starts
/// have a time limit of a minute.
const LOOK_AGAIN_AFTER: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(70)];

/// How long a pod goes on whose slot the state does not know. An earlier life of the daemon may have started it before
/// what it had just learned was on its disk; peers say it again within seconds of the restart.
const STRAY_FOR: Duration = Duration::from_secs(10);

/// Where the agent stands with the list of its containers.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Whether the state on disk was loaded.
    pub(super) synced: bool,
    /// Whether a list came since: from then on the agent acts.
    pub(super) listed: bool,
    /// The input at which a list was asked for that has not come.
    asked: Option<u64>,
    /// How many lists came.
    lists: usize,
    retry: Backoff,
}

impl Agent {
    pub(super) fn synced(&mut self, claims: BTreeSet<Claim>, pods: BTreeMap<String, PodStatus>) {
        if std::mem::replace(&mut self.engine.synced, true) {
            return;
        }
        self.said_claims.clone_from(&claims);
        for claim in claims {
            self.claims.entry(claim.slot.clone()).or_default().insert(claim);
        }
        self.before = pods;
        self.list();
    }

    pub(super) fn list(&mut self) {
        if self.engine.synced && self.engine.asked.is_none() {
            self.engine.asked = Some(self.seq);
            self.timers.clear(&Deadline::List);
            self.outputs.push_back(Output::Act(RuntimeAction::List));
        }
    }

    /// Looks now, and again at the times that follow a first list.
    pub(super) fn look_anew(&mut self) {
        self.engine.lists = 0;
        self.list();
    }

    pub(super) fn runtime_said(&mut self, now: Now, event: RuntimeEvent) {
        match event {
            RuntimeEvent::Listed(found) => self.listed(now, found),
            RuntimeEvent::ListFailed { .. } => {
                self.engine.asked = None;
                let wait = self.engine.retry.fail(now.mono, Pace::ENGINE);
                self.timers.set(Deadline::List, now.mono + wait);
            }
            RuntimeEvent::Capacity(capacity) => self.capacity_changed(capacity),
            RuntimeEvent::ImageReady { image } => {
                let Some(policy) = self.images.ready(&image) else { return };
                for pod in self.pods.values_mut() {
                    if pod.image_ready(now.mono, &image, policy) {
                        self.step_next.insert(pod.identity.uid.clone());
                    }
                }
            }
            RuntimeEvent::ImageFailed { image, message, permanent } => {
                self.images.failed(now.mono, &image, message, permanent);
                let waits = self.pods.values().filter(|pod| pod.images().any(|own| own == image));
                self.step_next.extend(waits.map(|pod| pod.identity.uid.clone()));
            }
            RuntimeEvent::VolumesWritten { uid } => drop(self.with_pod(now, &uid, |pod, _| pod.volumes.written())),
            RuntimeEvent::VolumesFailed { uid, message } => {
                self.with_pod(now, &uid, |pod, ctx| pod.volumes_failed(message, ctx));
            }
            RuntimeEvent::VolumesRemoved { uid } => {
                self.with_pod(now, &uid, |pod, ctx| pod.volumes.removed(true, ctx));
            }
            RuntimeEvent::VolumesNotRemoved { uid, .. } => {
                self.with_pod(now, &uid, |pod, ctx| pod.volumes.removed(false, ctx));
            }
            RuntimeEvent::Started(info) => {
                self.with_pod(now, &info.id.uid, |pod, ctx| pod.started(&info, ctx));
            }
            RuntimeEvent::StartFailed { id, reason, message } => {
                self.with_pod(now, &id.uid, |pod, ctx| pod.start_failed(&id, reason, message, ctx));
            }
            RuntimeEvent::Exited { id, exit } => {
                self.with_pod(now, &id.uid, |pod, ctx| pod.exited(&id, exit, ctx));
            }
            RuntimeEvent::StopFailed { id, .. } | RuntimeEvent::RemoveFailed { id, .. } => {
                self.with_pod(now, &id.uid, |pod, ctx| pod.refused(&id, ctx));
            }
            RuntimeEvent::Removed { id } => {
                self.with_pod(now, &id.uid, |pod, _| pod.removed(&id));
            }
            RuntimeEvent::Probed { id, token, result } => {
                self.with_pod(now, &id.uid, |pod, ctx| pod.probed(&id, token, result, ctx));
            }
            RuntimeEvent::Notice { id, reason, message } => self.notice(now, &id, &reason, message),
        }
    }

    fn notice(&mut self, now: Now, id: &ContainerRef, reason: &str, message: String) {
        self.with_pod(now, &id.uid, |pod, ctx| pod.event(false, reason, message, ctx));
    }

    fn capacity_changed(&mut self, capacity: Capacity) {
        if self.capacity.as_ref() == Some(&capacity) {
            return;
        }
        let was_down = self.capacity.as_ref().is_some_and(|before| !before.ready);
        // Whatever ended while the engine could not be asked is learned from its list.
        if capacity.ready && was_down {
            self.list();
        }
        self.outputs.push_back(Output::Capacity(capacity.clone()));
        self.capacity = Some(capacity);
        self.step_next.extend(self.pods.keys().cloned());
    }

    fn listed(&mut self, now: Now, found: Vec<ContainerInfo>) {
        let asked = self.engine.asked.take();
        self.engine.retry.clear();
        self.timers.clear(&Deadline::List);
        if !self.engine.synced {
            return;
        }
        if let Some(wait) = LOOK_AGAIN_AFTER.get(self.engine.lists) {
            self.timers.set(Deadline::List, now.mono + *wait);
        }
        self.engine.lists = self.engine.lists.saturating_add(1);
        let mut of_pod: BTreeMap<Arc<str>, Vec<ContainerInfo>> = BTreeMap::new();
        found.into_iter().for_each(|info| of_pod.entry(info.id.uid.clone()).or_default().push(info));
        if std::mem::replace(&mut self.engine.listed, true) {
            let known: Vec<Arc<str>> = self.pods.keys().cloned().collect();
            let asked = asked.unwrap_or(self.seq);
            for uid in known {
                let of_it = of_pod.remove(&uid).unwrap_or_default();
                self.with_pod(now, &uid, |pod, ctx| pod.compare(&of_it, asked, ctx));
            }
        }
        let slots: BTreeMap<String, ObjectKey> = self.facts.keys().map(|key| (key.to_string(), key.clone())).collect();
        for (uid, infos) in of_pod {
            self.take_over(now, uid, &infos, &slots);
        }
        self.judge_next.extend(slots.into_values());
    }

    /// Takes over a pod whose containers were found. One of a slot that the state does not know is stopped after a while:
    /// its object is gone for good.
    fn take_over(&mut self, now: Now, uid: Arc<str>, infos: &[ContainerInfo], slots: &BTreeMap<String, ObjectKey>) {
        let Some(first) = infos.first() else { return };
        let before = self.before.remove(&*uid);
        let slot = slots.get(&first.slot).cloned();
        let facts = slot.as_ref().and_then(|slot| self.facts.get(slot));
        let template = facts.and_then(|facts| facts.template.clone().ok());
        let added = facts.and_then(|facts| facts.added.get(&*uid)).cloned();
        let is_owned = slot.as_ref().is_some_and(|slot| slot.kind().as_str() == SLOT_KIND);
        let said = before.as_ref().filter(|_| !is_owned).map(|before| before.write.as_str());
        let identity = Identity {
            uid,
            write: parse_write(said.unwrap_or(&first.write)),
            slot_text: first.slot.clone(),
            write_label: first.write.clone(),
            namespace: first.namespace.clone(),
            name: first.pod.clone(),
            slot,
        };
        let (is_stray, has_left) = (identity.slot.is_none(), self.has_left);
        let mut ctx = self.context(now);
        let mut pod = Pod::new(identity, template, &ctx);
        added.iter().for_each(|added| pod.learn_added(added));
        pod.resume(infos, before.as_ref(), &mut ctx);
        if has_left {
            pod.stop(&mut ctx);
        } else if is_stray {
            pod.stray(now.mono + STRAY_FOR);
        }
        self.add(pod);
    }
}

/// A write from its hexadecimal form.
fn parse_write(text: &str) -> Option<WriteId> {
    let digits = text.as_bytes();
    let mut bytes = [0_u8; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(WriteId(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_read_back_from_its_label() {
        let write = WriteId([0xa7; 32]);
        assert_eq!(parse_write(&write.to_string()), Some(write));
        for wrong in ["", "a7", &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(parse_write(wrong), None, "{wrong}");
        }
    }
}
