//! A pod that may be active for some time only.

use std::time::Duration;

use super::Pod;
use crate::agent::Context;

/// Kubernetes' reason for a pod that was active for too long.
pub(super) const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
/// The kubelet's words for it.
pub(super) const DEADLINE_MESSAGE: &str = "Pod was active on the node longer than the specified deadline";

impl Pod {
    /// Whether it was active for longer than it may; once that is so it stays so. Wakes it when it will be.
    pub(super) fn is_overdue(&mut self, ctx: &mut Context<'_>) -> bool {
        let seconds = self.template.as_ref().and_then(|template| template.spec.active_deadline_seconds);
        let Some(seconds) = seconds.filter(|_| !self.overdue && !self.has_ended()) else { return self.overdue };
        let until_ms = self.started_at_ms.saturating_add(u64::from(seconds) * 1000);
        match until_ms.saturating_sub(ctx.now.wall_ms) {
            0 => {
                self.overdue = true;
                self.event(false, DEADLINE_EXCEEDED, DEADLINE_MESSAGE.to_owned(), ctx);
            }
            left_ms => ctx.wake_at(ctx.now.mono + Duration::from_millis(left_ms)),
        }
        self.overdue
    }
}
