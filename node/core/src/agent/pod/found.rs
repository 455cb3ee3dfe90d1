//! A pod whose containers the engine listed: after a restart of the daemon, or after the engine came back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::RngExt;

use super::{Admission, At, Pod};
use crate::agent::Context;
use crate::agent::container::Container;
use crate::agent::hooks::Hooks;
use crate::agent::instance::{Instance, OOM_KILLED, State, unknown_exit};
use crate::agent::probe::Probes;
use crate::model::pod::{self as model, PodTemplateSpec};
use crate::runtime::{ContainerInfo, ContainerRef, ContainerState, Exit};
use crate::status::{ContainerPhase, ContainerStatus, Phase, PodStatus};

impl Pod {
    /// Takes over what an earlier life of this daemon left: the containers that the engine has, and the last report.
    pub(in crate::agent) fn resume(
        &mut self,
        found: &[ContainerInfo],
        before: Option<&PodStatus>,
        ctx: &mut Context<'_>,
    ) {
        if let Some(before) = before {
            self.started_at_ms = before.started_at_ms;
            self.ready_changed_ms = before.ready_changed_ms;
            self.stopping_since_ms = before.stopping_since_ms;
            self.ip.clone_from(&before.ip);
            self.overdue = before.reason == super::deadline::DEADLINE_EXCEEDED;
            self.reported = Some(before.clone());
            if found.is_empty() && matches!(before.phase, Phase::Failed | Phase::Succeeded) {
                self.admission = Admission::Over(Box::new(before.clone()));
                return;
            }
        }
        let mut attempts: BTreeMap<Arc<str>, Vec<&ContainerInfo>> = BTreeMap::new();
        found.iter().for_each(|info| attempts.entry(info.id.container.clone()).or_default().push(info));
        // What was created and not started belongs to a machine that is gone, with the network that it was to join.
        for infos in attempts.values_mut() {
            let stale = |info: &&ContainerInfo| info.before_boot && info.state == ContainerState::Created;
            self.leftovers.extend(infos.iter().filter(|info| stale(info)).map(|info| Instance::found(info, ctx)));
            infos.retain(|info| !stale(info));
        }
        match &self.template {
            None => {
                let told = before.iter().flat_map(|before| &before.containers).filter(|status| has_run(status));
                let names: BTreeSet<&Arc<str>> = attempts.keys().chain(told.map(|status| &status.name)).collect();
                let names: Vec<&Arc<str>> = names.into_iter().filter(|name| !self.is_ephemeral(name)).collect();
                self.containers = names.into_iter().map(|name| Container::new(name, false)).collect();
                self.volumes.may_exist();
            }
            Some(template) if template.spec.mounted_volumes().next().is_some() => self.volumes.may_exist(),
            Some(_) => {}
        }
        let init = (0..self.init.len()).map(At::Init);
        let ephemeral = (0..self.ephemeral.len()).map(At::Ephemeral);
        for at in init.chain((0..self.containers.len()).map(At::Main)).chain(ephemeral) {
            let name = self.at(at).name.clone();
            let known = before.and_then(|before| before.containers.iter().find(|status| status.name == name));
            let mut of_it = attempts.remove(&name).unwrap_or_default();
            of_it.sort_by_key(|info| std::cmp::Reverse(info.id.attempt));
            self.resume_container(at, &of_it, known, ctx);
        }
        self.leftovers.extend(attempts.into_values().flatten().map(|info| Instance::found(info, ctx)));
        self.note_networks();
        self.begin_anew();
        if !found.is_empty() {
            self.admission = Admission::Admitted;
        }
        self.ready = self.serves();
        if before.is_none_or(|before| before.ready != self.ready) {
            self.ready_changed_ms = ctx.now.wall_ms;
        }
    }

    /// What it is made from came late. Containers that were found before go on if it names them, and what the end of one
    /// means is judged now.
    pub(in crate::agent) fn learn_template(&mut self, template: &Arc<PodTemplateSpec>) {
        self.needs.clone_from(&template.needs);
        self.complaint.clear();
        let mut found = std::mem::take(&mut self.containers);
        let has_init = !template.spec.init_containers.is_empty();
        let mut taken = |spec: &model::Container| {
            let known = found.iter().position(|container| *container.name == *spec.name);
            known.map_or_else(|| Container::new(&spec.name, has_init), |n| found.swap_remove(n))
        };
        self.init = template.spec.init_containers.iter().map(&mut taken).collect();
        self.containers = template.spec.containers.iter().map(&mut taken).collect();
        if template.spec.mounted_volumes().next().is_some() {
            self.volumes.may_exist();
        }
        let unnamed = found.into_iter().flat_map(|container| container.current.into_iter().chain(container.previous));
        self.leftovers.extend(unnamed);
        self.template = Some(template.clone());
        for spec in template.spec.all_containers() {
            let policy = self.policy_of(&spec.name);
            if let Some(container) = self.all_mut().find(|container| *container.name == *spec.name) {
                container.learn(spec, policy);
            }
        }
        self.note_networks();
        self.begin_anew();
    }

    /// Compares with a list that was asked for when nothing was under way for the containers that it may speak of.
    pub(in crate::agent) fn compare(&mut self, found: &[ContainerInfo], asked: u64, ctx: &mut Context<'_>) {
        let known: Vec<(ContainerRef, bool)> = self
            .all()
            .flat_map(Container::instances)
            .chain(&self.leftovers)
            .map(|instance| (instance.id.clone(), instance.is_busy() || instance.touched >= asked))
            .collect();
        for (id, _) in known.iter().filter(|(_, busy)| !busy) {
            match found.iter().find(|info| info.id == *id).map(|info| &info.state) {
                Some(ContainerState::Exited(exit)) => self.exited(id, exit.clone(), ctx),
                Some(ContainerState::Running | ContainerState::Created) => {}
                None => self.exited(id, unknown_exit(ctx.now.wall_ms), ctx),
            }
        }
        let unknown = found.iter().filter(|info| known.iter().all(|(id, _)| *id != info.id));
        self.leftovers.extend(unknown.map(|info| Instance::found(info, ctx)));
    }

    /// `attempts`: the newest first.
    fn resume_container(
        &mut self,
        at: At,
        attempts: &[&ContainerInfo],
        before: Option<&ContainerStatus>,
        ctx: &mut Context<'_>,
    ) {
        let (policy, uid) = (self.policy_of(&self.at(at).name), self.identity.uid.clone());
        let spec = self.spec_of(at);
        let container = self.at_mut(at);
        if let Some(before) = before.filter(|before| has_run(before)) {
            container.resume(before.restart_count, before.last.clone());
        }
        let Some((newest, older)) = attempts.split_first() else {
            if container.ever_started {
                let id = ContainerRef { uid, container: container.name.clone(), attempt: container.attempt };
                container.current = Some(Instance::remembered(id, ctx));
                let exit = before.map_or_else(|| unknown_exit(ctx.now.wall_ms), |before| last_exit(before, ctx));
                container.ended(exit, policy, ctx);
            }
            return;
        };
        let mut current = Instance::found(newest, ctx);
        container.attempt = newest.id.attempt;
        container.ever_started |= newest.id.attempt > 0 || newest.state != ContainerState::Created;
        if newest.state == ContainerState::Running {
            container.restarts = newest.id.attempt;
            let known_ready = before.is_some_and(|before| before.ready);
            current.hooks = spec.as_ref().map(Hooks::found).unwrap_or_default();
            let spread = ctx.rng.random_range(0.0..1.0);
            container.probes = match spec {
                Some(spec) => Probes::start(&spec, current.since, known_ready, spread),
                None => Probes::unknown(known_ready),
            };
        }
        if let (ContainerState::Exited(exit), Some(_)) = (&newest.state, current.exit()) {
            // Its end is judged now, as if it had been heard of now.
            let exit = exit.clone();
            current.state = State::Running;
            container.current = Some(current);
            container.ended(exit, policy, ctx);
        } else {
            container.current = Some(current);
        }
        let mut older = older.iter().map(|info| Instance::found(info, ctx));
        let second = older.next();
        match second {
            Some(ended) if ended.has_ended() => container.previous = Some(ended),
            running => self.leftovers.extend(running),
        }
        self.leftovers.extend(older);
    }

    /// What started before the first container's current attempt cannot have joined its network.
    fn note_networks(&mut self) {
        // Which one is the first only the template says.
        let Some(template) = &self.template else { return };
        let Some((first, others)) = self.containers.split_first_mut() else { return };
        let on_host = template.spec.host_network;
        let Some(first) = first.current.as_ref().filter(|first| first.is_running() && !on_host) else { return };
        for instance in others.iter_mut().filter_map(|container| container.current.as_mut()) {
            let joined = instance.started_at_ms >= first.started_at_ms;
            instance.joined = Some(if joined { first.id.attempt } else { first.id.attempt.wrapping_sub(1) });
        }
    }
}

fn has_run(status: &ContainerStatus) -> bool {
    status.restart_count > 0 || status.last.is_some() || !matches!(status.state, ContainerPhase::Waiting { .. })
}

/// How a container ended that the engine does not have any more.
fn last_exit(status: &ContainerStatus, ctx: &Context<'_>) -> Exit {
    match &status.state {
        ContainerPhase::Terminated(end) => Exit {
            code: Some(end.exit_code),
            oom_killed: end.reason == OOM_KILLED,
            finished_at_ms: end.finished_at_ms,
            message: end.message.clone(),
        },
        ContainerPhase::Waiting { .. } | ContainerPhase::Running { .. } => unknown_exit(ctx.now.wall_ms),
    }
}
