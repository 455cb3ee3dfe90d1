//! One run: faults and users are at work for a while, then everything is mended and must settle.

use crate::checks;
use crate::faults;
use crate::knobs::Knobs;
use crate::world::{Event, World};

/// How long a cluster has to settle once everything is mended, in virtual microseconds.
const SETTLE_US: u64 = 180_000_000;
/// How long it must stay settled.
const QUIET_US: u64 = 3_000_000;
/// How often it is asked whether it has settled.
const ASK_US: u64 = 500_000;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which check found it.
    pub check: &'static str,
    /// What it found.
    pub what: String,
    /// When, in virtual microseconds.
    pub at_us: u64,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Everything held.
    Clean,
    /// A promise was broken.
    Broken(Violation),
    /// It did not settle in time; what was still amiss.
    Late(Violation),
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// The hash of its trace.
    pub hash: String,
    /// The last lines of its trace.
    pub last: Vec<String>,
    /// How long it took to settle after everything was mended, in virtual milliseconds.
    pub settled_ms: u64,
    /// How many lines the trace has.
    pub lines: u64,
    /// How many writes were acknowledged.
    pub acknowledged: usize,
}

/// Runs a cluster.
#[must_use]
pub fn run(knobs: &Knobs, verbose: bool) -> Outcome {
    let mut world = World::new(knobs.clone(), verbose);
    // The cluster forms before anything breaks: how it forms under fire is a matter of its own.
    while world.step(5_000_000) {}
    world.now_us = 5_000_000;
    faults::begin(&mut world);
    world.after(1_000, Event::User);
    let until = world.now_us + knobs.busy_ms * 1000;
    while world.step(until) {}
    world.busy = false;
    world.now_us = world.now_us.max(until);
    if world.violation.is_none() {
        faults::mend(&mut world);
    }
    let mended = world.now_us;
    let end = settle(&mut world);
    Outcome {
        end,
        hash: world.trace.hash(),
        last: world.trace.last().cloned().collect(),
        settled_ms: (world.now_us - mended) / 1000,
        lines: world.trace.lines(),
        acknowledged: world.oracle.acknowledged().count(),
    }
}

fn settle(world: &mut World) -> End {
    let deadline = world.now_us + SETTLE_US;
    let mut quiet_since = None;
    loop {
        let until = world.now_us + ASK_US;
        while world.step(until) {}
        if let Some(violation) = world.violation.clone() {
            return End::Broken(violation);
        }
        world.now_us = until;
        match checks::unsettled(world) {
            None => {
                let since = *quiet_since.get_or_insert(world.now_us);
                if world.now_us - since >= QUIET_US {
                    break;
                }
            }
            Some(amiss) if world.now_us >= deadline => return End::Late(amiss),
            Some(_) => quiet_since = None,
        }
    }
    checks::broken(world).map_or(End::Clean, End::Broken)
}
