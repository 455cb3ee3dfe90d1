//! The SWIM protocol itself, as `foca` implements it, behind a narrow door.
//!
//! foca is named in this directory alone. What it wants done (send, wait) is collected in [`Effects`] and carried out by
//! the machine above, which also decides how long waits are: foca refuses to change its pace while it runs.

use std::collections::BTreeSet;
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::{Config, Foca, Member, NoCustomBroadcast, Notification, PostcardCodec, State, Timer};
use serde::{Deserialize, Serialize};

use super::wire::{MAX_BUMP, MAX_FRAME};
use crate::{NodeId, Rng};

/// How often one piece of news is passed on by each member of a small cluster.
const TRANSMISSIONS: u8 = 5;
/// And of a large one, where a rumour misses each member with a probability of `e` to the minus this.
const TRANSMISSIONS_IN_LARGE: u8 = 10;
/// How many members are asked to probe on our behalf, and how many hear news at once. With three a frame in twenty may be
/// lost and yet hardly one probe in two thousand fails.
const INDIRECT_PROBES: usize = 3;

/// A node in one of its lives. A node that was declared down comes back with a higher bump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Identity {
    pub node: NodeId,
    pub bump: u64,
}

impl foca::Identity for Identity {
    type Addr = NodeId;

    fn renew(&self) -> Option<Self> {
        (self.bump < MAX_BUMP).then(|| Identity { node: self.node, bump: self.bump + 1 })
    }

    fn addr(&self) -> NodeId {
        self.node
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.bump > adversary.bump
    }
}

/// How long the protocol waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tempo {
    /// One member is probed in each period.
    pub period: Duration,
    /// How long a direct answer may take before others are asked to probe; less than half a period.
    pub round_trip: Duration,
    /// How long a suspect may take to speak up.
    pub suspicion: Duration,
}

/// What foca asked for while it handled something.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub sends: Vec<(NodeId, Vec<u8>)>,
    pub waits: Vec<(Timer<Identity>, Duration)>,
    /// The members of which foca may believe something else now.
    pub touched: BTreeSet<NodeId>,
    /// We were declared down and took a new identity.
    pub rejoined: bool,
    /// The probe of the period that just ended went unanswered.
    pub probe_failed: bool,
    /// Under which identity and incarnation this node last spoke, or is about to. It outlives what is done about the rest;
    /// foca keeps the incarnation to itself, but says it in whatever it sends.
    pub incarnation: Option<(Identity, u16)>,
}

impl foca::Runtime<Identity> for &mut Effects {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        match notification {
            Notification::MemberUp(id) | Notification::MemberDown(id) | Notification::Rename(_, id) => {
                self.touched.insert(id.node);
            }
            Notification::Rejoin(_) => self.rejoined = true,
            // They are about this node.
            _ => {}
        }
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        self.incarnation = super::wire::speaker(data).or(self.incarnation);
        self.sends.push((to.node, super::wire::write_swim(data)));
    }

    fn submit_after(&mut self, event: Timer<Identity>, after: Duration) {
        // foca sets this timer at one place only: where a probe went unanswered.
        if let Timer::ChangeSuspectToDown { member_id, .. } = &event {
            self.probe_failed = true;
            self.touched.insert(member_id.node);
        }
        self.waits.push((event, after));
    }
}

/// foca and what it asked for. Its errors are all "this packet is nonsense", which the caller counts.
pub(super) struct Swim {
    foca: Foca<Identity, PostcardCodec, Rng, NoCustomBroadcast>,
    tempo: Tempo,
    pub effects: Effects,
}

impl Swim {
    pub(super) fn new(me: Identity, tempo: Tempo, rng: Rng) -> Self {
        let foca = Foca::new(me, config(tempo, TRANSMISSIONS), rng, PostcardCodec);
        Self { foca, tempo, effects: Effects::default() }
    }

    pub(super) fn me(&self) -> Identity {
        *self.foca.identity()
    }

    /// What this node says of itself: that it is alive, in the incarnation that it took at the last suspicion.
    pub(super) fn own(&self) -> Member<Identity> {
        let said = self.effects.incarnation.filter(|(identity, _)| *identity == self.me());
        Member::new(self.me(), said.map_or(0, |(_, incarnation)| incarnation), State::Alive)
    }

    /// This node is suspected in this incarnation, and takes the next one. foca says so to members that it knows to be
    /// alive, and there may be none.
    pub(super) fn was_suspected(&mut self, incarnation: u16) {
        let next = incarnation.saturating_add(1).max(self.own().incarnation());
        self.effects.incarnation = Some((self.me(), next));
    }

    /// Passes news on as often as a cluster of this size needs.
    pub(super) fn set_large(&mut self, large: bool) {
        let transmissions = if large { TRANSMISSIONS_IN_LARGE } else { TRANSMISSIONS };
        // It refuses changes of its pace alone, and that one stays.
        let _ = self.foca.set_config(config(self.tempo, transmissions));
    }

    /// All that is known of others, whatever their state.
    pub(super) fn members(&self) -> impl Iterator<Item = &Member<Identity>> {
        let me = self.me().node;
        self.foca.iter_membership_state().filter(move |member| member.id().node != me)
    }

    /// Whether the packet made sense.
    pub(super) fn packet(&mut self, bytes: &[u8]) -> bool {
        self.foca.handle_data(bytes, &mut self.effects).is_ok()
    }

    pub(super) fn timer(&mut self, timer: Timer<Identity>) {
        // To a suspect that spoke up in time foca would say all the same that it is down, and that one would take up a new
        // identity, to which nothing that is on its way is addressed.
        if let Timer::ChangeSuspectToDown { member_id, incarnation, .. } = &timer {
            let suspect = Member::new(*member_id, *incarnation, State::Suspect);
            if !self.foca.iter_membership_state().any(|member| *member == suspect) {
                return;
            }
        }
        // The errors left here are about timers that came in another order than they were set, which `Timers` rules out
        // except after a late wake-up; foca then starts its probe cycle anew by itself.
        let _ = self.foca.handle_timer(timer, &mut self.effects);
    }

    /// Takes in what somebody else knows.
    pub(super) fn learn(&mut self, members: impl IntoIterator<Item = Member<Identity>>) {
        let members: Vec<_> = members.into_iter().collect();
        self.effects.touched.extend(members.iter().map(|member| member.id().node));
        // Encoding for the broadcast is the one thing that can fail, and it writes plain data to memory.
        let _ = self.foca.apply_many(members.into_iter(), true, &mut self.effects);
    }

    /// Tells a member that we are here; it answers with the members that it knows.
    pub(super) fn announce_to(&mut self, node: NodeId) {
        let known = self.foca.iter_membership_state().find(|member| member.id().node == node);
        let to = known.map_or(Identity { node, bump: 0 }, |member| *member.id());
        let _ = self.foca.announce(to, &mut self.effects);
    }

    /// Passes news on to a few members at once.
    pub(super) fn gossip(&mut self) {
        let _ = self.foca.gossip(&mut self.effects);
    }

    /// Takes up an identity above `bump`, under which somebody knows us already.
    pub(super) fn rise_above(&mut self, bump: u64) {
        let me = self.me();
        if bump >= me.bump && bump < MAX_BUMP {
            let risen = Identity { node: me.node, bump: bump + 1 };
            let _ = self.foca.change_identity(risen, &mut self.effects);
            self.effects.rejoined = true;
        }
    }

    /// Forgets a node that is no member any more.
    pub(super) fn forget(&mut self, member: Identity) {
        self.learn([Member::down(member)]);
        self.timer(Timer::RemoveDown(member));
    }

    /// Says goodbye to some of the others.
    pub(super) fn leave(&mut self) {
        let _ = self.foca.leave_cluster(&mut self.effects);
    }
}

/// Whether `a` is later news of a node than `b`, by the order in which SWIM lets one replace the other.
pub(super) fn is_newer(a: &Member<Identity>, b: &Member<Identity>) -> bool {
    let order = |member: &Member<Identity>| {
        let down = member.state() == State::Down;
        let suspect = member.state() == State::Suspect;
        // Nothing replaces a down under the same identity, so its incarnation does not count.
        (member.id().bump, down, if down { 0 } else { member.incarnation() }, suspect)
    };
    order(a) > order(b)
}

fn config(tempo: Tempo, transmissions: u8) -> Config {
    Config {
        probe_period: tempo.period,
        probe_rtt: tempo.round_trip,
        num_indirect_probes: NonZeroUsize::MIN.saturating_add(INDIRECT_PROBES - 1),
        max_transmissions: NonZeroU8::MIN.saturating_add(transmissions - 1),
        suspect_to_down_after: tempo.suspicion,
        remove_down_after: None,
        // One byte goes to our own kind tag in front.
        max_packet_size: NonZeroUsize::MIN.saturating_add(MAX_FRAME - 2),
        notify_down_members: true,
        periodic_announce: None,
        periodic_announce_to_down_members: None,
        periodic_gossip: None,
    }
}
