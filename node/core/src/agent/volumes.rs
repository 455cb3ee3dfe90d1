//! The volumes of one pod: asks the runtime to lay them out before a container starts, to write them anew when a ConfigMap
//! or a Secret changes or a token gets old, and to remove them with the pod. What is in them is rendered in `volumes/render`,
//! when tokens are old is said in `volumes/tokens`.

use std::sync::Arc;

use super::Context;
use super::backoff::{Backoff, Pace};
use super::environment::PodFields;
use crate::model::source::Sources;
use crate::runtime::{RuntimeAction, VolumeSpec};

mod render;
mod tokens;

use tokens::Signed;

pub(super) use render::mounts;

/// Where a pod's volumes stand. Of a pod without any it stays as it began.
#[derive(Debug, Clone, Default)]
pub(super) struct Volumes {
    /// What the runtime has laid out, as far as this life of the daemon knows.
    held: Option<Arc<[VolumeSpec]>>,
    asked: Option<Arc<[VolumeSpec]>>,
    /// What `held` was rendered from, or what it could not be rendered from.
    seen: Option<Sources>,
    /// When the tokens among them were asked for; `None` if they are to be asked for, or there are none.
    signed: Option<Signed>,
    /// Whether there are tokens among them.
    has_tokens: bool,
    /// Whether the runtime may have any of them.
    exist: bool,
    removing: bool,
    retry: Backoff,
    /// Why they cannot be had, for people.
    complaint: String,
}

impl Volumes {
    /// Those of a pod that an earlier life of the daemon may have laid out.
    pub(super) fn may_exist(&mut self) {
        self.exist = true;
    }

    /// Does what is due. Says whether containers may start.
    pub(super) fn prepare(&mut self, uid: &Arc<str>, pod: &PodFields<'_>, ctx: &mut Context<'_>) -> Ready {
        if pod.template.spec.mounted_volumes().next().is_none() {
            return Ready::Yes;
        }
        let is_old = self.has_tokens && self.signed.as_ref().is_none_or(|signed| signed.is_due(ctx));
        let is_current = self.held.is_some() && self.seen.as_ref() == Some(&ctx.sources) && !is_old;
        if let Some(signed) = self.signed.as_ref().filter(|_| !is_old) {
            ctx.wake_at(signed.next_look(ctx.now.mono));
        }
        // Tokens get old whether the engine answers or not.
        let may_write = ctx.may_start() || (is_old && self.held.is_some());
        if self.asked.is_some() || is_current || !may_write {
            return self.ready(None);
        }
        if let Some(until) = self.retry.pending(ctx.now.mono) {
            ctx.wake_at(until);
            return self.ready(None);
        }
        match render::volumes(pod) {
            Ok(volumes) => {
                self.seen = Some(ctx.sources.clone());
                if is_old || self.held.as_ref() != Some(&volumes) {
                    self.signed = Signed::now(&volumes, ctx);
                    self.has_tokens = self.signed.is_some();
                    (self.asked, self.exist) = (Some(volumes.clone()), true);
                    ctx.act(RuntimeAction::WriteVolumes { uid: uid.clone(), volumes });
                }
                self.ready(None)
            }
            Err(why) => {
                let news = (self.complaint != why).then(|| why.clone());
                self.complaint = why;
                self.ready(news)
            }
        }
    }

    /// Whether the runtime has them, as far as this life of the daemon knows.
    pub(super) fn are_laid_out(&self) -> bool {
        self.held.is_some() && self.asked.is_none()
    }

    /// They are laid out as was asked.
    pub(super) fn written(&mut self) {
        if let Some(asked) = self.asked.take() {
            self.held = Some(asked);
            self.retry.clear();
            self.complaint.clear();
        }
    }

    /// They are not. Says whether that is news for people.
    pub(super) fn failed(&mut self, message: String, ctx: &Context<'_>) -> bool {
        (self.asked, self.seen, self.signed) = (None, None, None);
        self.retry.fail(ctx.now.mono, Pace::START);
        let is_news = self.complaint != message;
        self.complaint = message;
        is_news
    }

    /// Asks for their removal, unless that is under way or done. The pod's containers are gone.
    pub(super) fn remove(&mut self, uid: &Arc<str>, ctx: &mut Context<'_>) {
        if !self.exist || self.removing || self.asked.is_some() {
            return;
        }
        if let Some(until) = self.retry.pending(ctx.now.mono) {
            return ctx.wake_at(until);
        }
        self.removing = true;
        ctx.act(RuntimeAction::RemoveVolumes { uid: uid.clone() });
    }

    /// Their removal was answered.
    pub(super) fn removed(&mut self, done: bool, ctx: &Context<'_>) {
        if std::mem::take(&mut self.removing) {
            self.exist = !done;
            if !done {
                self.retry.fail(ctx.now.mono, Pace::ENGINE);
            }
        }
    }

    /// Whether nothing is left of them.
    pub(super) fn are_gone(&self) -> bool {
        !self.exist
    }

    fn ready(&self, news: Option<String>) -> Ready {
        if self.held.is_some() { Ready::Stale(news) } else { Ready::No(self.complaint.clone(), news) }
    }
}

/// Whether containers may start, with what is worth an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ready {
    /// There is nothing to wait for.
    Yes,
    /// They may, perhaps with what the volumes held before.
    Stale(Option<String>),
    /// They may not; why (empty: it is under way).
    No(String, Option<String>),
}
