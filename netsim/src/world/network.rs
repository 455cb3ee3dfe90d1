//! How frames travel and connections come and go.

use std::sync::Arc;

use rand::RngExt;
use skein_core::node::{Input, Inspected, Lane, inspect};
use skein_gossip::NodeId;

use super::{Event, World};

/// How long a connection takes to notice that nothing passes, in microseconds: the daemon's network gives up after 8 s.
const SILENCE_US: std::ops::Range<u64> = 4_000_000..9_000_000;
/// After how long what was lost is sent again, in microseconds; each further time it takes twice as long.
const RESEND_US: u64 = 200_000;
/// How often the same thing is lost before the connection ends.
const MAX_RESENDS: u32 = 5;

impl World {
    /// Sends a frame, which may be lost.
    pub(super) fn send(&mut self, from: usize, to: NodeId, lane: Lane, bytes: Arc<[u8]>) {
        let Some(to) = self.host_of(&to) else { return };
        let Some(life) = self.links.connection(from, to) else { return };
        self.watch.traffic.sent(bytes.len());
        let said = if self.is_watched || self.spread.is_some() { inspect(&bytes) } else { Inspected::Other };
        if let Some(spread) = &mut self.spread {
            spread.sent(&said);
        }
        let is_watched = self.is_watched && !self.is_knocking(from);
        if let Some((check, what)) = self.watch.sends(from, to, &said).filter(|_| is_watched) {
            self.violate(check, what);
        }
        let peer = self.hosts[to].keys.node_id();
        if let Some(what) = self.watch.sends_to_removed(self, from, &peer).filter(|_| is_watched) {
            self.violate("removed", what);
        }
        let is_news = matches!(said, Inspected::News(_));
        if let Some(count) = self.lose_news.get_mut(&(from, to)).filter(|count| **count > 0 && is_news) {
            *count -= 1;
            return self.trace.line(self.now_us, format_args!("news from h{from} to h{to} are lost"));
        }
        let faults = self.knobs.faults;
        if self.busy && self.strikes(faults.drop_permille) {
            return;
        }
        let mut at = self.now_us + self.latency_us(from, to);
        if self.busy && self.strikes(faults.loss_permille) {
            at += self.resend_us(from, to, life);
            self.links.hold(from, to, at);
        }
        if let Some(at) = self.links.take(from, to, lane, at) {
            self.at(at, Event::Deliver { to, from, life, lane, bytes });
        }
    }

    /// How long a frame from one host to another is on its way.
    pub(super) fn latency_us(&mut self, from: usize, to: usize) -> u64 {
        let rng = &mut self.chance.network;
        self.hosts[from].distance.draw_us(rng) + self.hosts[to].distance.draw_us(rng)
    }

    fn strikes(&mut self, permille: u64) -> bool {
        permille > 0 && self.chance.network.random_range(0..1000) < permille
    }

    /// How long it takes until something that was lost has arrived.
    fn resend_us(&mut self, from: usize, to: usize, life: u64) -> u64 {
        let mut times = 0;
        while times < MAX_RESENDS && self.strikes(self.knobs.faults.loss_permille) {
            times += 1;
        }
        let delay = RESEND_US << times;
        if times == MAX_RESENDS {
            self.after(delay, Event::Reset { a: from, b: to, life });
        }
        delay
    }

    pub(super) fn deliver(&mut self, from: usize, to: usize, life: u64, lane: Lane, bytes: Arc<[u8]>) {
        if self.links.connection(from, to) != Some(life) {
            return;
        }
        if !self.links.passes(from, to) || self.links.is_stalled(from, to) {
            self.links.stall(from, to, lane, bytes);
            return self.doubt(from, to);
        }
        self.links.arrived(from, to, lane);
        if !self.links.passes(to, from) || self.hosts[to].node.is_none() {
            self.doubt(from, to);
        }
        let from = self.hosts[from].keys.node_id();
        self.input(to, Input::Frame { from, bytes });
    }

    /// Something on a connection is not answered: it is looked at in a while.
    pub(super) fn doubt(&mut self, a: usize, b: usize) {
        let Some(life) = self.links.connection(a, b) else { return };
        if self.links.doubt(a, b) {
            let delay = self.chance.network.random_range(SILENCE_US);
            self.after(delay, Event::Doubt { a, b, life });
        }
    }

    pub(super) fn look_at(&mut self, a: usize, b: usize, life: u64) {
        if self.links.connection(a, b) != Some(life) {
            return;
        }
        self.links.trust(a, b);
        if !self.links.is_whole(a, b) || !self.hosts[a].answers() || !self.hosts[b].answers() {
            self.trace.line(self.now_us, format_args!("h{a} and h{b} lose their connection"));
            self.end_connection(a, b);
        }
    }

    /// Cuts a direction.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.links.cut(from, to);
    }

    /// Mends a direction: what was stalled is sent again when its time comes.
    pub fn mend(&mut self, from: usize, to: usize) {
        self.links.mend(from, to);
        if let Some(life) = self.links.connection(from, to).filter(|_| self.links.is_stalled(from, to)) {
            let delay = self.chance.network.random_range(RESEND_US / 4..RESEND_US * 8);
            self.after(delay, Event::Resend { from, to, life });
        }
    }

    /// Mends all that is cut.
    pub fn heal(&mut self) {
        for (from, to) in self.links.cuts().clone() {
            self.mend(from, to);
        }
    }

    pub(super) fn resend(&mut self, from: usize, to: usize, life: u64) {
        if self.links.connection(from, to) != Some(life) || !self.links.passes(from, to) {
            return;
        }
        for (lane, bytes) in self.links.unstall(from, to) {
            self.links.arrived(from, to, lane);
            if let Some(at) = self.links.take(from, to, lane, self.now_us) {
                self.at(at, Event::Deliver { to, from, life, lane, bytes });
            }
        }
    }

    pub(super) fn dial(&mut self, from: usize, to: usize) {
        if self.links.connection(from, to).is_none() {
            let delay = self.latency_us(from, to) + self.latency_us(to, from);
            self.after(delay, Event::Connect { from, to });
        }
    }

    pub(super) fn connect(&mut self, from: usize, to: usize) {
        let (dialling, dialled) = (&self.hosts[from], &self.hosts[to]);
        if !dialling.answers() || !dialled.answers() || !self.links.is_whole(from, to) {
            return;
        }
        let (a, b) = (dialling.keys.node_id(), dialled.keys.node_id());
        let knows = |host: &crate::host::Host, peer: &NodeId| {
            host.node.as_ref().is_some_and(|node| node.store().members().is_active(peer))
        };
        // Whoever was not admitted, as far as the other knows, is not let in.
        let (is_known, is_welcome) = (knows(dialling, &b), knows(dialled, &a));
        if is_known && !is_welcome {
            self.input(from, Input::Unwelcome(b));
        }
        if !is_known || !is_welcome || self.links.connect(from, to).is_none() {
            return;
        }
        self.input(from, Input::LinkUp(b));
        self.input(to, Input::LinkUp(a));
    }

    /// Ends a connection for both.
    pub fn end_connection(&mut self, a: usize, b: usize) {
        if self.links.disconnect(a, b) {
            for (host, peer) in [(a, b), (b, a)] {
                let peer = self.hosts[peer].keys.node_id();
                self.tell(host, Input::LinkDown(peer));
            }
        }
    }

    /// Cuts off whoever is no member any more, as the daemon does at once.
    pub(super) fn keep_to_members(&mut self, number: usize, members: &std::collections::BTreeSet<NodeId>) {
        for peer in self.links.of(number) {
            if !members.contains(&self.hosts[peer].keys.node_id()) {
                self.end_connection(number, peer);
            }
        }
    }
}
