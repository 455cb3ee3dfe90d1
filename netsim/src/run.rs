//! One run: faults and users are at work for a while, then everything is mended and must settle. Somebody may look
//! on; it makes no difference to the run.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::checks::{self, quiet::Calm};
use crate::faults;
use crate::knobs::Knobs;
use crate::removals;
use crate::trace::Line;
use crate::world::{Event, World};

/// How long the cluster forms before anything breaks, in virtual microseconds.
pub(crate) const FORM_US: u64 = 5_000_000;
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
    /// The simulated code, or a check, panicked; the check is "panic".
    Crashed(Violation),
}

impl End {
    /// What went wrong, if anything did.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        match self {
            End::Clean => None,
            End::Broken(violation) | End::Late(violation) | End::Crashed(violation) => Some(violation),
        }
    }

    /// How it ended, in a word or two.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            End::Clean => "clean",
            End::Broken(_) => "broken",
            End::Late(_) => "not settled",
            End::Crashed(_) => "crashed",
        }
    }

    /// Whether it failed, and by the same check in the same way.
    #[must_use]
    pub fn fails_like(&self, other: &End) -> bool {
        let check = |end: &End| end.violation().map(|violation| violation.check);
        check(self).is_some() && check(self) == check(other) && self.word() == other.word()
    }
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

/// Somebody who looks on while a run goes.
pub trait Observer {
    /// A line of the trace.
    fn line(&mut self, line: &Line) {
        let _ = line;
    }

    /// The world, after each thing that happened in it.
    fn look(&mut self, world: &World) {
        let _ = world;
    }
}

/// Runs a cluster. A panic inside is an end like others, [`End::Crashed`].
#[must_use]
pub fn run(knobs: &Knobs) -> Outcome {
    let mut runner = Runner { observer: None, mended_us: 0 };
    runner.run(knobs)
}

/// Runs a cluster under somebody's eyes.
pub fn run_watched(knobs: &Knobs, observer: &mut dyn Observer) -> Outcome {
    let mut runner = Runner { observer: Some(observer), mended_us: 0 };
    runner.run(knobs)
}

struct Runner<'a> {
    observer: Option<&'a mut dyn Observer>,
    /// When everything was mended; 0: not yet.
    mended_us: u64,
}

impl Runner<'_> {
    fn run(&mut self, knobs: &Knobs) -> Outcome {
        let followed = self.observer.is_some();
        let mut world = match caught(|| World::new(knobs.clone(), followed)) {
            Ok(world) => world,
            Err(panic) => return crashed_at_once(panic),
        };
        let end = match caught(|| self.live(&mut world)) {
            Ok(end) => end,
            Err(panic) => {
                world.trace.line(world.now_us, format_args!("PANIC {panic}"));
                End::Crashed(Violation { check: "panic", what: panic, at_us: world.now_us })
            }
        };
        if let Some(observer) = &mut self.observer {
            world.trace.take().iter().for_each(|line| observer.line(line));
        }
        let mended_us = if self.mended_us == 0 { world.now_us } else { self.mended_us };
        Outcome {
            end,
            hash: world.trace.hash(),
            last: world.trace.last().map(Line::to_string).collect(),
            settled_ms: (world.now_us - mended_us) / 1000,
            lines: world.trace.lines(),
            acknowledged: world.oracle.acknowledged().count(),
        }
    }

    fn live(&mut self, world: &mut World) -> End {
        // The cluster forms before anything breaks: how it forms under fire is a matter of its own.
        self.advance(world, FORM_US);
        world.after(0, Event::Look);
        faults::begin(world);
        removals::begin(world);
        if world.knobs.user_every_ms > 0 {
            world.after(1_000, Event::User);
        }
        if world.knobs.candidate_every_ms > 0 {
            world.after(1_500, Event::Candidate);
        }
        if world.knobs.rotate_every_ms > 0 {
            world.after(2_000_000, Event::Rotate);
        }
        let until = world.now_us + world.knobs.busy_ms * 1000;
        self.advance(world, until);
        world.busy = false;
        if world.violation.is_none() {
            faults::mend(world);
        }
        self.mended_us = world.now_us;
        if world.knobs.removal_every_ms > 0 {
            self.hear_knocking(world);
        }
        self.settle(world)
    }

    /// Those that were removed try to come back, and must be out in everybody's eyes by the end of it.
    fn hear_knocking(&mut self, world: &mut World) {
        removals::knock(world);
        self.advance(world, world.now_us + removals::KNOCKING_US);
        let found = checks::knocked(world);
        world.note(found);
        if world.violation.is_none() {
            removals::stop_knocking(world);
        }
    }

    fn settle(&mut self, world: &mut World) -> End {
        let deadline = world.now_us + world.knobs.settle_ms * 1000;
        let mut calm: Option<Calm> = None;
        loop {
            self.advance(world, world.now_us + ASK_US);
            if let Some(violation) = world.violation.clone() {
                return End::Broken(violation);
            }
            checks::mended(world);
            let amiss = checks::unsettled(world).or_else(|| {
                let what = calm.as_ref()?.broken(world)?;
                Some(Violation { check: "quiet", what, at_us: world.now_us })
            });
            match amiss {
                None => {
                    let since_us = calm.get_or_insert_with(|| Calm::now(world)).since_us();
                    if world.now_us - since_us >= QUIET_US {
                        break;
                    }
                }
                Some(amiss) if world.now_us >= deadline => return End::Late(amiss),
                Some(_) => calm = None,
            }
        }
        checks::broken(world).map_or(End::Clean, End::Broken)
    }

    /// Lets everything happen that is due until then, or until something is broken.
    fn advance(&mut self, world: &mut World, until_us: u64) {
        while world.step(until_us) {
            let panic_at_us = world.knobs.panic_at_ms * 1000;
            assert!(panic_at_us == 0 || world.now_us < panic_at_us, "the knob panic_at_ms asks for it");
            self.show(world);
        }
        if world.violation.is_none() {
            world.now_us = world.now_us.max(until_us);
        }
        self.show(world);
    }

    fn show(&mut self, world: &mut World) {
        if let Some(observer) = &mut self.observer {
            world.trace.take().iter().for_each(|line| observer.line(line));
            observer.look(world);
        }
    }
}

/// What a panic said, where there was one. What was being worked on may be in no good state afterwards: only the trace
/// of a world is looked at then.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a text".to_owned())
    })
}

fn crashed_at_once(what: String) -> Outcome {
    Outcome {
        end: End::Crashed(Violation { check: "panic", what, at_us: 0 }),
        hash: crate::trace::Trace::default().hash(),
        last: Vec::new(),
        settled_ms: 0,
        lines: 0,
        acknowledged: 0,
    }
}
