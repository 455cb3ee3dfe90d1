//! The cluster's secrets: which keys are here, and which epoch holds.

use skein_crdt_state::keyring::{EpochId, Keyring};
use skein_gossip::Now;

use super::{Effect, Node};
use crate::request::{RequestId, RotateError};

impl Node {
    /// The shell holds other keys now.
    pub(super) fn hold_keys(&mut self, now: Now, keyring: Keyring, ca_certificate: String) {
        self.config.keyring = keyring;
        self.config.ca_certificate = ca_certificate;
        self.project(now, &Default::default());
    }

    /// Begins an epoch.
    pub(super) fn rotate(&mut self, _now: Now, id: RequestId, epoch: EpochId, _lapse_ms: u64) {
        self.effects.push_back(Effect::Rotated(id, Err(RotateError::NoKey(epoch))));
    }
}
