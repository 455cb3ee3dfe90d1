//! One pod of this node: drives its containers towards running, or towards being gone.

use std::sync::Arc;
use std::time::Duration;

use skein_crdt_state::{ObjectKey, WriteId};
use skein_gossip::Instant;

use super::container::{Container, MustEnd, Standing};
use super::environment::PodFields;
use super::hooks::Which;
use super::images::{self, Wait};
use super::instance::Instance;
use super::logins::logins;
use super::probe::Finding;
use super::spec::{Wish, container_spec};
use super::volumes::Volumes;
use super::{AgentConfig, Context};
use crate::model::needs::PodNeeds;
use crate::model::pod::{self as model, EphemeralContainer, PodSpec, PodTemplateSpec, RestartPolicy};
use crate::model::source::Sources;
use crate::runtime::{Capacity, ContainerInfo, ContainerRef, Exit, PullPolicy, RuntimeAction};
use crate::status::{Event, PodStatus};

mod deadline;
mod ephemeral;
mod found;
mod init;
mod report;

use init::Turn;

/// How long a pod whose spec is not known any more may take to end.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// How the version of a runtime begins whose containers are processes of the node.
const PROCESS_RUNTIME: &str = "process://";

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

/// Which container of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// One of the init containers.
    Init(usize),
    /// One of the others.
    Main(usize),
    /// One that was added while it runs.
    Ephemeral(usize),
}

/// A pod.
#[derive(Debug, Clone)]
pub(super) struct Pod {
    pub(super) identity: Identity,
    pub(super) needs: PodNeeds,
    pub(super) admission: Admission,
    pub(super) reported: Option<PodStatus>,
    pub(super) volumes: Volumes,
    template: Option<Arc<PodTemplateSpec>>,
    init: Vec<Container>,
    containers: Vec<Container>,
    /// What was added while it runs, in the order in which it became known here.
    ephemeral: Vec<Container>,
    /// What these are made from.
    added: Arc<[EphemeralContainer]>,
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
    /// Whether it was active for longer than it may.
    overdue: bool,
    /// Whether none of its containers has run since the machine was last started, as far as was found.
    anew: bool,
}

impl Pod {
    pub(super) fn new(identity: Identity, template: Option<Arc<PodTemplateSpec>>, ctx: &Context<'_>) -> Self {
        let spec = template.as_ref().map(|template| &template.spec);
        let has_init = spec.is_some_and(|spec| !spec.init_containers.is_empty());
        let made = |list: fn(&PodSpec) -> &Vec<model::Container>| {
            let named = spec.map(list).into_iter().flatten();
            named.map(|of| Container::new(&of.name, has_init)).collect()
        };
        Pod {
            needs: template.as_ref().map(|template| template.needs.clone()).unwrap_or_default(),
            init: made(|spec| &spec.init_containers),
            containers: made(|spec| &spec.containers),
            volumes: Volumes::default(),
            identity,
            admission: Admission::Open,
            reported: None,
            template,
            ephemeral: Vec::new(),
            added: [].into(),
            leftovers: Vec::new(),
            stopping_since_ms: 0,
            stray_until: None,
            started_at_ms: ctx.now.wall_ms,
            ready: false,
            ready_changed_ms: ctx.now.wall_ms,
            ip: String::new(),
            complaint: String::new(),
            overdue: false,
            anew: false,
        }
    }

    pub(super) fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// Says for people why it waits.
    pub(super) fn complain(&mut self, message: String) {
        self.complaint = message;
    }

    /// Whether the engine may have containers of it.
    pub(super) fn has_containers(&self) -> bool {
        !self.leftovers.is_empty() || self.all().any(|container| container.instances().next().is_some())
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping_since_ms > 0
    }

    /// Whether it was stopped and nothing of it is left.
    pub(super) fn is_gone(&self) -> bool {
        self.is_stopping() && !self.has_containers() && self.volumes.are_gone()
    }

    /// Whether all its containers ended for good, so that it takes nothing of its node.
    pub(super) fn has_ended(&self) -> bool {
        match self.admission {
            Admission::Refused(..) | Admission::Over(_) => true,
            Admission::Open | Admission::Admitted if self.init_failed() => true,
            Admission::Open | Admission::Admitted if self.overdue => !self.all().any(Container::is_active),
            Admission::Open | Admission::Admitted => {
                !self.containers.is_empty() && self.containers.iter().all(|container| container.finished().is_some())
            }
        }
    }

    pub(super) fn images(&self) -> impl Iterator<Item = &str> {
        let own = self.template.iter().flat_map(|template| template.spec.all_containers());
        own.chain(self.added.iter().map(|one| &one.container)).map(|container| container.image.as_str())
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
            self.all().filter(|c| c.is_running()).map(|container| container.name.clone()).collect();
        for name in running {
            self.event(false, "Killing", format!("Stopping container {name}"), ctx);
        }
    }

    /// Does what is due. Doing it again changes nothing.
    pub(super) fn step(&mut self, ctx: &mut Context<'_>) {
        let grace = self.grace();
        match self.stray_until {
            // Its slot may be among what this node is still being told.
            Some(until) if until <= ctx.now.mono && ctx.caught_up => self.stop(ctx),
            Some(until) if until > ctx.now.mono => ctx.wake_at(until),
            _ => {}
        }
        self.leftovers.iter_mut().for_each(|instance| instance.dispose(grace, ctx));
        if self.is_stopping() {
            for container in self.all_mut() {
                let instances = container.current.iter_mut().chain(&mut container.previous);
                instances.for_each(|instance| instance.dispose(grace, ctx));
            }
            if !self.has_containers() {
                self.volumes.remove(&self.identity.uid, ctx);
            }
        } else if self.admission == Admission::Admitted && self.is_overdue(ctx) {
            self.all_mut().filter_map(|c| c.current.as_mut()).for_each(|instance| instance.stop(grace, ctx));
        } else if self.admission == Admission::Admitted {
            let may_start = self.prepare_volumes(ctx);
            match self.turn() {
                Turn::Init(n) => self.advance(At::Init(n), may_start, ctx),
                Turn::Main => (0..self.containers.len()).for_each(|n| self.advance(At::Main(n), may_start, ctx)),
                Turn::Nobody => {}
            }
            self.step_added(may_start, ctx);
        }
    }

    pub(super) fn started(&mut self, info: &ContainerInfo, ctx: &mut Context<'_>) {
        let template = self.template.clone();
        let Some(container) = self.container_mut(&info.id) else { return };
        // One that was added is not looked at, and has no hooks.
        let spec = template.as_ref().and_then(|template| template.spec.container(&info.id.container));
        container.started(info, spec, ctx);
        // The network of an init container goes with it.
        let is_init = self.is_init(&info.id.container);
        if let Some(ip) = info.ip.as_ref().filter(|_| !is_init) {
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
        let (policy, pod) = (self.policy_of(&id.container), self.identity.name.clone());
        // One that is removed may have the number of one that was only remembered.
        if let Some(leftover) = self.leftovers.iter_mut().find(|instance| instance.id == *id) {
            leftover.ended(exit, ctx);
            return;
        }
        match self.container_mut(id) {
            Some(container) => {
                if container.ended(exit, policy, ctx).is_some_and(|wait| !wait.is_zero()) {
                    let message = format!("Back-off restarting failed container {} in pod {pod}", id.container);
                    self.event(true, "BackOff", message, ctx);
                }
                self.ended_beside(&id.container);
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
        if let Some(n) = self.leftovers.iter().position(|instance| instance.id == *id) {
            self.leftovers.remove(n);
            return;
        }
        if let Some(container) = self.all_mut().find(|container| container.name == id.container) {
            container.removed(id.attempt);
        }
    }

    pub(super) fn probed(&mut self, id: &ContainerRef, token: u64, result: Result<(), String>, ctx: &mut Context<'_>) {
        if let Some(which) = self.instance_mut(id).and_then(|instance| instance.hooks.answer(token)) {
            return self.hook_answered(id, which, result, ctx);
        }
        let Some(container) = self.container_mut(id) else { return };
        let finding = container.probed(ctx.now.mono, token, result);
        let complaint = container.probes.complaint.take();
        match (finding, complaint) {
            (Finding::Kill(why), _) | (_, Some(why)) => self.event(true, "Unhealthy", why, ctx),
            _ => {}
        }
    }

    /// A hook came to its end.
    fn hook_answered(&mut self, id: &ContainerRef, which: Which, result: Result<(), String>, ctx: &mut Context<'_>) {
        let Err(why) = result else { return };
        let why = why.strip_prefix("exec probe: ").unwrap_or(&why);
        match which {
            Which::PreStop => self.event(true, "FailedPreStopHook", format!("PreStopHook failed: {why}"), ctx),
            Which::PostStart => {
                self.event(true, "FailedPostStartHook", format!("PostStartHook failed: {why}"), ctx);
                if let Some(container) = self.container_mut(id) {
                    container.must_end.get_or_insert(MustEnd::Unhealthy);
                }
            }
        }
    }

    /// An image came that its containers may wait for. Says whether one did.
    pub(super) fn image_ready(&mut self, now: Instant, image: &str, fetched: PullPolicy) -> bool {
        let Some(template) = &self.template else { return false };
        let mut any = false;
        let added = self.added.clone();
        let of_added = |name: &str| added.iter().find(|one| one.container.name == name).map(|one| &one.container);
        let ephemeral = self.ephemeral.iter_mut().filter_map(|one| Some((of_added(&one.name.clone())?, one)));
        let own = template.spec.all_containers().zip(self.init.iter_mut().chain(&mut self.containers));
        for (spec, container) in own.chain(ephemeral) {
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

    fn advance(&mut self, at: At, may_start: bool, ctx: &mut Context<'_>) {
        match self.at(at).standing(ctx.now.mono) {
            Standing::Busy | Standing::Done => {}
            Standing::Running => self.look_after(at, ctx),
            Standing::Wants { pending: Some(until) } => {
                let (pod, now) = (self.identity.name.clone(), ctx.now.mono);
                self.at_mut(at).say_backing_off(&pod, now);
                ctx.wake_at(until);
            }
            Standing::Wants { pending: None } if may_start => self.start(at, ctx),
            Standing::Wants { pending: None } => {}
        }
    }

    fn look_after(&mut self, at: At, ctx: &mut Context<'_>) {
        let grace = self.grace();
        let network = self.containers.first().and_then(|first| first.current.as_ref());
        let network = network.filter(|first| matches!(at, At::Main(1..)) && first.is_running());
        let network = network.map(|first| first.id.attempt);
        let container = self.at_mut(at);
        let Some(instance) = container.current.as_mut() else { return };
        if network.is_some() && instance.joined.is_some() && instance.joined != network && container.must_end.is_none()
        {
            container.must_end = Some(MustEnd::Rejoin);
        }
        instance.hooks.pass(ctx);
        match container.must_end {
            Some(_) => instance.stop(container.probes.grace.unwrap_or(grace), ctx),
            None if instance.hooks.is_starting() => {}
            None => container.probes.look(&instance.id, ctx),
        }
    }

    fn start(&mut self, at: At, ctx: &mut Context<'_>) {
        let Some(template) = self.template.clone() else { return };
        let Some(spec) = self.spec_of(at) else { return };
        let Some(network_of) = self.network_for(at, template.spec.host_network) else { return };
        let name = self.at(at).name.clone();
        let attempt = self.at(at).next_attempt();
        // One that ended gives its number free only once it is removed.
        let another = |instance: &Instance| {
            instance.id.container == name && (!instance.has_ended() || instance.id.attempt == attempt)
        };
        if !ctx.may_start() || self.leftovers.iter().any(another) || !self.has_image(at, ctx) {
            return;
        }
        let pid_of = match self.target_of(at) {
            Ok(target) => target,
            Err(why) => return self.misconfigured(at, why, ctx),
        };
        let id = ContainerRef { uid: self.identity.uid.clone(), container: name, attempt };
        let joined = network_of.as_ref().map(|first| first.attempt);
        let wish = Wish {
            id: id.clone(),
            slot: &self.identity.slot_text,
            write: &self.identity.write_label,
            container: &spec,
            pid_of,
            holds_network: network_of.is_none()
                && (at == At::Main(0) || (!template.spec.host_network && matches!(at, At::Main(_)))),
            network_of,
        };
        match container_spec(wish, &self.fields(&template, ctx)) {
            Ok(spec) => {
                let starting = Instance::starting(id, joined, ctx);
                let replaced = self.at_mut(at).begin(starting);
                self.leftovers.extend(replaced);
                ctx.act(RuntimeAction::Start(Box::new(spec)));
            }
            Err(message) => self.misconfigured(at, message, ctx),
        }
    }

    /// It cannot be started as things stand. What it lacks may yet come, and then it is stepped again.
    fn misconfigured(&mut self, at: At, message: String, ctx: &mut Context<'_>) {
        let waiting = ("CreateContainerConfigError".to_owned(), message);
        if self.at(at).waiting != waiting {
            self.event(true, "Failed", format!("Error: {}", waiting.1), ctx);
            self.at_mut(at).waiting = waiting;
        }
    }

    /// Whose network a container shares: `None` if it has to wait, `Some(None)` if nobody's.
    fn network_for(&self, at: At, host_network: bool) -> Option<Option<ContainerRef>> {
        let n = match at {
            At::Init(_) => return Some(None),
            At::Main(n) => n,
            At::Ephemeral(_) => self.containers.len(),
        };
        if self.containers[..n].iter().any(Container::never_ran) {
            return None;
        }
        let first = self.containers.first().filter(|_| n > 0 && !host_network);
        match first {
            None => Some(None),
            // Nothing is added to a pod that nobody is in any more.
            Some(first) if first.finished().is_some() => (!matches!(at, At::Ephemeral(_))).then_some(None),
            Some(first) if first.must_end.is_some() => None,
            Some(first) => first.current.as_ref().filter(|one| one.is_running()).map(|one| Some(one.id.clone())),
        }
    }

    fn has_image(&mut self, at: At, ctx: &mut Context<'_>) -> bool {
        let Some(spec) = self.spec_of(at) else { return false };
        if self.at(at).has_image {
            return true;
        }
        let policy = images::policy_of(&spec.image_pull_policy, &spec.image);
        let secrets = self.template.as_ref().map(|template| template.spec.pull_secrets()).unwrap_or_default();
        let (logins, missing) = logins(&spec.image, &secrets, &ctx.sources);
        let (wait, is_news) = ctx.want_image(&spec.image, policy, logins);
        for name in missing.into_iter().filter(|_| is_news) {
            let message =
                format!("Unable to retrieve the image pull secret {name}; attempting to pull may not succeed.");
            self.event(true, "FailedToRetrieveImagePullSecret", message, ctx);
        }
        match wait {
            Wait::Asked => {}
            Wait::Failed { until, reason, message } => {
                self.at_mut(at).waiting = (reason.into(), message);
                ctx.wake_at(until);
            }
        }
        false
    }

    fn fields<'a>(&'a self, template: &'a PodTemplateSpec, ctx: &'a Context<'_>) -> PodFields<'a> {
        self.fields_with(template, ctx.config, ctx.capacity, &ctx.sources)
    }

    fn fields_with<'a>(
        &'a self,
        template: &'a PodTemplateSpec,
        config: &'a AgentConfig,
        capacity: &'a Capacity,
        sources: &'a Sources,
    ) -> PodFields<'a> {
        let host_ip = config.node_address.as_str();
        let own = if template.spec.host_network { host_ip } else { self.ip.as_str() };
        // In a network of its own a pod's loopback is not its node's.
        let on_host = template.spec.host_network || capacity.runtime_version.starts_with(PROCESS_RUNTIME);
        let api = config.api.filter(|api| on_host || !api.ip().is_loopback());
        PodFields {
            name: &self.identity.name,
            namespace: &self.identity.namespace,
            uid: &self.identity.uid,
            node_name: &config.node_name,
            host_ip,
            pod_ip: Some(own).filter(|ip| !ip.is_empty()),
            template,
            sources,
            capacity,
            api,
        }
    }

    fn grace(&self) -> Duration {
        let grace = self.template.as_ref().map(|template| Duration::from_secs(template.spec.grace_seconds().into()));
        grace.unwrap_or(DEFAULT_GRACE)
    }

    fn policy(&self) -> RestartPolicy {
        match &self.template {
            // Whatever ends while the pod is being stopped stays so.
            _ if self.is_stopping() || self.overdue => RestartPolicy::Never,
            Some(template) => template.spec.restart_policy,
            // It is not known: nothing is started, and nothing is given up.
            None => RestartPolicy::Always,
        }
    }

    fn at(&self, at: At) -> &Container {
        match at {
            At::Init(n) => &self.init[n],
            At::Main(n) => &self.containers[n],
            At::Ephemeral(n) => &self.ephemeral[n],
        }
    }

    /// What one of its containers is made from.
    fn spec_of(&self, at: At) -> Option<model::Container> {
        let spec = self.template.as_ref().map(|template| &template.spec);
        match at {
            At::Init(n) => spec?.init_containers.get(n).cloned(),
            At::Main(n) => spec?.containers.get(n).cloned(),
            At::Ephemeral(n) => {
                let name = &self.ephemeral.get(n)?.name;
                self.added.iter().find(|one| *one.container.name == **name).map(|one| one.container.clone())
            }
        }
    }

    fn at_mut(&mut self, at: At) -> &mut Container {
        match at {
            At::Init(n) => &mut self.init[n],
            At::Main(n) => &mut self.containers[n],
            At::Ephemeral(n) => &mut self.ephemeral[n],
        }
    }

    /// The init containers, then the others, then what was added.
    fn all(&self) -> impl Iterator<Item = &Container> {
        self.init.iter().chain(&self.containers).chain(&self.ephemeral)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Container> {
        self.init.iter_mut().chain(&mut self.containers).chain(&mut self.ephemeral)
    }

    /// The container whose current attempt this is.
    fn container_mut(&mut self, id: &ContainerRef) -> Option<&mut Container> {
        let is_current = |container: &&mut Container| container.current.as_ref().is_some_and(|one| one.id == *id);
        self.all_mut().find(is_current)
    }

    fn instance_mut(&mut self, id: &ContainerRef) -> Option<&mut Instance> {
        if let Some(n) = self.leftovers.iter().position(|instance| instance.id == *id) {
            return self.leftovers.get_mut(n);
        }
        let container = self.all_mut().find(|container| container.name == id.container)?;
        container.instance_mut(id.attempt)
    }
}
