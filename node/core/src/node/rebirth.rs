//! What users created apart from somebody who deleted the same name is made again as the next life of the name. Whoever holds
//! it may do that; a fixed order of the peers says who does it first.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};
use skein_crdt_state::store::Unseen;
use skein_crdt_state::{Kind, Leaf, LeafPath, ObjectKey, Scalar};
use skein_gossip::{Instant, NodeId, Now};

use super::{Node, TOKEN_KIND, Wait};
use crate::conflicts;
use crate::status::Event;

/// How long each peer waits for the one before it in the order.
const TURN: Duration = Duration::from_millis(500);
/// Who the history says made it again.
const MESSAGE: &str = "skein\tsystem:merge";

/// How long texts are waited for that an object mentions and that are not here. They may be on their way, and who has them all
/// makes the object again meanwhile.
const TEXTS_WAIT: Duration = Duration::from_secs(10);

/// What is to be made again.
pub(crate) type Rebirths = BTreeMap<ObjectKey, Rebirth>;

/// One object that is to be made again.
#[derive(Debug)]
pub(crate) struct Rebirth {
    /// When it is this node's turn.
    turn: Instant,
    /// Until when its texts are waited for.
    until: Instant,
    unseen: Unseen,
}

impl Node {
    /// Takes up what the store has let go.
    pub(super) fn take_up_unseen(&mut self, now: Now) {
        for unseen in self.store.drain_unseen() {
            // What controllers make they make again by themselves, if it is still wanted.
            let owners = unseen.object.key().owner().into_iter().flat_map(|owner| owner.lineage().collect::<Vec<_>>());
            // Of a join token nobody makes two lives, and who makes one again would vouch for it.
            let is_token = *unseen.object.key().kind() == Kind::new(TOKEN_KIND);
            if conflicts::is_contested(&unseen.object, "roleRef") {
                // Of a binding whose role was set apart nobody says what it gives; one that is made again would give it.
                self.store.forget_unseen(unseen.object.key());
                self.edit_lost(now, unseen.object.key(), &unseen.by);
            } else if !is_token && owners.into_iter().all(|owner| *owner.kind() == Kind::new("Namespace")) {
                let turn = now.mono + TURN * self.place_for(unseen.object.key());
                let until = now.mono + TEXTS_WAIT;
                self.rebirths.insert(unseen.object.key().clone(), Rebirth { turn, until, unseen });
            } else {
                self.store.forget_unseen(unseen.object.key());
            }
        }
        self.set_rebirth_timer();
    }

    /// Makes again whatever it is this node's turn to make, unless somebody has done so.
    pub(super) fn rebirths_due(&mut self, now: Now) {
        let due = |(_, rebirth): &(&ObjectKey, &Rebirth)| rebirth.turn <= now.mono;
        let keys: Vec<ObjectKey> = self.rebirths.iter().filter(due).map(|(key, _)| key.clone()).collect();
        for key in keys {
            let Some(mut rebirth) = self.rebirths.remove(&key) else { continue };
            let is_complete = self.store.complete(&mut rebirth.unseen);
            if !is_complete && now.mono < rebirth.until && self.store.current_life(&key.name_key()).is_none() {
                rebirth.turn = rebirth.until.min(now.mono + TURN);
                self.rebirths.insert(key, rebirth);
                continue;
            }
            self.store.forget_unseen(&key);
            self.make_again(now, &rebirth.unseen, is_complete);
        }
        self.set_rebirth_timer();
    }

    fn make_again(&mut self, now: Now, unseen: &Unseen, is_complete: bool) {
        let name = unseen.object.key().name_key();
        if let Some(living) = self.store.current_life(&name).and_then(|key| self.store.object(&key)) {
            // Made again by the peer before in the order; or a user has made something else of the name, and this is lost.
            let is_kept = |(path, leaf): (&LeafPath, &Leaf)| {
                let was = unseen.object.get(path).map(|value| unseen.in_place(value));
                // Nobody can say here that a text which never came is another one.
                matches!(was, Some(Scalar::Blob(_))) || was == Some(self.store.in_place(living.key(), &leaf.value))
            };
            if !living.leaves().iter().all(is_kept) {
                self.edit_lost(now, unseen.object.key(), &unseen.by);
            }
            return;
        }
        let key = self.store.next_life(&name);
        // Its owner may be over by now; then it is too.
        let Ok(said) = self.store.make_again(now, &key, unseen, MESSAGE) else { return };
        // No peer has it yet that was to have everything.
        self.inheritance.begin_anew();
        self.push(&said);
        if !is_complete {
            // What it mentions nobody has who could be asked, so it is made without.
            self.edit_lost(now, unseen.object.key(), &unseen.by);
        }
        let by = self.store.members().get(&unseen.by).map_or_else(|| unseen.by.short(), |member| member.name.clone());
        self.event(Event {
            kind: key.kind().to_string(),
            namespace: key.namespace().unwrap_or_default().to_owned(),
            name: key.name().to_owned(),
            uid: key.uid(&self.config.cluster).to_string(),
            warning: false,
            reason: "CreatedAgain".into(),
            message: format!(
                "one of its name was deleted on {by} by somebody who had not seen this one; it goes on as another"
            ),
            source: "state".into(),
            first_ms: now.wall_ms,
            last_ms: now.wall_ms,
            count: 1,
        });
    }

    /// How many of the peers that are alive come before this node in the order for a key (rendezvous hashing).
    fn place_for(&self, key: &ObjectKey) -> u32 {
        let text = key.to_string();
        let rank = |node: &NodeId| {
            let digest = Sha256::new().chain_update(b"skein owner").chain_update(text.as_bytes()).chain_update(node.0);
            Reverse(<[u8; 32]>::from(digest.finalize()))
        };
        let own = rank(&self.me);
        let before = self.peers.alive.iter().filter(|peer| rank(peer) < own).count();
        u32::try_from(before).unwrap_or(u32::MAX)
    }

    fn set_rebirth_timer(&mut self) {
        match self.rebirths.values().map(|rebirth| rebirth.turn).min() {
            Some(turn) => self.timers.set(Wait::Rebirth, turn),
            None => self.timers.clear(&Wait::Rebirth),
        }
    }
}
