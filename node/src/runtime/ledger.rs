//! What the agent has been told about each container, so that the end of one is told once, and never before its start.
//! Not a cache of the engine's state: only of what was said about it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use skein_core::runtime::{ContainerInfo, ContainerRef, ContainerState};
use tokio::sync::Notify;

/// Where the conversation about a container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// An action is under way whose answer tells how it went; the watcher keeps silent.
    Busy,
    /// Told as running: its end is news.
    Running,
    /// Its end was told.
    Ended,
}

/// The record. Entries go when a container is removed or could not be started, so there are as many as containers.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    phases: Mutex<BTreeMap<ContainerRef, Phase>>,
    changed: Notify,
}

impl Ledger {
    /// An action on it begins.
    pub(super) fn busy(&self, id: &ContainerRef) {
        self.set(id, Phase::Busy);
    }

    /// It was told as running. Wakes the watcher, since it may have ended meanwhile.
    pub(super) fn running(&self, id: &ContainerRef) {
        self.set(id, Phase::Running);
        self.changed.notify_one();
    }

    /// Its end was told.
    pub(super) fn ended(&self, id: &ContainerRef) {
        self.set(id, Phase::Ended);
    }

    /// It is gone.
    pub(super) fn forget(&self, id: &ContainerRef) {
        self.lock().remove(id);
    }

    /// A list was told: what it says of containers that nobody spoke of before counts as told.
    pub(super) fn listed(&self, infos: &[ContainerInfo]) {
        let mut phases = self.lock();
        for info in infos {
            let phase = match info.state {
                ContainerState::Created => continue,
                ContainerState::Running => Phase::Running,
                ContainerState::Exited(_) => Phase::Ended,
            };
            phases.entry(info.id.clone()).or_insert(phase);
        }
        drop(phases);
        self.changed.notify_one();
    }

    /// Takes the right to tell that it ended; `false` if that is not news, or if an action's answer will tell it.
    pub(super) fn claim_exit(&self, id: &ContainerRef) -> bool {
        match self.lock().get_mut(id) {
            Some(phase @ Phase::Running) => {
                *phase = Phase::Ended;
                true
            }
            _ => false,
        }
    }

    /// All that were told as running.
    pub(super) fn all_running(&self) -> Vec<ContainerRef> {
        self.lock().iter().filter(|(_, phase)| **phase == Phase::Running).map(|(id, _)| id.clone()).collect()
    }

    /// Waits until another container was told as running.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn set(&self, id: &ContainerRef, phase: Phase) {
        self.lock().insert(id.clone(), phase);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ContainerRef, Phase>> {
        // No code under this lock can leave the map half changed.
        self.phases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ContainerRef {
        ContainerRef { uid: "u".into(), container: "c".into(), attempt: 0 }
    }

    #[test]
    fn the_end_of_a_running_container_is_told_once() {
        let ledger = Ledger::default();
        ledger.running(&id());
        assert!(ledger.claim_exit(&id()));
        assert!(!ledger.claim_exit(&id()));
    }

    #[test]
    fn an_end_is_not_told_while_an_action_will_tell_it() {
        let ledger = Ledger::default();
        assert!(!ledger.claim_exit(&id()), "nobody spoke of it yet");
        ledger.busy(&id());
        assert!(!ledger.claim_exit(&id()));
        ledger.running(&id());
        ledger.busy(&id());
        assert!(ledger.all_running().is_empty());
    }
}
