//! The cluster's secrets: which keys are here, which epoch holds, beginning one, and sealing anew what is under an earlier one.

use std::collections::BTreeSet;
use std::time::Duration;

use skein_crdt_state::keyring::{EpochId, Keyring};
use skein_crdt_state::{Kind, NameKey};
use skein_gossip::planted::{self, Bug};
use skein_gossip::{NodeId, Now};

use super::durability::{ReplyTo, Rule, statement_write};
use super::spread::{DIRECT, batches};
use super::{Effect, Node, Wait};
use crate::request::{RequestId, RotateError, WriteError, WriteOp};

/// How many bytes of values a leader seals anew at once: about a frame of them.
const RESEAL_BYTES: usize = 256 * 1024;
/// The time between two such batches, so that everything else goes on: a hundred MB take less than two minutes.
const RESEAL_EVERY: Duration = Duration::from_millis(250);

impl Node {
    /// The shell holds other keys now. Values that could not be read for want of them are asked for at once.
    pub(super) fn hold_keys(&mut self, now: Now, keyring: Keyring, ca_certificate: String) {
        self.config.keyring = keyring.clone();
        self.store.hold_keys(now, keyring);
        let peers: Vec<NodeId> = self.peers.linked.iter().copied().take(DIRECT).collect();
        peers.into_iter().for_each(|peer| self.open_exchange_with(peer));
        if self.config.ca_certificate != ca_certificate {
            self.config.ca_certificate = ca_certificate;
            self.project(now, &BTreeSet::new());
        }
    }

    /// Begins an epoch: as with any write, it is told once this disk has it, and a peer's if one answers in time.
    pub(super) fn rotate(&mut self, now: Now, id: RequestId, epoch: EpochId, lapse_ms: u64) {
        if let Err(error) = self.may_rotate(&epoch) {
            return self.effects.push_back(Effect::Rotated(id, Err(error)));
        }
        let Some(said) = self.store.rotate(now, epoch, lapse_ms) else {
            // It holds already: whoever asks again after its answer got lost is not told anything else.
            return self.effects.push_back(Effect::Rotated(id, Ok(Vec::new())));
        };
        self.inheritance.begin_anew();
        let node = NameKey::root(&Kind::new("Node"), &self.config.name).life(1);
        let request = statement_write(WriteOp::Delete { key: node.clone(), if_heads: None });
        self.await_durable(now, ReplyTo::Rotation(id), &request, node, &[said], Rule::Disks);
    }

    fn may_rotate(&self, epoch: &EpochId) -> Result<(), RotateError> {
        if self.durable.is_full() {
            return Err(RotateError::Busy);
        }
        if let Some(reason) = self.outbox.refusal() {
            return Err(RotateError::Disk(reason.to_owned()));
        }
        if !self.store.keyring().holds(epoch) {
            return Err(RotateError::NoKey(*epoch));
        }
        let was_begun = *epoch == self.store.keyring().founding()
            || self.store.rotations().iter().any(|rotation| rotation.epoch == *epoch);
        if was_begun && *epoch != self.store.current_epoch() { Err(RotateError::Over(*epoch)) } else { Ok(()) }
    }

    /// What became of a rotation, in its own words.
    pub(super) fn tell_rotated(&mut self, id: RequestId, outcome: Result<Vec<String>, WriteError>) {
        let outcome = outcome.map_err(|error| match error {
            WriteError::Left => RotateError::Left,
            WriteError::Busy => RotateError::Busy,
            WriteError::Disk(reason) => RotateError::Disk(reason),
            error => RotateError::Disk(error.to_string()),
        });
        self.effects.push_back(Effect::Rotated(id, outcome));
    }

    /// Other epochs were begun, or other keys are here.
    pub(super) fn epochs_changed(&mut self, now: Now) {
        self.effects.push_back(Effect::Rotations(self.store.rotations()));
        self.want_reseal(now);
    }

    /// The leader looks whether anything is sealed under an earlier epoch.
    pub(super) fn want_reseal(&mut self, now: Now) {
        if self.leadership().mine && self.timers.get(&Wait::Reseal).is_none() && self.has_outdated_seals() {
            self.timers.set(Wait::Reseal, now.mono + RESEAL_EVERY);
        }
    }

    fn has_outdated_seals(&self) -> bool {
        self.store.has_outdated_seals() && !planted::is(Bug::SealsStay)
    }

    /// Seals anew a part of what is under earlier epochs. Two that lead apart do it both; what they say is alike to everybody.
    pub(super) fn reseal(&mut self, now: Now) {
        if !self.leadership().mine || self.left || self.outbox.refusal().is_some() {
            return;
        }
        let said = self.store.reseal(RESEAL_BYTES);
        for batch in batches(said) {
            self.push(&batch);
        }
        self.want_reseal(now);
    }
}
