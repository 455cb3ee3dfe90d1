//! What follows from an input: slots are judged, pods admitted and driven, and what changed is said.

use std::collections::BTreeSet;
use std::sync::Arc;

use skein_crdt_state::{ObjectKey, WriteId};
use skein_gossip::Now;

use super::admission::{self, Answer, Tenant};
use super::judge::{Ours, judge};
use super::pod::{Admission, Pod};
use super::{Agent, Deadline, Output};
use crate::status::Claim;

impl Agent {
    pub(super) fn settle(&mut self, now: Now) {
        if !self.engine.listed {
            return;
        }
        // Ends: a slot is judged again only when one of its pods became ready, unready or gone, a pod that stops never
        // goes on, and one that starts anew waits for the runtime first.
        loop {
            if let Some(slot) = self.judge_next.pop_first() {
                self.judge_slot(now, &slot);
            } else if let Some(uid) = self.step_next.pop_first() {
                self.step_pod(now, &uid);
            } else {
                break;
            }
        }
        self.retract_old_reports();
        self.say_claims();
    }

    /// The pods that take of this node.
    pub(super) fn tenants(&self) -> Vec<Tenant<'_>> {
        let taking = self.pods.values().filter(|pod| pod.admission == Admission::Admitted && !pod.has_ended());
        taking.map(|pod| Tenant { needs: &pod.needs, stopping: pod.is_stopping() }).collect()
    }

    fn judge_slot(&mut self, now: Now, slot: &ObjectKey) {
        if self.facts.contains_key(slot) {
            self.attach_strays(slot);
        }
        let uids: Vec<Arc<str>> = self.pods_of.get(slot).into_iter().flatten().cloned().collect();
        if let Some(template) = self.facts.get(slot).and_then(|facts| facts.template.as_ref().ok().cloned()) {
            for uid in &uids {
                let added = self.facts.get(slot).and_then(|facts| facts.added.get(&**uid));
                if let Some(pod) = self.pods.get_mut(uid).filter(|pod| !pod.has_template()) {
                    added.into_iter().for_each(|added| pod.learn_added(added));
                    pod.learn_template(&template);
                    self.step_next.insert(uid.clone());
                } else if self.pods.get_mut(uid).is_some_and(|pod| pod.learn_again(&template)) {
                    self.step_next.insert(uid.clone());
                }
            }
        }
        let ours: Vec<Ours> = uids.iter().filter_map(|uid| self.pods.get(uid)).map(ours).collect();
        let before = self.claims.remove(slot).unwrap_or_default();
        let judgement = judge(&self.config.me, &self.config.cluster, self.facts.get(slot), &ours, &before);
        if !judgement.claims.is_empty() {
            self.claims.insert(slot.clone(), judgement.claims);
        }
        for uid in judgement.stop {
            self.with_pod(now, &uid, |pod, ctx| pod.stop(ctx));
        }
        if let Some(write) = judgement.start {
            self.take_on(now, slot, &write);
        }
    }

    /// A slot that was not known may be that of pods which were found already.
    fn attach_strays(&mut self, slot: &ObjectKey) {
        // The text of a key is long, and there are hardly ever strays.
        if self.strays.is_empty() {
            return;
        }
        for uid in self.strays.remove(&slot.to_string()).into_iter().flatten() {
            if let Some(pod) = self.pods.get_mut(&uid) {
                pod.attach(slot.clone());
                self.pods_of.entry(slot.clone()).or_default().insert(uid.clone());
                self.step_next.insert(uid);
            }
        }
    }

    fn take_on(&mut self, now: Now, slot: &ObjectKey, write: &WriteId) {
        let Some(facts) = self.facts.get(slot) else { return };
        let template = facts.template.clone();
        let identity = self.identity(slot, write);
        let before = self.before.remove(&*identity.uid);
        let mut ctx = self.context(now);
        let mut pod = Pod::new(identity, template.as_ref().ok().cloned(), &ctx);
        if before.is_some() {
            pod.resume(&[], before.as_ref(), &mut ctx);
        }
        if let Err(error) = template {
            pod.complain(error.to_string());
        }
        self.add(pod);
    }

    fn step_pod(&mut self, now: Now, uid: &str) {
        self.admit(now, uid);
        let Some(mut pod) = self.pods.remove(uid) else { return };
        let was_ready = pod.is_ready();
        let facts = pod.identity.slot.as_ref().and_then(|slot| self.facts.get(slot));
        let sources = facts.map(|facts| facts.sources.clone()).unwrap_or_default();
        if let Some(added) = facts.and_then(|facts| facts.added.get(uid)) {
            pod.learn_added(added);
        }
        let mut ctx = self.context(now);
        ctx.sources = sources;
        pod.step(&mut ctx);
        let wake = ctx.wake;
        let status = pod.status(&ctx);
        let deadline = Deadline::Pod(pod.identity.uid.clone());
        match wake {
            Some(at) => self.timers.set(deadline, at),
            None => self.timers.clear(&deadline),
        }
        if pod.is_ready() != was_ready {
            self.judge_next.extend(pod.identity.slot.clone());
        }
        if pod.is_gone() {
            return self.forget(&pod);
        }
        if pod.reported.as_ref() != Some(&status) {
            let uid = pod.identity.uid.clone();
            self.outputs.push_back(Output::PodReport { uid, status: Some(status.clone()) });
            pod.reported = Some(status);
        }
        self.pods.insert(pod.identity.uid.clone(), pod);
    }

    /// A pod is gone with all its containers.
    fn forget(&mut self, pod: &Pod) {
        let uid = pod.identity.uid.clone();
        self.timers.clear(&Deadline::Pod(uid.clone()));
        if pod.reported.is_some() {
            self.outputs.push_back(Output::PodReport { uid: uid.clone(), status: None });
        }
        if let Some(slot) = &pod.identity.slot {
            if let Some(pods) = self.pods_of.get_mut(slot) {
                pods.remove(&uid);
                if pods.is_empty() {
                    self.pods_of.remove(slot);
                }
            }
            self.judge_next.insert(slot.clone());
        } else if let Some(strays) = self.strays.get_mut(&pod.identity.slot_text) {
            strays.remove(&uid);
            if strays.is_empty() {
                self.strays.remove(&pod.identity.slot_text);
            }
        }
        // What it held may be what others wait for.
        let open = self.pods.values().filter(|pod| pod.admission == Admission::Open);
        self.step_next.extend(open.map(|pod| pod.identity.uid.clone()));
        let used: BTreeSet<&str> = self.pods.values().flat_map(Pod::images).collect();
        self.images.keep(&used);
    }

    fn admit(&mut self, now: Now, uid: &str) {
        let Some(capacity) = self.capacity.as_ref().filter(|capacity| capacity.ready) else { return };
        let Some(pod) = self.pods.get(uid).filter(|pod| pod.admission == Admission::Open && pod.has_template()) else {
            return;
        };
        let answer = admission::admit(capacity, &self.tenants(), &pod.needs);
        self.with_pod(now, uid, |pod, ctx| match answer {
            Answer::Admitted => pod.admission = Admission::Admitted,
            Answer::Later => {}
            Answer::Refused { reason, message } => {
                pod.event(true, reason, message.clone(), ctx);
                pod.admission = Admission::Refused(reason.into(), format!("Pod was rejected: {message}"));
            }
        });
        // It is being stepped already.
        self.step_next.remove(uid);
    }

    /// Retracts the reports of an earlier life whose pods are gone.
    fn retract_old_reports(&mut self) {
        for uid in std::mem::take(&mut self.before).into_keys() {
            self.outputs.push_back(Output::PodReport { uid: uid.into(), status: None });
        }
    }

    fn say_claims(&mut self) {
        let claims: BTreeSet<Claim> = self.claims.values().flatten().cloned().collect();
        if claims != self.said_claims {
            self.said_claims.clone_from(&claims);
            self.outputs.push_back(Output::Claims(claims));
        }
    }
}

fn ours(pod: &Pod) -> Ours {
    Ours {
        uid: pod.identity.uid.clone(),
        started: pod.has_containers(),
        ready: pod.is_ready(),
        stopping: pod.is_stopping(),
    }
}
