//! How the pods of slots failed one after the other, and how long the next is waited with.

use std::collections::BTreeMap;
use std::time::Duration;

use skein_crdt_state::{ObjectKey, WriteId};
use skein_gossip::Instant;

use crate::status::{Phase, PodStatus};

/// How long the second replacement of a pod that failed waits; doubled with each that fails too.
const FIRST_BACK_OFF: Duration = Duration::from_secs(10);
/// The longest wait.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);

/// The slots whose pods failed.
#[derive(Debug, Clone, Default)]
pub(super) struct Failures(BTreeMap<ObjectKey, InARow>);

/// How a slot's pods failed, one after the other.
#[derive(Debug, Clone)]
struct InARow {
    write: WriteId,
    count: u32,
    at: Instant,
}

impl Failures {
    /// Counts how often a slot's pods failed in a row, and says until when the last of them is not replaced.
    pub(super) fn back_off(
        &mut self,
        slot: &ObjectKey,
        write: WriteId,
        status: Option<&PodStatus>,
        now: Instant,
    ) -> Option<Instant> {
        let failed = status.is_some_and(|status| status.phase == Phase::Failed);
        if !failed && self.0.is_empty() {
            return None;
        }
        if status.is_some_and(|status| status.ready) {
            self.0.remove(slot);
        }
        if !failed {
            return None;
        }
        let failures = self.0.entry(slot.clone()).or_insert(InARow { write, count: 1, at: now });
        if failures.write != write {
            // One that held for long after the last failure starts the count anew.
            let count =
                if now.since(failures.at) > LONGEST_BACK_OFF * 2 { 1 } else { failures.count.saturating_add(1) };
            *failures = InARow { write, count, at: now };
        }
        let wait = match failures.count {
            0 | 1 => Duration::ZERO,
            count => FIRST_BACK_OFF.saturating_mul(1 << (count - 2).min(10)).min(LONGEST_BACK_OFF),
        };
        Some(failures.at + wait)
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Forgets a slot.
    pub(super) fn remove(&mut self, slot: &ObjectKey) {
        self.0.remove(slot);
    }

    /// Forgets slots that are gone.
    pub(super) fn retain(&mut self, live: impl Fn(&ObjectKey) -> bool) {
        self.0.retain(|key, _| live(key));
    }
}
