//! What comes before a pod's containers: its volumes, and its init containers one after the other.

use std::sync::Arc;

use super::{Admission, Pod};
use crate::agent::Context;
use crate::agent::container::Container;
use crate::agent::volumes::Ready;
use crate::model::pod::{PodTemplateSpec, RestartPolicy};

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// This init container's: all before it ended well.
    Init(usize),
    /// The containers'.
    Main,
    /// Nobody's: an init container failed for good.
    Nobody,
}

impl Pod {
    /// Whose turn it is. Once a container ran it stays the containers': what the init containers did is not done again,
    /// unless it may be lost and there is a container that would need it.
    pub(super) fn turn(&self) -> Turn {
        let ran = self.containers.iter().any(|container| !container.never_ran());
        let is_over = self.containers.iter().all(|container| container.finished().is_some());
        if self.init.is_empty() || (ran && !self.anew) || is_over {
            return Turn::Main;
        }
        match self.init.iter().position(|container| container.finished() != Some(true)) {
            None => Turn::Main,
            Some(n) if self.init[n].finished() == Some(false) => Turn::Nobody,
            Some(n) => Turn::Init(n),
        }
    }

    /// The pod was found. If none of its containers ran since the machine was last started, all its init containers run
    /// again, as with a kubelet that finds the pod's sandbox gone: what they filled may have been in memory.
    pub(super) fn begin_anew(&mut self) {
        if self.template.is_none() || self.containers.iter().any(Container::ran_since_boot) {
            return;
        }
        self.anew = true;
        self.init.iter_mut().filter(|container| !container.ran_since_boot()).for_each(Container::redo);
    }

    /// Whether an init container failed, and the pod with it.
    pub(super) fn init_failed(&self) -> bool {
        self.turn() == Turn::Nobody
    }

    pub(super) fn is_init(&self, container: &str) -> bool {
        self.init.iter().any(|init| *init.name == *container)
    }

    /// What to do when a container ends. An init container that ended well has done its work, whatever the policy.
    pub(super) fn policy_of(&self, container: &str) -> RestartPolicy {
        match self.policy() {
            _ if self.is_ephemeral(container) => RestartPolicy::Never,
            RestartPolicy::Always if self.is_init(container) => RestartPolicy::OnFailure,
            policy => policy,
        }
    }

    /// What it is made from says something else of the same containers, as when its account comes late. That counts while
    /// nothing of it was started. Says whether it does.
    pub(in crate::agent) fn learn_again(&mut self, template: &Arc<PodTemplateSpec>) -> bool {
        let Some(before) = self.template.as_ref().filter(|_| !self.is_stopping() && !self.has_containers()) else {
            return false;
        };
        let runs = |template: &PodTemplateSpec| -> Vec<(String, String)> {
            template.spec.all_containers().map(|one| (one.name.clone(), one.image.clone())).collect()
        };
        let is_new = self.volumes.are_gone() && !Arc::ptr_eq(before, template) && before != template;
        if !is_new || before.needs != template.needs || runs(before) != runs(template) {
            return false;
        }
        self.template = Some(template.clone());
        true
    }

    /// Has the volumes laid out, or written anew. Says whether containers may start.
    pub(super) fn prepare_volumes(&mut self, ctx: &mut Context<'_>) -> bool {
        let Some(template) = self.template.clone() else { return true };
        if self.has_ended() && self.volumes.are_laid_out() {
            return true;
        }
        let mut volumes = std::mem::take(&mut self.volumes);
        let uid = self.identity.uid.clone();
        let ready = {
            let sources = ctx.sources.clone();
            let (config, capacity) = (ctx.config, ctx.capacity);
            volumes.prepare(&uid, &self.fields_with(&template, config, capacity, &sources), ctx)
        };
        self.volumes = volumes;
        let (may_start, news) = match ready {
            Ready::Yes => (true, None),
            Ready::Stale(news) => (true, news),
            Ready::No(why, news) => {
                let waits = self.init.iter_mut().chain(&mut self.containers).filter(|container| container.never_ran());
                waits.for_each(|container| container.wait_for(&why));
                (false, news)
            }
        };
        if let Some(message) = news {
            self.event(true, "FailedMount", message, ctx);
        }
        may_start
    }

    /// The runtime could not lay the volumes out.
    pub(in crate::agent) fn volumes_failed(&mut self, message: String, ctx: &mut Context<'_>) {
        let wanted = self.admission == Admission::Admitted && !self.is_stopping();
        if self.volumes.failed(message.clone(), ctx) && wanted {
            self.event(true, "FailedMount", message, ctx);
        }
    }
}
