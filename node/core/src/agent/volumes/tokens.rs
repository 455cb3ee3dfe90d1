//! When the tokens among a pod's files are signed anew: well before they end, at once when it is asked for, and again when the
//! clock on the wall has gone elsewhere than time has. What is in them is rendered beside; the runtime has them signed.

use std::time::Duration;

use rand::RngExt as _;
use skein_gossip::{Instant, Now};

use crate::agent::Context;
use crate::runtime::{VolumeKind, VolumeSpec};

/// A token is signed anew once it is this old, however long it is valid, as by the kubelet.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// ..or once this much of its life has passed, in hundredths.
const MAX_SPENT: u32 = 80;
/// By how much earlier at most, drawn for each pod, so that those that began together do not all ask together.
const SPREAD_MS: u64 = 10_000;
/// How often it is looked whether the clock says something else than the time that has passed: a machine that slept finds its
/// tokens old although they have been held for a moment only.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// When the tokens of a pod were asked for.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    at: Now,
    /// How long they are good for.
    lasts: Duration,
    /// How often it had been asked to sign all anew.
    round: u64,
}

impl Signed {
    /// They are asked for now. `None`: there is no token among the files.
    pub(super) fn now(volumes: &[VolumeSpec], ctx: &mut Context<'_>) -> Option<Signed> {
        let life = shortest_life(volumes)?;
        let early = Duration::from_millis(ctx.rng.random_range(0..SPREAD_MS));
        Some(Signed { at: ctx.now, lasts: good_for(life).saturating_sub(early), round: ctx.signing_round })
    }

    /// Whether they are to be signed anew.
    pub(super) fn is_due(&self, ctx: &Context<'_>) -> bool {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let went_back = ctx.now.wall_ms.saturating_add(ms(LOOK_AGAIN)) < self.at.wall_ms;
        let is_old = ctx.now.wall_ms >= self.at.wall_ms.saturating_add(ms(self.lasts));
        self.round != ctx.signing_round || ctx.now.mono >= self.at.mono + self.lasts || is_old || went_back
    }

    /// When to look again at the latest.
    pub(super) fn next_look(&self, now: Instant) -> Instant {
        (self.at.mono + self.lasts).min(now + LOOK_AGAIN)
    }
}

/// How old a token may get that is valid for so long.
fn good_for(life: Duration) -> Duration {
    (life / 100 * MAX_SPENT).min(MAX_AGE)
}

/// How long the token is valid that ends first.
fn shortest_life(volumes: &[VolumeSpec]) -> Option<Duration> {
    let files = volumes.iter().filter_map(|volume| match &volume.kind {
        VolumeKind::Files { files, .. } => Some(files),
        VolumeKind::Empty { .. } | VolumeKind::Host { .. } => None,
    });
    let tokens = files.flat_map(|files| files.values()).filter_map(|file| file.token.as_ref());
    tokens.map(|token| Duration::from_secs(token.seconds)).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_signed_anew_before_four_fifths_of_its_life_and_every_day() {
        assert_eq!(good_for(Duration::from_secs(600)), Duration::from_secs(480));
        assert_eq!(good_for(Duration::from_secs(24 * 3600)), Duration::from_secs(69_120));
        assert_eq!(good_for(Duration::from_secs(365 * 24 * 3600)), Duration::from_secs(24 * 3600));
        assert_eq!(good_for(Duration::from_secs(u64::MAX)), MAX_AGE);
    }
}
