//! What breaks, when, and how it is mended. Everything is drawn from the seed.

use rand::RngExt;
use skein_core::runtime::{ContainerRef, RuntimeEvent};

use crate::world::{Event, World};

/// Something that breaks, or is mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The network falls apart in two, then heals.
    Partition,
    /// One direction between two hosts is cut, then heals.
    OneWay,
    /// All cuts heal.
    Heal,
    /// A daemon is killed, then started.
    Crash,
    /// A daemon is started.
    Start(usize),
    /// A machine loses its power, then comes back.
    Power,
    /// A machine stands still, then goes on.
    Pause,
    /// A container ends by itself.
    Exit,
}

const MS: u64 = 1000;

/// Puts the first fault of each kind into the queue.
pub fn begin(world: &mut World) {
    let knobs = world.knobs.clone();
    let kinds = [
        (Fault::Partition, knobs.partition_every_ms),
        (Fault::OneWay, knobs.one_way_every_ms),
        (Fault::Crash, knobs.crash_every_ms),
        (Fault::Power, knobs.power_every_ms),
        (Fault::Pause, knobs.pause_every_ms),
        (Fault::Exit, knobs.exit_every_ms),
    ];
    for (fault, every_ms) in kinds {
        schedule(world, fault, every_ms);
    }
}

/// Mends everything: cuts heal and all daemons run.
pub fn mend(world: &mut World) {
    world.links.heal();
    for host in &mut world.hosts {
        host.paused_until = 0;
    }
    for number in 0..world.hosts.len() {
        world.boot(number);
    }
    world.trace.line(world.now_us, format_args!("all is mended"));
}

fn schedule(world: &mut World, fault: Fault, every_ms: u64) {
    if every_ms > 0 {
        let delay = world.rng.random_range(every_ms / 2..every_ms * 3 / 2);
        world.after(delay * MS, Event::Fault(fault));
    }
}

impl Fault {
    /// Lets it happen.
    pub fn strike(self, world: &mut World) {
        if !world.busy {
            return;
        }
        let knobs = world.knobs.clone();
        match self {
            Fault::Partition => {
                partition(world);
                schedule(world, self, knobs.partition_every_ms);
            }
            Fault::OneWay => {
                let (from, to) = (any_host(world), any_host(world));
                if from != to {
                    world.trace.line(world.now_us, format_args!("cut from h{from} to h{to}"));
                    world.links.cut(from, to);
                }
                heal_later(world);
                schedule(world, self, knobs.one_way_every_ms);
            }
            Fault::Heal => {
                world.trace.line(world.now_us, format_args!("all cuts heal"));
                world.links.heal();
            }
            Fault::Crash => {
                let host = any_host(world);
                world.trace.line(world.now_us, format_args!("h{host} is killed"));
                world.kill(host);
                let delay = world.rng.random_range(200..6_000);
                world.after(delay * MS, Event::Fault(Fault::Start(host)));
                schedule(world, self, knobs.crash_every_ms);
            }
            Fault::Start(host) => world.boot(host),
            Fault::Power => {
                power(world);
                schedule(world, self, knobs.power_every_ms);
            }
            Fault::Pause => {
                let host = any_host(world);
                let pause = world.rng.random_range(500..12_000) * MS;
                world.trace.line(world.now_us, format_args!("h{host} stands still for {} ms", pause / MS));
                world.hosts[host].paused_until = world.now_us + pause;
                schedule(world, self, knobs.pause_every_ms);
            }
            Fault::Exit => {
                exit(world);
                schedule(world, self, knobs.exit_every_ms);
            }
        }
    }
}

fn any_host(world: &mut World) -> usize {
    let count = world.hosts.len();
    world.rng.random_range(0..count)
}

fn heal_later(world: &mut World) {
    let delay = world.rng.random_range(1_000..12_000);
    world.after(delay * MS, Event::Fault(Fault::Heal));
}

fn partition(world: &mut World) {
    let sides: Vec<bool> = (0..world.hosts.len()).map(|_| world.rng.random_bool(0.4)).collect();
    world.trace.line(world.now_us, format_args!("the network falls apart: {sides:?}"));
    for from in 0..sides.len() {
        for to in 0..sides.len() {
            if sides[from] != sides[to] {
                world.links.cut(from, to);
            }
        }
    }
    heal_later(world);
}

/// Unlike a killed daemon's, a dead machine's connections are not closed: its peers hear nothing.
fn power(world: &mut World) {
    let host = any_host(world);
    if world.hosts[host].node.is_none() {
        return;
    }
    world.trace.line(world.now_us, format_args!("h{host} loses its power"));
    let wall_ms = world.hosts[host].wall_ms(world.now_us);
    world.kill(host);
    world.hosts[host].engine.power_loss(wall_ms);
    let delay = world.rng.random_range(1_000..10_000);
    world.after(delay * MS, Event::Fault(Fault::Start(host)));
}

fn exit(world: &mut World) {
    let host = any_host(world);
    let running: Vec<ContainerRef> = world.hosts[host].engine.running().map(|info| info.id.clone()).collect();
    if running.is_empty() {
        return;
    }
    let id = running[world.rng.random_range(0..running.len())].clone();
    let wall_ms = world.hosts[host].wall_ms(world.now_us);
    world.trace.line(world.now_us, format_args!("h{host} container {} of {} ends", id.container, id.uid));
    if let Some(exit) = world.hosts[host].engine.end(wall_ms, &id, Some(1)) {
        let start = world.hosts[host].start;
        world.after(1_000, Event::Runtime { host, start, event: Box::new(RuntimeEvent::Exited { id, exit }) });
    }
}
