//! Five nodes in virtual time: latency, loss, cuts and crashes come from one seed.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use foca::{Member, State};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};

use super::swim::Identity;
use super::*;
use crate::{Instant, Now, Rng, random};

/// A frame or a change of a link on its way.
#[derive(Clone)]
enum Event {
    Frame { from: usize, to: usize, bytes: Vec<u8> },
    Link { at: usize, peer: usize, up: bool },
}

/// A small network. A link exists while both ends run and no cut is between them; a silent cut loses frames and leaves
/// the links as they are.
struct Lan {
    now: Instant,
    nodes: Vec<Membership>,
    running: Vec<bool>,
    /// A process that gets no processor until then; what is sent to it waits.
    paused: Option<(usize, Instant)>,
    side: Vec<u8>,
    loss_percent: u32,
    rng: Rng,
    queue: BTreeMap<(Instant, u64), Event>,
    sequence: u64,
    /// What each node said of others: when, who, what.
    said: Vec<(Instant, usize, Output)>,
    traffic: u64,
    bytes: usize,
}

fn id(index: usize) -> NodeId {
    NodeId([u8::try_from(index + 1).unwrap(); 32])
}

impl Lan {
    fn new(count: usize, seed: u64, loss_percent: u32) -> Self {
        Self::of(MembershipConfig::default(), count, seed, loss_percent)
    }

    fn of(config: MembershipConfig, count: usize, seed: u64, loss_percent: u32) -> Self {
        let mut rng = random::from_seed(seed);
        let nodes = (0..count).map(|i| Membership::new(config, id(i), 1 << 20, Rng::from_rng(&mut rng))).collect();
        let mut lan = Lan {
            now: Instant::ZERO,
            nodes,
            running: vec![true; count],
            paused: None,
            side: vec![0; count],
            loss_percent,
            rng,
            queue: BTreeMap::new(),
            sequence: 0,
            said: Vec::new(),
            traffic: 0,
            bytes: 0,
        };
        let members: BTreeSet<_> = (0..count).map(id).collect();
        for index in 0..count {
            lan.input(index, Input::Members(members.clone()));
        }
        lan
    }

    fn clock(&self) -> Now {
        Now { mono: self.now, wall_ms: 0 }
    }

    fn push(&mut self, delay: Duration, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), event);
    }

    fn latency(&mut self) -> Duration {
        Duration::from_micros(self.rng.random_range(300..3000))
    }

    fn input(&mut self, index: usize, input: Input) {
        let now = self.clock();
        self.nodes[index].handle(now, input);
        self.drain(index);
    }

    fn drain(&mut self, index: usize) {
        while let Some(output) = self.nodes[index].poll_output() {
            match output {
                Output::Send { to, bytes } => {
                    self.bytes += bytes.len();
                    self.traffic = bytes.iter().chain(&to.0[..1]).fold(self.traffic, |hash, byte| {
                        (hash.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(0x517c_c1b7_2722_0a95)
                    });
                    let to = usize::from(to.0[0]) - 1;
                    if self.side[index] == self.side[to] && self.rng.random_range(0..100) >= self.loss_percent {
                        let delay = self.latency();
                        self.push(delay, Event::Frame { from: index, to, bytes });
                    }
                }
                Output::Dial(peer) => {
                    let peer = usize::from(peer.0[0]) - 1;
                    let reachable = self.running[peer] && self.side[index] == self.side[peer];
                    if reachable && !self.nodes[index].is_linked(&id(peer)) {
                        let delay = self.latency();
                        self.push(delay, Event::Link { at: index, peer, up: true });
                        self.push(delay, Event::Link { at: peer, peer: index, up: true });
                    }
                }
                other => self.said.push((self.now, index, other)),
            }
        }
    }

    fn wakes(&self, index: usize) -> Instant {
        self.paused.filter(|(paused, _)| *paused == index).map_or(Instant::ZERO, |(_, until)| until)
    }

    fn run_ms(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        loop {
            let timer = (0..self.nodes.len())
                .filter(|i| self.running[*i])
                .filter_map(|i| self.nodes[i].poll_timeout().map(|at| (at.max(self.wakes(i)), i)))
                .min();
            let event = self.queue.keys().next().copied();
            let event_first = event.is_some_and(|(at, _)| timer.is_none_or(|(due, _)| at <= due));
            let next = if event_first { event.map(|(at, _)| at) } else { timer.map(|(at, _)| at) };
            let Some(at) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            if event_first {
                let event = self.queue.pop_first().unwrap().1;
                let (Event::Frame { to: receiver, .. } | Event::Link { at: receiver, .. }) = event;
                if self.wakes(receiver) > self.now {
                    // Its overdue timers fire before it reads what has piled up: the worse order.
                    let wait = self.wakes(receiver).since(self.now) + Duration::from_millis(2);
                    self.push(wait, event);
                    continue;
                }
                match event {
                    Event::Frame { from, to, bytes } if self.running[to] => {
                        self.input(to, Input::Frame { from: id(from), bytes });
                    }
                    Event::Link { at, peer, up: true } if self.running[at] => self.input(at, Input::LinkUp(id(peer))),
                    Event::Link { at, peer, up: false } if self.running[at] => {
                        self.input(at, Input::LinkDown(id(peer)));
                    }
                    _ => {}
                }
            } else if let Some((_, index)) = timer {
                self.input(index, Input::Timeout);
            }
        }
        self.now = end;
    }

    /// The process dies: the others' links break.
    fn crash(&mut self, index: usize) {
        self.running[index] = false;
        for other in (0..self.nodes.len()).filter(|other| *other != index) {
            let delay = self.latency();
            self.push(delay, Event::Link { at: other, peer: index, up: false });
        }
    }

    /// The cable is pulled: nothing arrives any more, and nobody is told.
    fn die_silently(&mut self, index: usize) {
        self.running[index] = false;
        self.side[index] = 100;
    }

    fn break_links_across(&mut self) {
        for a in 0..self.nodes.len() {
            for b in 0..self.nodes.len() {
                if self.side[a] == self.side[b] {
                    continue;
                }
                self.push(Duration::ZERO, Event::Link { at: a, peer: b, up: false });
            }
        }
    }

    fn all_see_all(&self) -> bool {
        let running: Vec<_> = (0..self.nodes.len()).filter(|i| self.running[*i]).collect();
        running.iter().all(|a| {
            running.iter().all(|b| a == b || self.nodes[*a].alive().contains(&id(*b)))
                && self.nodes[*a].alive().len() == running.len() - 1
        })
    }

    fn downs(&self) -> Vec<(Instant, usize, NodeId)> {
        let down = |(at, who, what): &(Instant, usize, Output)| match what {
            Output::Down(peer) => Some((*at, *who, *peer)),
            _ => None,
        };
        self.said.iter().filter_map(down).collect()
    }
}

#[test]
fn five_nodes_find_each_other_within_a_second() {
    let mut lan = Lan::new(5, 1, 0);
    lan.run_ms(1000);
    assert!(lan.all_see_all());
    assert!(lan.nodes.iter().all(|node| node.state(&id(9)).is_none()));
}

#[test]
fn a_silent_death_is_noticed_by_all_without_a_false_alarm() {
    for (seed, loss) in (0..20).map(|seed| (seed, 0)).chain((20..40).map(|seed| (seed, 5))) {
        let mut lan = Lan::new(5, seed, loss);
        lan.run_ms(30_000);
        assert!(lan.all_see_all() && lan.downs().is_empty(), "seed {seed}: false alarm {:?}", lan.downs());
        lan.die_silently(2);
        lan.run_ms(3500);
        let downs = lan.downs();
        assert!(downs.iter().all(|(_, _, peer)| *peer == id(2)), "seed {seed}: {downs:?}");
        assert_eq!(downs.len(), 4, "seed {seed}: not all noticed in 3.5 s: {downs:?}");
    }
}

#[test]
fn a_crash_that_breaks_links_is_noticed_within_two_seconds_and_a_half() {
    for seed in 0..10 {
        let mut lan = Lan::new(5, seed, 5);
        lan.run_ms(10_000);
        lan.crash(4);
        lan.run_ms(2500);
        assert_eq!(lan.downs().len(), 4, "seed {seed}: {:?}", lan.downs());
    }
}

#[test]
fn the_survivor_of_two_notices_that_it_is_alone() {
    let mut lan = Lan::new(2, 3, 0);
    lan.run_ms(5000);
    lan.die_silently(1);
    lan.run_ms(3500);
    assert_eq!(lan.downs().len(), 1);
    assert!(lan.nodes[0].alive().is_empty());
}

#[test]
fn a_lost_link_between_two_healthy_nodes_is_no_verdict() {
    for seed in 0..10 {
        let mut lan = Lan::new(5, seed, 0);
        lan.run_ms(10_000);
        lan.said.clear();
        lan.input(0, Input::LinkDown(id(1)));
        lan.input(1, Input::LinkDown(id(0)));
        // Both redial at once; take that away by cutting the pair alone.
        lan.queue.retain(|_, event| !matches!(event, Event::Link { .. }));
        for _ in 0..50 {
            lan.run_ms(100);
            lan.queue.retain(|_, event| !matches!(event, Event::Link { .. }));
        }
        assert!(lan.downs().is_empty(), "seed {seed}: {:?}", lan.downs());
    }
}

#[test]
fn after_a_heal_all_see_all_again_within_five_seconds() {
    for seed in 0..20 {
        let mut lan = Lan::new(5, seed, if seed % 2 == 0 { 0 } else { 5 });
        lan.run_ms(10_000);
        lan.side = vec![0, 0, 1, 1, 1];
        lan.run_ms(10_000);
        lan.break_links_across();
        lan.run_ms(20_000);
        assert_eq!(lan.nodes[0].alive().len(), 1, "seed {seed}");
        assert_eq!(lan.nodes[4].alive().len(), 2, "seed {seed}");
        lan.side = vec![0; 5];
        lan.run_ms(5000);
        assert!(lan.all_see_all(), "seed {seed}");
        lan.said.clear();
        lan.run_ms(30_000);
        assert!(lan.downs().is_empty(), "seed {seed}: it does not stay so: {:?}", lan.downs());
    }
}

#[test]
fn a_heal_whose_links_never_broke_is_noticed_too() {
    for seed in 0..10 {
        let mut lan = Lan::new(5, seed, 0);
        lan.run_ms(10_000);
        lan.side = vec![0, 0, 1, 1, 1];
        lan.run_ms(15_000);
        lan.side = vec![0; 5];
        lan.run_ms(5000);
        assert!(lan.all_see_all(), "seed {seed}");
    }
}

#[test]
fn a_restarted_node_is_back_at_once_even_if_its_bump_went_back() {
    for bump in [0, 1 << 20, 2 << 20] {
        let mut lan = Lan::new(5, 7, 0);
        lan.run_ms(5000);
        lan.crash(1);
        lan.run_ms(5000);
        assert!(!lan.nodes[0].alive().contains(&id(1)));
        lan.nodes[1] = Membership::new(MembershipConfig::default(), id(1), bump, random::from_seed(99));
        lan.running[1] = true;
        lan.input(1, Input::Members((0..5).map(id).collect()));
        lan.run_ms(2000);
        assert!(lan.all_see_all(), "bump {bump}");
    }
}

#[test]
fn a_node_that_says_goodbye_is_down_without_a_suspicion() {
    let mut lan = Lan::new(5, 4, 0);
    lan.run_ms(5000);
    lan.said.clear();
    lan.input(3, Input::Leave);
    lan.running[3] = false;
    lan.run_ms(100);
    assert_eq!(lan.downs().len(), 4);
    assert!(!lan.said.iter().any(|(_, _, output)| matches!(output, Output::Suspect(_))));
    assert_eq!(lan.nodes[3].poll_timeout(), None);
}

#[test]
fn a_paused_node_doubts_itself_and_accuses_nobody() {
    for seed in 0..10 {
        let mut lan = Lan::new(5, seed, 0);
        lan.run_ms(10_000);
        lan.said.clear();
        // Shorter than the others need for a verdict, longer than a probe and two.
        lan.paused = Some((0, lan.now + Duration::from_millis(1200)));
        lan.run_ms(8000);
        let accused: Vec<_> = lan.said.iter().filter(|(_, who, _)| *who == 0).cloned().collect();
        assert!(accused.iter().all(|(_, _, output)| !matches!(output, Output::Down(_))), "seed {seed}: {accused:?}");
        assert!(lan.nodes[0].counters().late >= 1);
        assert!(lan.all_see_all(), "seed {seed}");
    }
}

#[test]
fn a_suspect_that_spoke_up_in_time_is_not_told_that_it_is_down() {
    for seed in 0..10 {
        let mut lan = Lan::new(5, seed, 0);
        lan.run_ms(10_000);
        lan.said.clear();
        lan.paused = Some((0, lan.now + Duration::from_millis(1400)));
        lan.run_ms(8000);
        let is_suspicion = |(_, _, output): &(Instant, usize, Output)| *output == Output::Suspect(id(0));
        assert!(lan.said.iter().any(is_suspicion), "seed {seed}: nobody suspected it");
        assert_eq!(lan.nodes[0].counters().rejoins, 0, "seed {seed}: it took up a new identity");
    }
}

#[test]
fn in_a_large_cluster_an_accuser_is_answered_in_one_short_frame_that_refutes() {
    let mut node = Membership::new(MembershipConfig::default(), id(0), 1 << 20, random::from_seed(3));
    let now = Now::default();
    node.handle(now, Input::Members((0..100).map(id).collect()));
    node.handle(now, Input::LinkUp(id(1)));
    while node.poll_output().is_some() {}
    let me = Identity { node: id(0), bump: 1 << 20 };
    for suspected in 0..3 {
        let accusation = wire::write_roster(&[Member::new(me, suspected, State::Suspect)], false).swap_remove(0);
        node.handle(now, Input::Frame { from: id(1), bytes: accusation });
        let refutation = wire::write_roster(&[Member::new(me, suspected + 1, State::Alive)], false).swap_remove(0);
        let sent: Vec<_> = std::iter::from_fn(|| node.poll_output()).collect();
        assert_eq!(sent, [Output::Send { to: id(1), bytes: refutation }]);
    }
}

/// How often a node that stands still for up to 1.95 s once in a while is called down in ten minutes.
fn calls_of_a_slow_node(local_health: bool, seed: u64) -> usize {
    let config = MembershipConfig { local_health, ..MembershipConfig::default() };
    let mut lan = Lan::of(config, 5, seed, 0);
    lan.run_ms(10_000);
    for round in 0..150 {
        lan.paused = Some((0, lan.now + Duration::from_millis(1650 + round % 7 * 50)));
        lan.run_ms(4000 + round % 11 * 50);
    }
    lan.downs().len()
}

#[test]
fn a_node_that_keeps_standing_still_is_given_more_time() {
    let (with, without) = (0..5).fold((0, 0), |(with, without), seed| {
        (with + calls_of_a_slow_node(true, seed), without + calls_of_a_slow_node(false, seed))
    });
    assert!(with * 10 < without, "{with} times with local health, {without} without");
}

#[test]
fn equal_seeds_make_identical_traffic() {
    let run = |seed| {
        let mut lan = Lan::new(5, seed, 5);
        lan.run_ms(10_000);
        lan.crash(0);
        lan.run_ms(10_000);
        (lan.traffic, lan.said)
    };
    assert_eq!(run(11), run(11));
    assert_ne!(run(11).0, run(12).0);
}

#[test]
fn an_idle_cluster_of_five_is_quiet() {
    let mut lan = Lan::new(5, 5, 0);
    lan.run_ms(10_000);
    lan.bytes = 0;
    lan.run_ms(60_000);
    let each = lan.bytes / 60 / 5;
    assert!(each < 1000, "{each} B/s for each node");
}

#[test]
fn a_forged_sender_a_stranger_and_noise_are_counted_and_ignored() {
    let mut lan = Lan::new(3, 6, 0);
    lan.run_ms(2000);
    let mut speaker = Membership::new(MembershipConfig::default(), id(1), 9 << 20, random::from_seed(1));
    let now = lan.clock();
    speaker.handle(now, Input::Members([id(0)].into()));
    speaker.handle(now, Input::LinkUp(id(0)));
    let bytes = std::iter::from_fn(|| speaker.poll_output())
        .find_map(|output| match output {
            Output::Send { bytes, .. } => Some(bytes),
            _ => None,
        })
        .unwrap();
    let before = lan.nodes[0].alive().clone();
    lan.nodes[0].handle(now, Input::Frame { from: id(2), bytes: bytes.clone() });
    lan.nodes[0].handle(now, Input::Frame { from: id(7), bytes });
    lan.nodes[0].handle(now, Input::Frame { from: id(2), bytes: vec![1, 2, 3] });
    lan.nodes[0].handle(now, Input::Frame { from: id(2), bytes: vec![2; MAX_FRAME + 1] });
    let counters = lan.nodes[0].counters();
    assert_eq!((counters.forged, counters.strangers, counters.malformed), (1, 1, 2));
    assert!(std::iter::from_fn(|| lan.nodes[0].poll_output()).next().is_none());
    assert_eq!(*lan.nodes[0].alive(), before);
}

#[test]
fn a_removed_member_is_down_at_once_and_stays_out() {
    let mut lan = Lan::new(4, 8, 0);
    lan.run_ms(2000);
    let rest: BTreeSet<_> = (0..3).map(id).collect();
    for index in 0..3 {
        lan.input(index, Input::Members(rest.clone()));
        assert_eq!(lan.nodes[index].state(&id(3)), None);
    }
    assert_eq!(lan.downs().len(), 3);
    lan.run_ms(20_000);
    assert!((0..3).all(|index| lan.nodes[index].alive().len() == 2));
    for index in 0..3 {
        lan.input(index, Input::Members((0..4).map(id).collect()));
    }
    lan.run_ms(3000);
    assert!(lan.all_see_all(), "admitted again");
}

#[test]
fn missing_members_are_dialled_in_turn_a_few_each_second() {
    let mut node = Membership::new(MembershipConfig::default(), id(0), 0, random::from_seed(2));
    let mut now = Now::default();
    node.handle(now, Input::Members((0..100).map(id).collect()));
    let mut dialled: BTreeMap<NodeId, usize> = BTreeMap::new();
    while now.mono < Instant::from_millis(5900) {
        while let Some(output) = node.poll_output() {
            if let Output::Dial(peer) = output {
                *dialled.entry(peer).or_default() += 1;
            }
        }
        now.mono = node.poll_timeout().unwrap();
        node.handle(now, Input::Timeout);
    }
    assert_eq!(dialled.len(), 99);
    assert!(dialled.values().sum::<usize>() <= 6 * DIALS_PER_TICK + DIALS_PER_TICK);
}

fn any_identity() -> impl Strategy<Value = Identity> {
    (0..4usize, prop_oneof![0..3u64, Just(1 << 20), Just(wire::MAX_BUMP), any::<u64>()])
        .prop_map(|(node, bump)| Identity { node: id(node), bump })
}

fn any_member() -> impl Strategy<Value = Member<Identity>> {
    let state = prop_oneof![Just(State::Alive), Just(State::Suspect), Just(State::Down)];
    let incarnation = prop_oneof![0..3u16, Just(u16::MAX), any::<u16>()];
    (any_identity(), incarnation, state).prop_map(|(id, incarnation, state)| Member::new(id, incarnation, state))
}

fn any_message() -> impl Strategy<Value = foca::Message<Identity>> {
    use foca::Message as M;
    (0..11u8, any_identity(), 0..3u8).prop_map(|(kind, target, probe_number)| match kind {
        0 => M::Ping(probe_number),
        1 => M::Ack(probe_number),
        2 => M::PingReq { target, probe_number },
        3 => M::IndirectPing { origin: target, probe_number },
        4 => M::IndirectAck { target, probe_number },
        5 => M::ForwardedAck { origin: target, probe_number },
        6 => M::Announce,
        7 => M::Feed,
        8 => M::Gossip,
        9 => M::Broadcast,
        _ => M::TurnUndead,
    })
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let swim = (any_identity(), 0..3u16, any_identity(), any_message(), prop::collection::vec(any_member(), 0..4))
        .prop_map(|(src, src_incarnation, dst, message, members)| {
            let header = foca::Header { src, src_incarnation, dst, message };
            let mut bytes = vec![1];
            bytes.extend(postcard::to_stdvec(&header).unwrap());
            if !members.is_empty() {
                bytes.extend(u16::try_from(members.len()).unwrap().to_be_bytes());
            }
            for member in &members {
                bytes.extend(postcard::to_stdvec(member).unwrap());
            }
            bytes
        });
    let roster = (prop::collection::vec(any_member(), 1..4), any::<bool>())
        .prop_map(|(members, wants_reply)| wire::write_roster(&members, wants_reply).swap_remove(0));
    let about = (0..5usize, 0..5usize, any::<bool>()).prop_map(|(target, origin, ask)| {
        if ask { wire::write_ask(&id(target), &id(origin)) } else { wire::write_vouch(&id(target), &id(origin)) }
    });
    prop_oneof![4 => swim, 2 => roster, 1 => about, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_members_send_nothing_fails_and_strangers_stay_out(
        frames in prop::collection::vec((0..5usize, any_frame(), 0..400u64, 0..6u8), 1..60)
    ) {
        let mut node = Membership::new(MembershipConfig::default(), id(0), 1 << 20, random::from_seed(1));
        let mut now = Now::default();
        node.handle(now, Input::Members((0..4).map(id).collect()));
        (1..4).for_each(|peer| node.handle(now, Input::LinkUp(id(peer))));
        for (from, bytes, wait_ms, also) in frames {
            now.mono += Duration::from_millis(wait_ms);
            if node.poll_timeout().is_some_and(|at| at <= now.mono) {
                node.handle(now, Input::Timeout);
            }
            match also {
                0 => node.handle(now, Input::LinkDown(id(from))),
                1 => node.handle(now, Input::LinkUp(id(from))),
                _ => {}
            }
            node.handle(now, Input::Frame { from: id(from), bytes });
            while let Some(output) = node.poll_output() {
                if let Output::Send { to, bytes } = output {
                    prop_assert!(bytes.len() <= MAX_FRAME && (1..4).map(id).any(|member| member == to));
                }
            }
            prop_assert!(node.alive().iter().all(|peer| (1..4).map(id).any(|member| member == *peer)));
        }
    }
}
