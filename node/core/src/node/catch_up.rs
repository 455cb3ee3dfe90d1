//! Catching up: after a start this node compares what it holds with the first peer that it meets, before its agent starts
//! anything. What its disk says may be long out of date, and its pods may run elsewhere by now.

use std::time::Duration;

use skein_crdt_state::exchange::{Exchange, Outcome, Table};
use skein_gossip::{Instant, NodeId, Now};

use super::{Frame, Node, Wait};
use crate::agent;

/// How long a node waits for a peer that would tell it what is new, before it goes by its own disk.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long one waits that has lost its state and has met a member: what its own disk says is nothing.
const PATIENCE_WITHOUT_STATE: Duration = Duration::from_secs(30);
/// How often it compares with peers meanwhile. Where others write all the time the two are never quite alike.
const MAX_COMPARISONS: u32 = 16;
/// How long one peer has to answer before another may be asked, in a large cluster. In one where a third of all come back at
/// once, all that each would be told by many is more than the network and the peers can carry.
const ONE_AT_A_TIME: Duration = Duration::from_millis(500);

/// Where a node stands with it.
#[derive(Debug, Default)]
pub(crate) struct CatchUp {
    done: bool,
    /// Whether this node knows nobody, not even itself, and so cannot begin.
    lacks_state: bool,
    comparisons: u32,
    /// Whom it waits for, and since when.
    asked: Option<(NodeId, Instant)>,
}

impl Node {
    /// Begins: at once done for who has no peers. Whose disk was lost begins when it hears of its cluster, or it would take all that
    /// runs here for what nobody asked for.
    pub(super) fn begin_catching_up(&mut self, now: Now) {
        let members = self.store.members();
        let had_state = !std::mem::replace(&mut self.catch_up.lacks_state, !members.is_known(&self.me));
        if self.catch_up.lacks_state {
            return;
        }
        if members.active().iter().all(|member| *member == self.me) {
            return self.caught_up(now);
        }
        self.timers.set(Wait::CatchUp, now.mono + if had_state { PATIENCE } else { PATIENCE_WITHOUT_STATE });
    }

    /// This node has heard that it is a member.
    pub(super) fn has_state_again(&mut self, now: Now) {
        if self.catch_up.lacks_state {
            self.begin_catching_up(now);
        }
    }

    /// Nobody said anything for so long that this node goes on alone, or somebody said all.
    pub(super) fn caught_up(&mut self, now: Now) {
        if !std::mem::replace(&mut self.catch_up.done, true) {
            self.timers.clear(&Wait::CatchUp);
            self.agent.handle(now, agent::Input::CaughtUp);
        }
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
