//! Catching up: after a start this node compares what it holds with the first peer that it meets, before its agent starts
//! anything. What its disk says may be long out of date, and its pods may run elsewhere by now.

use std::time::Duration;

use rand::seq::IteratorRandom;
use skein_crdt_state::Kind;
use skein_crdt_state::exchange::{Exchange, Outcome, Table};
use skein_gossip::{Instant, NodeId, Now};

use super::{Frame, Node, Wait, meta};
use crate::agent;

/// How long a node waits for a peer that would tell it what is new, before it goes by its own disk.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often one that lacks its state asks again, until somebody has told it all: what its own disk says is nothing.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// Of how many things it may have heard since it asked last, and still take that for the news of the day and not for what it lacks.
const NEWS: usize = 200;
/// What its status says of its disk meanwhile, so that no write is left to it and no pod placed there.
pub(super) const HEARS_AGAIN: &str = "it was lost, and this node still hears again what was on it";
/// How often it compares with peers meanwhile. Where others write all the time the two are never quite alike.
const MAX_COMPARISONS: u32 = 16;
/// How long one peer has to answer before another may be asked, in a large cluster. In one where a third of all come back at
/// once, all that each would be told by many is more than the network and the peers can carry.
const ONE_AT_A_TIME: Duration = Duration::from_millis(500);

/// Where a node stands with it.
#[derive(Debug, Default)]
pub(crate) struct CatchUp {
    done: bool,
    /// Whether the disk was lost, and no member has told yet all that the cluster holds.
    pub(super) lacks_state: bool,
    comparisons: u32,
    /// How much it knew when it asked again last, while it lacks its state.
    known: usize,
    /// Whom it waits for, and since when.
    asked: Option<(NodeId, Instant)>,
}

impl Node {
    /// Whether this node knows what its cluster holds, be it what it was some time ago. One whose disk was lost does not before it has
    /// heard all again: until then it decides nothing, and stops nothing.
    #[must_use]
    pub fn has_state(&self) -> bool {
        !self.catch_up.lacks_state
    }

    /// Begins: at once done for who has no peers. Whoever does not know its cluster begins when it hears of it.
    pub(super) fn begin_catching_up(&mut self, now: Now) {
        let members = self.store.members();
        if self.catch_up.lacks_state {
            if members.is_active(&self.me) {
                self.timers.set(Wait::CatchUp, now.mono + ASK_AGAIN);
            }
        } else if members.active().iter().all(|member| *member == self.me) {
            self.caught_up(now);
        } else {
            self.timers.set(Wait::CatchUp, now.mono + PATIENCE);
        }
    }

    /// Nobody said for a while that this node knows all. It goes on by its own disk, unless there is nothing on it.
    pub(super) fn waited_to_catch_up(&mut self, now: Now) {
        if self.left {
            return;
        }
        let known = self.store.wanted().len();
        let before = std::mem::replace(&mut self.catch_up.known, known);
        let has_asked = self.catch_up.comparisons >= MAX_COMPARISONS && !self.peers.linked.is_empty();
        if !self.catch_up.lacks_state || (has_asked && self.knows_objects() && known <= before + NEWS) {
            return self.caught_up(now);
        }
        self.catch_up.comparisons = 0;
        self.timers.set(Wait::CatchUp, now.mono + ASK_AGAIN);
        if let Some(peer) = self.peers.linked.iter().choose(&mut self.rng).copied() {
            self.compare_to_catch_up(now, peer);
        }
    }

    /// Every cluster has namespaces. Who knows of none has heard nothing yet, and so has a peer that knows the same.
    fn knows_objects(&self) -> bool {
        self.store.live(&Kind::new("Namespace")).next().is_some()
    }

    /// Nobody said anything for so long that this node goes on alone, or somebody said all.
    pub(super) fn caught_up(&mut self, now: Now) {
        if std::mem::replace(&mut self.catch_up.done, true) {
            return;
        }
        self.timers.clear(&Wait::CatchUp);
        if std::mem::take(&mut self.catch_up.lacks_state) {
            self.outbox.add([meta::lost_row(false)]);
            self.status.disk = self.outbox.refusal().unwrap_or_default().to_owned();
            self.say_status(now);
            // From now on it has a say.
            self.members_changed(now);
            self.ensure_node_object(now);
        }
        self.agent.handle(now, agent::Input::CaughtUp);
    }

    /// Compares with a peer by the sums of all buckets, which is always answered; a root that is the same is not.
    pub(super) fn compare_to_catch_up(&mut self, now: Now, peer: NodeId) {
        if self.catch_up.done || self.catch_up.comparisons >= MAX_COMPARISONS {
            return;
        }
        let waits = |(asked, at): (NodeId, Instant)| asked != peer && now.mono.since(at) < ONE_AT_A_TIME;
        if self.is_large() && self.catch_up.asked.is_some_and(waits) {
            return;
        }
        self.catch_up.asked = Some((peer, now.mono));
        self.catch_up.comparisons += 1;
        let sums = self.store.wanted().sums().to_vec();
        self.send(peer, &Frame::Exchange(Exchange::Buckets { table: Table::Wanted, sums }), None);
    }

    /// What a message of an exchange says about whether this node knows all.
    pub(super) fn catch_up_by(&mut self, now: Now, from: NodeId, heard: Heard, outcome: &Outcome) {
        match heard {
            _ if self.catch_up.done => {}
            Heard::Alike if self.catch_up.lacks_state && !self.knows_objects() => {}
            Heard::Alike => self.caught_up(now),
            // What it asks for now comes first, and the comparison after that.
            Heard::Differs if outcome.replies.iter().any(|reply| matches!(reply, Exchange::Want { .. })) => {}
            Heard::Differs | Heard::Given => self.compare_to_catch_up(now, from),
            Heard::Other => {}
        }
    }

    /// What kind of message that is, for catching up.
    pub(super) fn heard(&self, message: &Exchange) -> Heard {
        match message {
            Exchange::Root { wanted, .. } if *wanted == self.store.wanted().root() => Heard::Alike,
            Exchange::Items { table: Table::Wanted, buckets, .. } if buckets.is_empty() => Heard::Alike,
            Exchange::Items { table: Table::Wanted, .. } => Heard::Differs,
            Exchange::Give { answer: true, .. } => Heard::Given,
            _ => Heard::Other,
        }
    }
}

/// What a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Peer and node hold the same.
    Alike,
    /// This is where they differ.
    Differs,
    /// This was missing.
    Given,
    /// Nothing about that.
    Other,
}
