//! The hooks of one running container: what is run once it has started, and before it is asked to end. The runtime carries
//! them out as it does probes, and the answers find their way back by their tokens.

use std::time::Duration;

use skein_gossip::Instant;

use super::Context;
use super::probe::action_of;
use crate::model::pod::lifecycle::LifecycleHandler;
use crate::model::pod::{Container, Probe};
use crate::runtime::{ContainerRef, ProbeAction, RuntimeAction};

/// How long a hook may take that runs once a container has started. Kubernetes knows no limit; a container that is not ready
/// for so long would be of no use either.
const POST_START_LIMIT: Duration = Duration::from_secs(600);
/// What a container has at least to end in, however long the hook before took, as in Kubernetes.
const LEAST_GRACE: Duration = Duration::from_secs(2);

/// What a hook does.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Hook {
    Run(ProbeAction),
    Sleep(Duration),
}

impl Hook {
    fn of(handler: &LifecycleHandler, container: &Container) -> Option<Hook> {
        if let Some(sleep) = &handler.sleep {
            return Some(Hook::Sleep(Duration::from_secs(sleep.seconds.into())));
        }
        let probe = Probe::once(handler.exec.clone(), handler.http_get.clone());
        (probe.exec.is_some() || probe.http_get.is_some()).then(|| Hook::Run(action_of(&probe, container)))
    }

    /// Asks for it, and wakes the pod when its time is over.
    fn begin(&self, id: &ContainerRef, limit: Duration, ctx: &mut Context<'_>) -> UnderWay {
        let (token, length) = match self {
            Hook::Sleep(length) => (None, (*length).min(limit)),
            Hook::Run(action) => {
                let token = ctx.token();
                let action = action.clone();
                ctx.act(RuntimeAction::Probe { id: id.clone(), token, action, timeout: limit, is_hook: true });
                (Some(token), limit)
            }
        };
        UnderWay { token, since: ctx.now.mono, until: ctx.now.mono + length, over: false }
    }
}

/// A hook that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
struct UnderWay {
    /// Names it in the runtime's answer; `None`: there is only time to wait for.
    token: Option<u64>,
    since: Instant,
    /// When it is over, whatever is heard.
    until: Instant,
    over: bool,
}

impl UnderWay {
    fn is_over(&self, ctx: &mut Context<'_>) -> bool {
        if self.over || self.until <= ctx.now.mono {
            return true;
        }
        ctx.wake_at(self.until);
        false
    }
}

/// Which hook an answer was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// The one after the start.
    PostStart,
    /// The one before the end.
    PreStop,
}

/// The hooks of one attempt of a container.
#[derive(Debug, Clone, Default)]
pub(super) struct Hooks {
    pre_stop: Option<Hook>,
    starting: Option<UnderWay>,
    stopping: Option<UnderWay>,
}

impl Hooks {
    /// Those of a container that has just started; the one for that is begun.
    pub(super) fn begin(container: &Container, id: &ContainerRef, ctx: &mut Context<'_>) -> Self {
        let post_start = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        let post_start = post_start.and_then(|handler| Hook::of(handler, container));
        Hooks { starting: post_start.map(|hook| hook.begin(id, POST_START_LIMIT, ctx)), ..Hooks::found(container) }
    }

    /// Those of a container that was found running: it has started long since, as far as anybody knows.
    pub(super) fn found(container: &Container) -> Self {
        let pre_stop = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
        Hooks { pre_stop: pre_stop.and_then(|handler| Hook::of(handler, container)), ..Hooks::default() }
    }

    /// Whether its start is not over yet. Looks only at what was heard, so that it can be asked at any time.
    pub(super) fn is_starting(&self) -> bool {
        self.starting.is_some()
    }

    /// Lets a start that only time ends come to its end.
    pub(super) fn pass(&mut self, ctx: &mut Context<'_>) {
        let waits = self.starting.as_ref().filter(|under_way| under_way.token.is_none());
        if waits.is_some_and(|under_way| under_way.is_over(ctx)) {
            self.starting = None;
        }
    }

    /// The container is to end within `grace`. Runs the hook before that; then says how much of the time is left.
    pub(super) fn before_stop(
        &mut self,
        id: &ContainerRef,
        grace: Duration,
        ctx: &mut Context<'_>,
    ) -> Option<Duration> {
        let Some(hook) = self.pre_stop.as_ref().filter(|_| !grace.is_zero()) else { return Some(grace) };
        let under_way = match &self.stopping {
            Some(under_way) => under_way.clone(),
            None => self.stopping.insert(hook.begin(id, grace, ctx)).clone(),
        };
        let elapsed = ctx.now.mono.since(under_way.since);
        under_way.is_over(ctx).then(|| grace.saturating_sub(elapsed).max(LEAST_GRACE))
    }

    /// Takes an answer, if it is one to a hook.
    pub(super) fn answer(&mut self, token: u64) -> Option<Which> {
        let is = |under_way: &UnderWay| under_way.token == Some(token);
        if self.starting.as_ref().is_some_and(is) {
            self.starting = None;
            return Some(Which::PostStart);
        }
        let stopping = self.stopping.as_mut().filter(|under_way| is(under_way) && !under_way.over)?;
        stopping.over = true;
        Some(Which::PreStop)
    }
}
