//! One container of a pod over all its attempts: when it may start, what its end means, what is kept of earlier ones.

use std::sync::Arc;
use std::time::Duration;

use skein_gossip::Instant;

use super::Context;
use super::backoff::{Backoff, Pace};
use super::hooks::Hooks;
use super::instance::{Instance, OOM_KILLED, State};
use super::probe::{Finding, Probes};
use crate::model::pod::{Container as ContainerTemplate, RestartPolicy};
use crate::runtime::{ContainerInfo, Exit};
use crate::status::{ContainerPhase, ContainerStatus, Terminated};

/// A container that ran for so long starts its back-off anew, as in Kubernetes.
const STABLE_AFTER: Duration = Duration::from_secs(600);

/// What a container needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The runtime's answer.
    Busy,
    /// To be looked after.
    Running,
    /// To be started, when its back-off is over.
    Wants {
        /// Until when it waits, if it does.
        pending: Option<Instant>,
    },
    /// Nothing: it ended for good.
    Done,
}

/// Why a running container must end although its pod goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MustEnd {
    /// A probe says so: its end counts like one of its own.
    Unhealthy,
    /// The container whose network it shares was replaced: it starts again at once, whatever its policy.
    Rejoin,
}

/// A container.
#[derive(Debug, Clone)]
pub(super) struct Container {
    pub(super) name: Arc<str>,
    pub(super) current: Option<Instance>,
    /// The attempt before, which has ended: kept for its logs.
    pub(super) previous: Option<Instance>,
    /// The attempt of `current`, or the next one when there is none.
    pub(super) attempt: u32,
    pub(super) restarts: u32,
    pub(super) last: Option<Terminated>,
    pub(super) has_image: bool,
    pub(super) ever_started: bool,
    pub(super) must_end: Option<MustEnd>,
    pub(super) probes: Probes,
    /// The reason that is given while nothing is wrong.
    idle: &'static str,
    /// Kubernetes' reason why it does not run, and words for a person.
    pub(super) waiting: (String, String),
    again: bool,
    /// How the current attempt ended, once it was removed.
    gone: Option<Terminated>,
    crash: Backoff,
    start: Backoff,
}

impl Container {
    /// One of a pod with init containers, or of one without.
    pub(super) fn new(name: &str, has_init: bool) -> Self {
        let idle = if has_init { "PodInitializing" } else { "ContainerCreating" };
        Container {
            name: name.into(),
            idle,
            current: None,
            previous: None,
            attempt: 0,
            restarts: 0,
            last: None,
            has_image: false,
            ever_started: false,
            must_end: None,
            probes: Probes::default(),
            waiting: (idle.into(), String::new()),
            again: true,
            gone: None,
            crash: Backoff::default(),
            start: Backoff::default(),
        }
    }

    pub(super) fn standing(&self, now: Instant) -> Standing {
        match self.current.as_ref().map(|instance| &instance.state) {
            Some(State::Starting | State::Stopping | State::Removing(_)) => Standing::Busy,
            Some(State::Running) => Standing::Running,
            Some(State::Ended(_)) if !self.again => Standing::Done,
            Some(State::Ended(_) | State::Created) | None => {
                Standing::Wants { pending: self.crash.pending(now).max(self.start.pending(now)) }
            }
        }
    }

    /// The attempt that the next start makes.
    pub(super) fn next_attempt(&self) -> u32 {
        let ended = self.current.as_ref().is_some_and(Instance::has_ended);
        if ended { self.attempt.saturating_add(1) } else { self.attempt }
    }

    /// Its start is asked for. Returns what is not kept any longer.
    pub(super) fn begin(&mut self, starting: Instance) -> Option<Instance> {
        self.attempt = starting.id.attempt;
        let ended = self.current.replace(starting).filter(Instance::has_ended);
        (self.has_image, self.waiting) = (false, self.idle());
        match ended {
            Some(ended) => self.previous.replace(ended),
            None => None,
        }
    }

    /// It runs.
    pub(super) fn started(
        &mut self,
        info: &ContainerInfo,
        template: Option<&ContainerTemplate>,
        ctx: &mut Context<'_>,
    ) {
        let Some(instance) = self.current.as_mut().filter(|instance| instance.state == State::Starting) else { return };
        instance.take(info);
        instance.state = State::Running;
        (instance.since, instance.touched) = (ctx.now.mono, ctx.seq);
        instance.hooks = template.map(|of| Hooks::begin(of, &info.id, ctx)).unwrap_or_default();
        self.probes = template.map(|of| Probes::start(of, ctx.now.mono, false, 0.0)).unwrap_or_default();
        self.start.clear();
        self.restarts = self.attempt;
        self.ever_started = true;
    }

    /// It was found before it was known how to look at it, and whether its end is its last.
    pub(super) fn learn(&mut self, template: &ContainerTemplate, policy: RestartPolicy) {
        let ready = self.is_ready();
        let Some(instance) = self.current.as_mut() else { return };
        if instance.is_running() {
            self.probes = Probes::start(template, instance.since, ready, 0.0);
            instance.hooks = Hooks::found(template);
        } else if self.again && instance.exit().is_some_and(|exit| !starts_again(exit, policy)) {
            self.again = false;
            self.crash.clear();
            self.last = self.previous.as_ref().and_then(Instance::terminated);
        }
    }

    /// It ended well, and what it did was lost: it is to do it again.
    pub(super) fn redo(&mut self) {
        if self.finished() == Some(true) && self.current.is_some() {
            self.again = true;
            self.last = self.current.as_ref().and_then(Instance::terminated);
            self.waiting = self.idle();
        }
    }

    /// Whether an attempt of it ran since the machine was last started.
    pub(super) fn ran_since_boot(&self) -> bool {
        self.instances().any(Instance::ran_since_boot)
    }

    /// Nothing came of its start.
    pub(super) fn start_failed(&mut self, reason: String, message: String, ctx: &Context<'_>) -> bool {
        if self.current.as_ref().is_none_or(|instance| instance.state != State::Starting) {
            return false;
        }
        self.current = None;
        self.start.fail(ctx.now.mono, Pace::START);
        self.waiting = (reason, message);
        true
    }

    /// The attempt that is current ended. Says how long it waits before it starts again, if it does.
    pub(super) fn ended(&mut self, exit: Exit, policy: RestartPolicy, ctx: &Context<'_>) -> Option<Duration> {
        let instance = self.current.as_mut()?;
        if !instance.ended(exit, ctx) {
            return None;
        }
        let rejoins = self.must_end.take() == Some(MustEnd::Rejoin);
        self.probes = Probes::default();
        self.again = rejoins || instance.exit().is_none_or(|exit| starts_again(exit, policy));
        if !self.again {
            return None;
        }
        if ctx.now.mono.since(instance.since) >= STABLE_AFTER {
            self.crash.clear();
        }
        self.last = instance.terminated();
        let wait = if rejoins { Duration::ZERO } else { self.crash.fail(ctx.now.mono, Pace::CRASH) };
        self.waiting = self.idle();
        Some(wait)
    }

    /// Says that it waits for its back-off, of which it has been told how it came about.
    pub(super) fn say_backing_off(&mut self, pod: &str, now: Instant) {
        if self.crash.pending(now).is_some() {
            let wait = self.crash.wait().as_secs();
            let message = format!("back-off {wait}s restarting failed container={} pod={pod}", self.name);
            self.waiting = ("CrashLoopBackOff".into(), message);
        }
    }

    /// It was found again after a restart of the daemon: how often it had been restarted until then.
    pub(super) fn resume(&mut self, restarts: u32, last: Option<Terminated>) {
        (self.restarts, self.last) = (restarts, last);
        self.attempt = self.attempt.max(restarts);
        self.crash = Backoff::after(restarts.min(8));
        self.ever_started = true;
    }

    /// A probe was answered. Says what changed.
    pub(super) fn probed(&mut self, now: Instant, token: u64, result: Result<(), String>) -> Finding {
        let finding = self.probes.answer(now, token, result);
        if matches!(finding, Finding::Kill(_)) && self.must_end.is_none() {
            self.must_end = Some(MustEnd::Unhealthy);
        }
        finding
    }

    pub(super) fn is_running(&self) -> bool {
        self.current.as_ref().is_some_and(Instance::is_running)
    }

    /// Whether it runs, or is about to.
    pub(super) fn is_active(&self) -> bool {
        self.current.as_ref().is_some_and(|instance| !instance.has_ended() && instance.state != State::Created)
    }

    pub(super) fn is_ready(&self) -> bool {
        let runs = |instance: &Instance| instance.state == State::Running && !instance.hooks.is_starting();
        self.current.as_ref().is_some_and(runs) && self.probes.ready()
    }

    /// Whether it ended and stays so, and if so whether it ended well.
    pub(super) fn finished(&self) -> Option<bool> {
        self.final_end().map(|end| end.exit_code == 0 && end.reason != OOM_KILLED)
    }

    fn final_end(&self) -> Option<Terminated> {
        match &self.current {
            Some(instance) => instance.terminated().filter(|_| !self.again),
            None => self.gone.clone(),
        }
    }

    /// An attempt is gone from the engine.
    pub(super) fn removed(&mut self, attempt: u32) {
        let is = |instance: &&Instance| instance.id.attempt == attempt;
        if let Some(current) = self.current.as_ref().filter(is) {
            self.gone = current.terminated();
            self.current = None;
        } else if self.previous.as_ref().is_some_and(|previous| is(&previous)) {
            self.previous = None;
        }
    }

    /// An attempt by its number.
    pub(super) fn instance_mut(&mut self, attempt: u32) -> Option<&mut Instance> {
        self.current.iter_mut().chain(&mut self.previous).find(|instance| instance.id.attempt == attempt)
    }

    /// All attempts that the engine may have.
    pub(super) fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.current.iter().chain(&self.previous)
    }

    pub(super) fn status(&self, image: &str, ready: bool) -> ContainerStatus {
        let waiting = || ContainerPhase::Waiting { reason: self.waiting.0.clone(), message: self.waiting.1.clone() };
        let current = self.current.as_ref();
        let state = match current {
            Some(instance) if instance.is_running() => {
                ContainerPhase::Running { started_at_ms: instance.started_at_ms }
            }
            _ => self.final_end().map_or_else(waiting, ContainerPhase::Terminated),
        };
        // What is starting has no ids yet; then those of the attempt before are shown, as Kubernetes does.
        let named = current.filter(|instance| !instance.runtime_id.is_empty()).or(self.previous.as_ref());
        ContainerStatus {
            name: self.name.clone(),
            state,
            last: self.last.clone(),
            ready,
            started: self.is_running() && self.probes.started(),
            restart_count: self.restarts,
            image: named.filter(|one| !one.image.is_empty()).map_or_else(|| image.to_owned(), |one| one.image.clone()),
            image_id: named.map(|instance| instance.image_id.clone()).unwrap_or_default(),
            runtime_id: named.map(|instance| instance.runtime_id.clone()).unwrap_or_default(),
        }
    }

    /// Whether it is to be started, now or when its back-off is over.
    pub(super) fn wants_start(&self, now: Instant) -> bool {
        matches!(self.standing(now), Standing::Wants { .. })
    }

    /// It waits for something that is not its own doing; empty: nothing is wrong.
    pub(super) fn wait_for(&mut self, why: &str) {
        self.waiting = (self.idle.into(), why.to_owned());
    }

    fn idle(&self) -> (String, String) {
        (self.idle.into(), String::new())
    }

    /// Whether it has not run even once.
    pub(super) fn never_ran(&self) -> bool {
        !self.ever_started
    }
}

/// Whether a container that ended is to be started again.
fn starts_again(exit: &Exit, policy: RestartPolicy) -> bool {
    match policy {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => exit.code != Some(0) || exit.oom_killed,
        RestartPolicy::Never => false,
    }
}
