//! Large clusters, and what they cost: one forms, runs pods, is edited, loses a third of its nodes at once, and heals. Time is
//! virtual here; whoever calls measures how long it really takes.

use std::collections::BTreeSet;

use skein_core::node::Node;
use skein_core::request::WriteOp;
use skein_core::slot::SLOT_KIND;
use skein_crdt_state::{Edit, Kind, NameKey, ObjectKey, Scalar};

use crate::knobs::Knobs;
use crate::link::profile::Network;
use crate::workload::{self, manifest};
use crate::world::World;

mod spread;

pub use spread::Spread;

/// How many replicas each Deployment has.
const REPLICAS: usize = 50;
/// How many Deployments a user creates in one go.
const AT_ONCE: usize = 10;
/// The most that a phase may take, in virtual microseconds.
const PATIENCE_US: u64 = 600_000_000;
/// How often it is asked whether a phase is over, in virtual microseconds.
const ASK_US: u64 = 250_000;
/// How long a cluster is left alone to see what it costs then, in virtual microseconds.
const IDLE_US: u64 = 10_000_000;

/// What is tried.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many nodes.
    pub nodes: usize,
    /// How many pods, at least; a multiple of what one Deployment has.
    pub pods: usize,
    /// How many edits, one a second.
    pub edits: u64,
    /// How many of a thousand frames are lost while there are edits, and sent again.
    pub loss_permille: u64,
    /// How the hosts are connected.
    pub network: Network,
    /// Whether a third of the nodes is lost and returns.
    pub loses_a_third: bool,
    /// What all chance is drawn from.
    pub seed: u64,
}

/// What a phase was like.
#[derive(Debug, Clone, Default)]
pub struct Lap {
    /// Which phase.
    pub name: &'static str,
    /// How long it took, in virtual microseconds.
    pub virtual_us: u64,
    /// How many frames all nodes sent.
    pub frames: u64,
    /// How many bytes.
    pub bytes: u64,
    /// How the edits spread, where there were any.
    pub spreads: Vec<Spread>,
}

/// Goes through all phases; `lap` is told of each as it ends.
///
/// # Errors
/// The phase that did not come to its end, and what was still amiss.
pub fn run(plan: &Plan, lap: &mut dyn FnMut(Lap)) -> Result<(), String> {
    let mut scale = Scale::new(plan);
    lap(scale.phase("form", all_know_all)?);
    let pods = scale.deploy(plan.pods);
    lap(scale.phase("deploy", |world| run_exactly(world, pods))?);
    lap(scale.phase("settle", all_alike)?);
    lap(scale.idle());
    lap(scale.edits(plan));
    if plan.loses_a_third {
        let lost = scale.lose_a_third(plan.nodes);
        lap(scale.phase("a third lost", |world| run_exactly(world, pods))?);
        lost.iter().for_each(|host| scale.world.boot(*host));
        lap(scale.phase("heal", |world| all_know_all(world).or_else(|| run_exactly(world, pods)))?);
        lap(scale.phase("settle again", |world| all_alike(world).or_else(|| run_exactly(world, pods)))?);
    }
    Ok(())
}

struct Scale {
    world: World,
    frames: u64,
    bytes: u64,
    deployments: Vec<ObjectKey>,
}

impl Scale {
    fn new(plan: &Plan) -> Self {
        let calm = Knobs::calm(plan.seed, plan.nodes);
        let queue_max = usize::MAX;
        let (network, tenure_ms) = (plan.network, 3_600_000);
        let knobs = Knobs { user_every_ms: 0, disk_us: 2_000, pull_ms: 50, tenure_ms, queue_max, network, ..calm };
        let mut world = World::new(knobs, false);
        world.is_watched = false;
        Scale { world, frames: 0, bytes: 0, deployments: Vec::new() }
    }

    /// Lets time pass until nothing is amiss any more.
    fn phase(&mut self, name: &'static str, amiss: impl Fn(&World) -> Option<String>) -> Result<Lap, String> {
        let began_us = self.world.now_us;
        loop {
            let until = self.world.now_us + ASK_US;
            self.world.run_to(until);
            if let Some(violation) = &self.world.violation {
                return Err(format!("{name}: {}: {}", violation.check, violation.what));
            }
            let Some(what) = amiss(&self.world) else { break };
            if self.world.now_us - began_us > PATIENCE_US {
                return Err(format!("{name}: not done after {} virtual s: {what}", PATIENCE_US / 1_000_000));
            }
        }
        Ok(self.lap(name, began_us))
    }

    fn lap(&mut self, name: &'static str, began_us: u64) -> Lap {
        let traffic = &self.world.watch.traffic;
        let (frames, bytes) = (traffic.frames - self.frames, traffic.bytes - self.bytes);
        (self.frames, self.bytes) = (traffic.frames, traffic.bytes);
        Lap { name, virtual_us: self.world.now_us - began_us, frames, bytes, spreads: Vec::new() }
    }

    fn idle(&mut self) -> Lap {
        let began_us = self.world.now_us;
        self.world.run_to(began_us + IDLE_US);
        self.lap("idle", began_us)
    }

    /// Creates Deployments at several peers; how many pods they ask for.
    fn deploy(&mut self, pods: usize) -> usize {
        let owner = NameKey::root(&Kind::new("Namespace"), "default").life(1);
        let count = pods.div_ceil(REPLICAS);
        for number in 0..count {
            let name = owner.name_of_child(&Kind::new("Deployment.apps"), &format!("web-{number}"));
            let peer = number * 7 % self.world.hosts.len();
            let op = workload::deployment(&self.world, peer, name.clone(), &manifest(REPLICAS as i64, 0, "alive"));
            workload::write(&mut self.world, peer, op);
            self.deployments.push(name.life(1));
            if number % AT_ONCE == AT_ONCE - 1 {
                let until = self.world.now_us + ASK_US;
                self.world.run_to(until);
            }
        }
        count * REPLICAS
    }

    /// One edit a second, each at another peer, of what may be edited without any pod being replaced.
    fn edits(&mut self, plan: &Plan) -> Lap {
        let began_us = self.world.now_us;
        self.world.knobs.faults.loss_permille = plan.loss_permille;
        let mut spreads = Vec::new();
        for number in 0..plan.edits {
            let peer = (number as usize * 13 + 1) % self.world.hosts.len();
            let key = self.deployments[number as usize % self.deployments.len()].clone();
            let edits = vec![Edit::set("metadata.labels.edit", Scalar::Int(number as i64))];
            self.world.spread = Spread::follow(&self.world, peer, key.clone());
            workload::write(&mut self.world, peer, WriteOp::Edit { key, edits, if_heads: None });
            self.world.run_to(began_us + (number + 1) * 1_000_000);
            spreads.extend(self.world.spread.take());
        }
        self.world.knobs.faults.loss_permille = 0;
        Lap { spreads, ..self.lap("edits", began_us) }
    }

    fn lose_a_third(&mut self, nodes: usize) -> BTreeSet<usize> {
        let lost: BTreeSet<usize> = (0..nodes).filter(|host| host % 3 == 1).collect();
        lost.iter().for_each(|host| self.world.power_off(*host));
        lost
    }
}

fn running(world: &World) -> impl Iterator<Item = &Node> {
    world.hosts.iter().filter_map(|host| host.node.as_ref())
}

/// Every host runs, and every node sees all others alive.
fn all_know_all(world: &World) -> Option<String> {
    let all = world.hosts.len();
    if let Some(host) = world.hosts.iter().find(|host| host.node.is_none()) {
        return Some(format!("{} does not run", host.name));
    }
    let short = running(world).find(|node| node.alive().len() < all)?;
    Some(format!("{} sees {} of {all} alive", short.name(), short.alive().len()))
}

/// As many containers run as pods are asked for.
fn run_exactly(world: &World, pods: usize) -> Option<String> {
    let count: usize = world.hosts.iter().map(|host| host.engine.running().count()).sum();
    let slots = running(world).next().map_or(0, |node| node.store().live(&Kind::new(SLOT_KIND)).count());
    (count != pods).then(|| format!("{count} of {pods} pods run, {slots} slots are there"))
}

/// All nodes hold the same.
fn all_alike(world: &World) -> Option<String> {
    let mut nodes = running(world);
    let first = nodes.next()?;
    let (wanted, reported) = (first.store().state_hash(), first.store().reported().root());
    let other = nodes.find(|node| node.store().state_hash() != wanted || node.store().reported().root() != reported)?;
    Some(format!("{} and {} hold different things", first.name(), other.name()))
}
