//! Containers that were added to a pod while it runs. They start beside the others, in the pod's network, are never started
//! again, and say nothing about whether the pod is ready or over.

use std::sync::Arc;

use super::{At, Pod};
use crate::agent::Context;
use crate::agent::container::{Container, MustEnd};
use crate::model::pod::EphemeralContainer;
use crate::runtime::ContainerRef;

impl Pod {
    /// Learns what was added to it. What is known already stays as it is: nothing is taken away from a pod, nor changed.
    pub(in crate::agent) fn learn_added(&mut self, added: &Arc<[EphemeralContainer]>) {
        if self.added == *added {
            return;
        }
        for one in added.iter() {
            if self.ephemeral.iter().all(|known| *known.name != *one.container.name) {
                let found = self
                    .containers
                    .iter()
                    .position(|found| self.template.is_none() && *found.name == *one.container.name);
                let container =
                    found.map_or_else(|| Container::new(&one.container.name, false), |n| self.containers.remove(n));
                self.ephemeral.push(container);
            }
        }
        self.added = added.clone();
    }

    pub(super) fn is_ephemeral(&self, container: &str) -> bool {
        self.ephemeral.iter().any(|known| *known.name == *container)
    }

    /// Starts what was added, and ends it once the others have ended for good.
    pub(super) fn step_added(&mut self, may_start: bool, ctx: &mut Context<'_>) {
        let grace = self.grace();
        if self.has_ended() {
            self.ephemeral.iter_mut().filter_map(|one| one.current.as_mut()).for_each(|one| one.stop(grace, ctx));
            return;
        }
        (0..self.ephemeral.len()).for_each(|n| self.advance(At::Ephemeral(n), may_start, ctx));
    }

    /// Whether its containers see each other's processes. The first one's come first: when it ends, the kernel ends the others.
    fn shares_processes(&self) -> bool {
        self.template.as_ref().is_some_and(|template| template.spec.share_process_namespace && !template.spec.host_pid)
    }

    /// A container ended. Those that share its processes end with it, and start again with it at once: that is no fault of theirs.
    pub(super) fn ended_beside(&mut self, ended: &str) {
        if !self.shares_processes() {
            return;
        }
        let Some((first, others)) = self.containers.split_first_mut() else { return };
        if *first.name == *ended && first.finished().is_none() {
            for other in others.iter_mut().filter(|other| other.is_running()) {
                other.must_end.get_or_insert(MustEnd::Rejoin);
            }
        }
    }

    /// Whose processes a container sees beside its own; an error if that one does not run.
    pub(super) fn target_of(&self, at: At) -> Result<Option<ContainerRef>, String> {
        let shared = || {
            let first = self.containers.first().filter(|_| self.shares_processes())?.current.as_ref();
            first.filter(|first| first.is_running()).map(|first| first.id.clone())
        };
        match at {
            At::Init(_) | At::Main(0) => return Ok(None),
            At::Main(_) => return Ok(shared()),
            At::Ephemeral(_) => {}
        }
        let name = &self.at(at).name;
        let target = self.added.iter().find(|one| *one.container.name == **name).map_or("", |one| one.target.as_str());
        if target.is_empty() {
            return Ok(shared());
        }
        let running = self.containers.iter().find(|container| *container.name == *target);
        let running = running.and_then(|container| container.current.as_ref()).filter(|one| one.is_running());
        running.map(|one| Some(one.id.clone())).ok_or_else(|| format!("unable to find target container {target:?}"))
    }
}
