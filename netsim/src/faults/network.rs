//! What befalls the network.

use rand::RngExt;
use rand::seq::IndexedRandom;

use super::{Fault, MS, any_host};
use crate::world::{Event, World};

/// Directions between hosts, by their numbers.
pub(crate) type Cuts = Vec<(usize, usize)>;

/// The network falls apart: in two or more groups, around one host, into a ring, or at random.
pub(super) fn partition(world: &mut World) {
    let count = world.hosts.len();
    let rng = &mut world.chance.faults;
    let shape = ["halves", "groups", "one alone", "bridge", "ring", "holes"][rng.random_range(0..6)];
    let groups = if shape == "groups" { rng.random_range(2..=count.max(2)) } else { 2 };
    let sides: Vec<usize> = (0..count).map(|_| rng.random_range(0..groups)).collect();
    let special = rng.random_range(0..count);
    let holes: Vec<bool> = (0..count * count).map(|_| rng.random_bool(0.3)).collect();
    let next = |a: usize, b: usize| (a + 1) % count == b || (b + 1) % count == a;
    let is_cut = |a: usize, b: usize| match shape {
        "halves" | "groups" => sides[a] != sides[b],
        "one alone" => a == special || b == special,
        "bridge" => sides[a] != sides[b] && a != special && b != special,
        "ring" => !next(a, b),
        _ => holes[a.min(b) * count + a.max(b)],
    };
    let pairs = (0..count).flat_map(|a| (0..count).map(move |b| (a, b)));
    let cuts: Cuts = pairs.filter(|(a, b)| a != b && is_cut(*a, *b)).collect();
    world.trace.line(world.now_us, format_args!("partition ({shape}) cuts {}", said(&cuts)));
    apart(world, cuts);
}

pub(super) fn one_way(world: &mut World) {
    let (from, to) = (any_host(world), any_host(world));
    if from != to {
        world.trace.line(world.now_us, format_args!("partition (one way) cuts {}", said(&[(from, to)])));
        apart(world, vec![(from, to)]);
    }
}

pub(super) fn heal(world: &mut World, cuts: &Cuts) {
    world.trace.line(world.now_us, format_args!("heals {}", said(cuts)));
    for (from, to) in cuts {
        world.mend(*from, *to);
    }
}

pub(super) fn reset(world: &mut World) {
    let all = world.links.all();
    let Some((a, b)) = all.choose(&mut world.chance.faults).copied() else { return };
    if let Some(life) = world.links.connection(a, b) {
        world.after(0, Event::Reset { a, b, life });
    }
}

pub(super) fn clog(world: &mut World) {
    let (from, to) = (any_host(world), any_host(world));
    let ms = world.chance.faults.random_range(200..8_000);
    if world.links.connection(from, to).is_some() {
        world.trace.line(world.now_us, format_args!("h{from} to h{to} clogs for {ms} ms"));
        let until = world.now_us + ms * MS;
        world.links.hold(from, to, until);
    }
}

fn apart(world: &mut World, cuts: Cuts) {
    for (from, to) in &cuts {
        world.cut(*from, *to);
    }
    let delay = world.chance.faults.random_range(500..12_000);
    world.after(delay * MS, Event::Fault(Fault::Heal(cuts)));
}

/// Cuts in words: `0>1 1>0`.
fn said(cuts: &[(usize, usize)]) -> String {
    let all: Vec<String> = cuts.iter().map(|(from, to)| format!("{from}>{to}")).collect();
    all.join(" ")
}
