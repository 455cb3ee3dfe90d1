//! The cluster's secrets: who has them rotated, and how members take the keys that they lack from each other. The nodes know
//! nothing of that way: in a daemon it is the shell's.

use rand::RngExt;
use rand::seq::IndexedRandom;
use skein_core::node::Input;
use skein_core::request::{RequestId, RotateError};
use skein_crdt_state::keyring::{DataKey, EpochId, MAX_EPOCHS};

use super::{Event, World};

/// How often members look for keys that they lack, in microseconds.
const TAKE_KEYS_US: u64 = 500_000;
/// Requests to rotate are numbered from here.
const ROTATIONS: RequestId = 1 << 41;

impl World {
    /// Somebody has the secrets rotated at a random peer, and again later.
    pub(super) fn rotate_somewhere(&mut self) {
        if !self.busy {
            return;
        }
        let every = self.knobs.rotate_every_ms;
        let delay = self.chance.rotations.random_range(every / 2..=every * 3 / 2);
        self.after(delay * 1000, Event::Rotate);
        let up: Vec<usize> = self.up().into_iter().filter(|peer| self.hosts[*peer].answers()).collect();
        if let Some(peer) = up.choose(&mut self.chance.rotations).copied() {
            self.rotate(peer);
        }
    }

    /// A user has the secrets rotated at a peer: it makes new ones, and says so.
    pub fn rotate(&mut self, peer: usize) {
        if usize::from(self.epochs) + 1 >= MAX_EPOCHS {
            return;
        }
        self.epochs += 1;
        let number = self.epochs + 1;
        let epoch = EpochId([number; 16]);
        self.trace.line(self.now_us, format_args!("h{peer} rotates to epoch {number}"));
        // There are never more than a keyring holds.
        let _ = self.hosts[peer].keyring.insert(epoch, DataKey::new([number; 32]));
        self.hand_keys(peer);
        self.input(peer, Input::Rotate(ROTATIONS + RequestId::from(number), epoch, 0));
        if self.epochs == 1 {
            self.after(TAKE_KEYS_US, Event::TakeKeys);
        }
    }

    /// Every daemon takes the keys that it lacks from the peers to which it has a link and that take it for a member.
    pub(super) fn take_keys(&mut self) {
        self.after(TAKE_KEYS_US, Event::TakeKeys);
        for number in 0..self.hosts.len() {
            if !self.hosts[number].answers() {
                continue;
            }
            let id = self.hosts[number].keys.node_id();
            let mut keyring = self.hosts[number].keyring.clone();
            for peer in self.links.of(number) {
                let gives = self.hosts[peer].answers()
                    && self.links.is_whole(number, peer)
                    && self.hosts[peer].node.as_ref().is_some_and(|node| node.store().members().is_active(&id));
                let theirs = &self.hosts[peer].keyring;
                let lacking = theirs.epochs().filter(|epoch| gives && !keyring.holds(epoch));
                let lacking: Vec<EpochId> = lacking.copied().collect();
                for epoch in lacking {
                    self.trace
                        .line(self.now_us, format_args!("h{number} takes the key of {} from h{peer}", epoch.0[0]));
                    if let Some(key) = theirs.get(&epoch) {
                        let _ = keyring.insert(epoch, key.clone());
                    }
                }
            }
            if keyring != self.hosts[number].keyring {
                self.hosts[number].keyring = keyring;
                self.hand_keys(number);
            }
        }
    }

    fn hand_keys(&mut self, number: usize) {
        let keyring = self.hosts[number].keyring.clone();
        self.input(number, Input::Keys { keyring, ca_certificate: String::new() });
    }

    pub(super) fn rotated(&mut self, number: usize, id: RequestId, outcome: &Result<Vec<String>, RotateError>) {
        let epoch = id - ROTATIONS;
        match outcome {
            Ok(warnings) => {
                let warned = !warnings.is_empty();
                self.trace.line(self.now_us, format_args!("h{number} has begun epoch {epoch}, warned {warned}"));
            }
            Err(error) => {
                self.trace.line(self.now_us, format_args!("h{number} does not begin epoch {epoch}: {error}"));
            }
        }
    }
}
