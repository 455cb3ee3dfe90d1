//! Spreading: news goes at once to all peers, in a large cluster by way of others; what that misses is found by comparing notes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::seq::{IteratorRandom, SliceRandom};
use skein_crdt_state::exchange::{Exchange, Refusal};
use skein_crdt_state::{Envelope, Store};
use skein_gossip::planted::{self, Bug};
use skein_gossip::{Instant, NodeId, Now};

use super::{Effect, Frame, MAX_CONTROL_BYTES, Node, Wait};

/// To how many peers a node sends news itself; it asks others to pass them on to the rest.
pub(super) const DIRECT: usize = 24;
/// How many peers carry news that are long: each gets a whole copy.
const BULK_WIDTH: usize = 4;
/// On how many ways news reach each peer, drawn apart from each other, so that one that is slow or has just died matters to
/// nobody: what somebody wrote, and what a node says of itself, of which the next word is often on its way already.
const WAYS: usize = 3;
const WAYS_FOR_REPORTS: usize = 2;
/// The fewest peers that are asked to say that news are on their disk, where there are so many: some may just have died, and
/// nobody knows yet.
const ASKED_TO_STORE: usize = 7;
/// The most peers that one frame asks to pass news on to.
const MAX_PASS_TO: usize = 4096;
/// The time between two exchanges that this node opens, and how much it varies.
const EXCHANGE_EVERY: Duration = Duration::from_millis(800);
const EXCHANGE_JITTER_MS: u64 = 400;
/// How many exchanges new links open in one such time in a large cluster. When it forms or heals, each would find the same.
const EXCHANGES_BY_LINKS: u32 = 1;

/// In a large cluster a node pauses so long for each member between two pushes of what it says of itself. When pods start
/// everywhere, that is most of what is sent; so it is at most 2 000 pushes a second in the whole cluster, however large.
const REPORT_PAUSE_PER_MEMBER: Duration = Duration::from_micros(500);

/// What this node has said of itself and not pushed yet, by section.
#[derive(Debug, Default)]
pub(crate) struct UnpushedReports {
    waiting: BTreeMap<String, Arc<Envelope>>,
    pushed_at: Option<Instant>,
}

/// How a frame names a peer that news should be passed on to: the first bytes of its id. One that is mistaken for another costs
/// a frame.
pub(crate) type ShortId = [u8; 8];

impl Node {
    /// Pushes news to the peers that are alive.
    pub(super) fn push(&mut self, envelopes: &[Arc<Envelope>]) {
        self.push_by(envelopes, None, WAYS);
    }

    /// Pushes news to the peers that are alive, of which so many and some more are asked to say under this token when it is on
    /// their disk; how many were asked.
    pub(super) fn push_to_store(&mut self, envelopes: &[Arc<Envelope>], token: u64, needed: usize) -> usize {
        self.push_by(envelopes, Some(Asks { token, left: (needed + 2).max(ASKED_TO_STORE) }), WAYS)
    }

    fn push_by(&mut self, envelopes: &[Arc<Envelope>], mut asks: Option<Asks>, ways: usize) -> usize {
        if envelopes.is_empty() {
            return 0;
        }
        let me = self.me;
        let mut peers: Vec<NodeId> = self.peers.alive.iter().copied().filter(|peer| *peer != me).collect();
        let bytes: usize = envelopes.iter().map(|envelope| envelope.size()).sum();
        // Only who hears it from the author can tell the author.
        let all_are_asked = asks.as_ref().is_some_and(|asks| asks.left > DIRECT / 2);
        let (width, ways) = match peers.len() {
            count if count <= DIRECT || all_are_asked => (count, 1),
            _ if bytes > MAX_CONTROL_BYTES => (BULK_WIDTH, WAYS_FOR_REPORTS),
            count => (width(count), ways),
        };
        let mut asked = 0;
        for _ in 0..ways {
            peers.shuffle(&mut self.rng);
            let routes = self.routes(&peers, width);
            asked += self.send_news(envelopes, asks.as_mut(), routes);
        }
        asked
    }

    /// Divides peers among the first so many that have a link: each of these is asked to pass news on to its part of the rest.
    fn routes(&self, peers: &[NodeId], width: usize) -> Vec<(NodeId, Vec<ShortId>)> {
        let linked = peers.iter().filter(|peer| self.peers.linked.contains(*peer)).take(width);
        let mut routes: Vec<(NodeId, Vec<ShortId>)> = linked.map(|peer| (*peer, Vec::new())).collect();
        if routes.is_empty() {
            return routes;
        }
        let chosen: BTreeSet<NodeId> = routes.iter().map(|(peer, _)| *peer).collect();
        let count = routes.len();
        for (number, peer) in peers.iter().filter(|peer| !chosen.contains(peer)).enumerate() {
            routes[number % count].1.push(short(peer));
        }
        routes
    }

    /// Sends news by these routes; how many of those that hear them first were asked to store them.
    fn send_news(
        &mut self,
        envelopes: &[Arc<Envelope>],
        mut asks: Option<&mut Asks>,
        routes: Vec<(NodeId, Vec<ShortId>)>,
    ) -> usize {
        // Whoever heard that this node has left lets it in no more, so a start that has forgotten it could neither come back nor
        // leave: it is said once it is on this disk.
        let after = self.outbox.unnumbered().or_else(|| self.batch_of_last_word().filter(|_| self.leaving.is_some()));
        let mut asked = 0;
        let mut frame = Frame::Push { envelopes: envelopes.to_vec(), token: None, pass_to: Vec::new() };
        let mut plain: Option<Arc<[u8]>> = None;
        for (peer, rest) in routes {
            let asks = asks.as_mut().and_then(|asks| asks.one());
            asked += usize::from(asks.is_some());
            let is_plain = asks.is_none() && rest.is_empty();
            if let Some(bytes) = plain.clone().filter(|_| is_plain) {
                self.send_bytes(peer, bytes, after);
                continue;
            }
            if let Frame::Push { token, pass_to, .. } = &mut frame {
                (*token, *pass_to) = (asks, rest);
            }
            // Serialising into memory fails for no frame.
            let bytes: Arc<[u8]> = postcard::to_stdvec(&frame).unwrap_or_default().into();
            plain = plain.or_else(|| is_plain.then(|| bytes.clone()));
            self.send_bytes(peer, bytes, after);
        }
        asked
    }

    /// Takes in news that a peer pushed, passes it on to whom the peer names, and promises what it asks for.
    pub(super) fn pushed(
        &mut self,
        now: Now,
        from: NodeId,
        envelopes: &[Arc<Envelope>],
        token: Option<u64>,
        pass_to: &[ShortId],
    ) {
        let outcome = self.store.exchange(now, Exchange::Give { envelopes: envelopes.to_vec(), answer: false });
        self.note_offence(from, outcome.refused);
        for reply in outcome.replies {
            self.send(from, &Frame::Exchange(reply), None);
        }
        // Nobody is sent what this node could not hold against the rules: it would be blamed for what others have signed.
        let sound: Vec<_> = outcome.applied.into_iter().chain(outcome.known).collect();
        if !pass_to.is_empty() && !sound.is_empty() {
            self.pass_on(&sound, from, pass_to);
        }
        if let Some(token) = token {
            self.owe_stored(from, token, envelopes);
        }
    }

    /// Passes news on to those of the named peers that are members here and have a link.
    fn pass_on(&mut self, envelopes: &[Arc<Envelope>], from: NodeId, pass_to: &[ShortId]) {
        let bytes: usize = envelopes.iter().map(|envelope| envelope.size()).sum();
        let named = pass_to.iter().take(MAX_PASS_TO).filter_map(|short| self.called(short));
        let peers: Vec<NodeId> = named.filter(|peer| *peer != from && *peer != self.me).collect();
        let width = match peers.len() {
            _ if bytes > MAX_CONTROL_BYTES => BULK_WIDTH,
            count if count <= 2 * DIRECT => count,
            count => width(count),
        };
        let routes = self.routes(&peers, width);
        self.send_news(envelopes, None, routes);
    }

    fn called(&self, short: &ShortId) -> Option<NodeId> {
        let mut first = [0; 32];
        first[..8].copy_from_slice(short);
        let peer = self.store.members().active().range(NodeId(first)..).next()?;
        (peer.0[..8] == *short).then_some(*peer)
    }

    /// Handles a message of an exchange.
    pub(super) fn exchange(&mut self, now: Now, from: NodeId, message: Exchange) {
        let heard = self.heard(&message);
        if matches!(&message, Exchange::Root { wanted, .. } if *wanted == self.store.state_hash()) {
            self.knows_as_much(from);
            let members = self.store.members().active().iter().filter(|member| **member != from);
            self.known_elsewhere.extend(members);
        }
        let outcome = self.store.exchange(now, message);
        self.catch_up_by(now, from, heard, &outcome);
        self.note_offence(from, outcome.refused);
        for reply in outcome.replies {
            self.send(from, &Frame::Exchange(reply), None);
        }
    }

    /// Everybody holds what it passes on against the rules, so whoever sends what breaks one broke it too; whoever says one thing here
    /// and another there is to blame for it alone. One for each message is enough.
    fn note_offence(&mut self, sender: NodeId, refused: Vec<Refusal>) {
        if let Some(Refusal { by, offence, reason }) = refused.into_iter().next() {
            let peer = by.filter(|by| *by != self.me).unwrap_or(sender);
            self.effects.push_back(Effect::Offence { peer, offence, what: reason });
        }
    }

    pub(super) fn open_exchange_with(&mut self, peer: NodeId) {
        if planted::is(Bug::NoAntiEntropy) {
            return;
        }
        let root = self.store.exchange_root();
        self.send(peer, &Frame::Exchange(root), None);
    }

    /// A link came up: whoever was apart finds out at once what it missed.
    pub(super) fn exchange_over_new_link(&mut self, peer: NodeId) {
        if !self.is_large() || self.link_exchanges < EXCHANGES_BY_LINKS {
            self.link_exchanges += 1;
            self.open_exchange_with(peer);
        }
    }

    /// Whether there are too many to send everything to all of them.
    pub(super) fn is_large(&self) -> bool {
        self.store.members().active().len() > DIRECT
    }

    pub(super) fn exchange_with_somebody(&mut self, now: Now) {
        let peer = self.peers.linked.iter().filter(|peer| **peer != self.me).choose(&mut self.rng).copied();
        if let Some(peer) = peer {
            self.open_exchange_with(peer);
            // The peer that was asked to catch up by may have gone away.
            if self.is_large() {
                self.compare_to_catch_up(now, peer);
            }
        }
        self.link_exchanges = 0;
        self.ask_again();
        self.set_exchange_timer(now);
    }

    pub(super) fn set_exchange_timer(&mut self, now: Now) {
        let jitter = Duration::from_millis(self.rng.random_range(0..EXCHANGE_JITTER_MS));
        self.timers.set(Wait::Exchange, now.mono + EXCHANGE_EVERY + jitter);
    }

    /// Says a section of this node's report and pushes it.
    pub(super) fn say(&mut self, now: Now, section: &str, body: &[u8]) {
        match self.store.set_report(now, section, body) {
            Ok(Some(envelope)) => {
                self.reports.waiting.insert(section.to_owned(), envelope);
                let count = self.store.members().active().len();
                let together = REPORT_PAUSE_PER_MEMBER * u32::try_from(count).unwrap_or(u32::MAX);
                let due = self.reports.pushed_at.map_or(now.mono, |at| at + together);
                if count <= DIRECT || due <= now.mono {
                    self.push_reports(now);
                } else {
                    self.timers.set(Wait::Reports, due);
                }
            }
            Ok(None) => {}
            Err(error) => self.effects.push_back(Effect::Notice(format!("this node's report \"{section}\": {error}"))),
        }
    }

    /// Pushes what this node has said of itself since it did so last.
    pub(super) fn push_reports(&mut self, now: Now) {
        self.reports.pushed_at = Some(now.mono);
        self.timers.clear(&Wait::Reports);
        let said = std::mem::take(&mut self.reports.waiting).into_values().collect();
        for batch in batches(said) {
            self.push_by(&batch, None, WAYS_FOR_REPORTS);
        }
    }

    /// Whether nothing waits to be put into the next batch.
    pub(super) fn records_are_settled(&self) -> bool {
        self.outbox.is_empty() && !self.store.has_records()
    }
}

/// Splits what is pushed so that no frame grows beyond bounds.
pub(super) fn batches(envelopes: Vec<Arc<Envelope>>) -> Vec<Vec<Arc<Envelope>>> {
    let gives = Store::gives(envelopes, false).into_iter();
    gives.filter_map(|give| if let Exchange::Give { envelopes, .. } = give { Some(envelopes) } else { None }).collect()
}

/// How many of so many peers hear news first, so that they and those that each of them passes them on to are about as many.
fn width(count: usize) -> usize {
    count.isqrt().max(1)
}

/// A request to say when something is on disk.
#[derive(Debug)]
struct Asks {
    token: u64,
    /// How many peers are to be asked still.
    left: usize,
}

impl Asks {
    fn one(&mut self) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        Some(self.token)
    }
}

fn short(peer: &NodeId) -> ShortId {
    let mut short = [0; 8];
    short.copy_from_slice(&peer.0[..8]);
    short
}
