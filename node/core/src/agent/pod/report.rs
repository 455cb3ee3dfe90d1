//! What a pod's node says of it.

use super::deadline::{DEADLINE_EXCEEDED, DEADLINE_MESSAGE};
use super::{Admission, Pod};
use crate::agent::Context;
use crate::agent::container::Container;
use crate::status::{Phase, PodStatus};

impl Pod {
    /// How it is now. Notes when its readiness changed.
    pub(in crate::agent) fn status(&mut self, ctx: &Context<'_>) -> PodStatus {
        let ready = self.serves();
        if ready != self.ready {
            self.ready = ready;
            self.ready_changed_ms = ctx.now.wall_ms;
        }
        if let Admission::Over(status) = &self.admission {
            return PodStatus { stopping_since_ms: self.stopping_since_ms, ..(**status).clone() };
        }
        let (reason, message) = match &self.admission {
            Admission::Refused(reason, message) => (reason.clone(), message.clone()),
            Admission::Admitted if self.overdue => (DEADLINE_EXCEEDED.to_owned(), DEADLINE_MESSAGE.to_owned()),
            Admission::Open if !self.complaint.is_empty() => ("InvalidSpec".to_owned(), self.complaint.clone()),
            Admission::Open | Admission::Admitted | Admission::Over(_) => Default::default(),
        };
        let spec = self.template.as_ref().map(|template| &template.spec);
        let mut images: Vec<&str> =
            spec.into_iter().flat_map(|spec| spec.all_containers()).map(|container| container.image.as_str()).collect();
        let of_added = |container: &Container| {
            let one = self.added.iter().find(|one| *one.container.name == *container.name);
            one.map_or("", |one| one.container.image.as_str())
        };
        images.resize(self.init.len() + self.containers.len(), "");
        images.extend(self.ephemeral.iter().map(of_added));
        let image = |n: usize| images.get(n).copied().unwrap_or_default();
        let init = self.init.iter().map(|container| (container, container.finished() == Some(true)));
        let all = init.chain(self.containers.iter().map(|container| (container, container.is_ready())));
        // Whether one that was added is ready is asked by nobody.
        let all = all.chain(self.ephemeral.iter().map(|container| (container, false)));
        let on_host = spec.is_some_and(|spec| spec.host_network) && self.containers.iter().any(|c| !c.never_ran());
        PodStatus {
            slot: self.identity.slot_text.clone(),
            write: self.identity.write.map(|write| write.to_string()).unwrap_or_default(),
            phase: self.phase(),
            ready: self.ready,
            ready_changed_ms: self.ready_changed_ms,
            reason,
            message,
            ip: if on_host { ctx.config.node_address.clone() } else { self.ip.clone() },
            started_at_ms: self.started_at_ms,
            stopping_since_ms: self.stopping_since_ms,
            containers: all.enumerate().map(|(n, (container, ready))| container.status(image(n), ready)).collect(),
        }
    }

    pub(super) fn serves(&self) -> bool {
        let all_ready = !self.containers.is_empty() && self.containers.iter().all(Container::is_ready);
        self.admission == Admission::Admitted && !self.is_stopping() && !self.overdue && all_ready
    }

    fn phase(&self) -> Phase {
        match self.admission {
            Admission::Refused(..) => return Phase::Failed,
            Admission::Open => return Phase::Pending,
            Admission::Admitted | Admission::Over(_) => {}
        }
        if self.init_failed() || self.overdue {
            return Phase::Failed;
        }
        let ends: Option<Vec<bool>> = self.containers.iter().map(Container::finished).collect();
        match ends {
            // Nothing is known of it but leftovers: it can only be on its way out.
            Some(ends) if ends.is_empty() => Phase::Running,
            Some(ends) if ends.iter().all(|well| *well) => Phase::Succeeded,
            Some(_) => Phase::Failed,
            None if self.containers.iter().any(Container::never_ran) => Phase::Pending,
            None => Phase::Running,
        }
    }
}
