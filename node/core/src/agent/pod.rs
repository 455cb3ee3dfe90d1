//! One pod of this node: drives its containers towards running, or towards being gone.

use std::sync::Arc;
use std::time::Duration;

use skein_crdt_state::{ObjectKey, WriteId};
use skein_gossip::Instant;

use super::Context;
use super::container::{Container, MustEnd, Standing};
use super::environment::PodFields;
use super::images::{self, Wait};
use super::instance::Instance;
use super::probe::Finding;
use super::spec::{Wish, container_spec};
use crate::model::needs::PodNeeds;
use crate::model::pod::{PodTemplateSpec, RestartPolicy};
use crate::runtime::{ContainerInfo, ContainerRef, Exit, PullPolicy, RuntimeAction};
use crate::status::{Event, PodStatus};

mod found;
mod report;

/// How long a pod whose spec is not known any more may take to end.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// Whether a pod may run here.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Admission {
    /// Not decided: the capacity is not known yet, or pods that are being stopped hold what it needs.
    Open,
    /// It may.
    Admitted,
    /// It may not; reason and message.
    Refused(String, String),
    /// It had ended before the daemon was restarted, and nothing of it is left but this.
    Over(Box<PodStatus>),
}

/// Which pod.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) uid: Arc<str>,
    /// What it fills; `None` if the state does not know it (any more).
    pub(super) slot: Option<ObjectKey>,
    pub(super) slot_text: String,
    /// The value that placed it, if known.
    pub(super) write: Option<WriteId>,
    /// What its containers carry as label: empty for a pod without an owner.
    pub(super) write_label: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// A pod.
#[derive(Debug, Clone)]
pub(super) struct Pod {
    pub(super) identity: Identity,
    pub(super) needs: PodNeeds,
    pub(super) admission: Admission,
    pub(super) reported: Option<PodStatus>,
    template: Option<Arc<PodTemplateSpec>>,
    containers: Vec<Container>,
    /// Attempts that are to be removed.
    leftovers: Vec<Instance>,
    stopping_since_ms: u64,
    /// When it is stopped unless the state has come to know its slot.
    stray_until: Option<Instant>,
    started_at_ms: u64,
    ready: bool,
    ready_changed_ms: u64,
    ip: String,
    /// Why it cannot be started yet, for people.
    complaint: String,
}

impl Pod {
    pub(super) fn new(identity: Identity, template: Option<Arc<PodTemplateSpec>>, ctx: &Context<'_>) -> Self {
        let spec = template.as_ref().map(|template| &template.spec);
        Pod {
            needs: template.as_ref().map(|template| template.needs.clone()).unwrap_or_default(),
            containers: spec
                .map(|spec| spec.containers.iter().map(|c| Container::new(&c.name)).collect())
                .unwrap_or_default(),
            identity,
            admission: Admission::Open,
            reported: None,
            template,
            leftovers: Vec::new(),
            stopping_since_ms: 0,
            stray_until: None,
            started_at_ms: ctx.now.wall_ms,
            ready: false,
            ready_changed_ms: ctx.now.wall_ms,
            ip: String::new(),
            complaint: String::new(),
        }
    }

    pub(super) fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// Says for people why it waits.
    pub(super) fn complain(&mut self, message: String) {
        self.complaint = message;
    }

    /// What it is made from came late. Containers that were found before go on if it names them.
    pub(super) fn learn_template(&mut self, template: Arc<PodTemplateSpec>) {
        self.needs.clone_from(&template.needs);
        self.complaint.clear();
        let mut found = std::mem::take(&mut self.containers);
        for spec in &template.spec.containers {
            let known = found.iter().position(|container| *container.name == *spec.name);
            let mut container = known.map_or_else(|| Container::new(&spec.name), |n| found.swap_remove(n));
            container.learn(spec);
            self.containers.push(container);
        }
        let unnamed = found.into_iter().flat_map(|container| container.current.into_iter().chain(container.previous));
        self.leftovers.extend(unnamed);
        self.template = Some(template);
    }

    /// Whether the engine may have containers of it.
    pub(super) fn has_containers(&self) -> bool {
        !self.leftovers.is_empty() || self.containers.iter().any(|container| container.instances().next().is_some())
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping_since_ms > 0
    }

    /// Whether it was stopped and nothing of it is left.
    pub(super) fn is_gone(&self) -> bool {
        self.is_stopping() && !self.has_containers()
    }

    /// Whether all its containers ended for good, so that it takes nothing of its node.
    pub(super) fn has_ended(&self) -> bool {
        match self.admission {
            Admission::Refused(..) | Admission::Over(_) => true,
            Admission::Open | Admission::Admitted => {
                !self.containers.is_empty() && self.containers.iter().all(|container| container.finished().is_some())
            }
        }
    }

    pub(super) fn images(&self) -> impl Iterator<Item = &str> {
        self.template.iter().flat_map(|template| template.spec.containers.iter().map(|c| c.image.as_str()))
    }

    /// It fills no slot that the state knows. That may be behind what an earlier life of this daemon knew, so it goes on
    /// for a while.
    pub(super) fn stray(&mut self, until: Instant) {
        self.stray_until = Some(until);
    }

    /// The state has come to know its slot.
    pub(super) fn attach(&mut self, slot: ObjectKey) {
        self.identity.slot = Some(slot);
        self.stray_until = None;
    }

    /// Begins to stop it, for good.
    pub(super) fn stop(&mut self, ctx: &mut Context<'_>) {
        if self.is_stopping() {
            return;
        }
        self.stopping_since_ms = ctx.now.wall_ms.max(1);
        let running: Vec<Arc<str>> =
            self.containers.iter().filter(|c| c.is_running()).map(|container| container.name.clone()).collect();
        for name in running {
            self.event(false, "Killing", format!("Stopping container {name}"), ctx);
        }
    }

    /// Does what is due. Doing it again changes nothing.
    pub(super) fn step(&mut self, ctx: &mut Context<'_>) {
        let grace = self.grace();
        match self.stray_until {
            Some(until) if until <= ctx.now.mono => self.stop(ctx),
            Some(until) => ctx.wake_at(until),
            None => {}
        }
        self.leftovers.iter_mut().for_each(|instance| instance.dispose(grace, ctx));
        if self.is_stopping() {
            for container in &mut self.containers {
                let instances = container.current.iter_mut().chain(&mut container.previous);
                instances.for_each(|instance| instance.dispose(grace, ctx));
            }
        } else if self.admission == Admission::Admitted {
            (0..self.containers.len()).for_each(|n| self.advance(n, ctx));
        }
    }

    pub(super) fn started(&mut self, info: &ContainerInfo, ctx: &mut Context<'_>) {
        let template = self.template.clone();
        let Some(container) = self.container_mut(&info.id) else { return };
        let spec =
            template.iter().flat_map(|template| &template.spec.containers).find(|c| *c.name == *info.id.container);
        container.started(info, spec, ctx);
        if let Some(ip) = &info.ip {
            self.ip.clone_from(ip);
        }
        self.event(false, "Started", format!("Started container {}", info.id.container), ctx);
    }

    pub(super) fn start_failed(&mut self, id: &ContainerRef, reason: String, message: String, ctx: &mut Context<'_>) {
        let text = format!("Error: {message}");
        if self.container_mut(id).is_some_and(|container| container.start_failed(reason, message, ctx)) {
            self.event(true, "Failed", text, ctx);
        }
    }

    pub(super) fn exited(&mut self, id: &ContainerRef, exit: Exit, ctx: &mut Context<'_>) {
        let (policy, pod) = (self.policy(), self.identity.name.clone());
        match self.container_mut(id) {
            Some(container) => {
                if container.ended(exit, policy, ctx).is_some_and(|wait| !wait.is_zero()) {
                    let message = format!("Back-off restarting failed container {} in pod {pod}", id.container);
                    self.event(true, "BackOff", message, ctx);
                }
            }
            None => {
                if let Some(instance) = self.instance_mut(id) {
                    instance.ended(exit, ctx);
                }
            }
        }
    }

    /// The engine failed to stop or to remove a container.
    pub(super) fn refused(&mut self, id: &ContainerRef, ctx: &Context<'_>) {
        if let Some(instance) = self.instance_mut(id) {
            instance.refused(ctx);
        }
    }

    pub(super) fn removed(&mut self, id: &ContainerRef) {
        self.leftovers.retain(|instance| instance.id != *id);
        if let Some(container) = self.containers.iter_mut().find(|container| container.name == id.container) {
            container.removed(id.attempt);
        }
    }

    pub(super) fn probed(&mut self, id: &ContainerRef, token: u64, result: Result<(), String>, ctx: &mut Context<'_>) {
        let Some(container) = self.container_mut(id) else { return };
        let finding = container.probed(ctx.now.mono, token, result);
        let complaint = container.probes.complaint.take();
        match (finding, complaint) {
            (Finding::Kill(why), _) | (_, Some(why)) => self.event(true, "Unhealthy", why, ctx),
            _ => {}
        }
    }

    /// An image came that its containers may wait for. Says whether one did.
    pub(super) fn image_ready(&mut self, now: Instant, image: &str, fetched: PullPolicy) -> bool {
        let Some(template) = &self.template else { return false };
        let mut any = false;
        for (container, spec) in self.containers.iter_mut().zip(&template.spec.containers) {
            let policy = images::policy_of(&spec.image_pull_policy, &spec.image);
            if spec.image == image && container.wants_start(now) && images::serves(fetched, policy) {
                container.has_image = true;
                any = true;
            }
        }
        any
    }

    /// Says something about it to a person.
    pub(super) fn event(&self, warning: bool, reason: &str, message: String, ctx: &mut Context<'_>) {
        ctx.event(Event {
            kind: "Pod".into(),
            namespace: self.identity.namespace.clone(),
            name: self.identity.name.clone(),
            uid: self.identity.uid.to_string(),
            warning,
            reason: reason.into(),
            message,
            source: "agent".into(),
            first_ms: ctx.now.wall_ms,
            last_ms: ctx.now.wall_ms,
            count: 1,
        });
    }

    fn advance(&mut self, n: usize, ctx: &mut Context<'_>) {
        match self.containers[n].standing(ctx.now.mono) {
            Standing::Busy | Standing::Done => {}
            Standing::Running => self.look_after(n, ctx),
            Standing::Wants { pending: Some(until) } => {
                self.containers[n].say_backing_off(&self.identity.name, ctx.now.mono);
                ctx.wake_at(until);
            }
            Standing::Wants { pending: None } => self.start(n, ctx),
        }
    }

    fn look_after(&mut self, n: usize, ctx: &mut Context<'_>) {
        let grace = self.grace();
        let network = self.containers[0].current.as_ref().filter(|first| n > 0 && first.is_running());
        let network = network.map(|first| first.id.attempt);
        let container = &mut self.containers[n];
        let Some(instance) = container.current.as_mut() else { return };
        if network.is_some() && instance.joined.is_some() && instance.joined != network && container.must_end.is_none()
        {
            container.must_end = Some(MustEnd::Rejoin);
        }
        match container.must_end {
            Some(_) => instance.stop(grace, ctx),
            None => container.probes.look(&instance.id, ctx),
        }
    }

    fn start(&mut self, n: usize, ctx: &mut Context<'_>) {
        let Some(template) = self.template.clone() else { return };
        let Some(spec) = template.spec.containers.get(n) else { return };
        let Some(network_of) = self.network_for(n, template.spec.host_network) else { return };
        let name = self.containers[n].name.clone();
        let attempt = self.containers[n].next_attempt();
        // One that ended gives its number free only once it is removed.
        let another = |instance: &Instance| {
            instance.id.container == name && (!instance.has_ended() || instance.id.attempt == attempt)
        };
        if !ctx.may_start() || self.leftovers.iter().any(another) || !self.has_image(n, ctx) {
            return;
        }
        let id = ContainerRef { uid: self.identity.uid.clone(), container: name, attempt };
        let joined = network_of.as_ref().map(|first| first.attempt);
        let wish = Wish {
            id: id.clone(),
            slot: &self.identity.slot_text,
            write: &self.identity.write_label,
            container: spec,
            holds_network: network_of.is_none() && (n == 0 || !template.spec.host_network),
            network_of,
        };
        match container_spec(wish, &self.fields(&template, ctx)) {
            Ok(spec) => {
                let starting = Instance::starting(id, joined, ctx);
                self.leftovers.extend(self.containers[n].begin(starting));
                ctx.act(RuntimeAction::Start(Box::new(spec)));
            }
            Err(message) => self.containers[n].waiting = ("CreateContainerConfigError".into(), message),
        }
    }

    /// Whose network a container shares: `None` if it has to wait, `Some(None)` if nobody's.
    fn network_for(&self, n: usize, host_network: bool) -> Option<Option<ContainerRef>> {
        if self.containers[..n].iter().any(Container::never_ran) {
            return None;
        }
        let first = self.containers.first().filter(|_| n > 0 && !host_network);
        match first {
            None => Some(None),
            Some(first) if first.finished().is_some() => Some(None),
            Some(first) if first.must_end.is_some() => None,
            Some(first) => first.current.as_ref().filter(|one| one.is_running()).map(|one| Some(one.id.clone())),
        }
    }

    fn has_image(&mut self, n: usize, ctx: &mut Context<'_>) -> bool {
        let Some(spec) = self.template.as_ref().and_then(|template| template.spec.containers.get(n)) else {
            return false;
        };
        if self.containers[n].has_image {
            return true;
        }
        let policy = images::policy_of(&spec.image_pull_policy, &spec.image);
        match ctx.want_image(&spec.image, policy) {
            Wait::Asked => {}
            Wait::Failed { until, reason, message } => {
                self.containers[n].waiting = (reason.into(), message);
                ctx.wake_at(until);
            }
        }
        false
    }

    fn fields<'a>(&'a self, template: &'a PodTemplateSpec, ctx: &'a Context<'_>) -> PodFields<'a> {
        let host_ip = ctx.config.node_address.as_str();
        let own = if template.spec.host_network { host_ip } else { self.ip.as_str() };
        PodFields {
            name: &self.identity.name,
            namespace: &self.identity.namespace,
            uid: &self.identity.uid,
            node_name: &ctx.config.node_name,
            host_ip,
            pod_ip: Some(own).filter(|ip| !ip.is_empty()),
            template,
            capacity: ctx.capacity,
        }
    }

    fn grace(&self) -> Duration {
        let grace = self.template.as_ref().map(|template| Duration::from_secs(template.spec.grace_seconds().into()));
        grace.unwrap_or(DEFAULT_GRACE)
    }

    fn policy(&self) -> RestartPolicy {
        match &self.template {
            // Whatever ends while the pod is being stopped stays so.
            _ if self.is_stopping() => RestartPolicy::Never,
            Some(template) => template.spec.restart_policy,
            // It is not known: nothing is started, and nothing is given up.
            None => RestartPolicy::Always,
        }
    }

    /// The container whose current attempt this is.
    fn container_mut(&mut self, id: &ContainerRef) -> Option<&mut Container> {
        let is_current = |container: &&mut Container| container.current.as_ref().is_some_and(|one| one.id == *id);
        self.containers.iter_mut().find(is_current)
    }

    fn instance_mut(&mut self, id: &ContainerRef) -> Option<&mut Instance> {
        if let Some(n) = self.leftovers.iter().position(|instance| instance.id == *id) {
            return self.leftovers.get_mut(n);
        }
        let container = self.containers.iter_mut().find(|container| container.name == id.container)?;
        container.instance_mut(id.attempt)
    }
}
