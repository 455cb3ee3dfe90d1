//! One container as the engine has it: one attempt. Stops and removes it, and tries again when the engine fails to.

use std::time::Duration;

use skein_gossip::Instant;

use super::Context;
use super::backoff::{Backoff, Pace};
use super::hooks::Hooks;
use crate::runtime::{ContainerInfo, ContainerRef, ContainerState, Exit, RuntimeAction};
use crate::status::Terminated;

/// Kubernetes' reason for a container that took more memory than it may.
pub(super) const OOM_KILLED: &str = "OOMKilled";

/// Where an attempt stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Found created, not started.
    Created,
    /// Its start was asked for.
    Starting,
    /// It runs.
    Running,
    /// Its end was asked for.
    Stopping,
    /// It ended.
    Ended(Exit),
    /// Its removal was asked for.
    Removing(Exit),
}

/// One attempt.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    pub(super) id: ContainerRef,
    pub(super) state: State,
    /// The image, and the engine's ids of it and of the container; empty until it runs.
    pub(super) image: String,
    pub(super) image_id: String,
    pub(super) runtime_id: String,
    pub(super) ip: Option<String>,
    /// When it started, by the wall clock in milliseconds.
    pub(super) started_at_ms: u64,
    /// When it started, by our own clock.
    pub(super) since: Instant,
    /// Which attempt of the pod's first container it shares the network of.
    pub(super) joined: Option<u32>,
    /// Whether it is known to have been made since the machine was last started.
    pub(super) since_boot: bool,
    /// Which input last changed it: a list that was asked for before says nothing new.
    pub(super) touched: u64,
    /// What is run in it beside its own process.
    pub(super) hooks: Hooks,
    retry: Backoff,
}

impl Instance {
    /// One whose start is asked for now.
    pub(super) fn starting(id: ContainerRef, joined: Option<u32>, ctx: &Context<'_>) -> Self {
        Instance {
            id,
            state: State::Starting,
            image: String::new(),
            image_id: String::new(),
            runtime_id: String::new(),
            ip: None,
            started_at_ms: 0,
            since: ctx.now.mono,
            joined,
            since_boot: true,
            touched: ctx.seq,
            hooks: Hooks::default(),
            retry: Backoff::default(),
        }
    }

    /// One that the engine has.
    pub(super) fn found(info: &ContainerInfo, ctx: &Context<'_>) -> Self {
        let mut found = Instance::starting(info.id.clone(), None, ctx);
        found.take(info);
        let age = Duration::from_millis(ctx.now.wall_ms.saturating_sub(info.started_at_ms));
        found.since = ctx.now.mono - age;
        found.since_boot = !info.before_boot;
        found.state = match &info.state {
            ContainerState::Created => State::Created,
            ContainerState::Running => State::Running,
            ContainerState::Exited(exit) => State::Ended(exit.clone()),
        };
        found
    }

    /// One that ran when it was last heard of.
    pub(super) fn remembered(id: ContainerRef, ctx: &Context<'_>) -> Self {
        Instance { state: State::Running, since_boot: false, ..Instance::starting(id, None, ctx) }
    }

    /// Learns what the engine says of it.
    pub(super) fn take(&mut self, info: &ContainerInfo) {
        self.image.clone_from(&info.image);
        self.image_id.clone_from(&info.image_id);
        self.runtime_id.clone_from(&info.runtime_id);
        self.ip.clone_from(&info.ip);
        self.started_at_ms = info.started_at_ms;
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, State::Running | State::Stopping)
    }

    /// Whether it ran, or runs, since the machine was last started.
    pub(super) fn ran_since_boot(&self) -> bool {
        self.since_boot && !matches!(self.state, State::Created | State::Starting)
    }

    /// Whether its process has surely ended.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended(_) | State::Removing(_))
    }

    /// Whether the runtime owes an answer about it.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.state, State::Starting | State::Stopping | State::Removing(_))
    }

    /// Asks it to end, unless that is under way or done.
    pub(super) fn stop(&mut self, grace: Duration, ctx: &mut Context<'_>) {
        if !matches!(self.state, State::Running | State::Created) || self.waits(ctx) {
            return;
        }
        let is_running = self.state == State::Running;
        let grace = if is_running { self.hooks.before_stop(&self.id, grace, ctx) } else { Some(grace) };
        let Some(grace) = grace else { return };
        (self.state, self.touched) = (State::Stopping, ctx.seq);
        ctx.act(RuntimeAction::Stop { id: self.id.clone(), grace });
    }

    /// Goes one step towards its being gone.
    pub(super) fn dispose(&mut self, grace: Duration, ctx: &mut Context<'_>) {
        match &self.state {
            State::Running => self.stop(grace, ctx),
            State::Created => self.stop(Duration::ZERO, ctx),
            State::Ended(exit) if !self.waits(ctx) => {
                (self.state, self.touched) = (State::Removing(exit.clone()), ctx.seq);
                ctx.act(RuntimeAction::Remove { id: self.id.clone() });
            }
            State::Starting | State::Stopping | State::Removing(_) | State::Ended(_) => {}
        }
    }

    /// It ended. Says whether that is news.
    pub(super) fn ended(&mut self, exit: Exit, ctx: &Context<'_>) -> bool {
        if self.has_ended() {
            return false;
        }
        self.state = State::Ended(exit);
        self.touched = ctx.seq;
        self.retry.clear();
        true
    }

    /// The engine did not do what it was asked; it will be asked again.
    pub(super) fn refused(&mut self, ctx: &Context<'_>) {
        self.state = match std::mem::replace(&mut self.state, State::Running) {
            State::Removing(exit) => State::Ended(exit),
            State::Stopping => State::Running,
            other => other,
        };
        self.touched = ctx.seq;
        self.retry.fail(ctx.now.mono, Pace::ENGINE);
    }

    /// How it ended, if it did.
    pub(super) fn exit(&self) -> Option<&Exit> {
        match &self.state {
            State::Ended(exit) | State::Removing(exit) => Some(exit),
            _ => None,
        }
    }

    /// How it ended, in Kubernetes' words.
    pub(super) fn terminated(&self) -> Option<Terminated> {
        let exit = self.exit()?;
        let reason = match exit {
            Exit { oom_killed: true, .. } => OOM_KILLED,
            Exit { code: Some(0), .. } => "Completed",
            Exit { code: Some(_), .. } => "Error",
            Exit { code: None, .. } => "ContainerStatusUnknown",
        };
        Some(Terminated {
            // As Kubernetes says of a container whose end nobody saw.
            exit_code: exit.code.unwrap_or(137),
            reason: reason.into(),
            message: exit.message.clone(),
            started_at_ms: self.started_at_ms,
            finished_at_ms: exit.finished_at_ms,
            runtime_id: self.runtime_id.clone(),
        })
    }

    fn waits(&self, ctx: &mut Context<'_>) -> bool {
        let until = self.retry.pending(ctx.now.mono);
        until.into_iter().for_each(|until| ctx.wake_at(until));
        until.is_some()
    }
}

/// The end of a container that is gone without anybody having seen its exit code.
pub(super) fn unknown_exit(wall_ms: u64) -> Exit {
    let message = "the container is gone and nobody saw how it ended".to_owned();
    Exit { code: None, oom_killed: false, finished_at_ms: wall_ms, message }
}
