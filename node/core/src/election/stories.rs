//! What must come true of elections, told in the simulator: one story each, and a sweep over many seeds.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use proptest::prelude::*;
use rand::RngExt;
use skein_gossip::random::from_seed;
use skein_gossip::{Instant, Now, Rng};

use super::simulation::{Knobs, World, id};
use super::*;

/// A cluster of `n` that has settled: one quorate leader, all of them voters.
fn settled(seed: u64, n: usize, knobs: Knobs) -> World {
    let mut world = World::new(seed, n, knobs);
    let all: Vec<usize> = (0..n).collect();
    world.until(20_000, |w| w.agree(&all) && is_whole(w)).unwrap_or_else(|| panic!("seed {seed} does not settle"));
    world.run_ms(1_000);
    world
}

/// Whether the quorate leader's voters are all members that run, and all hold that set.
fn is_whole(world: &World) -> bool {
    let Some(leader) = world.quorate_leader() else { return false };
    let voters = &world.hosts[leader].machine.as_ref().unwrap().record().voters;
    let running = (0..world.hosts.len()).filter(|h| world.is_up(*h));
    let mut holds = running.map(|h| world.hosts[h].disk.voters == *voters && voters.weights.contains_key(&id(h)));
    holds.all(|h| h) && voters.weights.keys().all(|v| world.hosts[leader].members.contains(v))
}

fn others(world: &World, but: usize) -> Vec<usize> {
    (0..world.hosts.len()).filter(|h| *h != but).collect()
}

fn median(mut of: Vec<u64>) -> u64 {
    of.sort_unstable();
    of[of.len() / 2]
}

#[test]
fn a_founder_alone_leads_and_is_quorate() {
    let world = settled(1, 1, Knobs::default());
    assert!(world.hosts[0].machine.as_ref().unwrap().leadership().quorate);
}

#[test]
fn when_the_leader_of_five_falls_silent_another_leads_in_well_under_two_seconds() {
    let mut took = Vec::new();
    for seed in 0..60 {
        let mut world = settled(seed, 5, Knobs::default());
        let offset = world.rng.random_range(0..300);
        world.run_ms(offset);
        let leader = world.quorate_leader().unwrap();
        world.partition(&[others(&world, leader)]);
        let rest = others(&world, leader);
        took.push(world.until(4_000, |w| w.agree(&rest) && w.leaders().iter().any(|l| *l != leader)).unwrap());
    }
    assert!(median(took.clone()) <= 1_300, "{took:?}");
    assert!(took.iter().filter(|ms| **ms <= 1_600).count() * 10 >= took.len() * 9, "{took:?}");
    assert!(took.iter().all(|ms| *ms <= 2_500), "{took:?}");
}

#[test]
fn a_leader_that_is_shut_down_hands_over_in_a_few_round_trips() {
    for seed in 0..20 {
        let mut world = settled(seed, 3, Knobs::default());
        let leader = world.quorate_leader().unwrap();
        world.give(leader, Input::StepDown);
        let rest = others(&world, leader);
        assert!(world.until(150, |w| w.agree(&rest)).is_some(), "seed {seed}");
    }
}

#[test]
fn a_tenure_ends_and_the_front_moves_around_without_a_gap() {
    let config = ElectionConfig { tenure: Duration::from_secs(2), ..ElectionConfig::default() };
    let mut world = settled(3, 5, Knobs { config, ..Knobs::default() });
    let mut fronts = BTreeSet::new();
    let mut gap_ms = 0;
    for _ in 0..600 {
        world.run_ms(100);
        fronts.extend(world.leaders());
        gap_ms += if world.leaders().is_empty() { 100 } else { 0 };
    }
    assert!(fronts.len() >= 4, "{fronts:?}");
    assert!(gap_ms <= 1_500, "{gap_ms} ms of 60 s without a leader");
}

#[test]
fn a_node_that_restarts_learns_the_leader_quickly_and_changes_nothing() {
    for seed in 0..20 {
        let mut world = settled(seed, 5, Knobs { loss: 0.02, ..Knobs::default() });
        let leader = world.quorate_leader().unwrap();
        let (term, node) = (world.hosts[leader].disk.term, others(&world, leader)[0]);
        world.crash(node);
        let down = world.rng.random_range(50..6_000);
        world.run_ms(down);
        world.start(node);
        assert!(world.until(1_500, |w| w.agree(&[0, 1, 2, 3, 4])).is_some(), "seed {seed}");
        world.run_ms(2_000);
        assert_eq!(world.leaders(), [leader]);
        assert_eq!(world.hosts[leader].disk.term, term, "seed {seed}");
    }
}

#[test]
fn a_leader_that_restarts_at_once_does_not_resume_its_tenure() {
    for seed in 0..20 {
        let mut world = settled(seed, 3, Knobs::default());
        let leader = world.quorate_leader().unwrap();
        let term = world.hosts[leader].disk.term;
        world.crash(leader);
        world.run_ms(50);
        world.start(leader);
        assert!(world.leaders().is_empty());
        assert!(world.until(2_500, |w| w.agree(&[0, 1, 2]) && w.quorate_leader().is_some()).is_some(), "seed {seed}");
        assert!(world.hosts[world.leaders()[0]].disk.term > term);
    }
}

#[test]
fn who_cannot_write_a_vote_down_keeps_nobody_from_leading() {
    for seed in 0..40 {
        let mut world = settled(seed, 3, Knobs::default());
        let leader = world.quorate_leader().unwrap();
        let [one, full] = others(&world, leader)[..] else { unreachable!() };
        world.full.insert(full);
        world.crash(leader);
        let led = world.until(4_000, |w| w.leaders() == [one]);
        assert!(led.is_some_and(|ms| ms < 3_500), "seed {seed}: {led:?}");
        // Its disk takes writes again, as after a restart: it votes as before.
        world.full.clear();
        world.crash(full);
        world.start(full);
        world.start(leader);
        let whole = world.until(20_000, |w| w.agree(&[0, 1, 2]) && is_whole(w));
        assert!(whole.is_some(), "seed {seed}");
    }
}

#[test]
fn of_two_nodes_cut_apart_both_lead_and_one_is_quorate() {
    for seed in 0..20 {
        let mut world = settled(seed, 2, Knobs::default());
        world.partition(&[vec![0], vec![1]]);
        world.run_ms(4_000);
        assert_eq!(world.leaders(), [0, 1]);
        let quorate = world.hosts.iter().filter(|h| h.machine.as_ref().unwrap().leadership().quorate).count();
        assert_eq!(quorate, 1);
        let stays = world.quorate_leader().unwrap();
        world.heal();
        assert!(world.until(3_000, |w| w.agree(&[0, 1])).is_some());
        world.run_ms(1_000);
        assert_eq!(world.leaders(), [stays]);
        assert!(is_whole(&world));
    }
}

#[test]
fn a_minority_that_was_apart_for_long_binds_nobody_after_the_heal() {
    for seed in 0..20 {
        let mut world = settled(seed, 5, Knobs::default());
        world.partition(&[vec![0, 1], vec![2, 3, 4]]);
        for _ in 0..3 {
            // The minority's leader crashes again and again, so its terms climb.
            world.run_ms(4_000);
            let front = world.leaders().into_iter().find(|l| *l < 2).unwrap();
            world.crash(front);
            world.run_ms(4_000);
            world.start(front);
        }
        let majority = world.quorate_leader().unwrap();
        assert!(majority >= 2);
        world.heal();
        assert!(world.until(3_000, |w| w.agree(&[0, 1, 2, 3, 4]) && is_whole(w)).is_some(), "seed {seed}");
        let one_term = |w: &World| w.hosts.iter().all(|h| h.disk.term == w.hosts[majority].disk.term);
        assert!(world.until(2_000, |w| w.leaders() == [majority] && one_term(w)).is_some(), "seed {seed}");
        let leader = &world.hosts[majority];
        let now = Now { mono: Instant(world.now_us), wall_ms: 0 };
        assert!(leader.machine.as_ref().unwrap().confirmed_at(now).is_some());
    }
}

#[test]
fn with_a_link_that_carries_one_way_terms_do_not_climb_for_ever() {
    for seed in 0..40 {
        let mut world = settled(seed, 4, Knobs::default());
        let (a, b) = (world.rng.random_range(0..4), world.rng.random_range(0..3));
        let b = if b >= a { b + 1 } else { b };
        world.cut.insert((a, b));
        world.run_ms(8_000);
        let term = |w: &World| w.hosts.iter().map(|h| h.disk.term).max().unwrap();
        let before = term(&world);
        world.run_ms(60_000);
        assert!(term(&world) - before <= 2, "seed {seed}: {before} to {}", term(&world));
        assert_eq!(world.leaders().len(), 1, "seed {seed}");
        assert!(world.agree(&[0, 1, 2, 3]), "seed {seed}");
    }
}

#[test]
fn a_node_that_hears_all_and_is_heard_by_none_disturbs_nobody() {
    for seed in 0..40 {
        let mut world = settled(seed, 4, Knobs::default());
        let mute = world.rng.random_range(0..4);
        (0..4).filter(|h| *h != mute).for_each(|h| {
            let link = if seed % 2 == 0 { (mute, h) } else { (h, mute) };
            world.cut.insert(link);
        });
        let rest = others(&world, mute);
        world.run_ms(6_000);
        assert!(world.agree(&rest), "seed {seed}");
        let term = world.hosts[rest[0]].disk.term;
        world.run_ms(30_000);
        assert!(world.agree(&rest) && world.hosts[rest[0]].disk.term <= term + 1, "seed {seed}");
    }
}

#[test]
fn a_disk_that_went_back_in_time_votes_again_only_after_the_voters_went_on_without_it() {
    for seed in 0..20 {
        let mut world = settled(seed, 4, Knobs::default());
        let leader = world.quorate_leader().unwrap();
        let node = others(&world, leader)[0];
        let old = world.hosts[node].disk.clone();
        world.crash(leader);
        world.run_ms(3_000);
        world.start(leader);
        world.until(5_000, |w| w.agree(&[0, 1, 2, 3]) && is_whole(w)).unwrap();
        if world.leaders() == [node] {
            continue;
        }
        world.run_ms(500);
        let before = world.hosts[node].disk.voters.at;
        world.disks_are_sane = false;
        world.crash(node);
        world.run_ms(200);
        world.hosts[node].disk = old;
        world.start(node);
        assert!(world.until(1_000, |w| w.hosts[node].disk.unseated).is_some(), "seed {seed}: nobody noticed");
        let back = |w: &World| w.agree(&[0, 1, 2, 3]) && is_whole(w) && !w.hosts[node].disk.unseated;
        assert!(world.until(5_000, back).is_some(), "seed {seed}: it did not come back");
        assert!(world.hosts[node].disk.voters.at.version >= before.version + 2, "seed {seed}: it never left");
    }
}

#[test]
fn a_voter_that_slept_through_changes_of_the_set_leads_nobody_into_a_second_majority() {
    for seed in 0..20 {
        let mut world = settled(seed, 3, Knobs::default());
        let sleeper = others(&world, world.quorate_leader().unwrap())[0];
        world.crash(sleeper);
        world.run_ms(4_000);
        (0..2).for_each(|_| world.admit(others(&world, sleeper)[0]));
        assert!(world.until(10_000, is_whole).is_some(), "seed {seed}");
        world.run_ms(1_000);
        // By the old set the sleeper and one other are a majority, by the new one the other three are.
        let mut one_side = others(&world, sleeper);
        let other_side = vec![one_side.remove(0), sleeper];
        world.partition(&[one_side.clone(), other_side.clone()]);
        world.start(sleeper);
        world.run_ms(8_000);
        let leaders = world.leaders();
        assert!(leaders.len() == 2 && one_side.contains(&world.quorate_leader().unwrap()), "seed {seed}: {leaders:?}");
    }
}

#[test]
fn a_node_that_retires_takes_no_votes_with_it() {
    for seed in 0..20 {
        let n = if seed % 2 == 0 { 2 } else { 4 };
        let mut world = settled(seed, n, Knobs::default());
        // The leader of two weighs two: without it the other could never be quorate.
        let leaves = if seed % 4 < 2 { world.quorate_leader().unwrap() } else { 0 };
        world.give(leaves, Input::Retire);
        let retired = |w: &World| w.hosts[leaves].machine.as_ref().unwrap().is_retired();
        assert!(world.until(2_000, retired).is_some(), "seed {seed}");
        world.leave_cluster(leaves);
        world.run_ms(5_000);
        let rest = others(&world, leaves);
        assert!(world.agree(&rest) && world.quorate_leader().is_some(), "seed {seed}");
    }
}

#[test]
fn five_hundred_members_elect_and_their_heartbeats_stay_small() {
    let beat = Frame::Heartbeat {
        term: 1 << 40,
        beat: 1 << 40,
        set: SetVersion::default(),
        quorate: true,
        tenure_left_ms: u32::MAX,
    };
    assert!(beat.encode().len() < 64);
    let me = NodeId([7; 32]);
    let nodes: BTreeSet<NodeId> =
        (0..=255u8).flat_map(|a| [NodeId([a; 32]), NodeId([a, 1].repeat(16).try_into().unwrap())]).collect();
    let mut machine = Election::new(ElectionConfig::default(), me, VoteRecord::founder(me), from_seed(1));
    let at = |ms, machine: &mut Election, input| {
        machine.handle(Now { mono: Instant::from_millis(ms), wall_ms: ms }, input);
        std::iter::from_fn(|| machine.poll_output()).filter(|o| matches!(o, Output::Send { .. })).count()
    };
    at(0, &mut machine, Input::Members(nodes.clone()));
    at(0, &mut machine, Input::Alive(nodes.clone()));
    let asked = (1..40).map(|n| at(n * 100, &mut machine, Input::Timeout)).max();
    assert_eq!(asked, Some(nodes.iter().filter(|n| **n != me).count()));
}

/// A run of cuts, crashes, admissions and one-way links; then quiet in two components, then together.
fn chaos(seed: u64) {
    let mut dice = from_seed(seed ^ 0x5eed);
    let n = dice.random_range(1..=6);
    let tenure = Duration::from_secs(if dice.random_bool(0.3) { 3 } else { 600 });
    let knobs = Knobs {
        loss: [0.0, 0.01, 0.1][dice.random_range(0..3)],
        latency_us: [200..3_000, 1_000..80_000][dice.random_range(0..2)].clone(),
        disk_us: [500..10_000, 5_000..120_000][dice.random_range(0..2)].clone(),
        config: ElectionConfig { tenure, ..ElectionConfig::default() },
        ..Knobs::default()
    };
    let calm = knobs.loss < 0.05 && knobs.disk_us.end < 20_000 && knobs.latency_us.end < 10_000;
    let mut world = World::new(seed, n, knobs);
    for _ in 0..dice.random_range(5..25) {
        let wait = dice.random_range(20..2_500);
        world.run_ms(wait);
        disturb(&mut world, &mut dice);
    }
    let down = (0..world.hosts.len()).filter(|h| !world.is_up(*h) && !world.left.contains(&id(*h)));
    down.collect::<Vec<_>>().into_iter().for_each(|h| world.start(h));
    let (left, right): (Vec<usize>, Vec<usize>) = (0..world.hosts.len()).partition(|_| dice.random_bool(0.5));
    world.partition(&[left.clone(), right.clone()]);
    // The failure detector takes up to 2.3 s to be right; then one leader within the 3 s that are promised.
    let wait = if calm { 5_300 } else { 12_000 };
    assert!(world.until(wait, |w| w.agree(&left) && w.agree(&right)).is_some(), "seed {seed}: {left:?} {right:?}");
    world.heal();
    let all: Vec<usize> = (0..world.hosts.len()).collect();
    let wait = if calm { 4_000 } else { 12_000 };
    assert!(world.until(wait, |w| w.agree(&all)).is_some(), "seed {seed} does not agree after the heal");
    let running = (0..world.hosts.len()).filter(|h| world.is_up(*h)).map(id).collect::<Vec<_>>();
    let sets = world.hosts.iter().filter(|h| h.machine.is_some()).map(|h| &h.disk.voters);
    let newest = sets.max_by_key(|v| v.at).unwrap();
    // When most voters left for good before the others could go on without them, nobody is quorate again.
    if newest.is_majority(newest.weight_of(&running)) {
        let whole = world.until(20_000, |w| w.agree(&all) && is_whole(w));
        assert!(whole.is_some(), "seed {seed} does not become whole");
    }
}

fn disturb(world: &mut World, dice: &mut Rng) {
    let hosts = world.hosts.len();
    let (a, b) = (dice.random_range(0..hosts), dice.random_range(0..hosts));
    match dice.random_range(0..10) {
        0 | 1 => {
            let groups = dice.random_range(2..=3);
            let mut split = vec![Vec::new(); groups];
            (0..hosts).for_each(|h| split[dice.random_range(0..groups)].push(h));
            world.partition(&split);
        }
        2 | 3 => world.heal(),
        4 if a != b => {
            world.cut.insert((a, b));
        }
        5 | 6 if world.is_up(a) => world.crash(a),
        7 | 8 if !world.is_up(a) && !world.left.contains(&id(a)) => world.start(a),
        9 if dice.random_bool(0.3) && world.left.len() + 2 < hosts => world.leave_cluster(a),
        9 if hosts < 9 && world.is_up(a) => world.admit(a),
        _ => {}
    }
}

#[test]
fn whatever_happens_two_are_never_quorate_and_quiet_brings_one_leader() {
    #[expect(clippy::disallowed_methods, reason = "how many seeds to run is asked of whoever runs the test")]
    let seeds = std::env::var("SKEIN_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    (0..seeds).for_each(chaos);
}

proptest! {
    #[test]
    fn random_bytes_and_random_times_never_panic(
        inputs in proptest::collection::vec((0u64..3_000, 0usize..6, proptest::collection::vec(any::<u8>(), 0..80)), 0..60),
        seed in any::<u64>(),
    ) {
        let me = id(0);
        let mut machine = Election::new(ElectionConfig::default(), me, VoteRecord::founder(me), from_seed(seed));
        let mut ms = 0;
        for (wait, from, mut bytes) in inputs {
            ms += wait;
            if bytes.len() > 2 {
                (bytes[0], bytes[1]) = (1, bytes[1] % 9);
            }
            let input = match bytes.first() {
                None => Input::Timeout,
                Some(0) => Input::Alive((0..from).map(id).collect()),
                Some(_) => Input::Frame { from: id(from), bytes },
            };
            machine.handle(Now { mono: Instant::from_millis(ms), wall_ms: ms }, input);
            while let Some(output) = machine.poll_output() {
                if let Output::Persist { seq, .. } = output {
                    machine.handle(Now { mono: Instant::from_millis(ms), wall_ms: ms }, Input::Persisted(seq));
                }
            }
        }
    }
}

#[test]
fn a_vote_that_nobody_asked_for_is_an_offence_and_one_that_comes_late_is_none() {
    let me = NodeId([7; 32]);
    let record = VoteRecord { term: 5, ..VoteRecord::founder(me) };
    let machine = Election::new(ElectionConfig::default(), me, record, from_seed(1));
    let state = State { boot: 1, restored: 0, term: 9, seated: true, retiring: false, set: SetVersion::default() };
    let vote = |term, granted| Frame::VoteReply { term, granted, state, leader: None }.encode();
    let offence = |bytes: &[u8]| machine.offence_in(bytes).map(|(offence, _)| offence);
    assert_eq!(offence(&vote(6, true)), Some(Offence::ForgedVote));
    assert_eq!(offence(&vote(5, true)), None);
    assert_eq!(offence(&vote(6, false)), None);
    assert_eq!(offence(b"nonsense"), Some(Offence::Unreadable));
    assert_eq!(offence(&Frame::Mute.encode()), None);
}
