//! What breaks, when, and how it is mended. Everything is drawn from the seed. What befalls the network is in `network`,
//! what befalls a machine in `machine`.

use rand::RngExt;

use crate::knobs::Faults;
use crate::world::{Event, World};

mod machine;
mod network;

pub(crate) use machine::MIN_MEMBERS;
pub(crate) use network::Cuts;

/// Something that breaks, or is mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The network falls apart, in one of many shapes.
    Partition,
    /// One direction between two hosts is cut.
    OneWay,
    /// These directions heal.
    Heal(Vec<(usize, usize)>),
    /// A connection ends for no reason.
    Reset,
    /// Nothing arrives in one direction for a while, then all of it.
    Clog,
    /// A daemon is killed, then started.
    Crash,
    /// A daemon is started.
    Start(usize),
    /// A machine loses its power, then comes back.
    Power,
    /// A machine stands still, then goes on.
    Pause,
    /// A node leaves the cluster, and joins it again later.
    Leave,
    /// Somebody removes a node from the cluster.
    Remove,
    /// A disk takes nothing for a while.
    DiskRefuses,
    /// A disk takes writes again.
    DiskTakes(usize),
    /// A daemon is killed, and its disk changes a bit before it starts again.
    Corrupt,
    /// A machine loses its power, and comes back with an empty disk.
    LoseDisk,
    /// A wall clock jumps.
    Jump,
    /// A container ends by itself, or is removed behind the daemon's back.
    Exit,
    /// A daemon is killed and leaves a container behind that nobody knows of.
    Orphan,
}

const MS: u64 = 1000;

impl Fault {
    /// The faults that come again and again, each with the mean time between two of its kind in milliseconds.
    fn recurring(faults: &Faults) -> [(Fault, u64); 15] {
        [
            (Fault::Partition, faults.partition_every_ms),
            (Fault::OneWay, faults.one_way_every_ms),
            (Fault::Reset, faults.reset_every_ms),
            (Fault::Clog, faults.clog_every_ms),
            (Fault::Crash, faults.crash_every_ms),
            (Fault::Power, faults.power_every_ms),
            (Fault::Pause, faults.pause_every_ms),
            (Fault::Leave, faults.leave_every_ms),
            (Fault::Remove, faults.remove_every_ms),
            (Fault::DiskRefuses, faults.disk_refuses_every_ms),
            (Fault::Corrupt, faults.corrupt_every_ms),
            (Fault::LoseDisk, faults.lose_disk_every_ms),
            (Fault::Jump, faults.jump_every_ms),
            (Fault::Exit, faults.exit_every_ms),
            (Fault::Orphan, faults.orphan_every_ms),
        ]
    }

    /// Lets it happen, and plans the next of its kind.
    pub fn strike(self, world: &mut World) {
        if !world.busy {
            return;
        }
        match &self {
            Fault::Partition => network::partition(world),
            Fault::OneWay => network::one_way(world),
            Fault::Heal(cuts) => network::heal(world, cuts),
            Fault::Reset => network::reset(world),
            Fault::Clog => network::clog(world),
            Fault::Crash => machine::crash(world),
            Fault::Start(host) => world.boot(*host),
            Fault::Power => machine::power(world),
            Fault::Pause => machine::pause(world),
            Fault::Leave => machine::leave(world),
            Fault::Remove => machine::remove(world),
            Fault::DiskRefuses => machine::disk_refuses(world),
            Fault::DiskTakes(host) => world.hosts[*host].disk.fail(None),
            Fault::Corrupt => machine::corrupt(world),
            Fault::LoseDisk => machine::lose_disk(world),
            Fault::Jump => machine::jump(world),
            Fault::Exit => machine::exit(world),
            Fault::Orphan => machine::orphan(world),
        }
        let every_ms = Fault::recurring(&world.knobs.faults).into_iter().find(|(fault, _)| *fault == self);
        if let Some((fault, every_ms)) = every_ms {
            schedule(world, fault, every_ms);
        }
    }
}

/// Puts the first fault of each kind into the queue.
pub fn begin(world: &mut World) {
    for (fault, every_ms) in Fault::recurring(&world.knobs.faults) {
        schedule(world, fault, every_ms);
    }
}

/// Mends everything: cuts heal, machines go on, and all daemons run that are meant to.
pub fn mend(world: &mut World) {
    world.trace.line(world.now_us, format_args!("all is mended"));
    world.heal();
    if world.knobs.removal_every_ms == 0 {
        world.take_away_removed();
    }
    for number in 0..world.hosts.len() {
        if world.hosts[number].paused {
            world.resume(number);
        }
        world.hosts[number].disk.fail(None);
        world.boot(number);
    }
}

fn schedule(world: &mut World, fault: Fault, every_ms: u64) {
    if every_ms > 0 {
        let delay = world.chance.faults.random_range(every_ms / 2..every_ms * 3 / 2);
        world.after(delay * MS, Event::Fault(fault));
    }
}

fn any_host(world: &mut World) -> usize {
    let count = world.hosts.len();
    world.chance.faults.random_range(0..count)
}
